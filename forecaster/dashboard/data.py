"""What the updates left behind: the last run, how fresh each symbol is, and what is missing or refused."""

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from forecaster.dashboard import controls, reads
from forecaster.dashboard.texts import ago, command, count, lasted, plain
from forecaster.ingest.gaps import ASKED_FOR, FACTOR, still_asked_for
from forecaster.ingest.runs import DONE, RUNNING, STOPPED
from forecaster.report import DEMONSTRATION
from forecaster.sources import Outcome
from forecaster.store import now

BROKEN_OFF = "broken off"
SILENCE = pd.Timedelta(minutes=10)
"""How long an update that is at work may be silent; it writes something down about every minute."""

SHOWN_RUNS = 20
NOT_ASKED = "not asked yet"
MEANINGS = {
    Outcome.INVALID: "something came that could not be stored",
    Outcome.GONE: "the source knows no such symbol",
    Outcome.TRANSIENT: "the source did not answer properly; the next update asks again",
    Outcome.RATE_LIMITED: "the source refuses further requests for a while; the next update asks again",
    NOT_ASKED: "the next update asks for it",
    Outcome.OK: "the source answered, and what was sound and new is stored",
}
"""Outcome of the last request -> what it means, gravest first."""


def page() -> None:
    """Draw the page."""
    runs, table, moment = reads.past_runs(), reads.freshness(), now()
    st.title("Data", anchor=False)
    if runs.empty and table.empty:
        _empty()
        return
    table = _by_need(_kept(table, runs), moment)
    if (table["source"] == "sample").any():
        st.info(DEMONSTRATION, icon=":material/science:")
    states = _states(runs, moment)
    _last_run(runs, states, moment)
    _freshness(table)
    _sources(list(table["symbol"]))
    _missing(moment)
    _quarantine()
    _past_runs(runs, states)


def _empty() -> None:
    controls.nothing_yet(
        "Nothing is stored here yet. Bring prices, train a model and forecast with one command, then "
        "reload this page:"
    )
    st.caption("Prices alone come with the command below; put your own symbols in place of AAPL and MSFT.")
    st.code(command("update AAPL MSFT"), language="bash")


def _kept(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Keep what is stored or watched, market factors, and what the last run asked for."""
    asked = set() if runs.empty else set(reads.words_of(runs.iloc[0])["symbol"])
    is_held = table["first"].notna() | table["watched"].eq(True) | table.index.str.startswith(FACTOR)
    return table[is_held | table.index.isin(asked)]


def _states(runs: pd.DataFrame, moment: pd.Timestamp) -> pd.Series:
    """Name the state of each run; only the newest can still be at work."""
    states = runs["status"].mask(runs["status"] == RUNNING, BROKEN_OFF)
    if len(runs) and runs["status"].iloc[0] == RUNNING and moment - _last_heard(runs.iloc[0]) <= SILENCE:
        states.iloc[0] = RUNNING
    return states


def _last_heard(run: pd.Series) -> pd.Timestamp:
    return max([run["recorded_at"], *reads.words_of(run)["recorded_at"]])


def _last_run(runs: pd.DataFrame, states: pd.Series, moment: pd.Timestamp) -> None:
    if runs.empty:
        st.info(
            f"No run of an update is on record; the next one will be: `{command('update')}`",
            icon=":material/info:",
        )
        return
    run, state, words = runs.iloc[0], states.iloc[0], reads.words_of(runs.iloc[0])
    ok, failed, rows = run["ok"], run["failed"], run["rows"]
    if run["status"] == RUNNING:
        ok, rows = (words["outcome"] == Outcome.OK).sum(), words["rows"].sum()
        failed = len(words) - ok
    _notice(run, state, words, moment, ok + failed)
    took = f", and took {lasted(run['recorded_at'] - run['started_at'])}" if state in (DONE, STOPPED) else ""
    st.markdown(
        f"The last update began on {run['started_at']:%Y-%m-%d} at {run['started_at']:%H:%M} UTC, "
        f"{ago(run['started_at'], moment)}. It was to bring {count(run['symbols'], 'symbol')} from "
        f"{plain(run['source'])}{took}."
    )
    figures = {
        "Last update": ago(run["started_at"], moment),
        "Source": plain(run["source"]),
        "Status": state,
        "Symbols ok": f"{ok} of {run['symbols']}",
        "Failed or not asked": str(failed),
        "Rows added": f"{rows:,}",
    }
    with st.container(horizontal=True):
        for label, value in figures.items():
            st.metric(label, value, border=True, width="stretch")


def _notice(run: pd.Series, state: str, words: pd.DataFrame, moment: pd.Timestamp, through: int) -> None:
    source, detail = plain(run["source"]), plain(run["detail"].rstrip("."))
    again = f"give the same command again, such as `{command('update')}`: it goes on where this one stopped."
    if state == RUNNING:
        st.info(
            f"An update is at work: {through} of {count(run['symbols'], 'symbol')} so far. "
            "Reload the page to see how far it is.",
            icon=":material/sync:",
        )
    elif state == BROKEN_OFF:
        heard = _last_heard(run)
        st.warning(
            f"The last update broke off: nothing was heard of it after {heard:%Y-%m-%d %H:%M} UTC, "
            f"{ago(heard, moment)}. What it had brought is stored. To finish, {again}",
            icon=":material/power_off:",
        )
    elif state == STOPPED and (words["outcome"] == Outcome.RATE_LIMITED).any():
        st.warning(
            f"Rate limited: {source} refuses further requests for a while, so the last update stopped. "
            f"It said: {detail}. What had come is stored. Wait a while, then {again}",
            icon=":material/hourglass_top:",
        )
    elif state == STOPPED:
        st.warning(
            f"The last update stopped early, since {source} did not answer properly. It noted: {detail}. "
            f"What had come is stored. Check the connection, then {again}",
            icon=":material/cloud_off:",
        )
    elif run["failed"]:
        first = words[words["outcome"] != Outcome.OK].iloc[0]
        why = plain(f"{first['symbol']}: {first['detail'].rstrip('.')}")
        st.warning(
            f"{run['failed']} of {count(run['symbols'], 'symbol')} did not come with the last update. {why}. "
            "The table below says it of each.",
            icon=":material/error:",
        )


def _by_need(table: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Add how far each symbol is behind, and put first what needs attention."""
    table = table.assign(
        behind=pd.array([pd.NA] * len(table), dtype="Int64"), outcome=table["outcome"].fillna(NOT_ASKED)
    )
    counted = table[table["exchange"].notna() & table["last"].notna() & (table["source"] != "sample")]
    for exchange, rows in counted.groupby("exchange"):
        days = pd.DatetimeIndex(rows["last"])
        table.loc[rows.index, "behind"] = reads.sessions_behind(str(exchange), days, moment)
    # Nobody waits for what was taken off the watchlist.
    off, detail = table["watched"].eq(False), table["detail"].fillna("")
    table["detail"] = detail.mask(off, ("off the watchlist; " + detail).str.removesuffix("; "))
    grave = table["outcome"].map({outcome: rank for rank, outcome in enumerate(MEANINGS)})
    order = table.assign(off=off, grave=grave, less=-table["behind"].fillna(0)).reset_index()
    return order.sort_values(["off", "grave", "less", "symbol"], ignore_index=True)


def _freshness(table: pd.DataFrame) -> None:
    st.subheader("Freshness", anchor=False)
    if table.empty:
        st.markdown("No symbol is stored, and none has been asked for yet.")
        return
    _behind(table[~table["off"]])
    rows = _filtered(table)
    if rows.empty:
        st.markdown("No symbol fits; choose another outcome or other letters.")
        return
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        rows.assign(outcome=rows["outcome"].map(_words), change=rows["change"].fillna("")),
        hide_index=True, width="stretch", placeholder="–", alt="How fresh each symbol is",
        column_order=[
            "symbol", "outcome", "behind", "last", "detail", "change", "rows", "recorded_at", "first",
            "source", "currency", "exchange", "name",
        ],
        column_config={
            "symbol": text("Symbol", pinned=True),
            "outcome": text("Outcome", width=110, help="Of the last request"),
            "behind": number(
                "Behind, sessions",
                help="Complete sessions of its own exchange that are not stored yet; –: not counted",
            ),
            "last": _day("Last session"),
            "detail": text("Detail", width="medium"),
            "change": text("Change", help="What the reply said about sessions that were stored already"),
            "rows": number("Rows added", help="With the last request", format="localized"),
            "recorded_at": _minute("Asked, UTC"),
            "first": _day("First session"),
            "source": text("Source"),
            "currency": text("Currency"),
            "exchange": text("Exchange"),
            "name": text("Name"),
        },
    )  # fmt: skip
    seen = set(rows["outcome"])
    st.caption(
        "Outcome of the last request. "
        + " ".join(f"**{_words(one)}**: {said}." for one, said in MEANINGS.items() if one in seen)
        + " Sessions behind are not counted for the sample, nor for market factors."
    )


def _behind(table: pd.DataFrame) -> None:
    late = table[table["behind"].fillna(0) > 0]
    if late.empty:
        return
    worst = late.nlargest(1, "behind").iloc[0]
    st.warning(
        f"{len(late)} of {count(len(table), 'symbol')} {'is' if len(late) == 1 else 'are'} behind the "
        f"exchange, the furthest {plain(worst['symbol'])} by {count(worst['behind'], 'session')}. "
        f"{controls.remedy(list(late.index), 'update')}",
        icon=":material/schedule:",
    )


def _filtered(table: pd.DataFrame) -> pd.DataFrame:
    offered = [_words(outcome) for outcome in MEANINGS if (table["outcome"] == outcome).any()]
    left, right = st.columns([3, 1], gap="medium")
    with left:
        outcome = st.pills("Last outcome", offered, key="outcome", bind="query-params", wrap=True)
    with right:
        letters = st.text_input("Symbol contains", key="find", bind="query-params", max_chars=20)
    rows = table[table["symbol"].str.contains((letters or "").strip().upper(), regex=False)]
    return rows[rows["outcome"].map(_words) == outcome] if outcome else rows


def _words(outcome: str) -> str:
    return str(outcome).replace("_", " ")


def _sources(symbols: list[str]) -> None:
    """Show how each source of prices, market factors and events answered when it was last asked for them."""
    st.subheader("Sources", anchor=False)
    rows = reads.requests()
    rows = rows[rows["symbol"].isin(symbols)]
    if rows.empty:
        st.markdown("No source has been asked for anything yet.")
        return
    rank = {str(outcome): place for place, outcome in enumerate(MEANINGS)}
    rows = rows.assign(ok=rows["outcome"] == Outcome.OK, grave=rows["outcome"].map(rank))
    # The gravest outcome stands for its source, with what was said of it last.
    worst = rows.sort_values(["grave", "recorded_at"], ascending=[True, False])
    found = worst.groupby(["what", "source"], sort=False).agg(
        asked=("symbol", "size"), ok=("ok", "sum"), outcome=("outcome", "first"), detail=("detail", "first"),
        added=("rows", "sum"), recorded_at=("recorded_at", "max"),
    ).reset_index()  # fmt: skip
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        found.assign(outcome=found["outcome"].map(_words)).sort_values(["what", "source"]),
        hide_index=True, width="stretch", placeholder="–", alt="How each source answered last",
        column_order=["what", "source", "outcome", "ok", "asked", "added", "recorded_at", "detail"],
        column_config={
            "what": text("What", pinned=True),
            "source": text("Source"),
            "outcome": text("Gravest outcome", help="Of the last request for each symbol"),
            "ok": number("Ok"),
            "asked": number("Asked for", help="Symbols, or factors"),
            "added": number("Rows added", help="With the last requests", format="localized"),
            "recorded_at": _minute("Asked last, UTC"),
            "detail": text("Detail", width="large"),
        },
    )  # fmt: skip
    if not (found["what"] == "events").any():
        st.caption("No source of events has been asked; an update from Yahoo asks those that go with it.")


def _missing(moment: pd.Timestamp) -> None:
    st.subheader("Missing sessions", anchor=False)
    rows = reads.missing()
    if rows.empty:
        st.markdown("No session is known to be missing between the first and the last stored one.")
        return
    st.markdown(
        f"{count(len(rows), 'session')} without a bar between the first and the last stored one, by the "
        "exchange's calendar. Every update asks for them again, until "
        f"{ASKED_FOR.days} days after they were noticed."
    )
    asked = rows.assign(asked=rows.index.isin(still_asked_for(rows, moment).index))
    table = asked.groupby("symbol").agg(
        sessions=("session", "size"), first=("session", "min"), last=("session", "max"),
        found=("found_at", "max"), asked=("asked", "sum"),
    ).reset_index()  # fmt: skip
    table["state"] = [_asked(*pair) for pair in zip(table["asked"], table["sessions"], strict=True)]
    st.dataframe(
        table.sort_values(["asked", "symbol"], ascending=[False, True]),
        hide_index=True, width="stretch", alt="Missing sessions of each symbol",
        column_order=["symbol", "sessions", "first", "last", "found", "state"],
        column_config={
            "symbol": st.column_config.TextColumn("Symbol", pinned=True),
            "sessions": st.column_config.NumberColumn("Missing"),
            "first": _day("First"),
            "last": _day("Last"),
            "found": _minute("Last noticed, UTC"),
            "state": st.column_config.TextColumn("Asked for again"),
        },
    )  # fmt: skip


def _asked(asked: int, sessions: int) -> str:
    if asked == sessions:
        return "still asked for"
    return f"{asked} of {sessions} still asked for" if asked else "given up"


def _quarantine() -> None:
    st.subheader("Quarantine", anchor=False)
    rows = reads.refused()
    if rows.empty:
        st.markdown("No row is held in quarantine.")
        return
    st.markdown(
        f"{count(len(rows), 'row')} held: delivered, but not taken for sound. Where a bar of that session is "
        "stored, it stays, and its close stands beside the refused one."
    )
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        rows, hide_index=True, width="stretch", placeholder="none", alt="Rows held in quarantine",
        column_order=[
            "symbol", "session", "reason", "close", "stored_close", "currency", "source", "fetched_at",
        ],
        column_config={
            "symbol": text("Symbol", pinned=True),
            "session": _day("Session"),
            "reason": text("Reason", width="large"),
            "close": number("Refused close", format="%.4f"),
            "stored_close": number("Stored close", format="%.4f"),
            "currency": text("Currency"),
            "source": text("Source"),
            "fetched_at": _minute("Refused, UTC"),
        },
    )  # fmt: skip
    st.markdown(
        "A row leaves when the source delivers a sound one. If you know that a refused row is right, release "
        "it: it then takes the place of what is stored. With its symbol and session:"
    )
    st.code(command("quarantine release SYMBOL SESSION"), language=None, wrap_lines=True)
    st.markdown("To list them on the command line:")
    st.code(command("quarantine list"), language=None, wrap_lines=True)


def _past_runs(runs: pd.DataFrame, states: pd.Series) -> None:
    st.subheader("Past runs", anchor=False)
    if runs.empty:
        st.markdown("None is on record.")
        return
    shown = runs.assign(state=states).head(SHOWN_RUNS)
    ended = shown["state"].isin([DONE, STOPPED])
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        shown.assign(
            took=(shown["recorded_at"] - shown["started_at"]).where(ended).map(lasted, na_action="ignore"),
            **{name: shown[name].where(ended) for name in ("ok", "failed", "rows")},
        ),
        hide_index=True, width="stretch", placeholder="none", alt="The runs of updates, newest first",
        column_order=[
            "started_at", "state", "source", "symbols", "ok", "failed", "rows", "took", "detail",
        ],
        column_config={
            "started_at": _minute("Began, UTC", pinned=True),
            "state": text("Status"),
            "source": text("Source"),
            "symbols": number("Symbols"),
            "ok": number("Ok"),
            "failed": number("Failed or not asked"),
            "rows": number("Rows added", format="localized"),
            "took": text("Took", alignment="right"),
            "detail": text("Why it stopped", width="medium"),
        },
    )  # fmt: skip
    if len(runs) > SHOWN_RUNS:
        st.caption(f"The last {SHOWN_RUNS} of {len(runs)}.")


def _day(label: str) -> ColumnConfig:
    return st.column_config.DateColumn(label, format="YYYY-MM-DD")


def _minute(label: str, pinned: bool = False) -> ColumnConfig:
    return st.column_config.DatetimeColumn(label, format="YYYY-MM-DD HH:mm", timezone="UTC", pinned=pinned)
