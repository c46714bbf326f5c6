from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bellmax import summary_statistics
from bellmax.summary_statistics import (
    bootstrap_interval,
    iqm,
    performance_profile,
    probability_of_improvement,
    summarize,
)

finite = st.floats(-1e6, 1e6)


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=9), elements=finite))
def test_iqm_is_scipys_trim_mean(x):
    assert iqm(x) == pytest.approx(scipy.stats.trim_mean(x, 0.25, axis=None), rel=1e-12, abs=1e-9)
    for axis in range(x.ndim):
        np.testing.assert_allclose(iqm(x, axis=axis), scipy.stats.trim_mean(x, 0.25, axis=axis), rtol=1e-12, atol=1e-9)


def test_iqm_by_hand():
    assert iqm([7.0]) == 7.0
    assert iqm([1.0, 2.0]) == 1.5
    assert iqm([1.0, 2.0, 9.0]) == 4.0  # floor(3 / 4) = 0: nothing is cut
    assert iqm([100.0, 2.0, 3.0, -50.0]) == 2.5
    assert iqm([[100.0, 2.0], [3.0, -50.0]]) == 2.5  # all values together
    assert isinstance(iqm([[1, 2], [3, 4]]), float)


def test_iqm_leaves_its_argument_alone():
    x = np.array([3.0, 1.0, 2.0, 0.0])
    iqm(x)
    np.testing.assert_array_equal(x, [3.0, 1.0, 2.0, 0.0])


def test_a_diverged_seed_is_not_cut_off_as_the_best_one():
    x = np.array([[1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 3.0, 4.0]])
    assert np.isnan(iqm(x))
    np.testing.assert_array_equal(iqm(x, axis=-1), [np.nan, 2.5])


@pytest.mark.parametrize(("ours", "name"), [(iqm, "iqm"), (np.mean, "mean"), (np.median, "median")])
def test_interval_agrees_with_scipys_bootstrap(ours, name):
    scores = np.random.default_rng(3).gamma(2.0, 50.0, size=30)
    oracle = scipy.stats.bootstrap(
        (scores,),
        (lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis)) if name == "iqm" else ours,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(4),
    )
    low, high = bootstrap_interval(scores, ours, resamples=20_000)
    width = oracle.confidence_interval.high - oracle.confidence_interval.low
    assert low == pytest.approx(oracle.confidence_interval.low, abs=0.04 * width)
    assert high == pytest.approx(oracle.confidence_interval.high, abs=0.04 * width)


def coverage(seeds: int, confidence: float) -> float:
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(400):
        low, high = bootstrap_interval(rng.normal(5.0, 2.0, seeds), np.mean, confidence, resamples=400, seed=trial)
        hits += low <= 5.0 <= high
    return hits / 400


def test_interval_covers_as_often_as_documented():
    assert coverage(5, 0.95) == pytest.approx(0.84, abs=0.05)
    assert coverage(10, 0.95) == pytest.approx(0.90, abs=0.04)
    assert coverage(40, 0.95) == pytest.approx(0.94, abs=0.03)
    assert coverage(40, 0.5) == pytest.approx(0.5, abs=0.06)


def test_iqm_interval_covers():
    rng = np.random.default_rng(12)
    hits = sum(
        low <= 0 <= high
        for low, high in (bootstrap_interval(rng.normal(size=(20, 3)), resamples=300) for _ in range(300))
    )
    assert 0.89 <= hits / 300 <= 0.985


def test_resampling_stays_within_each_task():
    # Tasks of very different scale and no spread within: only a bootstrap that mixes tasks sees any spread.
    scores = np.tile([0.0, 10.0, 1000.0], (6, 1))
    assert bootstrap_interval(scores, np.mean) == pytest.approx((scores.mean(), scores.mean()))


def test_tasks_are_resampled_independently():
    # The same column twice: if one draw of seeds served both tasks, the mean would vary as with one task.
    column = np.random.default_rng(5).normal(size=50)
    one = np.diff(bootstrap_interval(column, np.mean, resamples=5000))[0]
    two = np.diff(bootstrap_interval(np.stack([column, column], axis=1), np.mean, resamples=5000))[0]
    assert two == pytest.approx(one / np.sqrt(2), rel=0.06)


def test_interval_is_a_function_of_the_seed():
    scores = np.random.default_rng(6).normal(size=12)
    assert bootstrap_interval(scores) == bootstrap_interval(scores)
    assert bootstrap_interval(scores) != bootstrap_interval(scores, seed=1)


def test_interval_narrows_with_confidence_and_contains_the_estimate():
    scores = np.random.default_rng(7).normal(size=25)
    wide, narrow = bootstrap_interval(scores, confidence=0.99), bootstrap_interval(scores, confidence=0.5)
    assert wide[0] < narrow[0] < iqm(scores) < narrow[1] < wide[1]


def test_blocks_bound_the_memory(monkeypatch):
    scores = np.random.default_rng(8).normal(size=(7, 2))
    seen = []

    def watched(x, axis):
        seen.append(len(x))
        return np.mean(x, axis=axis)

    monkeypatch.setattr(summary_statistics, "_BLOCK", 14 * 300)
    low, high = bootstrap_interval(scores, watched, resamples=1000)
    assert seen == [300, 300, 300, 100]
    assert low < scores.mean() < high


def test_one_seed_has_no_interval():
    assert np.isnan(bootstrap_interval([3.0])).all()
    assert np.isnan(bootstrap_interval([[3.0, 4.0]])).all()
    summary = summarize([3.0])
    assert (summary.n, summary.iqm, summary.mean, summary.minimum, summary.maximum) == (1, 3.0, 3.0, 3.0, 3.0)
    assert np.isnan([summary.iqm_low, summary.iqm_high, summary.mean_low, summary.mean_high]).all()


@pytest.mark.parametrize("n", [2, 3, 4])
def test_fewer_than_five_seeds_have_no_interval(n):
    summary = summarize(np.arange(n))
    assert np.isnan([summary.iqm_low, summary.iqm_high, summary.mean_low, summary.mean_high]).all()
    assert np.isnan(bootstrap_interval(np.arange(n), np.median)).all()


def test_a_few_seeds_on_many_tasks_have_an_interval():
    assert np.isfinite(bootstrap_interval(np.random.default_rng(0).normal(size=(3, 20)))).all()


def test_why_fewer_than_five_seeds_have_no_interval(monkeypatch):
    """The smallest and the largest of two scores hold the mean in half of all cases, and not in 95 %."""
    monkeypatch.setattr(summary_statistics, "MIN_SEEDS", 2)
    assert coverage(2, 0.95) == pytest.approx(0.5, abs=0.06)
    assert coverage(4, 0.95) == pytest.approx(0.79, abs=0.06)


def test_constant_scores():
    summary = summarize(np.full(9, 500.0))
    assert summary[:-1] == (9, *[500.0] * 8)


def test_summary_fields():
    scores = [5.0, 1.0, 9.0, 3.0, 7.0]
    summary = summarize(scores)
    assert (summary.n, summary.mean, summary.minimum, summary.maximum) == (5, 5.0, 1.0, 9.0)
    assert summary.iqm == iqm(scores) == 5.0
    assert (summary.iqm_low, summary.iqm_high) == bootstrap_interval(scores)
    assert (summary.mean_low, summary.mean_high) == bootstrap_interval(scores, np.mean)
    np.testing.assert_array_equal(summary.scores, scores)
    wider = summarize(scores, confidence=0.99)
    assert wider.mean_low < summary.mean_low < summary.mean_high < wider.mean_high


def test_summary_owns_its_scores():
    scores = np.arange(4.0)
    summary = summarize(scores)
    scores[0] = 99.0
    assert summary.scores[0] == 0.0


def test_a_nan_score_shows_everywhere():
    summary = summarize([1.0, np.nan, 2.0, 3.0])
    assert np.isnan(summary[1:-1]).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: iqm([]),
        lambda: iqm(np.empty((3, 0)), axis=1),
        lambda: bootstrap_interval([]),
        lambda: bootstrap_interval(1.0),
        lambda: bootstrap_interval(np.zeros((2, 2, 2))),
        lambda: bootstrap_interval([1.0, 2.0], confidence=95),
        lambda: bootstrap_interval([1.0, 2.0], resamples=0),
        lambda: summarize([]),
        lambda: summarize([[1.0, 2.0]]),
        lambda: performance_profile([], [0.0]),
        lambda: probability_of_improvement([], [1.0]),
        lambda: probability_of_improvement([1.0], np.ones((2, 3))),
    ],
)
def test_refusals(call):
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        call()


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.integers(-3, 3)),
    hnp.arrays(np.float64, st.integers(0, 5), elements=st.integers(-4, 4)),
)
def test_performance_profile_is_the_fraction_above(scores, thresholds):
    expected = [np.mean(scores > threshold) for threshold in thresholds]
    np.testing.assert_allclose(performance_profile(scores, thresholds), expected)


def test_performance_profile_counts_nan_as_never_reached():
    np.testing.assert_array_equal(performance_profile([1.0, np.nan, 3.0, np.inf], [-np.inf, 2.0]), [0.75, 0.5])


@given(
    hnp.arrays(np.float64, st.integers(1, 8), elements=st.integers(-3, 3)),
    hnp.arrays(np.float64, st.integers(1, 8), elements=st.integers(-3, 3)),
)
def test_probability_of_improvement_is_mann_whitney(x, y):
    oracle = scipy.stats.mannwhitneyu(x, y, method="asymptotic").statistic / (x.size * y.size)
    assert probability_of_improvement(x, y) == pytest.approx(oracle)
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1.0)


def test_probability_of_improvement_by_hand():
    assert probability_of_improvement([2.0, 3.0], [1.0]) == 1.0
    assert probability_of_improvement([1.0, 1.0], [1.0]) == 0.5
    assert probability_of_improvement([[2.0, 0.0]], [[1.0, 1.0]]) == 0.5  # wins one task, loses the other
    assert np.isnan(probability_of_improvement([np.nan], [1.0]))


def test_infinite_scores_count_as_the_largest_or_smallest():
    assert bootstrap_interval([-np.inf] * 5, np.mean) == (-np.inf, -np.inf)
    assert bootstrap_interval([-np.inf, 1.0, 2.0, 3.0, 4.0], np.mean)[0] == -np.inf
    low, high = bootstrap_interval([1.0, 2.0, 3.0, np.inf, np.inf], np.median)
    assert (low, high) == (1.0, np.inf)
    few = summarize([-np.inf, *range(1, 12)])  # a quarter is cut off at each end
    assert few.iqm == 6.0 - 0.5
    assert few.mean == few.mean_low == few.minimum == -np.inf
    assert np.isnan(bootstrap_interval([np.nan, 1.0, 2.0], np.mean)).all()
