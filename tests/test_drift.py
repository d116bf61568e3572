"""Drift of the inputs, against a plain loop over bins."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.models.drift import BINS, LEAST_LIMIT, SESSIONS, Drift

NAMES = ("trend.a", "trend.b", "previous_day.c")
SYMBOLS = 4


def rows(sessions: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Inputs of four symbols, session by session; the second one shifted."""
    drawn = np.random.default_rng(seed).standard_t(5, (sessions * SYMBOLS, len(NAMES)))
    return (drawn + np.array([0.0, shift, 0.0])).astype(np.float32)


def days(sessions: int) -> np.ndarray:
    return np.repeat(pd.bdate_range("2020-01-01", periods=sessions).to_numpy(), SYMBOLS)


TRAINING = rows(600, 0)
FITTED = Drift.fit(TRAINING, days(600), NAMES)


def by_loop(training: np.ndarray, now: np.ndarray) -> float:
    """The index of one input: deciles of the training, shares in each, no share below half a row."""
    edges = [-np.inf, *np.quantile(training, np.arange(1, BINS) / BINS), np.inf]
    total = 0.0
    for low, high in pairwise(edges):
        shares = [np.mean([low <= one < high for one in values]) for values in (now, training)]
        p, q = (max(share, 0.5 / len(now)) for share in shares)
        total += (p - q) * np.log(p / q)
    return total


def test_the_index_is_that_of_a_plain_loop() -> None:
    now = rows(SESSIONS, 1, shift=0.7)
    expected = [by_loop(TRAINING[:, at], now[:, at]) for at in range(len(NAMES))]
    np.testing.assert_allclose(FITTED.index(now), expected, rtol=1e-6)


def test_the_limit_is_the_largest_index_of_a_stretch_of_the_training() -> None:
    wandering = (
        TRAINING + np.repeat(np.cumsum(np.random.default_rng(2).normal(0, 0.2, 600)), SYMBOLS)[:, None]
    )
    fitted = Drift.fit(wandering, days(600), NAMES)
    size = SESSIONS * SYMBOLS
    stretches = [wandering[start : start + size] for start in range(0, len(wandering), size)]
    expected = [max(by_loop(wandering[:, at], one[:, at]) for one in stretches) for at in range(len(NAMES))]
    np.testing.assert_allclose(fitted.limits, np.maximum(expected, LEAST_LIMIT), rtol=1e-6)
    assert fitted.limits.max() > 1


def test_what_moved_is_named_and_the_rest_is_not() -> None:
    assert FITTED.moved(rows(SESSIONS, 3)) == []
    assert FITTED.moved(rows(SESSIONS, 3, shift=2.0)) == ["trend.b"]


def test_an_input_that_never_varied_is_not_judged() -> None:
    constant = TRAINING.copy()
    constant[:, 0] = 1.0
    fitted = Drift.fit(constant, days(600), NAMES)
    now = rows(SESSIONS, 4)
    assert fitted.names == NAMES[1:]
    now[:, 0] = 2.0
    assert fitted.moved(now) == [], "there was no spread to differ from"


def test_it_survives_json_to_the_last_bit() -> None:
    again = Drift.from_json(json.loads(json.dumps(FITTED.as_json())))
    now = rows(SESSIONS, 5, shift=0.5)
    np.testing.assert_array_equal(again.index(now), FITTED.index(now))
    np.testing.assert_array_equal(again.limits, FITTED.limits)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400))
def test_any_length_of_training_gives_a_limit(sessions: int) -> None:
    fitted = Drift.fit(rows(sessions, 6), days(sessions), NAMES)
    assert (fitted.limits >= LEAST_LIMIT).all()
    assert fitted.shares.sum(axis=1) == pytest.approx(1)
