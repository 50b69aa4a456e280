"""Means, intervals and paired comparisons against closed forms and scipy's own tests."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from ignite_recipes.many.scores import best_of, comparison_rows, scores_of, table_rows
from ignite_recipes.many.statistics import fold_correction, paired_difference, spread

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12)


def test_of_two_values_the_interval_is_the_closed_form():
    """The t-distribution with one degree of freedom is Cauchy's: its 97.5% quantile is tan(0.475 pi)."""
    found = spread([1.0, 3.0])
    reach = math.tan(0.475 * math.pi) * math.sqrt(2) / math.sqrt(2)
    assert found[:3] == (2.0, pytest.approx(math.sqrt(2)), 2)
    assert found.low == pytest.approx(2 - reach)
    assert found.high == pytest.approx(2 + reach)


@given(NUMBERS, st.floats(0.5, 0.99))
def test_the_interval_is_that_of_scipy(values, confidence):
    assume(np.std(values) > 1e-6)
    found = spread(values, confidence)
    wanted = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert found.low == pytest.approx(wanted.low, rel=1e-9, abs=1e-9)
    assert found.high == pytest.approx(wanted.high, rel=1e-9, abs=1e-9)


@given(NUMBERS, st.floats(-5, 5))
def test_a_comparison_is_scipys_paired_test_and_has_the_other_sign_turned_round(values, shift):
    other = [value * 0.5 + shift for value in values]
    assume(np.std(np.array(values) - other) > 1e-6)
    found, turned = paired_difference(values, other), paired_difference(other, values)
    assert found.p_value == pytest.approx(stats.ttest_rel(values, other).pvalue, rel=1e-6, abs=1e-12)
    assert (found.mean, found.low, found.high) == pytest.approx((-turned.mean, -turned.high, -turned.low))
    assert found.is_certain == (found.p_value < 0.05) or found.p_value == pytest.approx(0.05)


def test_the_interval_holds_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    draws = generator.normal(3.0, 2.0, size=(2000, 5))
    hits = sum(found.low <= 3.0 <= found.high for found in map(spread, draws))
    assert abs(hits / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_folds_share_rows_so_that_their_interval_is_wider():
    """Nadeau and Bengio: the variance of the mean is s^2 (1/K + 1/(K - 1))."""
    values = [1.0, 2.0, 4.0, 3.0, 5.0]
    plain, corrected = spread(values), spread(values, correction=fold_correction(5))
    ratio = (corrected.high - corrected.low) / (plain.high - plain.low)
    assert ratio == pytest.approx(math.sqrt((1 / 5 + 1 / 4) / (1 / 5)))


def test_too_few_or_bad_values_have_no_interval():
    one = spread([2.0])
    assert (one.mean, one.n) == (2.0, 1)
    assert math.isnan(one.std)
    assert math.isnan(one.low)
    assert spread([]).n == 0
    assert math.isnan(spread([]).mean)
    assert math.isnan(spread([1.0, math.inf]).mean)
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\)"):
        spread([1.0, 2.0], 1.0)
    with pytest.raises(ValueError, match="as many values on both sides; got 1 and 2"):
        paired_difference([1.0], [1.0, 2.0])


LOSSES = {
    "a": {0: 1.0, 1: 1.1, 2: 1.2},
    "b": {0: 0.5, 1: 0.61, 2: 0.72},
    "c": {0: 1.0, 1: 0.2, 2: 1.4},
    "d": {0: 0.5, 1: 0.61, 2: 0.72},
    "e": {7: 0.5},
    "f": {0: 0.6, 1: math.nan, 2: 0.7},
    "g": {1: 0.6},
}


def verdicts(scores, against, mode="min", of_folds=None):
    rows = comparison_rows(scores, against, "loss", mode, 0.95, of_folds)
    return {row["setting"]: row["verdict"] for row in rows}


def test_a_verdict_says_in_words_whether_two_can_be_told_apart():
    found = verdicts(LOSSES, "b")
    assert found == {
        "a": "b is better",
        "c": "cannot be told apart",
        "d": "equal",
        "e": "not comparable: no seed in common",
        "f": "not comparable: a value is not finite",
        "g": "not known: one seed only; use more",
    }
    assert verdicts({name: LOSSES[name] for name in "ab"}, "b", mode="max") == {"a": "a is better"}
    assert verdicts({name: LOSSES[name] for name in "ab"}, "a") == {"b": "b is better"}


def test_many_comparisons_need_more_to_tell_apart():
    """Of 20 settings one would differ by chance at 95%: each interval is wider, so that all hold together."""
    two = comparison_rows({name: LOSSES[name] for name in "ac"}, "c", "loss", "min", 0.95, None)[0]
    many = {**{name: LOSSES[name] for name in "ac"}, **{f"x{k}": LOSSES["a"] for k in range(19)}}
    of_many = comparison_rows(many, "c", "loss", "min", 0.95, None)[0]
    quantile = [stats.t.ppf(1 - 0.05 / 2 / m, 2) for m in (1, 20)]
    widths = [row["high"] - row["low"] for row in (two, of_many)]
    assert widths[1] / widths[0] == pytest.approx(quantile[1] / quantile[0])
    assert of_many["p_value"] == two["p_value"]


def test_folds_by_time_are_no_repetitions():
    assert set(verdicts({name: LOSSES[name] for name in "ab"}, "b", of_folds=0).values()) == {
        "not known: folds by time are no repetitions; use more seeds"
    }


def ends(metric, values, of_folds=None):
    rows = table_rows({"a": dict(enumerate(values))}, metric, {"a": {}}, 0.95, of_folds)
    return rows[0]["low"], rows[0]["high"]


@given(st.lists(st.floats(0, 100), min_size=2, max_size=6))
def test_the_interval_of_an_accuracy_is_cut_at_its_bounds_and_nowhere_else(values):
    low, high = ends("val_accuracy", values)
    found = spread(values)
    assert (low, high) == (max(found.low, 0), min(found.high, 100))
    assert low <= found.mean <= high


def test_what_is_not_known_to_have_bounds_or_shows_that_it_has_others_is_left_alone():
    values = [99.9, 98.0, 90.0]
    assert ends("val_accuracy", values)[1] == 100
    for metric in ("val_loss", "gain_accuracy", "val_f1", "val_r2"):  # the last two are not what their names say
        assert ends(metric, values) == spread(values)[3:]
    assert all(map(math.isnan, ends("val_accuracy", [99.0])))
    assert all(map(math.isnan, ends("val_accuracy", values, of_folds=0)))
    assert ends("val_classification_f1", [0.99, 0.9])[1] == 1
    assert ends("val_mae", [0.1, 1.0])[0] == 0


def test_the_best_is_among_those_with_the_most_seeds():
    assert best_of(LOSSES, "min") == "b"
    assert best_of(LOSSES, "max") == "a"
    assert best_of({"one": {0: 0.1}, "two": {0: 0.5, 1: 0.5}}, "min") == "two"
    assert best_of({"nan": {0: math.nan}}, "min") is None
    assert best_of({}, "min") is None


class Planned:
    """A member as far as scores look at one."""

    def __init__(self, label, seed, fold, value):
        self.label, self.plan = label, type("Plan", (), {"seed": seed, "fold": fold})
        self.outcome = type("Outcome", (), {"measured": {"loss": value}})


def test_a_seed_with_folds_is_their_mean_and_counts_only_when_all_are_there():
    members = [Planned("a", seed, fold, 10 * seed + fold) for seed in (0, 1) for fold in (1, 2)]
    assert scores_of(members, ["a"], "loss", 2, 2) == {"a": {0: 1.5, 1: 11.5}}
    assert scores_of(members[:3], ["a"], "loss", 2, 2) == {"a": {0: 1.5}}
    assert scores_of(members[:2], ["a"], "loss", 2, 1) == {"a": {1: 1.0, 2: 2.0}}
    assert scores_of(members[:2], ["a"], "other", 2, 1) == {"a": {}}


@pytest.mark.parametrize("correction", [0.0, fold_correction(5)])
def test_the_p_value_and_the_interval_say_the_same(correction):
    """With a confidence of 1 - p the interval ends at 0."""
    pairs = ([1.0, 2.0, 3.0, 4.0, 5.5], [0.5, 1.9, 2.2, 3.4, 4.0])
    p_value = paired_difference(*pairs, correction=correction).p_value
    assert 1e-6 < p_value < 0.5
    assert paired_difference(*pairs, 1 - p_value, correction=correction).low == pytest.approx(0, abs=1e-9)


def test_values_are_paired_by_their_seeds_whatever_their_order():
    scores = {"a": {0: 1.0, 1: 2.0, 2: 4.0}, "b": {2: 3.0, 0: 0.5}}
    (row,) = comparison_rows(scores, "a", "val_loss", "min", 0.95, None)
    assert (row["n"], row["difference"]) == (2, -0.75)


def test_of_folds_by_time_there_is_neither_an_interval_nor_a_p_value():
    scores = {"a": {1: 1.0, 2: 2.0, 3: 4.0}, "b": {1: 2.0, 2: 3.5, 3: 4.5}}
    (row,) = comparison_rows(scores, "a", "val_loss", "min", 0.95, 0)
    assert row["difference"] == 1.0
    assert all(math.isnan(row[name]) for name in ("low", "high", "p_value"))
