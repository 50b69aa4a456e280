"""Ranks and probabilities of hidden species are judged as scikit-learn does, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, ndcg_score

from ignite_recipes.metrics.species import brier_scores, calibration_errors, ndcg_at_k, recall_at_k

seeds = st.integers(0, 2**32 - 1)


def drawn(seed, rows=6, species=9):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(rows * species).reshape(rows, species) / (rows * species)  # no two are equal
    return scores, rng.random((rows, species)) < 0.4, rng.random((rows, species)) < 0.7


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 12))
def test_the_ndcg_is_scikit_learns_of_the_candidates(seed, k):
    scores, present, candidates = drawn(seed)
    found = ndcg_at_k(scores, present, candidates, k)
    for row, own in enumerate(found):
        chosen = candidates[row]
        truth, said = present[row, chosen], scores[row, chosen]
        if not truth.any():
            assert np.isnan(own)
        elif len(truth) > 1:
            assert own == pytest.approx(ndcg_score([truth], [said], k=k))


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 12))
def test_the_recall_is_the_share_of_what_can_be_found(seed, k):
    scores, present, candidates = drawn(seed)
    found = recall_at_k(scores, present, candidates, k)
    for row, own in enumerate(found):
        order = sorted(np.flatnonzero(candidates[row]), key=lambda column: -scores[row, column])[:k]
        wanted = (present & candidates)[row].sum()
        assert np.isnan(own) if not wanted else own == present[row, order].sum() / min(wanted, k)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_laws_of_ranks(seed):
    scores, present, candidates = drawn(seed)
    for measure in (recall_at_k, ndcg_at_k):
        found = measure(scores, present, candidates, 5)
        known = found[~np.isnan(found)]
        assert ((known >= 0) & (known <= 1)).all()
        assert np.array_equal(found, measure(np.exp(3 * scores), present, candidates, 5), equal_nan=True)
        best = measure(present + 0.1 * scores, present, candidates, 5)
        assert np.allclose(best[~np.isnan(best)], 1)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_the_brier_score_is_scikit_learns_of_each_column(seed):
    chances, present, counts = drawn(seed, rows=20)
    for column, own in enumerate(brier_scores(chances, present, counts)):
        rows = counts[:, column]
        if rows.any():
            assert own == pytest.approx(brier_score_loss(present[rows, column], chances[rows, column], pos_label=1))


def test_a_column_without_an_entry_has_no_score():
    nothing = np.zeros((4, 1), dtype=bool)
    assert np.isnan(brier_scores(np.full((4, 1), 0.5), nothing, nothing)).all()
    assert np.isnan(calibration_errors(np.full((4, 1), 0.5), nothing, nothing)).all()


def test_calibration_is_zero_where_shares_are_as_said_and_the_distance_where_not():
    every = np.ones((10, 2), dtype=bool)
    present = np.zeros((10, 2), dtype=bool)
    present[:3] = True
    chances = np.column_stack([np.full(10, 0.3), np.full(10, 0.9)])
    assert calibration_errors(chances, present, every) == pytest.approx([0, 0.6])
    mixed = np.repeat([[0.05], [0.95]], 5, axis=0)  # two bins, each wrong by as much
    assert calibration_errors(mixed, mixed > 0.5, every[:, :1]) == pytest.approx([0.05])
    assert calibration_errors(np.ones((2, 1)), np.ones((2, 1), dtype=bool), every[:2, :1]) == pytest.approx([0])


def test_shapes_and_k_are_checked():
    scores, present, candidates = drawn(0)
    with pytest.raises(ValueError, match="must be \\(N, S\\)"):
        recall_at_k(scores, present[:, 1:], candidates, 3)
    with pytest.raises(ValueError, match="k must be a whole number of at least 1"):
        ndcg_at_k(scores, present, candidates, 0)
