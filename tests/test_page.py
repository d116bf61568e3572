"""The benchmark's report: one sound file that no request leaves, and figures that show what was scored."""

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from browsing import CLIPPED
from scipy import stats

from forecaster.benchmark.event_sections import WithoutDates
from forecaster.benchmark.page import write_page
from forecaster.evaluation.ablation import Ablation
from forecaster.evaluation.event_study import EventStudy
from forecaster.evaluation.scores import Scores, score, with_scores
from forecaster.models import TITLES
from forecaster.models.distribution import QuantileTable, StudentT
from forecaster.score_plots import (
    FAMILIES,
    family,
    plot_ablation,
    plot_calibration,
    plot_example,
    plot_gains,
    plot_pit,
    plot_terciles,
    plot_years,
)
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES

NAMED_LIKE_MARKUP = "<B>&T"
SYMBOLS = (NAMED_LIKE_MARKUP, "KO", "MSFT")
DATES = pd.bdate_range("2020-03-02", periods=260)
STEPS = (1, 5)
ERRORS = {"rolling_t": 0.5, "gjr_t": 0.25, "harx": 0.1, "boosting": 0.3, "lstm": 0.4, "served": 0.2}
"""Model -> standard deviation of the error in its logarithm of sigma."""

SETTLED = """() => Promise.all(
    [...document.querySelectorAll('.js-plotly-plot')].map(plot => Plotly.Plots.resize(plot))
)"""
VOID = {"meta", "br", "hr", "link", "img", "input"}


def long_table(model: str, seed: int) -> pd.DataFrame:
    """Forecasts of one model of returns whose sigma it knows up to an error."""
    truth, noise = np.random.default_rng(1), np.random.default_rng(seed)
    parts = []
    for step in STEPS:
        count = len(SYMBOLS) * len(DATES)
        sigma = 0.01 * np.sqrt(step) * np.exp(0.5 * truth.normal(size=count))
        outcome = sigma * truth.normal(size=count)
        said = sigma * np.exp(ERRORS[model] * noise.normal(size=count))
        distribution = StudentT(0.05 * said * noise.normal(size=count), said, np.full(count, 8.0))
        quantiles = np.column_stack([distribution.quantile(level) for level in QUANTILES])
        if model == "boosting":
            distribution = QuantileTable(quantiles)
        rows = pd.DataFrame(
            {
                "symbol": np.repeat(SYMBOLS, len(DATES)),
                "cutoff": np.tile(DATES, len(SYMBOLS)),
                "step": step,
                "base_price": 100.0,
                "family": distribution.family,
                "mean": distribution.mean,
                "sigma": distribution.sigma,
                "df": distribution.df,
                "scale": distribution.scale,
                "prob_up": 1 - distribution.cdf(0.0),
                **dict(zip(QUANTILE_COLUMNS, quantiles.T, strict=True)),
                "model": model,
            }
        )
        parts.append(with_scores(rows, outcome))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def tables() -> list[pd.DataFrame]:
    return [long_table(model, seed) for seed, model in enumerate(ERRORS, 2)]


@pytest.fixture(scope="module")
def scores(tables: list[pd.DataFrame]) -> Scores:
    return score(tables)


@pytest.fixture
def examples(tables: list[pd.DataFrame]) -> pd.DataFrame:
    served = tables[-1]
    return served[served["cutoff"].isin(DATES[[3, 200]])]


@pytest.fixture
def ablation() -> Ablation:
    variants = ["without trend", "without previous_day", "trend alone", "previous_day alone"]
    rows = [
        {
            "model": model,
            "variant": variant,
            "step": step,
            "folds": 2,
            "days": "all",
            "dates": 250,
            "events": 0,
        }
        for model in ("harx", "lstm")
        for variant in variants
        for step in STEPS
    ]
    rows += [
        {
            "model": "harx",
            "variant": variant,
            "step": step,
            "folds": 2,
            "days": days,
            "dates": 250,
            "events": 30,
        }
        for variant in ("without announced dates", "without results")
        for step in STEPS
        for days in ("all", "event days")
    ]
    change = 0.001 * np.arange(len(rows))
    symbols = pd.DataFrame(
        {
            "model": "harx", "variant": "without results", "step": 1, "days": "all", "symbol": SYMBOLS,
            "dates": 250, "log_score_change": 0.01, "error": 0.002, "shrunk": 0.009,
            "low": 0.006, "high": 0.012,
        }
    )  # fmt: skip
    changes = pd.DataFrame(rows).assign(
        log_score_change=change, error=0.002, p_value=0.03, crps_change=100 * change
    )
    return Ablation(changes, symbols)


@pytest.fixture
def without_dates(scores: Scores, ablation: Ablation) -> WithoutDates:
    changes = ablation.changes
    return WithoutDates(
        scores.overall[scores.overall["model"] == "harx"],
        changes[changes["variant"] == "without announced dates"],
    )


@pytest.fixture
def study() -> EventStudy:
    paths = pd.DataFrame(
        [
            {"kind": kind, "tone": tone, "measure": measure, "offset": offset, "value": 0.01 * offset}
            for kind, tone in (("results", "all"), ("results", "bad"), ("results", "good"), ("policy", "all"))
            for measure in ("average", "cumulative", "volatility")
            for offset in range(-5, 11)
        ]
    )
    effects = pd.DataFrame(
        {
            "events": 40, "companies": 3, "width": [2.5, np.nan], "width_low": [2.0, np.nan],
            "width_high": [3.0, np.nan], "shift": np.nan, "shift_low": np.nan, "shift_high": np.nan,
        },
        index=pd.Index(["results", "policy"], name="kind"),
    )  # fmt: skip
    bands = {"low": paths["value"] - 0.02, "high": paths["value"] + 0.02}
    return EventStudy(paths.assign(**bands, events=40, companies=3, dates=35), effects)


@pytest.fixture
def about() -> dict:
    return {
        "date": "2026-11-22",
        "fingerprint": "20d4df3d13c8",
        "packages": {"numpy": "2.4.1"},
        "python": "3.11.9",
        "symbols": list(SYMBOLS),
        "sessions": ["2015-01-02", "2021-04-05"],
        "test_start": "2020-03-02",
        "test_end": None,
        "refit": "6m",
        "folds": [
            {"first": "2020-03-02", "last": "2020-08-31"},
            {"first": "2020-09-01", "last": "2021-02-26"},
        ],
        "models": list(ERRORS),
        "seeds": 2,
        "recipe_hash": "80906413bc17",
        "command": "benchmark --prices panel.parquet --out out",
        "quick": False,
        "inputs": ["No market file: the market is the mean of the other symbols."],
        "announced_dates": "12 announced dates of results are taken from the results that followed.",
        "left_out": [
            {"file": "prices.csv", "symbol": NAMED_LIKE_MARKUP, "row": row, "reason": "high below low"}
            for row in range(7)
        ],
        "seconds": 754,
    }


class Sound(HTMLParser):
    """Reads a page, and fails where tags do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, "never closed"

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} at {self.getpos()}"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


@pytest.fixture
def page(tmp_path, about, scores, examples, ablation, without_dates, study) -> Path:
    path = tmp_path / "report.html"
    write_page(path, about, scores, examples, ablation, None, without_dates, study)
    return path


def test_the_page_is_sound(page):
    read = Sound(page.read_text(encoding="utf-8"))
    names = read.values("id")
    assert len(names) == len(set(names)), "a name stands twice"
    assert {link.removeprefix("#") for link in read.values("href")} <= set(names)
    assert read.tags["h1"] == 1
    assert read.tags["figure"] == read.tags["figcaption"] > 10
    assert len([value for value in read.values("role") if value == "img"]) == read.tags["figure"]
    assert all(read.values("aria-label"))


def test_no_request_leaves_the_page(page):
    text = page.read_text(encoding="utf-8")
    read = Sound(text)
    assert not read.values("src")
    assert all(link.startswith("#") for link in read.values("href"))
    assert not read.tags["link"]
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert any(value and value.startswith("default-src 'none'") for value in read.values("content"))


def test_every_model_and_every_section_is_there(page, about):
    text = Sound(page.read_text(encoding="utf-8")).text
    for model in ERRORS:
        assert TITLES[model] in text
    for heading in ("Networks against HARX", "Year by year", "PIT histograms", "Every pair", "Limits"):
        assert heading in text
    for fact in (about["fingerprint"], about["recipe_hash"], "numpy 2.4.1", "Python 3.11.9", "13 min"):
        assert fact in text
    assert f"python -m forecaster {about['command']}" in text
    assert "nan" not in text.lower().split()


def test_a_quick_run_says_so(tmp_path, about, scores, examples, page):
    assert "A quick run" not in Sound(page.read_text(encoding="utf-8")).text
    write_page(tmp_path / "quick.html", about | {"quick": True}, scores, examples)
    text = Sound((tmp_path / "quick.html").read_text(encoding="utf-8")).text
    assert "A quick run" in text
    assert "What each group of inputs carries" not in text


def test_names_are_no_markup(page):
    text = page.read_text(encoding="utf-8")
    read = Sound(text)
    assert not read.tags["b"]
    assert NAMED_LIKE_MARKUP in read.text
    assert f"{NAMED_LIKE_MARKUP}, row 4: high below low and 2 more" in read.text
    assert NAMED_LIKE_MARKUP not in text


def test_networks_and_harx_are_compared_in_the_open(page, scores):
    text = Sound(page.read_text(encoding="utf-8")).text
    tests = scores.tests.set_index(["step", "loss", "model", "baseline"])
    row = tests.loc[(1, "log_score", "lstm", "harx")]
    assert row["difference"] > 0 > row["p_value"] - 0.001, "the error in its sigma is four times as large"
    assert f"LSTM loses to HARX (\u2212{row['difference']:.4f} nats a forecast, p < .001)." in text


def test_a_run_of_the_last_price_alone_is_written_up(tmp_path, about, tables, examples):
    alone = score(tables[:1])
    write_page(tmp_path / "alone.html", about | {"models": ["rolling_t"]}, alone, examples.iloc[:0])
    text = Sound((tmp_path / "alone.html").read_text(encoding="utf-8")).text
    assert "Not compared: HARX was not run." in text
    assert "No examples were kept." in text


def points(figure: go.Figure) -> pd.DataFrame:
    """Marks of a figure with a model on each line."""
    parts = [
        pd.DataFrame({"title": trace.y, "x": trace.x, "half": trace.error_x.array, "family": trace.name})
        for trace in figure.data
        if trace.y is not None and len(trace.y)
    ]
    return pd.concat(parts).set_index("title")


@pytest.mark.parametrize("baseline", ["rolling_t", "gjr_t"])
def test_gains_are_those_of_the_tests(scores, baseline):
    figure = plot_gains(scores.tests, 1, baseline)
    drawn = points(figure)
    rows = scores.tests[
        (scores.tests["step"] == 1)
        & (scores.tests["loss"] == "log_score")
        & (scores.tests["baseline"] == baseline)
    ].set_index("model")
    assert "Gradient boosting" not in drawn.index, "it has no log score"
    for title, model in (("HARX", "harx"), ("LSTM", "lstm"), ("Served:<br>pool,<br>calibrated", "served")):
        assert drawn.loc[title, "x"] == pytest.approx(-rows.loc[model, "difference"])
        half = rows.loc[model, "error"] * stats.t.ppf(0.975, len(DATES) - 1)
        assert drawn.loc[title, "half"] == pytest.approx(half)
        assert drawn.loc[title, "family"] == family(model)
    assert list(figure.layout.yaxis.categoryarray) == list(drawn.sort_values("x").index), "the best on top"


def test_gains_in_crps_have_every_model_in_per_cent(scores):
    drawn = points(plot_gains(scores.tests, 5, "rolling_t", "crps"))
    overall = scores.overall[scores.overall["step"] == 5].set_index("model")["crps"]
    assert len(drawn) == len(ERRORS) - 1
    expected = 100 * (overall["rolling_t"] - overall["boosting"])
    assert drawn.loc["Gradient boosting", "x"] == pytest.approx(expected)


def test_years_are_those_of_the_periods(scores):
    (heat,) = plot_years(scores.periods, 1).data
    assert list(heat.x) == ["2020", "2021"]
    assert "Gradient boosting" not in heat.y
    rows = scores.periods.set_index(["step", "model", "period", "metric"])["value"]
    at = list(heat.y).index("HARX")
    np.testing.assert_allclose(
        heat.z[at].astype(float),
        [rows[(1, "harx", year, "log_score_gain")] for year in heat.x],
    )
    assert heat.text[at][0] == f"{heat.z[at][0]:+.3f}"


def test_calibration_is_realised_minus_nominal_coverage(scores):
    figure = plot_calibration(scores.overall, 1)
    row = scores.overall[(scores.overall["step"] == 1) & (scores.overall["model"] == "harx")].iloc[0]
    (drawn,) = [trace for trace in figure.data if trace.name == "HARX"]
    assert list(drawn.x) == [50, 80, 90, 98]
    np.testing.assert_allclose(drawn.y, [row[f"coverage_{level}"] - level for level in (50, 80, 90, 98)])


def test_terciles_are_those_of_the_scores(scores):
    figure = plot_terciles(scores.terciles, 1)
    rows = scores.terciles.set_index(["step", "model", "tercile", "level"])["coverage"]
    for trace, tercile in zip(figure.data, ("low", "middle", "high"), strict=True):
        assert trace.name == f"{tercile} volatility"
        assert trace.x[list(trace.y).index("HARX")] == rows[(1, "harx", tercile, 90)]


def test_the_pit_is_drawn_as_a_density(scores):
    (bars,) = plot_pit(scores.pit, "lstm", 1).data
    rows = scores.pit[(scores.pit["step"] == 1) & (scores.pit["model"] == "lstm")]
    np.testing.assert_allclose(bars.y, 20 * rows["share"])
    assert np.mean(bars.y) == pytest.approx(1)
    tops = {tuple(plot_pit(scores.pit, model, 1).layout.yaxis.range) for model in ERRORS}
    assert len(tops) == 1, "histograms side by side have one scale"


def test_an_example_is_in_per_cent_of_the_last_price(examples):
    rows = examples[(examples["symbol"] == NAMED_LIKE_MARKUP) & (examples["cutoff"] == DATES[3])]
    figure = plot_example(rows.assign(outcome=rows["outcome"].where(rows["step"] == 1)))
    traces = {trace.name: trace for trace in figure.data if trace.name}
    assert list(traces["outcome"].x) == [0, 1, 5]
    expected = 100 * (np.exp(rows.loc[rows["step"] == 1, "outcome"].item()) - 1)
    np.testing.assert_allclose(traces["outcome"].y, [0, expected, np.nan])
    widest = figure.data[0].y, figure.data[len(figure.data) - 3].y
    for drawn, name in zip(widest, ("q01", "q99"), strict=True):
        np.testing.assert_allclose(drawn, [0, *100 * (np.exp(rows.sort_values("step")[name]) - 1)])
    assert figure.layout.title.text == "&lt;B&gt;&amp;T after 2020-03-05"


def test_company_events_stand_with_their_counts_and_the_dates_that_were_made_up(page):
    text = Sound(page.read_text(encoding="utf-8")).text
    for words in (
        "12 announced dates of results are taken from the results that followed.",
        "HARX, no date known",
        "The same comparison of LSTM stands under",
        "Results, every tone 40 3 35",
        "2.50 (2.00 to 3.00) none",
        "HARX, without results event days 2 250 30",
        "MSFT 250 +0.0100 0.0090 (0.0060 to 0.0120)",
    ):
        assert words in text


def test_the_words_on_made_up_dates_go_no_further_than_their_test(without_dates, scores):
    changes = without_dates.changes.assign(log_score_change=0.0123)
    for change, p, words in (
        (0.0123, 0.001, "worse (0.0123 nats, p = .001)"),
        (-0.0123, 0.001, "better (0.0123 nats, p = .001)"),
        (0.0123, 0.2, "not distinguishable (0.0123 nats, p = .200)"),
        (0.0123, np.nan, "a difference of +0.0123 nats, on too few dates for a test"),
    ):
        told = WithoutDates(without_dates.overall, changes.assign(log_score_change=change, p_value=p))
        said = told.words(scores.overall, 1)
        assert said.count(words) == 2, "over all days, and on days with results"


def test_the_ablation_is_drawn_with_its_intervals(ablation):
    figure = plot_ablation(ablation.changes, "lstm", 5)
    without, alone = figure.data
    every = ablation.changes
    rows = every[(every["model"] == "lstm") & (every["step"] == 5)].set_index("variant")
    for trace, kept in ((without, "without"), (alone, "alone")):
        assert all(kept in variant for variant in trace.y)
        np.testing.assert_allclose(trace.x, rows.loc[list(trace.y), "log_score_change"])
        # Six periodogram ordinates of 250 dates, thus twelve degrees of freedom: 2.1788 in a table.
        np.testing.assert_allclose(trace.error_x.array, 0.002 * 2.1788, rtol=1e-4)
    assert len(without.y) == len(alone.y) == 2


def test_models_are_told_apart_without_their_colours(scores):
    symbols = [symbol for _, symbol in FAMILIES.values()]
    assert len(set(symbols)) == len({colour for colour, _ in FAMILIES.values()}) == len(FAMILIES)
    every = pd.DataFrame(
        {
            "step": 1,
            "model": list(TITLES),
            **dict.fromkeys([f"coverage_{level}" for level in (50, 80, 90, 98)], 90.0),
        }
    )
    marks = [trace.marker.symbol for trace in plot_calibration(every).data]
    assert len(set(marks)) == len(TITLES)


def test_what_was_not_tested_has_no_interval(scores):
    few = scores.tests.assign(error=np.nan, p_value=np.nan)
    drawn = points(plot_gains(few, 1))
    assert drawn["x"].notna().all()
    assert drawn["half"].isna().all()


@pytest.mark.browser
def test_the_page_is_drawn_whole_on_a_desk_and_on_a_phone(browser, page):
    for width, theme in ((1280, "light"), (390, "dark")):
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        asked: list[str] = []
        errors: list[str] = []
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.on("console", lambda said, errors=errors: errors.append(said.text))
        tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        tab.goto(page.as_uri())
        figures = tab.locator("figure").count()
        assert tab.locator(".js-plotly-plot .main-svg .cartesianlayer").count() >= figures
        tab.evaluate(SETTLED)
        assert tab.evaluate(CLIPPED) == []
        assert not tab.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert asked == [page.as_uri()]
        assert not errors
        tab.close()
