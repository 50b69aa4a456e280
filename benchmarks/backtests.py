"""The traffic predictor and its baselines on the weekly CO2 of statsmodels, with a rolling origin."""

import sys
from typing import Any

from benchmarks.measuring import one_thread, spread, table

__all__ = ["backtests"]

WEEKS = 52
DEADBAND = 0.06
MEASURES = {
    "context_rmse": "context, root mean squared error",
    "brier": "flags, Brier",
    "f1": "flags, F1",
    "traffic_mse": "traffic, mean squared error",
    "coverage": "windows in their 95% interval",
}
VARIANTS: dict[str, dict[str, Any]] = {"model": {}, "model, `fits_path`": {"fits_path": True}}


def backtests(seeds: int = 5, epochs: int = 50, origins: int = 3) -> str:
    """Mean and standard deviation over the seeds of the model, of which the baselines have none, in Markdown.

    Args:
        seeds: of the training.
        epochs: of a training, at most.
        origins: of the backtest.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    with one_thread():
        for seed in range(seeds):
            for variant, parameters in VARIANTS.items():
                rows = _rows({"num_epochs": epochs, "seed": seed, **parameters}, origins, with_arima=not found)
                for name, row in rows.items():
                    if name == "model" or variant == "model":  # the others are the same again
                        found.setdefault(variant if name == "model" else name, []).append(row)
                print(f"seed {seed}, {variant}", file=sys.stderr, flush=True)
    header = [f"CO2, targets of 5 weeks, {origins} origins, {seeds} seeds", *MEASURES.values()]
    return table(header, [[name, *(_spread(rows, measure) for measure in MEASURES)] for name, rows in found.items()])


def _rows(parameters: dict[str, Any], origins: int, *, with_arima: bool) -> dict[str, dict[str, Any]]:
    """What the backtest says of all steps together, by predictor."""
    from ignite_recipes import backtest
    from ignite_recipes.data.traffic_series import read_co2

    found = backtest(
        read_co2(),
        10,
        5,
        deadband=DEADBAND,
        origins=origins,
        season=WEEKS,
        arima_order=(2, 0, 0) if with_arima else None,
        parameters=parameters,
        device="cpu",
    )
    return {row["predictor"]: row for row in found.iter_rows(named=True) if row["step"] is None}


def _spread(rows: list[dict[str, Any]], measure: str) -> str:
    values = [row[measure] for row in rows]
    if values[0] is None:
        return "-"
    if len(set(values)) == 1:  # one run, or one that no seed changes
        return f"{values[0]:.4f}"
    return spread(values, 4)
