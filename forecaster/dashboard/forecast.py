"""Forecast of one symbol: price, fan, quantiles, and the evidence for and against them."""

from typing import TypeVar

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from forecaster.dashboard import reads, what_if
from forecaster.dashboard.texts import NOT_ADVICE, command, count, plain
from forecaster.evaluation.verdict import probability, verdict
from forecaster.history import History
from forecaster.instruments import SYMBOL_PATTERN
from forecaster.models import LAST_PRICE, TITLES
from forecaster.models.tabulate import as_prices
from forecaster.plots import plot_forecast, plot_scores
from forecaster.report import DEMONSTRATION, doubt_of
from forecaster.store import now
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES

HORIZONS = (1, 5, 10, 20)
PAST_SESSIONS = {"3 months": 63, "6 months": 126, "1 year": 252, "5 years": 1260}
Choice = TypeVar("Choice", int, str)
METRIC_HELP = "Read off the forecast distribution. The verdict below says how far to trust it."
CHART = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}


def page() -> None:
    """Draw the page."""
    known = reads.symbols()
    if not known:
        _empty()
        return
    heading = st.container()
    left, right = st.columns([1, 3], gap="medium")
    with left, st.container(border=True):
        symbol = _symbol(known, heading)
        history, table = reads.history(symbol), reads.forecasts(symbol)
        horizon, span = _view(int(table["step"].max()))
    instrument = history.instruments[symbol]
    with heading:
        st.title(plain(f"{instrument.name} ({symbol})"), anchor=False)
        _notices(history, table)
    with left:
        _freshness(history, table)
    with right:
        figure = plot_forecast(history, table, symbol, PAST_SESSIONS[span], mark=horizon)
        _chart(figure, "fan", f"Close of {symbol} and the fan of its forecast; its figures follow as a table")
    prices = as_prices(table)
    _figures(prices[prices["step"] == horizon].iloc[0], instrument.currency)
    _evidence(str(table["version"].iloc[0]), horizon)
    _quantiles(prices, instrument.currency)
    what_if.section(history, table)
    _origin(history, table)
    st.caption(NOT_ADVICE)


def _empty() -> None:
    st.title("No forecast yet", anchor=False)
    st.info(
        "This workspace holds no forecast. Make the first one on the command line, then reload this page:",
        icon=":material/info:",
    )
    st.code(command("quickstart"), language="bash")


def _symbol(known: list[str], heading: DeltaGenerator) -> str:
    given = st.query_params.get("symbol", "")
    asked = given.upper()
    if asked in known:
        if asked != given:
            st.query_params["symbol"] = asked
            st.rerun()
    elif SYMBOL_PATTERN.match(asked):
        heading.warning(
            f"There is no forecast of {asked} here. Choose one of the list, or make it: "
            f"`{command(f'update {asked}')}`, then `{command(f'forecast {asked}')}`",
            icon=":material/search_off:",
        )
    elif asked:
        heading.warning(
            "The symbol in the address is no ticker. Choose one of the list.", icon=":material/search_off:"
        )
    return st.selectbox("Symbol", known, key="symbol", bind="query-params")


def _view(longest: int) -> tuple[int, str]:
    offered = [horizon for horizon in HORIZONS if horizon <= longest]
    return (
        _pill("Sessions ahead", "horizon", offered, offered[-1]),
        _pill("Past", "past", list(PAST_SESSIONS), "3 months"),
    )


def _pill(label: str, name: str, options: list[Choice], default: Choice) -> Choice:
    chosen = st.pills(label, options, default=default, required=True, key=name, bind="query-params")
    # An empty value in the URL stands for "nothing chosen", required or not.
    return chosen or default


def _notices(history: History, table: pd.DataFrame) -> None:
    if history.is_demonstration:
        st.info(DEMONSTRATION, icon=":material/science:")
    elif behind := _sessions_behind(history):
        st.warning(
            f"The prices are {count(behind, 'session')} behind the exchange. "
            f"Bring them up to date: `{command('update')}`",
            icon=":material/schedule:",
        )
    cutoff = table["cutoff"].iloc[0]
    if cutoff < history.as_of:
        st.warning(
            f"This forecast was made from the close of {cutoff:%Y-%m-%d}; there are prices up to "
            f"{history.as_of:%Y-%m-%d}. Renew it: `{command(f'forecast {history.symbols[0]}')}`",
            icon=":material/update:",
        )
    if doubt := doubt_of(table):
        st.warning(f"**Low confidence.** {plain(doubt)}", icon=":material/help:")


def _sessions_behind(history: History) -> int:
    exchange, last = history.instruments[history.symbols[0]].exchange, pd.DatetimeIndex([history.as_of])
    return int(reads.sessions_behind(exchange, last, now())[0])


def _freshness(history: History, table: pd.DataFrame) -> None:
    first = table.iloc[0]
    st.caption(
        f"Prices up to {history.as_of:%Y-%m-%d}.  \n"
        f"Forecast from the close of {first['cutoff']:%Y-%m-%d}, "
        f"issued {first['issued_at']:%Y-%m-%d} by model version {plain(str(first['version']))}."
    )


def _chart(figure: go.Figure, key: str, words: str) -> None:
    # A chart that zooms on dragging would keep a finger on a phone from scrolling the page.
    figure.update_layout(dragmode=False)
    st.plotly_chart(figure, width="stretch", config=CHART, key=key, alt=words)


def _figures(row: pd.Series, currency: str) -> None:
    st.subheader(f"{count(row['step'], 'session')} ahead: {row['session']:%d %b %Y}", anchor=False)
    figures = {
        f"Close on {row['cutoff']:%d %b %Y}, {currency}": (f"{row['base_price']:.2f}", None),
        f"90 % range, {currency}": (f"{row['q05']:.2f} to {row['q95']:.2f}", METRIC_HELP),
        "Probability of a rise": (f"{100 * row['prob_up']:.1f} %", METRIC_HELP),
        "Probability of a loss over 5 %": (f"{100 * row['prob_loss']:.1f} %", METRIC_HELP),
    }
    with st.container(horizontal=True):
        for label, (value, words) in figures.items():
            st.metric(label, value, border=True, help=words)


def _evidence(version: str, horizon: int) -> None:
    st.subheader("Is it any good?", anchor=False)
    scores = reads.scores(version)
    steps = [step for step in scores["step"].unique() if step <= horizon]
    if not steps:
        st.warning(
            f"No backtest of model version {plain(version)} is stored, so nobody knows. "
            f"Train and test a model: `{command('train')}`",
            icon=":material/help:",
        )
        return
    step = int(max(steps))
    st.markdown(f"**At {count(step, 'session')} ahead:** {plain(verdict(scores, step))}")
    rows = scores[scores["step"] == step].sort_values("log_score", ignore_index=True)
    _scores(rows)
    with st.expander("Coverage of the ranges and loss in the tails"):
        _calibration(rows)
    words = "Each model's gain in log score over the last price; its figures stand in the table of scores"
    _chart(plot_scores(scores, step), "skill", words)
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
            "gain_p": [probability(p) for p in rows["log_score_p"]],
            "crps": 100 * rows["crps"],
            "crps_skill": rows["crps_skill"].mask(baseline),
            "mae": rows["mae"],
            "mae_p": [probability(p) for p in rows["mae_p"]],
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
        column_order=["model", *coverage, *pinball],
        column_config={
            "model": st.column_config.TextColumn("Model", pinned=True),
            **{name: number(title, format="%.1f") for name, title in {**coverage, **pinball}.items()},
        },
    )


def _quantiles(prices: pd.DataFrame, currency: str) -> None:
    st.subheader("Quantiles of the price", anchor=False)
    st.caption(
        f"Price in {currency} that the close of each session does not exceed with the probability at the "
        f"column's head; then the probability of a close above the last price, and of one over 5 % below it."
    )
    number = st.column_config.NumberColumn
    headings = {name: f"{100 * level:g} %" for name, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)}
    st.dataframe(
        prices[["step", "session", *QUANTILE_COLUMNS]].assign(
            rise=100 * prices["prob_up"], loss=100 * prices["prob_loss"]
        ),
        hide_index=True,
        width="stretch",
        height="content",
        column_config={
            "step": number("Step", help="Sessions ahead", pinned=True),
            "session": st.column_config.DateColumn("Session", format="YYYY-MM-DD", pinned=True),
            **{name: number(heading, format="%.2f") for name, heading in headings.items()},
            "rise": number("Rise, %", format="%.1f"),
            "loss": number("Loss, %", format="%.1f"),
        },
    )


def _origin(history: History, table: pd.DataFrame) -> None:
    rows, first = history.prices, table.iloc[0]
    st.subheader("Where this comes from", anchor=False)
    facts = {
        "Last stored session": f"{history.as_of:%Y-%m-%d}",
        "Behind the exchange": (
            "not counted for the sample"
            if history.is_demonstration
            else count(_sessions_behind(history), "session")
        ),
        "Source of the prices": ", ".join(sorted(rows["source"].unique())),
        "Prices fetched": f"{rows['fetched_at'].max():%Y-%m-%d %H:%M} UTC",
        "Forecast issued": f"{first['issued_at']:%Y-%m-%d %H:%M} UTC",
        "Model": f"version {first['version']}, recipe {first['recipe_hash']}",
        "Version of the prices table": str(first["store_version"]),
    }
    st.table(
        pd.DataFrame({"What": facts.keys(), "Value": map(plain, facts.values())}),
        border="horizontal",
        hide_index=True,
        hide_header=True,
    )
