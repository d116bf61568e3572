"""The evidence for and against a forecast: the scores of its model's backtest."""

import pandas as pd
import streamlit as st

from forecaster.dashboard import controls, reads
from forecaster.dashboard.charts import chart
from forecaster.dashboard.texts import count, plain
from forecaster.evaluation.verdict import probability, verdict
from forecaster.models import LAST_PRICE, TITLES
from forecaster.plots import plot_scores


def section(version: str, horizon: int) -> None:
    """Draw the verdict, the scores and the calibration of a version at the longest tested step."""
    st.subheader("Is it any good?", anchor=False)
    scores = reads.scores(version)
    steps = [step for step in scores["step"].unique() if step <= horizon]
    if not steps:
        controls.untested(version)
        return
    step = int(max(steps))
    st.markdown(f"**At {count(step, 'session')} ahead:** {plain(verdict(scores, step))}")
    rows = scores[scores["step"] == step].sort_values("log_score", ignore_index=True)
    _scores(rows)
    with st.expander("Coverage of the ranges and loss in the tails"):
        _calibration(rows)
    words = "Each model's gain in log score over the last price; its figures stand in the table of scores"
    chart(plot_scores(scores, step), "skill", words, f"skill-version-{version}")
    first, last = scores["first_cutoff"].min(), scores["last_cutoff"].max()
    st.caption(
        f"Every model was refitted as time went on and forecast sessions that it had never seen, from "
        f"cutoffs {first:%Y-%m-%d} to {last:%Y-%m-%d}. Scores are over all symbols of the workspace: "
        f"companies that survive today."
    )


def _titles(rows: pd.DataFrame) -> pd.Series:
    return rows["model"].map(TITLES) + rows["is_best"].map({True: " (best)", False: ""})


def _scores(rows: pd.DataFrame) -> None:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    baseline = rows["model"] == LAST_PRICE
    shown = pd.DataFrame(
        {
            "model": _titles(rows),
            "log_score": rows["log_score"],
            "gain": rows["log_score_gain"].mask(baseline),
            "gain_p": rows["log_score_p"].map(probability).mask(baseline, ""),
            "crps": 100 * rows["crps"],
            "crps_skill": rows["crps_skill"].mask(baseline),
            "mae": rows["mae"],
            "mae_p": rows["mae_p"].map(probability).mask(baseline, ""),
            "direction": rows["direction"],
        }
    )
    st.dataframe(
        shown, hide_index=True, width="stretch", placeholder="none", alt="Scores of every model",
        column_config={
            "model": text("Model", pinned=True),
            "log_score": number(
                "Log score, nats", format="%.4f", help="Minus the log density of what came; lower is better"
            ),
            "gain": number("Gain, nats", format="%+.4f", help="Gain in log score over the last price"),
            "gain_p": text("Gain test", alignment="right", help="Against the log score of the last price"),
            "crps": number("CRPS, %", format="%.3f", help="Of the log return; lower is better"),
            "crps_skill": number("CRPS skill, %", format="%+.2f", help="Gain in CRPS over the last price"),
            "mae": number("Price error, %", format="%.3f", help="Of the median price, on average"),
            "mae_p": text("Error test", alignment="right", help="Against the error of the last price"),
            "direction": number("Direction, %", format="%.1f", help="Rises and falls called right"),
        },
    )  # fmt: skip


def _calibration(rows: pd.DataFrame) -> None:
    number = st.column_config.NumberColumn
    coverage = {f"coverage_{share}": f"Within {share} %, %" for share in (50, 80, 90, 98)}
    pinball = {f"pinball_{level:02d}": f"Loss at {level} %, bp" for level in (1, 5, 95, 99)}
    st.caption(
        "Share of outcomes that fell within each range, per cent: it should be the range's own. "
        "Pinball loss at the quantiles of the tails, basis points: lower is better."
    )
    st.dataframe(
        rows[[*coverage, *pinball]].assign(model=_titles(rows)),
        hide_index=True,
        width="stretch",
        alt="Coverage and tail losses of every model",
        column_order=["model", *coverage, *pinball],
        column_config={
            "model": st.column_config.TextColumn("Model", pinned=True),
            **{name: number(title, format="%.1f") for name, title in {**coverage, **pinball}.items()},
        },
    )
