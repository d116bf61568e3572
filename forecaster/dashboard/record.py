"""Track record: what was issued against what came, beside what the backtest had promised."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from forecaster.dashboard import controls, downloads, reads, record_reads
from forecaster.dashboard.charts import chart
from forecaster.dashboard.texts import NOT_ADVICE, ahead, count, plain
from forecaster.decisions import CHAMPION
from forecaster.evaluation.losses import COVERAGES
from forecaster.evaluation.significance import PairedTest, enough_dates, half_width
from forecaster.evaluation.verdict import probability
from forecaster.models import SERVED, TITLES
from forecaster.record_plots import (
    BACKTEST,
    FEWEST,
    ISSUED,
    WINDOW,
    plot_coverage,
    plot_issued,
    plot_pits,
    plot_skill,
)
from forecaster.report import DEMONSTRATION

PAST = {"60": 60, "250": 250, "all": None}

TRACED = [
    "symbol", "cutoff", "step", "session", "issued_at", "recorded_at", "version", "base_price",
    "q05", "q50", "q95", "outcome", "awaited", "close_came", "within_90", "pit", "log_score", "crps",
]  # fmt: skip
"""Columns of a row that is taken away: quantiles and outcome are log returns, as they are stored."""


def page() -> None:
    """Draw the page."""
    st.title("Track record", anchor=False)
    decisions = reads.decisions()
    if decisions.empty:
        controls.nothing_yet(
            "Nothing has been issued here yet. Train a model and make the first forecast on the command "
            "line, then reload this page:"
        )
        return
    with st.container(border=True, horizontal=True, vertical_alignment="bottom"):
        version, step, _ = controls.version_and_step(decisions)
    issued, backtest = record_reads.issued(version, step), record_reads.served(version, step)
    symbols = sorted({*issued["symbol"].unique(), *backtest["symbol"].unique()})
    if not symbols:
        st.warning(
            f"Version {plain(version)} has issued nothing {ahead(step)}, and no backtest of it is stored.",
            icon=":material/help:",
        )
        return
    notices = st.container()
    _count(issued, step)
    issued = issued[~issued["late"]]
    _beside(version, step)
    symbol = _against(issued, backtest, symbols, step)
    with notices:
        _notices(version, symbol, decisions)
    _calibration(issued, backtest)
    _skill(version, step)
    st.caption(
        f"Forecasts of every version of the same recipe count as issued: newer weights go on where the "
        f"earlier ones ended. {NOT_ADVICE}"
    )


def traced(rows: pd.DataFrame) -> pd.DataFrame:
    """Add to forecasts the close that came, dividends in, and whether it lay within 90 %.

    Both are missing where the forecast is not settled.
    """
    unsettled = rows["outcome"].isna()
    within = rows["outcome"].between(rows["q05"], rows["q95"]).astype("boolean").mask(unsettled)
    rows = rows.assign(close_came=rows["base_price"] * np.exp(rows["outcome"]), within_90=within)
    return rows[[name for name in TRACED if name in rows]]


def _notices(version: str, symbol: str, decisions: pd.DataFrame) -> None:
    if reads.history(symbol).is_demonstration:
        st.info(
            f"{DEMONSTRATION} No later prices come, so that no forecast issued here is ever compared with "
            "the close that came; those of the backtest are.",
            icon=":material/science:",
        )
    champions = decisions.loc[decisions["alias"] == CHAMPION, "version"]
    if len(champions) and champions.iloc[-1] == version:
        state = reads.state(symbol)
        level, reasons = state.level, list(state.reasons)
    else:
        level, reasons = "low confidence", reads.alarms(version)
    for reason in reasons:
        st.warning(f"**{level.capitalize()}.** {plain(reason)}.", icon=":material/warning:")


def _count(issued: pd.DataFrame, step: int) -> None:
    """Say how much is settled, and when more will be."""
    if issued.empty:
        st.markdown(f"**Nothing issued** {ahead(step)} by this recipe yet: what follows is its backtest.")
        return
    known, late = issued["outcome"].notna(), issued["late"]
    dates, unsettled = issued.loc[known, "cutoff"].nunique(), issued[~known & ~late]
    said = f"**{count(int(known.sum()), 'forecast')} settled** on {count(dates, 'date')}"
    said += "".join(f"; {words}" for words in _unsettled(unsettled))
    if not enough_dates(dates, step):
        least = next(number for number in range(10_000) if enough_dates(number, step))
        said += f". A test {ahead(step)} asks for {least} dates"
    if late.any():
        said += (
            f". {count(int(late.sum()), 'forecast')} issued after the close in question "
            f"{'does' if late.sum() == 1 else 'do'} not count"
        )
    st.markdown(f"{said}.")


def _unsettled(rows: pd.DataFrame) -> list[str]:
    """Count the forecasts whose close may still come, and those that the stored prices have gone past."""
    awaited, words = rows[rows["awaited"]], []
    if len(awaited):
        following = f"{awaited['session'].min():%Y-%m-%d}"
        words.append(f"{len(awaited)} awaited, the first for the close of {following}")
    if len(awaited) < len(rows):
        words.append(f"{len(rows) - len(awaited)} without a price, though later ones are stored")
    return words


def _beside(version: str, step: int) -> None:
    st.subheader("Live beside backtest", anchor=False)
    st.markdown(plain(record_reads.comparison(version, step).words))
    tables = {"Issued": record_reads.settled_scores(version, step), "Backtest": reads.scores(version)}
    columns = {}
    for name, table in tables.items():
        mine = table[(table["step"] == step) & (table["model"] == SERVED)]
        columns[name] = {} if mine.empty else _figures(mine.iloc[0], step)
    lines = list(columns["Backtest"] or columns["Issued"])
    shown = pd.DataFrame(
        {
            f"Served, {ahead(step)}": lines,
            **{name: [figures.get(line, "none yet") for line in lines] for name, figures in columns.items()},
        }
    )
    if len(shown):
        st.table(shown, border="horizontal", hide_index=True)


def _figures(row: pd.Series, step: int) -> dict[str, str]:
    half = half_width(row["log_score_error"], row["dates"], step)
    gain = f"{row['log_score_gain']:+.4f}"
    interval = f"{gain} \u00b1 {half:.4f}" if np.isfinite(half) else f"{gain}, not tested"
    return {
        "Forecasts": f"{row['forecasts']:,}".replace(",", "\u202f"),
        "Dates": f"{row['dates']}",
        "Cutoffs": f"{row['first_cutoff']:%Y-%m-%d} to {row['last_cutoff']:%Y-%m-%d}",
        **{f"Within the {share} % range, %": f"{row[f'coverage_{share}']:.1f}" for share in COVERAGES},
        "Log score, nats": f"{row['log_score']:.4f}",
        "Gain over the last price, nats, 95 %": interval,
        "CRPS, %": f"{100 * row['crps']:.3f}",
    }


def _against(issued: pd.DataFrame, backtest: pd.DataFrame, symbols: list[str], step: int) -> str:
    """Show one symbol's ranges against the closes that came, and the rows behind; return the symbol."""
    st.subheader("Forecasts against what came", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        controls.tell_unknown("Symbol", "symbol", symbols)
        symbol = st.selectbox("Symbol", symbols, key="symbol", bind="query-params", width=220)
        is_first = backtest.empty or issued["outcome"].notna().any()
        record = controls.pill("Record", "record", [ISSUED, BACKTEST], ISSUED if is_first else BACKTEST)
        past = PAST[controls.pill("Sessions", "past", list(PAST), "60")]
    every = issued if record == ISSUED else backtest
    mine = every[every["symbol"] == symbol].sort_values("session")
    if mine.empty:
        what = "Nothing has been issued" if record == ISSUED else "No backtest is stored"
        st.info(f"{what} of {symbol} {ahead(step)}.", icon=":material/hourglass_empty:")
        return symbol
    rows = mine if past is None else mine.tail(past)
    st.markdown(_misses(rows, symbol))
    instrument = reads.history(symbol).instruments[symbol]
    words = f"90 % ranges of {symbol} {ahead(step)} and the closes that came; the rows follow as a table"
    chart(plot_issued(rows, symbol, instrument), f"{record}-{symbol}-{step}", words)
    with st.expander("The rows behind", key="rows-open"):
        _rows(rows, record, instrument.currency)
        name = f"{record}-step-{step}"
        downloads.offer(f"{name}-{symbol}", partial(traced, mine), f"{symbol}, {record}")
        downloads.offer(name, partial(traced, every), f"All symbols, {record}")
    return symbol


def _misses(rows: pd.DataFrame, symbol: str) -> str:
    settled = rows[rows["outcome"].notna()]
    if settled.empty:
        return f"Nothing of {symbol} is settled yet: {'; '.join(_unsettled(rows))}."
    above = int((settled["outcome"] > settled["q95"]).sum())
    below = int((settled["outcome"] < settled["q05"]).sum())
    share = 100 * (above + below) / len(settled)
    return (
        f"Of the last {count(len(settled), 'settled close')} of {symbol}, {above + below} missed the 90 % "
        f"range ({share:.1f} %; it should be 10 %): {above} above, {below} below."
    )


def _rows(rows: pd.DataFrame, record: str, currency: str) -> None:
    shown = traced(rows)[::-1].reset_index(drop=True)
    prices = {name: shown["base_price"] * np.exp(shown[name]) for name in ("q05", "q50", "q95")}
    came = shown["within_90"].map({True: "within", False: "missed"}, na_action="ignore")
    if record == ISSUED:
        came = came.fillna(shown["awaited"].map({True: "awaited", False: "no price"}))
    number, text, date = (
        st.column_config.NumberColumn,
        st.column_config.TextColumn,
        st.column_config.DateColumn,
    )
    moment = "issued_at" if record == ISSUED else "recorded_at"
    st.caption(f"Newest first; prices in {currency}, dividends in, on the scale of the price at the cutoff.")
    st.dataframe(
        shown.assign(**prices, came=came, crps=100 * shown["crps"]),
        hide_index=True, width="stretch", placeholder="–", alt="Forecasts with what came of them",
        column_order=["session", "cutoff", "base_price", "q05", "q50", "q95", "close_came", "came", "pit",
                      "log_score", "crps", "step", "symbol", "version", moment],
        column_config={
            "session": date("Session", format="YYYY-MM-DD", pinned=True),
            "cutoff": date("Cutoff", format="YYYY-MM-DD"),
            "base_price": number("Price at cutoff", format="%.2f"),
            "q05": number("5 %", format="%.2f"),
            "q50": number("Median", format="%.2f"),
            "q95": number("95 %", format="%.2f"),
            "close_came": number("Came", format="%.2f"),
            "came": text("90 % range"),
            "pit": number("PIT", format="%.3f"),
            "log_score": number("Log score, nats", format="%.4f"),
            "crps": number("CRPS, %", format="%.3f", help="Of the log return"),
            "step": number("Step", help="Sessions ahead"),
            "symbol": text("Symbol"),
            "version": text("Version"),
            moment: st.column_config.DatetimeColumn(
                f"{moment.split('_', maxsplit=1)[0].capitalize()}, UTC", format="YYYY-MM-DD HH:mm"
            ),
        },
    )  # fmt: skip


def _calibration(issued: pd.DataFrame, backtest: pd.DataFrame) -> None:
    settled = issued[issued["outcome"].notna()]
    records = {name: rows for name, rows in ((BACKTEST, backtest), (ISSUED, settled)) if len(rows)}
    if not records:
        return
    st.subheader("Coverage over time", anchor=False)
    inside = {
        name: rows["outcome"].between(rows["q05"], rows["q95"]).set_axis(pd.DatetimeIndex(rows["session"]))
        for name, rows in records.items()
    }
    words = "Share of outcomes within the 90 % range over time; it should be 90 per cent, the dotted line"
    chart(plot_coverage(inside), "coverage", words)
    dates = settled["session"].nunique()
    short = f" Issued ones, on {count(dates, 'date')} so far, are too few to draw." if dates < FEWEST else ""
    st.caption(
        f"Every symbol counts. Mean of the last {WINDOW} dates, from the first {FEWEST} on; the dotted line "
        f"is what was promised.{short}"
    )
    st.subheader("Where the closes fell: the probability integral transform (PIT)", anchor=False)
    words = "Histogram of the probability integral transform; level at one is ideal"
    chart(plot_pits({name: rows["pit"] for name, rows in records.items()}), "pit", words)
    numbers = " and ".join(f"{count(len(rows), 'forecast')} ({name})" for name, rows in records.items())
    st.caption(
        f"Probability that the forecast gave to anything below what came, over {numbers}: calibrated "
        f"forecasts spread it evenly, a hump in the middle says too wide, high ends say too narrow."
    )


def _skill(version: str, step: int) -> None:
    st.subheader("Skill against each baseline", anchor=False)
    ranking = record_reads.ranking(version, step, "log_score", None, None)
    tests = [(ISSUED, baseline, test) for baseline, test in record_reads.skill(version, step).items()]
    if ranking is not None and SERVED in set(ranking.models["model"]):
        others = [model for model in ranking.models["model"] if model != SERVED]
        tests += [(BACKTEST, model, ranking.test(SERVED, model)) for model in others]
    if not tests:
        st.markdown("Nothing is scored that could be compared.")
        return
    rows = pd.DataFrame([_gain(*one, step) for one in tests])
    order = rows.sort_values("gain").drop_duplicates("baseline", keep="last")["baseline"]
    rows = rows.set_index("baseline").loc[[*order]].reset_index()
    words = "Gain of the served forecast over each baseline; the figures follow as a table"
    chart(plot_skill(rows), "skill", words)
    written = rows.assign(said=rows.apply(_said, axis=1)).pivot(
        index="baseline", columns="record", values="said"
    )
    written = written.reindex(index=[*order], columns=[ISSUED, BACKTEST]).astype(object)
    st.table(
        pd.DataFrame(
            {
                "Baseline": [TITLES[model] for model in written.index],
                "Issued, nats": list(written[ISSUED].fillna("not issued")),
                "Backtest, nats": list(written[BACKTEST].fillna("not run")),
            }
        ),
        border="horizontal",
        hide_index=True,
    )
    st.caption(
        "Gain in log score of the served forecast with half its 95 % interval; Diebold-Mariano tests over "
        "dates. Models that are not issued beside the served forecast stand in the backtest alone."
    )


def _gain(record: str, baseline: str, test: PairedTest, step: int) -> dict[str, Any]:
    half = half_width(test.error, test.dates, step)
    return {"record": record, "baseline": baseline, "gain": -test.difference, "half": half, "p": test.p_value}


def _said(row: pd.Series) -> str:
    if np.isnan(row["half"]):
        return f"{row['gain']:+.4f} (not tested)"
    return f"{row['gain']:+.4f} \u00b1 {row['half']:.4f} ({probability(row['p'])})"
