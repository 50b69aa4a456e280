"""Effort and season are logarithms and a point on a circle; what is not known stays unknown."""

import numpy as np
import pandas as pd
import pytest

from ignite_recipes import VariationalAutoencoder, effort_and_season
from ignite_recipes.data.effort import EFFORT_AND_SEASON

ROW = {"date": pd.Timestamp(2024, 7, 2), "duration_minutes": 60.0, "distance_km": 2.0, "observers": 3.0}


def test_the_numbers_are_as_described():
    found = effort_and_season(pd.DataFrame([ROW], index=["S1"]))
    assert tuple(found) == EFFORT_AND_SEASON
    assert found.index.tolist() == ["S1"]
    assert found.loc["S1", "season_cos"] == pytest.approx(-1, abs=1e-3)  # half a year from the 1st of January
    assert np.allclose(found.loc["S1", ["log_minutes", "log_km", "log_observers"]], np.log([61, 3, 4]))


def test_the_last_and_the_first_day_of_a_year_are_neighbours():
    days = [pd.Timestamp(2023, 12, 31), pd.Timestamp(2024, 1, 1), pd.Timestamp(2024, 6, 1)]
    found = effort_and_season(pd.DataFrame([{**ROW, "date": day} for day in days]))[["season_sin", "season_cos"]]
    a, b, c = found.to_numpy()
    assert np.linalg.norm(a - b) < 0.03 < np.linalg.norm(a - c)


def test_what_is_not_known_is_nan_and_a_model_takes_it_for_the_mean():
    found = effort_and_season(pd.DataFrame([{**ROW, "date": pd.NaT, "distance_km": np.nan, "observers": np.nan}]))
    assert found.isna().to_numpy().tolist() == [[True, True, False, True, True]]
    assert VariationalAutoencoder(3, 2, 4, covariates=len(EFFORT_AND_SEASON)).row_dimension == 8


def test_missing_columns_and_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="missing: 'observers'"):
        effort_and_season(pd.DataFrame([ROW]).drop(columns="observers"))
    with pytest.raises(ValueError, match="log_minutes is of must be at least 0; got -5"):
        effort_and_season(pd.DataFrame([{**ROW, "duration_minutes": -5.0}]))
