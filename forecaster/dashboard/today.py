"""The front page: every symbol of the watchlist in one table, and how symbols come onto it and off it."""

import json
from typing import Any

import pandas as pd
import streamlit as st

from forecaster import jobs
from forecaster.dashboard import access, actions, controls, links, reads
from forecaster.dashboard.downloads import offer
from forecaster.dashboard.jobs import follow
from forecaster.dashboard.questions import Answer, ask
from forecaster.dashboard.texts import NOT_ADVICE, count, hint, plain
from forecaster.dashboard.watched import PAST, WORDS, watched
from forecaster.jobs import Job
from forecaster.remedies import beyond
from forecaster.report import DEMONSTRATION

CONFIDENCE = {
    "good": "nothing speaks against the forecast",
    "low confidence": "inputs unlike the training, an older forecast, or coverage that is off",
    "stale": "prices or model are old",
    "expired": "too old for a forecast to be shown",
    "no forecast": "none was issued, or the history is too short",
    "no prices": "none have arrived yet",
}
"""Confidence -> what it means."""

ORDERS = {
    "symbol": ("symbol", True),
    "least confidence": ("doubt", False),
    "likeliest rise": ("prob_up", False),
    "likeliest fall": ("prob_up", True),
    "widest range": ("width", False),
    "results soonest": ("results_in", True),
}
"""Order of the rows -> column, and whether it ascends."""

SHOWN = [
    "symbol", "last", "low", "high", "confidence", "verdict", "median", "prob_up", "results_in", "closes",
    "name", "currency", "why",
]  # fmt: skip
ROWS = 20
"""Rows up to which the table is as high as its content."""

LONGEST = 60
"""Seconds after which a search is given up."""

MATCHES = 10
LATER = 75
"""Exit code of a command that is to be given again later."""


def page() -> None:
    """Draw the page."""
    st.title("Today", anchor=False)
    with st.spinner("Reading the tables"):
        table = watched()
    if table.empty:
        _empty()
    else:
        _notices(table)
        _table(_chosen(table))
    _watchlist(list(table["symbol"]))
    st.caption(NOT_ADVICE)


def _empty() -> None:
    store, home = reads.store(), plain(str(reads.settings().home))
    what = "The watchlist is empty" if store.folder.exists() else f"There is no workspace at {home} yet"
    controls.nothing_yet(
        f"{what}. Bring prices, train a model and forecast with one command, then reload this page; or add "
        "single symbols below:"
    )


def _notices(table: pd.DataFrame) -> None:
    if (table["source"] == "sample").any():
        st.info(DEMONSTRATION, icon=":material/science:")
    behind = table[table["confidence"].isin(["stale", "expired", "no prices"])]
    if len(behind):
        st.warning(
            f"{len(behind)} of {count(len(table), 'symbol')}: stale, expired or without prices. "
            f"{controls.remedy(list(behind['symbol']), 'retrain --light')}",
            icon=":material/schedule:",
        )
    if (table["verdict"] == WORDS[False]).any():
        st.error(
            "**The model loses to the last price** in its own backtest: take its ranges for a demonstration, "
            "not for a forecast.",
            icon=":material/trending_down:",
        )


def _chosen(table: pd.DataFrame) -> pd.DataFrame:
    """Draw the filters and the order; return the rows that are left."""
    offered, level = [name for name in CONFIDENCE if (table["confidence"] == name).any()], None
    with st.container(horizontal=True, gap="medium"):
        letters = st.text_input(
            "Symbol or name contains", key="holds", bind="query-params", max_chars=40, width=260
        )
        order = st.selectbox("Order", list(ORDERS), key="order", bind="query-params", width=180)
        if offered[1:]:
            level = st.pills("Confidence", offered, key="confidence", bind="query-params", wrap=True)
    text = (table["symbol"] + " " + table["name"].fillna("")).str.casefold()
    rows = table[text.str.contains((letters or "").strip().casefold(), regex=False)]
    rows = rows[rows["confidence"] == level] if level else rows
    ranks = {name: rank for rank, name in enumerate(CONFIDENCE)}
    rows = rows.assign(width=(rows["high"] - rows["low"]) / rows["last"], doubt=rows["confidence"].map(ranks))
    column, ascends = ORDERS[order]
    return rows.sort_values([column, "symbol"], ascending=[ascends, True], ignore_index=True)


def _table(rows: pd.DataFrame) -> None:
    if rows.empty:
        st.markdown("No symbol fits what is chosen above.")
        return
    number, text, shown = st.column_config.NumberColumn, st.column_config.TextColumn, rows[SHOWN]
    currencies = rows["currency"].dropna().unique()
    last = f"Last, {currencies[0]}" if len(currencies) == 1 else "Last"
    st.dataframe(
        shown, hide_index=True, width="stretch", placeholder="–", key="watchlist",
        height="content" if len(rows) <= ROWS else 35 * ROWS, alt="The watchlist with tomorrow's forecasts",
        column_order=[name for name in SHOWN if name != "currency" or len(currencies) > 1],
        column_config={
            "symbol": st.column_config.ButtonColumn(
                "Symbol", type="tertiary", key="opened", pinned=True, alignment="left", width=80,
                help="Opens the symbol's forecast",
            ),
            "closes": st.column_config.LineChartColumn(
                f"{PAST} closes", width=85, help="Closes, adjusted for splits; each on its own scale"
            ),
            "last": number(last, format="%.2f", width=85, help="Last stored close"),
            "currency": text("Currency", width=75),
            "low": number(
                "90 % from", format="%.2f", width=85,
                help="5 % quantile one session after the last: the 90 % range begins here",
            ),
            "high": number(
                "90 % to", format="%.2f", width=80,
                help="95 % quantile one session after the last: the 90 % range ends here",
            ),
            "median": number("Median", format="%.2f", width=75, help="Price, one session after the last"),
            "prob_up": number("Rise, %", format="%.1f", help="Probability of a close above the last"),
            "results_in": number(
                "Results in", format="%d", help="Sessions to the next announced results; –: none announced"
            ),
            "confidence": text("Confidence", width=112),
            "verdict": text("Verdict", width=238, help="Of the model in its own backtest, over all symbols"),
            "name": text("Name", width=138),
            "why": text("Why", width="large"),
        },
    )  # fmt: skip
    _told(rows)
    if (clicked := st.session_state.get("opened")) is not None:
        links.open_page("forecast", symbol=str(clicked["label"]))


def _told(rows: pd.DataFrame) -> None:
    seen = [f"**{name}**: {CONFIDENCE[name]}." for name in CONFIDENCE if (rows["confidence"] == name).any()]
    days = rows["next_session"].dropna()
    when = "" if days.empty else f"Forecasts are for the session of {days.max():%Y-%m-%d}. "
    st.caption(
        f"A symbol opens its forecast. {when}Prices are in the currency named. What is "
        f"forecast is above all the range: the verdict is about the range, by log score, and not about the "
        f"direction. {' '.join(seen)}"
    )
    named = [name for name in SHOWN if name != "closes"]
    told = rows[[*named, "last_session", "next_session", "cutoff", "version"]].rename(
        columns={"low": "low_90", "high": "high_90"}
    )
    # The grid's own buttons cannot be pressed by keyboard.
    symbol = st.selectbox("Open the forecast of", list(rows["symbol"]), index=None, key="open", width=260)
    offer("today", lambda: told, "Table")
    if symbol is not None:
        links.open_page("forecast", symbol=symbol)


def _watchlist(symbols: list[str]) -> None:
    st.subheader("Add or remove symbols", anchor=False)
    refusal = access.denied()
    additions = [job for job in jobs.jobs(reads.settings().home) if _adds(job)]
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _find(symbols, refusal)
        if any(job.running for job in additions):
            follow(additions, _adds)
        _ended(additions)
    with right:
        _remove(symbols, refusal)


def _adds(job: Job) -> bool:
    return job.command[:2] == ("watchlist", "add")


def _find(symbols: list[str], refusal: str | None) -> None:
    st.text_input(
        "Name or ticker", key="words", bind="query-params", max_chars=60, disabled=refusal is not None,
        help=hint(refusal) or "Any symbol that the source of the prices knows", on_change=_wanted,
    )  # fmt: skip
    # What a link brings may hold what no process takes as an argument.
    words = "".join(filter(str.isprintable, str(st.session_state.get("words") or ""))).strip()
    pressed = st.button(
        "Search", key="search", icon=":material/search:", disabled=refusal is not None, help=hint(refusal)
    )
    if (st.session_state.pop("wanted", False) or pressed) and words and refusal is None:
        st.session_state.pop("added", None)
        # After the dashes nothing is an option, whatever is typed.
        command_line = ("watchlist", "find", "--json", "--", words)
        answer = ask(*command_line, doing="Asking the source", longest=LONGEST)
        st.session_state["found"] = words, answer
    asked, found = st.session_state.get("found", ("", None))
    if found is not None and asked == words:
        _matches(found, words, symbols, refusal)


def _wanted() -> None:
    """Search once Enter was pressed."""
    st.session_state["wanted"] = True


def _matches(answer: Answer, words: str, symbols: list[str], refusal: str | None) -> None:
    matches: list[dict[str, Any]] = json.loads(answer.output) if answer.output else []
    if answer.exit_code == LATER:
        st.warning(f"**Rate limited.** {plain(answer.error)}. Wait a while.", icon=":material/hourglass_top:")
    elif answer.exit_code != 0:
        st.warning(
            f"**The search did not get through.** {plain(answer.error)}. Check the connection, or try again "
            "later.",
            icon=":material/cloud_off:",
        )
    elif not matches:
        few = beyond(reads.origin())
        st.info(
            f"The source knows nothing that fits {plain(words)}. {plain(few)}".rstrip(),
            icon=":material/search_off:",
        )
    for one in matches[:MATCHES]:
        symbol = one["symbol"]
        about, button = st.columns([3, 1], vertical_alignment="center")
        kind = f"{one['type'].lower()}, {one['exchange']}"
        about.markdown(f"**{plain(symbol)}** {plain(one['name'])} :gray[{plain(kind)}]")
        if symbol in symbols:
            button.caption("on the watchlist")
        elif button.button("Add", key=f"add {symbol}", disabled=refusal is not None, help=hint(refusal)):
            st.session_state["added"] = actions.start("watchlist", "add", symbol, "--now")
            del st.session_state["found"]
            st.rerun()
    if matches[MATCHES:]:
        st.caption(f"The first {MATCHES} of {len(matches)}; more letters find fewer.")


def _ended(additions: list[Job]) -> None:
    """Tell what became of the symbol that was added last from here."""
    for job in additions:
        if job.id == st.session_state.get("added") and not job.running:
            if job.state == "done":
                st.success(plain(f"{job.message}."), icon=":material/check:")
            else:
                st.warning(f"**{job.state.capitalize()}.** {plain(job.message)}", icon=":material/error:")


def _remove(symbols: list[str], refusal: str | None) -> None:
    with st.form("off", border=False, clear_on_submit=True):
        chosen = st.multiselect(
            "Take off the watchlist", symbols, key="off-symbols", disabled=refusal is not None,
            help=hint(refusal) or "Prices and forecasts stay stored",
        )  # fmt: skip
        pressed = st.form_submit_button(
            "Remove", key="remove", icon=":material/remove:", disabled=refusal is not None, help=hint(refusal)
        )
    if pressed and chosen:
        actions.unwatch(chosen)
        st.session_state["removed"] = chosen
        st.rerun()
    if pressed:
        st.info("Nothing is chosen, so nothing was removed.", icon=":material/info:")
    elif removed := st.session_state.pop("removed", None):
        st.success(plain(f"Off the watchlist: {', '.join(removed)}."), icon=":material/check:")
