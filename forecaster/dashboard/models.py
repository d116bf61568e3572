"""Which version is served and why, the versions with their cards, every decision, and retraining."""

import json

import pandas as pd
import streamlit as st

from forecaster.dashboard import cards, controls, jobs, reads
from forecaster.dashboard.texts import TWO_LINES, count, plain
from forecaster.decisions import CHAMPION
from forecaster.jobs import jobs as jobs_of
from forecaster.models import TITLES


def page() -> None:
    """Draw the page."""
    st.title("Models and retraining", anchor=False)
    rows, found = reads.decisions(), jobs_of(reads.settings().home)
    champions = rows.loc[rows["alias"] == CHAMPION]
    if len(rows):
        controls.demonstration()
    if rows.empty:
        controls.nothing_yet("No model yet. Train one on the command line, then reload this page:")
    elif champions.empty:
        st.warning("No version has been made champion yet; nothing is served.", icon=":material/help:")
    else:
        _champion(champions.iloc[-1])
    if len(rows):
        champion = None if champions.empty else str(champions["version"].iloc[-1])
        cards.section(rows, champion, found)
        _decisions(rows)
    if len(rows) or found:
        jobs.section(found)


def _champion(row: pd.Series) -> None:
    version, card = str(row["version"]), json.loads(row["card"])
    st.subheader(f"Champion: version {plain(version)}", anchor=False)
    st.markdown(
        f"{plain(cards.kinds(card))}; {count(len(card['universe']), 'symbol')}, trained on sessions up to "
        f"{card['trained_until']}; recipe {card['recipe_hash']}."
    )
    st.markdown(f"**In its backtest, one session ahead:** {plain(str(row['verdict']))}")
    found = reads.live(version)
    st.markdown(f"**Since its recipe is served:** {plain(found.comparison().words)}")
    scores = found.scores()
    if not scores.empty:
        _live(scores, reads.scores(version))
    for reason in reads.alarms(version):
        st.warning(f"**Low confidence.** {plain(reason)}", icon=":material/help:")


def _live(scores: pd.DataFrame, backtest: pd.DataFrame) -> None:
    """Show the scores of settled forecasts beside those of the backtest."""
    figures = ["log_score", "crps", "coverage_90"]
    rows = scores.merge(backtest, on=["step", "model"], how="left", suffixes=("", "_before"))
    shown = rows.assign(model=rows["model"].map(TITLES))
    shown[["crps", "crps_before"]] *= 100
    headings = {
        "log_score": ("Log score, nats", "%.4f", "Lower is better"),
        "crps": ("CRPS, %", "%.3f", "Of the log return; lower is better"),
        "coverage_90": ("Within 90 %, %", "%.1f", "It should be 90"),
    }
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        shown, hide_index=True, width="stretch", placeholder="none", alt="Scores live and in the backtest",
        column_order=["step", "model", "forecasts", "dates",
                      *(name for one in figures for name in (one, f"{one}_before"))],
        column_config={
            "step": number("Step", help="Sessions ahead"),
            "model": text("Model"),
            "forecasts": number("Settled"),
            "dates": number("Dates"),
            **{name: number(heading, format=form, help=words)
               for name, (heading, form, words) in headings.items()},
            **{f"{name}_before": number("... in the backtest", format=form)
               for name, (_, form, _) in headings.items()},
        },
    )  # fmt: skip


def _decisions(rows: pd.DataFrame) -> None:
    st.subheader("Decisions", anchor=False)
    st.caption("About all versions, newest first; nothing is ever taken back or rewritten.")
    newest = rows[::-1].reset_index(drop=True)
    shown = pd.DataFrame(
        {
            "When, UTC": newest["decided_at"],
            "Version": newest["version"],
            "Decision": newest["alias"].map(cards.ALIASES),
            "Why": newest["reason"],
        }
    )
    st.dataframe(
        shown, hide_index=True, width="stretch", row_height=TWO_LINES,
        alt="Decisions about versions",
        column_config={
            "When, UTC": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
            "Why": st.column_config.TextColumn(width="large"),
        },
    )  # fmt: skip
