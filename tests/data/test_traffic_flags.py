"""The threshold is the best of all, ties as they are said; counts are those of an enumeration of all outcomes."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite_recipes.data.traffic_flags import count_probabilities, expected_transmissions, flag_threshold

CHANCES = st.sampled_from([0.0, 1e-300, 0.1, 0.25, 0.25 + 2**-54, 0.5, 0.7, 1 - 2**-53, 1.0])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(CHANCES, st.booleans()), min_size=1, max_size=12))
def test_no_other_threshold_has_a_greater_f1_and_none_above_it_the_same(samples):
    chances, sent = np.array([p for p, _ in samples]), np.array([flag for _, flag in samples])
    threshold = flag_threshold(chances, sent)
    assert 0 < threshold < 1

    def f1(at):
        return 2 * (sent & (chances > at)).sum() / max(sent.sum() + (chances > at).sum(), 1)

    others = [each for each in np.unique([*chances, 1e-310, *np.linspace(0.01, 0.99, 99)]) if 0 < each < 1]
    assert f1(threshold) >= max(map(f1, others)) - 1e-12
    if sent.any() and f1(threshold) > 0:
        guessed = (chances > threshold).sum()
        assert all((chances > at).sum() >= guessed for at in others if f1(at) > f1(threshold) - 1e-12)


@pytest.mark.parametrize(
    ("chances", "sent", "threshold"),
    [
        ([0.2, 0.4, 0.9], [0, 0, 0], 0.5),  # nothing to choose it by
        ([0.2, 0.2], [1, 0], 0.1),  # below the only probability
        ([0.2, 0.6], [0, 1], 0.4),  # half way
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1], 0.35),
        ([0.9, 0.5, 0.4, 0.3, 0.2, 0.1], [1, 0, 0, 1, 0, 0], 0.7),  # 2/3 with one, and with the first four
        ([0.0, 0.0], [1, 0], 0.5),  # no threshold above 0 finds it
        ([1.0, 1.0], [1, 0], 0.5),
    ],
)
def test_thresholds_by_hand(chances, sent, threshold):
    assert flag_threshold(torch.tensor(chances, dtype=torch.float64), torch.tensor(sent)) == pytest.approx(threshold)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(CHANCES, min_size=4, max_size=4), min_size=1, max_size=4), st.sampled_from([0.5, 0.8, 0.95]))
def test_counts_are_those_of_all_outcomes(chances, confidence):
    found, counts = count_probabilities(chances).numpy(), expected_transmissions(chances, confidence)
    for row, p in enumerate(chances):
        wanted = np.zeros(5)
        for outcome in itertools.product([0, 1], repeat=4):
            wanted[sum(outcome)] += np.prod([q if sent else 1 - q for q, sent in zip(p, outcome, strict=True)])
        np.testing.assert_allclose(found[row], wanted, atol=1e-15)
        low, high, tail = int(counts.low[row]), int(counts.high[row]), (1 - confidence) / 2
        assert counts.expected[row] == pytest.approx(wanted @ np.arange(5))
        assert 0 <= low <= high <= 4
        assert wanted[low : high + 1].sum() >= confidence - 1e-9
        # One number less on either side would leave more than a tail out.
        assert wanted[: low + 1].sum() > tail - 1e-9
        assert wanted[high:].sum() > tail - 1e-9


def test_many_equal_chances_are_binomial():
    from scipy.stats import binom

    np.testing.assert_allclose(count_probabilities([[0.3] * 200])[0], binom.pmf(range(201), 200, 0.3), atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flag_threshold([0.5], [[1.0]]), r"one shape, .* got \(1,\) and \(1, 1\)"),
        (lambda: flag_threshold([], []), "at least one sample"),
        (lambda: flag_threshold([1.5], [1.0]), "sigmoid of logits"),
        (lambda: flag_threshold([float("nan")], [1.0]), "got 1 other numbers"),
        (lambda: flag_threshold([0.5], [0.5]), "sent must hold flags"),
        (lambda: flag_threshold(["a"], [1.0]), "chances must be an array of real numbers"),
        (lambda: count_probabilities([0.5]), r"chances must be \(windows, samples"),
        (lambda: count_probabilities([[-0.1]]), "sigmoid of logits"),
        (lambda: expected_transmissions([[0.5]], 95), r"confidence must be .* got 95"),
        (lambda: expected_transmissions([[0.5]], float("nan")), "confidence must be"),
        (lambda: expected_transmissions([[0.5]], "high"), "confidence must be .* got 'high'"),
    ],
)
def test_what_is_no_probability_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
