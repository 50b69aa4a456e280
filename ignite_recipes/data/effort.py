"""How much effort a checklist was, and in which season, as numbers that a model can be told."""

import numpy as np

from ignite_recipes.arguments import listed
from ignite_recipes.optional import pandas as pd

__all__ = ["EFFORT_AND_SEASON", "effort_and_season"]

EFFORT_AND_SEASON = ("season_sin", "season_cos", "log_minutes", "log_km", "log_observers")
"""The columns of :func:`effort_and_season`."""

_NEEDED = ("date", "duration_minutes", "distance_km", "observers")
_YEAR = 365.2425  # days


def effort_and_season(checklists: "pd.DataFrame") -> "pd.DataFrame":
    """Covariates of checklists, for ``VariationalAutoencoder(covariates=5)`` or a regression.

    Args:
        checklists: a row for each, as of ``read_checklists``, of which ``date``, ``duration_minutes``, ``distance_km``
            and ``observers`` are used.

    Returns:
        The same index, and as float32 ``season_sin`` and ``season_cos`` of the day in the year (one turn a year), and
        ``log_minutes``, ``log_km`` and ``log_observers``, each the logarithm of 1 + the number. NaN means unknown.

    Raises:
        ValueError: if a column is missing, or a number is negative.

    >>> import pandas as pd
    >>> row = {"date": pd.Timestamp(2024, 1, 1), "duration_minutes": 59.0, "distance_km": 0, "observers": 1}
    >>> effort_and_season(pd.DataFrame([row])).round(2).to_numpy().tolist()[0][1:]
    [1.0, 4.090000152587891, 0.0, 0.6899999976158142]
    """
    if missing := [name for name in _NEEDED if name not in checklists]:
        raise ValueError(f"checklists must have the columns of read_checklists; missing: {listed(missing)}")
    day = pd.to_datetime(checklists["date"]).dt.day_of_year.to_numpy(np.float64, na_value=np.nan)
    turn = 2 * np.pi * (day - 1) / _YEAR
    numbers = {}
    for name, column in zip(EFFORT_AND_SEASON[2:], _NEEDED[1:], strict=True):
        numbers[name] = pd.to_numeric(checklists[column]).to_numpy(np.float64, na_value=np.nan)
    for name, values in numbers.items():
        if (values < 0).any():
            raise ValueError(f"the number that {name} is of must be at least 0; got {np.nanmin(values):g}")
    found = {"season_sin": np.sin(turn), "season_cos": np.cos(turn)}
    found |= {name: np.log1p(values) for name, values in numbers.items()}
    return pd.DataFrame({name: found[name].astype(np.float32) for name in EFFORT_AND_SEASON}, index=checklists.index)
