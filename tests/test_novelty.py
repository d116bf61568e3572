"""Distances from the training data against scipy and scikit-learn."""

import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from forecaster.config import GROUPS
from forecaster.errors import ModelError, TooLittleHistory
from forecaster.features import names_of
from forecaster.features.titles import TITLES, unlike_training
from forecaster.models import novelty
from forecaster.models.novelty import LEVEL, Novelty

NAMES = tuple(f"trend.{letter}" for letter in "abcdefgh")


def rows(count: int, seed: int = 0, features: int = len(NAMES)) -> np.ndarray:
    """Heavy-tailed inputs that hang together, each in a unit of its own, float32."""
    random = np.random.default_rng(seed)
    mixed = random.standard_t(4, (count, features)) @ np.random.default_rng(99).normal(
        size=(features, features)
    )
    return (mixed * np.logspace(-3, 3, features) + np.arange(features)).astype(np.float32)


TRAINING = rows(5000)
FITTED = Novelty.fit(TRAINING, NAMES)


def test_the_distance_is_that_of_scipy_with_the_covariance_of_scikit_learn() -> None:
    scaler = StandardScaler().fit(TRAINING.astype(float))
    inverse = np.linalg.inv(LedoitWolf().fit(scaler.transform(TRAINING.astype(float))).covariance_)
    asked = rows(50, seed=1)
    expected = [
        mahalanobis(one, np.zeros(len(NAMES)), inverse) for one in scaler.transform(asked.astype(float))
    ]
    np.testing.assert_allclose(FITTED.distance(asked), expected, rtol=1e-6)
    assert FITTED.distance(TRAINING.mean(axis=0, dtype=float)[None])[0] == pytest.approx(0, abs=1e-5)


def test_one_training_row_in_a_thousand_is_far() -> None:
    far = FITTED.is_far(TRAINING)
    assert far.dtype == bool
    assert far.sum() == 5
    np.testing.assert_array_equal(far, FITTED.distance(TRAINING) > FITTED.limit)
    assert np.quantile(FITTED.distance(TRAINING), LEVEL) == pytest.approx(FITTED.limit)


@pytest.mark.parametrize("at", range(len(NAMES)))
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_planted_far_input_is_named_first(at: int, sign: int) -> None:
    row = TRAINING.mean(axis=0)
    row[at] += sign * 60 * TRAINING[:, at].std()
    assert FITTED.is_far(row[None])[0]
    said = FITTED.why(row)
    low, high = TRAINING[:, at].min(), TRAINING[:, at].max()
    assert said == f"{NAMES[at]} is {row[at]:.3g}; in training it lay between {low:.3g} and {high:.3g}."


def test_two_inputs_that_never_parted_are_both_named() -> None:
    random = np.random.default_rng(3)
    first = random.normal(size=(4000, 1))
    training = np.hstack([first, first + 0.1 * random.normal(size=(4000, 1)), random.normal(size=(4000, 3))])
    fitted = Novelty.fit(training, NAMES[:5])
    together, apart = np.array([2.0, 2, 0, 0, 0]), np.array([2.0, -2, 0, 0, 0])
    assert fitted.is_far(np.array([together, apart])).tolist() == [False, True]
    said = fitted.why(apart)
    assert [name in said for name in NAMES[:5]] == [True, True, False, False, False]
    assert said.endswith("Training held such values, but seldom, or not together.")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_no_more_than_three_inputs_are_named_largest_contribution_first(seed: int) -> None:
    row = rows(1, seed)[0]
    scaled = (row - FITTED.mean) / FITTED.std
    contribution = [
        sum(scaled[i] * FITTED.precision[i, j] * scaled[j] for j in range(len(NAMES)))
        for i in range(len(NAMES))
    ]
    assert sum(contribution) == pytest.approx(FITTED.distance(row[None])[0] ** 2, rel=1e-6)
    largest = sorted(range(len(NAMES)), key=lambda i: -contribution[i])[:3]
    expected = [NAMES[i] for i in largest if contribution[i] >= 0.1 * max(contribution)]
    assert [word for word in FITTED.why(row).split() if word.startswith("trend.")] == expected


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(3, 60))
def test_a_round_trip_through_json_keeps_every_bit(seed: int, features: int, count: int) -> None:
    fitted = Novelty.fit(rows(count, seed, features), [f"exogenous.{i}" for i in range(features)])
    again = Novelty.from_json(json.loads(json.dumps(fitted.as_json())))
    for field in fields(Novelty):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(fitted, field.name))
    asked = rows(20, seed + 1, features)
    np.testing.assert_array_equal(again.distance(asked), fitted.distance(asked))
    assert again.why(asked[0]) == fitted.why(asked[0])


def test_a_card_of_fifty_five_inputs_stays_small() -> None:
    fitted = Novelty.fit(rows(1000, features=55), [f"exogenous.{i}" for i in range(55)])
    assert len(json.dumps(fitted.as_json())) < 45_000


def test_an_input_that_did_not_vary_counts_for_nothing() -> None:
    constant = np.full((len(TRAINING), 1), 0.1, np.float32)
    training = np.hstack([constant, TRAINING[:, :3], constant, TRAINING[:, 3:]])
    names = ("exogenous.x", *NAMES[:3], "exogenous.y", *NAMES[3:])
    fitted = Novelty.fit(training, names)
    assert fitted.names == NAMES
    asked = rows(10, seed=2)
    wild = np.full((10, 1), 1e6, np.float32)
    given_values = np.hstack([wild, asked[:, :3], -wild, asked[:, 3:]])
    np.testing.assert_array_equal(fitted.distance(given_values), FITTED.distance(asked))
    assert fitted.why(given_values[0]) == FITTED.why(asked[0])


def test_the_order_of_the_inputs_does_not_matter() -> None:
    order = np.random.default_rng(5).permutation(len(NAMES))
    fitted = Novelty.fit(TRAINING[:, order], [NAMES[at] for at in order])
    asked = rows(30, seed=6)
    np.testing.assert_allclose(fitted.distance(asked[:, order]), FITTED.distance(asked), rtol=1e-9)
    assert fitted.limit == pytest.approx(FITTED.limit)


def test_rows_after_the_training_do_not_matter() -> None:
    later = TRAINING.copy()
    later[3000:] = 1e6 * rows(2000, seed=7)
    first, second = Novelty.fit(TRAINING[:3000], NAMES), Novelty.fit(later[:3000], NAMES)
    assert first.as_json() == second.as_json()
    assert first.as_json() != Novelty.fit(TRAINING[:3001], NAMES).as_json()


def test_many_rows_are_thinned_out_but_for_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "MOST_ROWS", 2000)
    thin = Novelty.fit(TRAINING, NAMES)
    monkeypatch.undo()
    every_third = Novelty.fit(TRAINING[::3], NAMES)
    np.testing.assert_array_equal(thin.precision, every_third.precision)
    assert thin.limit == every_third.limit
    np.testing.assert_array_equal(thin.low, TRAINING.min(axis=0))
    np.testing.assert_array_equal(thin.high, TRAINING.max(axis=0))
    assert 0 < thin.is_far(TRAINING).mean() < 0.003


def test_what_is_missing_is_not_called_far() -> None:
    asked = rows(2, seed=8)
    asked[1, 3] = np.nan
    assert np.isnan(FITTED.distance(asked)).tolist() == [False, True]
    assert not FITTED.is_far(asked)[1]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelError, match="trained on 8 inputs and is shown 7"):
        FITTED.distance(TRAINING[:, 1:])
    with pytest.raises(ModelError, match="trained on 8 inputs and is shown 9"):
        FITTED.why(np.zeros(9))
    for nothing in (np.ones((50, 8)), TRAINING[:1], TRAINING[:0]):
        with pytest.raises(TooLittleHistory, match="None of 8 inputs varies"):
            Novelty.fit(nothing, NAMES)
    card = FITTED.as_json()
    for damaged in ({**card, "precision": card["precision"][:-1]}, {**card, "low": ["x"]}, {"names": []}):
        with pytest.raises(ModelError, match="train again"):
            Novelty.from_json(damaged)


def test_every_input_has_a_title_in_words() -> None:
    names, ahead = names_of(GROUPS)
    assert set(TITLES) == {*names, *ahead}
    said = unlike_training("trend.return_5", 3.0, -1.0, 1.0)
    assert said.startswith("The return over 5 sessions (in units of the volatility before) is 3;")
