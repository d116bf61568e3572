"""Controls that several pages have, each kept in the URL, and what a page says that has nothing to show."""

from collections.abc import Sequence
from typing import TypeVar

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from forecaster.dashboard import reads
from forecaster.dashboard.texts import command, plain
from forecaster.decisions import CHAMPION
from forecaster.instruments import SYMBOL_PATTERN
from forecaster.live import STEPS
from forecaster.remedies import FILES, SAMPLE, can_bring, located, to_bring
from forecaster.report import DEMONSTRATION

Choice = TypeVar("Choice", int, str)


def nothing_yet(words: str, *verbs: str) -> None:
    """Say what is not there yet, and by which commands it comes; default: the quickstart."""
    st.info(words, icon=":material/info:")
    for one in verbs or ("quickstart",):
        st.code(command(one), language="bash")


def demonstration() -> None:
    """Say so where the prices are the bundled sample's."""
    if (reads.freshness()["source"] == "sample").any():
        st.info(DEMONSTRATION, icon=":material/science:")


def untested(version: str) -> None:
    """Say that no backtest speaks for or against a version, and what would."""
    st.warning(
        f"No backtest of model version {plain(version)} is stored, so nobody knows. "
        f"Train and test a model: `{command('train')}`",
        icon=":material/help:",
    )


def tell_unknown(label: str, name: str, offered: Sequence[str]) -> None:
    """Tell of a choice in the address that is not there."""
    given = st.query_params.get(name)
    if given and given not in offered:
        st.toast(
            f"{label} {plain(given[:40])} is not here; {plain(offered[0])} is shown.",
            icon=":material/search_off:",
        )


def pill(label: str, name: str, options: Sequence[Choice], default: Choice) -> Choice:
    """Let one of a few options be chosen, which stands in the URL under a name."""
    tell_unknown(label, name, [str(default), *map(str, options)])
    chosen = st.pills(label, options, default=default, required=True, key=name, bind="query-params")
    # An empty value in the URL stands for "nothing chosen", required or not.
    return chosen or default


def remedy(symbols: Sequence[str], verb: str) -> str:
    """Say what brings symbols up to date in this workspace: the command, if their source has newer prices."""
    source = reads.origin()
    if source in (SAMPLE, FILES):
        said = located(to_bring(symbols, source), reads.settings().home)
        return plain(f"{said[0].upper()}{said[1:]}")
    return f"Bring them up to date: `{command(verb)}`"


def version_and_step(decisions: pd.DataFrame) -> tuple[str, int, list[int]]:
    """Let a model version be chosen, and one of the steps ahead that its backtest scored.

    Parameters
    ----------
    decisions : DataFrame
        At least one, oldest first.

    Returns
    -------
    str, int, list of int
        Version, step and all of these steps; without a backtest there are none, and the step is the first.
    """
    chosen = _version(decisions)
    scored = [step for step in STEPS if step in set(reads.scores(chosen)["step"])]
    offered = scored or [STEPS[0]]
    return chosen, pill("Sessions ahead", "horizon", offered, offered[0]), scored


def one_of(label: str, name: str, every: str, options: Sequence[str]) -> str | None:
    """Let one of many options be chosen, or all of them, which gives None."""
    tell_unknown(label, name, [every, *options])
    chosen = st.selectbox(label, [every, *options], key=name, bind="query-params")
    return None if chosen == every else chosen


def symbol(known: list[str], heading: DeltaGenerator) -> str:
    """Let a symbol that has a forecast be chosen; tell in the heading of one that has none."""
    given = st.query_params.get("symbol", "")
    asked = given.upper()
    if asked in known:
        if asked != given:
            st.query_params["symbol"] = asked
            st.rerun()
    elif SYMBOL_PATTERN.match(asked):
        heading.warning(
            f"There is no forecast of {asked} here. Choose one of the list{_or_make(asked)}",
            icon=":material/search_off:",
        )
    elif asked:
        heading.warning(
            "The symbol in the address is no ticker. Choose one of the list.", icon=":material/search_off:"
        )
    return st.selectbox("Symbol", known, key="symbol", bind="query-params")


def _or_make(symbol: str) -> str:
    """Say what makes a forecast of a symbol that has none, or why nothing does."""
    source, forecast = reads.origin(), f"`{command(f'forecast {symbol}')}`"
    if reads.freshness()["first"].get(symbol, pd.NaT) is not pd.NaT:
        return f", or make it: {forecast}"
    brings = plain(located(to_bring([symbol], source), reads.settings().home))
    return f", or {brings}, then {forecast}" if can_bring([symbol], source) else f"; {brings}"


def _version(decisions: pd.DataFrame) -> str:
    """Let a model version be chosen: the champion comes first, then the newest."""
    known = [str(one) for one in decisions["version"].unique()[::-1]]
    champions = decisions.loc[decisions["alias"] == CHAMPION, "version"]
    champion = known[0] if champions.empty else str(champions.iloc[-1])
    offered = [champion, *(one for one in known if one != champion)]
    tell_unknown("Model version", "version", offered)
    return st.selectbox("Model version", offered, key="version", bind="query-params")
