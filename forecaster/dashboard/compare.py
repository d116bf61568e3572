"""Compare: networks, classical models and pools of one backtest, and which of them won by how much."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from forecaster.dashboard import controls, downloads, reads, record_reads
from forecaster.dashboard.charts import chart
from forecaster.dashboard.texts import ahead, count, listed, plain
from forecaster.dashboard.winners import NAMES, UNITS, called, capital, most_often, told
from forecaster.evaluation.ranking import Ranking
from forecaster.evaluation.verdict import probability
from forecaster.models import LAST_PRICE, NETWORKS, TITLES
from forecaster.record_plots import plot_groups, plot_pairs, plot_spread
from forecaster.score_plots import half_widths, plot_gains

SCORES = {"Log score": "log_score", "CRPS": "crps"}
GROUPS = {"horizon": "Sessions ahead", "year": "Calendar year of the cutoff", "symbol": "Symbol"}
MANY = 12
"""Groups beyond which a map of them is not readable."""

MOST_ROWS = 500


def page() -> None:
    """Draw the page."""
    st.title("Compare", anchor=False)
    decisions = reads.decisions()
    if decisions.empty:
        controls.nothing_yet(
            "No model has been trained and tested here yet. Do both on the command line, then reload this "
            "page:"
        )
        return
    controls.demonstration()
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            version, step, steps = controls.version_and_step(decisions)
            score = SCORES[controls.pill("Score", "score", list(SCORES), "Log score")]
        if not steps:
            st.warning(
                f"No backtest of model version {plain(version)} is stored, so there is nothing to compare.",
                icon=":material/help:",
            )
            return
        years, symbols = record_reads.subjects(version, step)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            year = controls.one_of("Year", "year", "All years", years)
            symbol = controls.one_of("Symbol", "symbol", "All symbols", symbols)
    ranking = record_reads.ranking(version, step, score, year, symbol)
    if ranking is None or len(ranking.models) < 2:
        st.info("Fewer than two models forecast that; choose another year or symbol.", icon=":material/info:")
        return
    where = ", ".join(filter(None, (ahead(step), year, symbol)))
    for sentence in told(ranking, where):
        st.markdown(sentence)
    _scores(ranking, where, reads.scores(version))
    _pairs(ranking)
    models = [str(model) for model in ranking.models["model"]]
    _groups(version, step, steps, score, year, symbol, models)
    _rows(version, step, score, year, symbol, models)


def _scores(ranking: Ranking, where: str, scores: pd.DataFrame) -> None:
    (factor, unit, digits), name = UNITS[ranking.score], capital(NAMES[ranking.score])
    base = ranking.tests[ranking.tests["baseline"] == LAST_PRICE].set_index("model")
    models = ranking.models
    rows = base.reindex(models["model"]).reset_index()
    shown = pd.DataFrame(
        {
            "model": [f"{at}. {TITLES[model]}" for at, model in enumerate(models["model"], 1)],
            "loss": factor * models["loss"],
            "behind": factor * models["behind"],
            "behind_p": ["" if not at else probability(p) for at, p in enumerate(models["p_value"])],
            "set": [_membership(*one) for one in zip(models["included"], models["set_p"], strict=True)],
            "gain": -factor * rows["difference"],
            "half": factor * half_widths(rows.assign(dates=ranking.dates), ranking.step),
            "gain_p": [
                "" if model == LAST_PRICE else probability(p)
                for model, p in zip(models["model"], rows["p_value"], strict=True)
            ],
        }
    )
    st.subheader("Scores", anchor=False)
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        shown, hide_index=True, width="stretch", placeholder="none", alt=f"Scores of every model, {where}",
        column_config={
            "model": text("Model", pinned=True),
            "loss": number(f"{name}, {unit}", format=f"%.{digits}f", help="Lower is better"),
            "behind": number(f"Behind the first, {unit}", format=f"%.{digits}f"),
            "behind_p": text("Test", help="Against the first; Diebold-Mariano over dates"),
            "set": text("Confidence set", help="Whether it may be the best, and the p-value of that"),
            "gain": number(f"Gain, {unit}", format=f"%+.{digits}f", help="Over the last price"),
            "half": number("\u00b1, 95 %", format=f"%.{digits}f", help="Half the interval of the gain"),
            "gain_p": text("Gain test", help="Against the last price"),
        },
    )  # fmt: skip
    st.caption(
        f"On {count(ranking.forecasts, 'forecast')} a model of {count(ranking.dates, 'date')}, the same for "
        f"all; losses are averaged over the symbols of a date, then over dates. {_absent(scores, ranking)}"
    )
    if LAST_PRICE in set(models["model"]):
        words = "Each model's gain over the last price; its figures stand in the table of scores"
        figure = plot_gains(ranking.tests, ranking.step, LAST_PRICE, ranking.score)
        chart(figure.update_layout(title_text="Gain over the last price, 95 % intervals"), "gains", words)


def _absent(scores: pd.DataFrame, ranking: Ranking) -> str:
    """Name networks that were not run, and models that this score does not judge."""
    run, ranked = set(scores["model"]), set(ranking.models["model"])
    parts = []
    if missing := [TITLES[model] for model in NETWORKS if model not in run]:
        parts.append(f"Not in this backtest: {plain(listed(missing))}.")
    if unjudged := [called(model) for model in TITLES if model in run - ranked]:
        parts.append(f"Without a log score, so not compared by it: {plain(listed(unjudged))}.")
    return " ".join(parts)


def _membership(included: object, p: float) -> str:
    if pd.isna(p):
        return "not tested"
    return f"{'in' if included else 'out'} ({probability(p)})"


def _pairs(ranking: Ranking) -> None:
    st.subheader("Every pair", anchor=False)
    models = [str(model) for model in ranking.models["model"]]
    words = "Which model beats which; the gains and p-values follow as a table"
    chart(plot_pairs(ranking.tests, models), "pairs", words)
    st.caption(
        "Plus: the model of the row is better than that of the column, minus: worse; one sign for p < .05, "
        "two for p < .01, three for p < .001; a dot: not distinguishable, or not tested. Diebold-Mariano "
        "tests over dates, not corrected for their number."
    )
    factor, unit, digits = UNITS[ranking.score]
    cells = [
        f"{-factor * difference:+.{digits}f} ({probability(p)})"
        for difference, p in zip(ranking.tests["difference"], ranking.tests["p_value"], strict=True)
    ]
    wide = ranking.tests.assign(cell=cells).pivot(index="model", columns="baseline", values="cell")
    frame = wide.reindex(index=models, columns=models).fillna("")
    frame.columns = pd.Index([str(at) for at in range(1, len(models) + 1)])
    frame.insert(0, "Model", [f"{at}. {TITLES[model]}" for at, model in enumerate(models, 1)])
    with st.expander(f"Gains of the row's model over the column's, {unit}", key="pairs-open"):
        st.dataframe(
            frame, hide_index=True, width="stretch", alt="Gain of each model over each other, with tests",
            column_config={"Model": st.column_config.TextColumn(pinned=True)},
        )  # fmt: skip
        downloads.offer(f"pairs-step-{ranking.step}", lambda: ranking.tests, "Every test")


def _groups(
    version: str,
    step: int,
    steps: list[int],
    score: str,
    year: str | None,
    symbol: str | None,
    models: list[str],
) -> None:
    st.subheader("By horizon, year and symbol", anchor=False)
    by = controls.pill("By", "by", list(GROUPS), "horizon")
    compared = steps if by == "horizon" else [step]
    table = record_reads.leads(
        version, by, compared, score, None if by == "year" else year, None if by == "symbol" else symbol
    )
    if table.empty:
        st.info("Nothing is left to compare.", icon=":material/info:")
        return
    st.markdown(most_often(table, by))
    words = f"Each model's gain over the last price by {by}; the figures follow as a table"
    if LAST_PRICE in table:
        figure = (
            plot_groups(table, models, score, GROUPS[by])
            if len(table) <= MANY
            else plot_spread(table, models, score)
        )
        chart(figure, f"by-{by}", words)
    factor, unit, digits = UNITS[score]
    gains = [model for model in models if model in table and model != LAST_PRICE]
    shown = table.assign(
        first=table["first"].map(TITLES), second=table["second"].map(TITLES), lead=factor * table["lead"],
        p_value=table["p_value"].map(probability), q_value=table["q_value"].map(_q),
        **{model: factor * table[model] for model in gains},
    )  # fmt: skip
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        shown, hide_index=True, width="stretch", placeholder="none", alt=f"First and second model by {by}",
        column_order=["group", "first", "lead", "second", "p_value", "q_value", "forecasts", "dates", *gains],
        column_config={
            "group": text(GROUPS[by], pinned=True),
            "first": text("Lowest loss"),
            "lead": number(f"Lead, {unit}", format=f"%.{digits}f", help="Over the next model"),
            "second": text("Next"),
            "p_value": text("Test", help="Of the lead; Diebold-Mariano over dates"),
            "q_value": text("q", help="After Benjamini and Hochberg, over the rows of this table"),
            "forecasts": number("Forecasts"),
            "dates": number("Dates"),
            **{
                model: number(TITLES[model], format=f"%+.{digits}f", help=f"Gain over the last price, {unit}")
                for model in gains
            },
        },
    )  # fmt: skip
    st.caption(
        "The two were found in the same losses that the test is made of, which makes a lead look surer than "
        "it is; the confidence set above does not have that fault. The q allows for all rows of this table; "
        "the p of the verdict on the page Forecast is that of one test by itself."
    )
    downloads.offer(f"by-{by}-step-{step}", lambda: table, f"By {by}")


def _q(q: float) -> str:
    return probability(q).replace("p ", "q ")


def _rows(
    version: str, step: int, score: str, year: str | None, symbol: str | None, models: list[str]
) -> None:
    st.subheader("The rows behind", anchor=False)
    daily = record_reads.daily(version, step, score, year, symbol)
    factor, unit, digits = UNITS[score]
    shown = daily.assign(**factor * daily[models])[::-1].head(MOST_ROWS)
    number = st.column_config.NumberColumn
    cut = (
        f" The newest {MOST_ROWS} of {len(daily)} dates; the files hold all."
        if len(daily) > MOST_ROWS
        else ""
    )
    span = f"{daily['cutoff'].min():%Y-%m-%d} to {daily['cutoff'].max():%Y-%m-%d}"
    st.caption(
        f"Mean {NAMES[score]} of each date, {unit}, cutoffs {span}: what every test above is made of.{cut}"
    )
    st.dataframe(
        shown, hide_index=True, width="stretch", alt="Mean loss of each model by date",
        column_order=["cutoff", "forecasts", *models],
        column_config={
            "cutoff": st.column_config.DateColumn("Cutoff", format="YYYY-MM-DD", pinned=True),
            "forecasts": number("Forecasts"),
            **{model: number(TITLES[model], format=f"%.{digits}f") for model in models},
        },
    )  # fmt: skip
    name = "-".join(filter(None, (f"version-{version}-step-{step}", year, symbol)))
    downloads.offer(f"dates-{name}", lambda: daily, "Dates")
    downloads.offer(f"forecasts-{name}", partial(stored_forecasts, version, step, year, symbol), "Forecasts")


def stored_forecasts(version: str, step: int, year: str | None, symbol: str | None) -> pd.DataFrame:
    """Read the stored forecasts that the losses are of."""
    where: dict[str, Sequence[str] | Sequence[int]] = {"version": [version], "step": [step]}
    rows = reads.store().rows("backtests", where=where | ({} if symbol is None else {"symbol": [symbol]}))
    return rows if year is None else rows[rows["cutoff"].dt.year == int(year)]
