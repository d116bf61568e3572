"""The versions of the model: each with its card and what was decided about it; promote one, or roll back."""

import json
from typing import Any

import pandas as pd
import streamlit as st

from forecaster.dashboard import access, actions, controls, jobs, reads
from forecaster.dashboard.texts import count, hint, plain
from forecaster.decisions import CHALLENGER, CHAMPION, REFUSED, evidence_of, predecessor
from forecaster.evaluation.verdict import probability
from forecaster.jobs import Job
from forecaster.models import SERVED, TITLES

ALIASES = {CHAMPION: "made champion", CHALLENGER: "registered", REFUSED: "refused"}
ROLES = {CHAMPION: "former champion", CHALLENGER: "challenger", REFUSED: "refused"}

EVIDENCE = {
    "rule": "Rule",
    "champion": "Champion then",
    "gain_nats": "Gain over it, nats a forecast",
    "error_nats": "Standard error, nats",
    "p_value": "One-sided p-value",
    "worse_by_at_most_nats": "Worse by at most, nats (95 %)",
    "margin_nats": "Margin, nats",
    "lost_before_nats": "Lost by the refits before, nats",
    "dates": "Dates",
    "coverage_off": "90 % coverage off by, points",
    "champion_coverage_off": "The champion's off by, points",
    "coverage_limit": "Allowed, points",
    "in_confidence_set": "In the model confidence set",
    "worse_ahead": "Worse further ahead, sessions",
}
"""Figure of a decision -> how it is headed."""


def section(rows: pd.DataFrame, champion: str | None, found: list[Job]) -> None:
    """Draw the table of versions, the card of the one that the URL names, and what may be done with it.

    Parameters
    ----------
    rows : DataFrame
        Every decision, oldest first.
    champion : str or None
        The version that is served.
    found : list of Job
        The workspace's.
    """
    st.subheader("Versions", anchor=False)
    table = _versions(rows, champion)
    _table(table)
    told = dict(zip(table["version"], table["card"], strict=True))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        controls.tell_unknown("Version", "version", list(told))
        version = st.selectbox("Version", list(told), key="version", bind="query-params", width=160)
        _changes(version, champion, predecessor(rows), told, jobs.deciding(found))
    _answer(found)
    _card(version, told[version])
    _decided(rows[rows["version"] == version])


def kinds(card: dict[str, Any]) -> str:
    """Name the networks of a card's recipe."""
    return ", ".join(TITLES[cell] for cell in card["recipe"]["cells"])


def _versions(rows: pd.DataFrame, champion: str | None) -> pd.DataFrame:
    """Return one row per version, newest first, with its card as a dict."""
    first = rows.drop_duplicates("version")
    last = rows.drop_duplicates("version", keep="last").set_index("version")["alias"]
    cards = [json.loads(card) for card in first["card"]]
    scores = [_first_step(version) for version in first["version"]]
    table = pd.DataFrame(
        {
            "version": first["version"].to_numpy(),
            "role": [CHAMPION if one == champion else ROLES[last[one]] for one in first["version"]],
            "registered": first["decided_at"].to_numpy(),
            "kinds": [kinds(card) for card in cards],
            "seeds": [card["recipe"]["seeds"] for card in cards],
            "symbols": [len(card["universe"]) for card in cards],
            "trained_until": pd.to_datetime([card["trained_until"] for card in cards]),
            "gain": [one.get("log_score_gain") for one in scores],
            "test": [probability(one["log_score_p"]) if one else "not tested" for one in scores],
            "coverage": [one.get("coverage_90") for one in scores],
            "card": cards,
        }
    )
    return table[::-1].reset_index(drop=True)


def _first_step(version: str) -> dict[str, Any]:
    scores = reads.scores(version)
    mine = scores[(scores["step"] == 1) & (scores["model"] == SERVED)]
    return {str(name): value for name, value in mine.iloc[0].items()} if len(mine) else {}


def _table(table: pd.DataFrame) -> None:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        table.drop(columns="card"), hide_index=True, width="stretch", placeholder="none",
        alt="The versions of the model, newest first",
        column_config={
            "version": text("Version", pinned=True),
            "role": text("Role", width=130),
            "registered": st.column_config.DatetimeColumn(
                "Registered, UTC", format="YYYY-MM-DD HH:mm", timezone="UTC"
            ),
            "kinds": text("Networks"),
            "seeds": number("Seeds", help="Networks of each kind"),
            "symbols": number("Symbols"),
            "trained_until": st.column_config.DateColumn("Trained until", format="YYYY-MM-DD"),
            "gain": number(
                "Gain, nats", format="%+.4f", help="In log score over the last price, one session ahead"
            ),
            "test": text("Test", alignment="right"),
            "coverage": number("Within 90 %, %", format="%.1f", help="It should be 90"),
        },
    )  # fmt: skip


def _changes(
    version: str, champion: str | None, before: str | None, cards: dict[str, dict[str, Any]], busy: bool
) -> None:
    refusal = access.denied() or ("A job that decides on versions is at work" if busy else None)
    place = "" if champion is None else f" in place of version {champion}"
    after = "The forecasts of all symbols are then issued anew; nothing is trained."
    reason = refusal or ("It is the champion already" if version == champion else None)
    label = f"Promote version {version}"
    # A popover of another key is closed.
    asked = st.session_state.get("asked-of-versions", 0)
    with st.popover(
        label, icon=":material/verified:", disabled=reason is not None, help=hint(reason),
        key=f"ask to promote {asked}",
    ):  # fmt: skip
        st.markdown(
            f"Serve {_named(version, cards)}{plain(place)}? It has to earn that with its backtest; if it "
            f"does not, this is written down and nothing changes. {after}"
        )
        if st.button("Promote", key=f"promote {version}", type="primary"):
            _start("promote", version)
    reason = refusal or ("No champion was before the present one" if before is None else None)
    with st.popover(
        "Roll back", icon=":material/undo:", disabled=reason is not None, help=hint(reason),
        key=f"ask to roll back {asked}",
    ):  # fmt: skip
        if before is not None:
            st.markdown(f"Serve {_named(before, cards)} again{plain(place)}? {after}")
        if st.button("Roll back", key="rollback", type="primary"):
            _start("rollback")


def _named(version: str, cards: dict[str, dict[str, Any]]) -> str:
    card = cards[version]
    return plain(f"version {version} ({kinds(card)}, trained on sessions up to {card['trained_until']})")


def _start(*words: str) -> None:
    st.session_state["job"] = st.session_state["changing"] = actions.start("models", *words)
    st.session_state["asked-of-versions"] = st.session_state.get("asked-of-versions", 0) + 1
    st.rerun()


def _answer(found: list[Job]) -> None:
    """Tell what became of the promotion or rollback that was asked for last from here."""
    for job in found:
        if job.id != st.session_state.get("changing"):
            continue
        if job.running:
            st.info(f"At work: {plain(' '.join(job.command))}.", icon=":material/hourglass_top:")
        elif job.state == "done":
            st.success(plain(f"{job.message}."), icon=":material/check:")
        else:
            st.warning(f"**{job.state.capitalize()}.** {plain(job.message)}", icon=":material/error:")


def _card(version: str, card: dict[str, Any]) -> None:
    recipe = card["recipe"]
    facts = {
        "Recipe": card["recipe_hash"],
        "Networks": f"{kinds(card)}; {count(recipe['seeds'], 'seed')} of each, {recipe['units']} units",
        "Reads": f"{recipe['lookback']} sessions of {', '.join(recipe['groups']).replace('_', ' ')}",
        "Forecasts": f"{recipe['horizon']} sessions ahead",
        "Trained until": card["trained_until"],
        "Universe": f"{count(len(card['universe']), 'symbol')}: {', '.join(card['universe'])}",
        "Data": f"fingerprint {card['fingerprint']}, version {card['store_version']} of the prices table",
        "Packages": ", ".join(f"{name} {number}" for name, number in card["packages"].items()),
        "Python": f"{card['python']}, backend {card['backend']}",
        "Refitted in the backtest": ", ".join(str(one)[:10] for one in card.get("refits", [])) or "not told",
    }
    st.markdown(f"**Card of version {plain(version)}**")
    _facts(facts)
    with st.expander("Files and the whole recipe"):
        st.caption("Digest of each file, SHA-256: a file that differs is refused when it is loaded.")
        _facts(card.get("files", {}))
        st.json(recipe, expanded=False)
    st.download_button(
        "Download the card", json.dumps(card, indent=2), f"version-{version}.json", "application/json",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip


def _decided(rows: pd.DataFrame) -> None:
    """Tell what was decided about a version, with the evidence."""
    for row in rows[::-1].to_dict("records"):
        st.markdown(
            f"**{row['decided_at']:%Y-%m-%d %H:%M} UTC, {ALIASES[row['alias']]}:** {plain(row['reason'])}"
        )
        told = evidence_of(row["evidence"])
        if told:
            _facts({EVIDENCE[name]: _written(value) for name, value in told.items() if name in EVIDENCE})


def _facts(facts: dict[str, str]) -> None:
    table = pd.DataFrame({"What": map(plain, facts.keys()), "Value": map(plain, map(str, facts.values()))})
    st.table(table, border="horizontal", hide_index=True, hide_header=True)


def _written(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    told = f"{value:.6f}" if 0 < abs(value) < 0.001 else f"{value:.4g}"
    return told.replace("-", "\N{MINUS SIGN}")
