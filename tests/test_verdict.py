"""The verdict says no more than the tests do."""

import re

import numpy as np
import pandas as pd
import pytest
from test_scores import by_model, forecasts, long_table, noise

from forecaster.evaluation.scores import score
from forecaster.evaluation.verdict import probability, reversals, summary, verdict
from forecaster.report import score_rows
from forecaster.store import Store, now

UNTESTED = dict.fromkeys(
    ("crps_skill", "crps_p", "direction", "direction_gain", "direction_p", "best_classical_gain",
     "best_classical_p", "best_classical_crps_skill", "best_classical_crps_p"),
    np.nan,
)  # fmt: skip


def table_of(**served: object) -> pd.DataFrame:
    """Two models one step ahead; the figures of the served one as asked."""
    common = UNTESTED | {
        "step": 1, "dates": 500, "mae": 1.2, "mae_skill": 0.1, "mae_p": 0.5, "is_best": False, "crps": 0.01,
        "share_up": 52.0, "in_confidence_set": None, "best_classical": None,
    }  # fmt: skip
    base = common | {"model": "rolling_t", "log_score": 0.0, "log_score_gain": 0.0, "log_score_p": np.nan}
    gain = served.get("log_score_gain", 0.05)
    mine = {"model": "served", "log_score": -gain, "log_score_gain": gain, "log_score_p": 0.2}
    return pd.DataFrame([base, common | mine | served])


@pytest.mark.parametrize(
    ("gain", "p", "words"),
    [
        (
            0.05,
            0.0004,
            "It beats the last price in distribution (+0.0500 nats a forecast, p < .001, 500 dates).",
        ),
        (0.05, 0.2, "It is not distinguishable from the last price in distribution"),
        (0.05, 0.05, "It is not distinguishable from the last price in distribution"),
        (-0.05, 0.01, "It loses to the last price in distribution (-0.0500 nats a forecast, p = .010"),
        (-0.05, 0.9, "It is not distinguishable"),
        (0.05, np.nan, "It could not be tested against the last price: their losses are the same."),
    ],
)  # fmt: skip
def test_the_verdict_says_no_more_than_the_test(gain: float, p: float, words: str) -> None:
    said = verdict(table_of(log_score_gain=gain, log_score_p=p))
    assert words in said
    assert "Best of all" not in said
    assert "not distinguishable from the last price's error" in said
    assert ("do not rely on it" in said) == (gain < 0 and p < 0.05)


@pytest.mark.parametrize("p", [np.nan, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("gain", [-0.3, 0.3])
def test_no_claim_is_made_without_a_significant_test(gain: float, p: float) -> None:
    table = table_of(
        log_score_gain=gain, log_score_p=p, best_classical="harx", best_classical_gain=gain,
        best_classical_p=p, direction=53.0, direction_gain=gain, direction_p=p, mae_skill=9 * gain, mae_p=p,
    )  # fmt: skip
    for said in (verdict(table), summary(table)):
        assert not re.search(r"beats|loses|better|worse|less than|more than|more often|less often|Best", said)


@pytest.mark.parametrize(
    ("gain", "p", "words"),
    [
        (0.003, 0.02, "It beats HARX, the best classical model here (+0.0030 nats a forecast, p = .020)."),
        (0.003, 0.2, "It is not distinguishable from HARX, the best classical model here"),
        (-0.003, 0.0002, "It loses to HARX, the best classical model here"),
        (0.0, np.nan, "It could not be tested against HARX"),
    ],
)
def test_the_verdict_names_the_best_classical_model(gain: float, p: float, words: str) -> None:
    table = table_of(best_classical="harx", best_classical_gain=gain, best_classical_p=p)
    assert words in verdict(table)
    other = table.replace({"model": {"served": "har"}})
    assert "HARX, the best other classical model here" in verdict(other, model="har")
    assert "classical" not in verdict(table_of(best_classical="rolling_t", best_classical_p=0.01))


@pytest.mark.parametrize(
    ("hits", "gain", "p", "words"),
    [
        (np.nan, np.nan, np.nan, "It gives no opinion on direction."),
        (52.1, 0.4, 0.3, "Its direction is not distinguishable from a coin (52.1 % right, while 52.0 % of"),
        (53.0, 1.2, 0.01, "Its direction is right 1.2 points more often than by chance (53.0 % right, while"),
        (
            48.0,
            -2.0,
            0.01,
            "Its direction is right 2.0 points less often than by chance (48.0 % right, while",
        ),
        (52.0, 0.0, np.nan, "could not be tested."),
    ],
)
def test_the_verdict_on_direction(hits: float, gain: float, p: float, words: str) -> None:
    said = verdict(table_of(direction=hits, direction_gain=gain, direction_p=p))
    assert words in said
    assert "leak" not in said


def test_figures_too_good_to_be_true_are_to_be_checked_for_a_leak() -> None:
    said = verdict(table_of(direction=56.0, direction_gain=5.0, direction_p=0.001))
    assert "Check it for a leak first: 56.0 % of directions right is more than" in said
    # Where rises are that frequent, as they are far ahead, calling nothing else is no feat.
    far = table_of(direction=58.0, direction_gain=0.0, direction_p=0.5, share_up=60.0)
    assert "leak" not in verdict(far)
    table = table_of(crps=0.0097)
    gjr = table.head(1).assign(model="gjr_t", crps=0.01)
    assert "a CRPS 3.0 % below that of GJR-GARCH-t" in verdict(pd.concat([table, gjr]))
    assert "leak" not in verdict(pd.concat([table, gjr.assign(crps=0.0098)]))
    assert "leak" not in verdict(pd.concat([table, gjr]).assign(step=5), step=5)


def test_the_verdict_on_the_price() -> None:
    def said(mae_skill: float, mae_p: float) -> str:
        return verdict(table_of(mae_skill=mae_skill, mae_p=mae_p))

    assert "2.0 % more than the last price (p = .010)" in said(-2.0, 0.01)
    assert "2.0 % less than the last price (p = .010)" in said(2.0, 0.01)
    assert "the same as the last price to within 0.1 %" in said(-0.02, 0.01)
    assert probability(0.0005) == "p < .001"
    assert probability(0.042) == "p = .042"


def test_who_is_best_is_told_by_the_confidence_set() -> None:
    table = table_of(in_confidence_set=True, is_best=True)
    assert "Best of all by log score: Served" in verdict(table)
    both = table.assign(in_confidence_set=True, is_best=False)
    assert "Not distinguishable from the best by log score: Served: pool, calibrated, Last price" in verdict(
        both
    )
    alone = verdict(table.assign(in_confidence_set=[False, True], is_best=False))
    assert "The lowest log score is that of Served: pool, calibrated, but not by enough" in alone
    quantiles = both.tail(1).assign(model="boosting", log_score=np.nan)
    said = verdict(pd.concat([both, quantiles]))
    assert said.endswith("By CRPS, Gradient boosting (no log score) is not distinguishable from the best.")
    assert "The lowest log score is that of Served" in verdict(
        table.assign(in_confidence_set=None, is_best=False)
    )


def test_a_model_without_a_log_score_is_judged_by_crps() -> None:
    table = table_of(
        log_score=np.nan, log_score_gain=np.nan, log_score_p=np.nan, crps_skill=1.5, crps_p=0.01,
        best_classical="harx", best_classical_crps_skill=-0.4, best_classical_crps_p=0.02,
    )  # fmt: skip
    said = verdict(table)
    assert "It beats the last price in distribution (+1.50 % in CRPS, p = .010, 500 dates)" in said
    assert "It loses to HARX, the best classical model here (-0.40 % in CRPS, p = .020)" in said
    scores = score(by_model(forecasts())).overall.sort_values("log_score")
    without = scores.assign(log_score=scores["log_score"].where(scores["model"] == "rolling_t"))
    assert score_rows(without)["Log score, nats"].iloc[-1] == "none"


def test_the_summary_is_one_line() -> None:
    table = table_of(
        log_score_p=0.0001, best_classical="harx", best_classical_gain=-0.002, best_classical_p=0.012,
        direction=51.0, direction_gain=0.1, direction_p=0.7,
    )  # fmt: skip
    assert summary(table) == (
        "beats the last price in distribution (p < .001); loses to HARX (p = .012); "
        "direction is not distinguishable from a coin"
    )
    assert summary(table_of(log_score_p=np.nan)) == (
        "could not be tested against the last price in distribution; gives no opinion on direction"
    )
    assert summary(table, model="rolling_t") == "gives no opinion on direction"
    assert summary(table, step=9) == "is not scored here"


def test_too_few_dates_give_no_verdict_of_skill() -> None:
    scores = score(by_model(forecasts(dates=20))).overall
    assert "20 dates are too few" in verdict(scores)
    assert set(score_rows(scores)["In 90 % set"]) == {"not tested"}


def test_a_model_that_is_not_there_is_not_judged() -> None:
    scores = score(by_model(forecasts())).overall
    assert verdict(scores, model="lstm").startswith("LSTM: not scored here. Best of all by log score: Served")
    assert verdict(scores, step=7) == "Served: pool, calibrated: not scored here."
    assert verdict(scores, model="rolling_t").startswith("It is the last price itself")


def test_a_stored_table_gives_the_same_verdict(tmp_path) -> None:
    scores = score(by_model(forecasts())).overall
    store = Store(tmp_path)
    store.append("scores", scores.assign(version="1", recorded_at=now()))
    stored = store.current("scores")
    assert verdict(stored) == verdict(scores)
    assert summary(stored) == summary(scores)
    pd.testing.assert_frame_equal(score_rows(stored), score_rows(scores))


def test_a_table_of_an_older_version_still_gives_a_verdict() -> None:
    scores = score(by_model(forecasts())).overall
    new = ["in_confidence_set", "direction_gain", "direction_p", *scores.filter(like="best_classical")]
    older = scores.drop(columns=new)
    nulls = scores.assign(**dict.fromkeys(new))
    for table in (older, nulls):
        assert "It beats the last price in distribution" in verdict(table)
        assert "Best of all by log score: Served" in verdict(table)
        assert re.search(r"Its direction \(\d\d.\d % right, .*\) could not be tested", verdict(table))
        assert set(score_rows(table)["In 90 % set"]) == {"not tested"}
    assert summary(older) == "beats the last price in distribution (p < .001); direction is not tested"


def test_the_score_rows_say_who_is_in_the_set_and_what_direction_is_worth() -> None:
    outcome, sigma = noise(200, 3)
    rows = score_rows(
        score(by_model(long_table({"rolling_t": (0.0, 0.03), "served": (0.0, sigma)}, outcome))).overall
    )
    assert list(rows["Model"]) == ["Served: pool, calibrated (best)", "Last price, rolling-250 Student-t"]
    assert list(rows["In 90 % set"]) == ["yes", "no"]
    assert list(rows["Direction, %"]) == ["none", "none"]
    with_opinion = score_rows(score(by_model(forecasts())).overall)["Direction, %"].iloc[0]
    assert re.fullmatch(r"\d\d\.\d \(p = \.\d{3}\)", with_opinion)


def test_an_unusual_order_of_the_classical_models_is_told_with_its_test() -> None:
    outcome, sigma = noise(300, 3)
    rough = sigma * np.exp(np.random.default_rng(0).normal(0, 0.5, outcome.shape))
    nearly = sigma * np.exp(np.random.default_rng(1).normal(0, 0.505, outcome.shape))
    found = score(
        by_model(
            long_table({"rolling_t": (0.0, rough), "ewma_t": (0.0, sigma), "garch_t": (0.0, nearly)}, outcome)
        )
    )
    loss = found.overall.set_index("model")["log_score"]
    test = found.tests.set_index(["loss", "model", "baseline"]).loc[("log_score", "garch_t", "ewma_t")]
    sentences = reversals(found)
    worse = loss["garch_t"] - loss["ewma_t"]
    assert test["p_value"] < 0.05
    assert (
        f"GARCH-t scores worse than Last price, EWMA Student-t by {worse:.4f} nats (p < .001): a reversal."
        in sentences
    )
    assert len(sentences) == 1 + (loss["garch_t"] > loss["rolling_t"])
    assert all(sentence.endswith(": not distinguishable.") for sentence in sentences[:-1])
    usual = long_table({"rolling_t": (0.0, 0.03), "ewma_t": (0.0, sigma)}, outcome)
    assert reversals(score(by_model(usual))) == []
    assert reversals(found, step=5) == []
