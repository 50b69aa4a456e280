"""The baselines are what their names say: a share, the solution of a least-squares problem, a regression."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from ignite_recipes.models.species_baselines import ease_weights, effort_regression, prevalence


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 200))
def test_each_column_of_ease_is_the_ridge_regression_on_all_other_columns(seed, penalty):
    x = (np.random.default_rng(seed).random((30, 5)) < 0.4).astype(float)
    weights = ease_weights(x, penalty)
    for column in range(5):
        others = np.delete(np.arange(5), column)
        a = x[:, others]
        ridge = np.linalg.solve(a.T @ a + penalty * np.eye(4), a.T @ x[:, column])
        assert np.allclose(weights[others, column], ridge)
        assert weights[column, column] == 0


def test_the_regression_is_scikit_learns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    x = (x - x.mean(0)) / x.std(0)
    present = rng.random((300, 4)) < [0.5, 0.1, 0.02, 0.9]
    present[:, 1] |= x[:, 0] > 1.5  # nearly told by the covariate
    found = effort_regression(x, present, x[:50])
    for column in range(4):
        model = LogisticRegression(tol=1e-10, max_iter=1000).fit(x, present[:, column])
        assert found[:, column] == pytest.approx(model.predict_proba(x[:50])[:, 1], abs=1e-5)


def test_a_penalty_must_be_positive():
    with pytest.raises(ValueError, match="penalty must be positive"):
        ease_weights(np.eye(3), 0)


def test_the_regression_finds_a_season_and_passes_over_what_is_not_known():
    rng = np.random.default_rng(0)
    covariates = rng.normal(size=(2000, 2))
    present = np.column_stack([rng.random(2000) < 1 / (1 + np.exp(-2 * covariates[:, 0])), np.ones(2000, bool)])
    new = np.array([[2.0, 0.0], [-2.0, 0.0], [np.nan, 0.0]])
    found = effort_regression(covariates, present, new)
    assert found[:, 0] == pytest.approx([1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4)), 0.5], abs=0.05)
    assert found[:, 1] == pytest.approx(prevalence(present)[1])  # on every checklist: nothing to regress
    covariates[:, 1] = np.nan
    assert np.isfinite(effort_regression(covariates, present, new)).all()
