"""How good a network on a table is beside scikit-learn's: six small data sets, five seeds each, the same rows for all.

A fifth of the rows is held out and seen by nobody before the end. Ours is ``train_on_table`` as it comes, which takes a
fifth of what is left to stop early; scikit-learn's are ``HistGradientBoosting`` as it comes, and its ``MLP`` on scaled
columns (and targets), with early stopping and without. And what a million rows of 50 columns take of memory and time.
"""

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measuring import table

ROWS, COLUMNS = 1_000_000, 50
_MEMORY = """
import re, sys
import pandas, polars, sklearn.compose, sklearn.impute, sklearn.metrics, sklearn.pipeline, sklearn.preprocessing
from ignite_recipes.cli import main


def peak():  # of this program; what the system counts elsewhere goes on from the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])


before = peak()
assert main(sys.argv[1:]) == 0
print("peak", peak() - before)
"""


class Data(NamedTuple):
    """Rows, the target's column, and whether it is classes; a column of groups that stay on one side."""

    frame: Any
    target: str
    is_classes: bool
    group: str | None = None


def data_sets() -> dict[str, Data]:
    import statsmodels.api as sm
    from sklearn import datasets

    def of(name: str) -> Any:
        return getattr(sm.datasets, name).load_pandas().data

    fair, choices = of("fair"), of("modechoice")
    choices["mode"] = choices["mode"].map({1: "air", 2: "train", 3: "bus", 4: "car"})
    return {
        "breast cancer": Data(datasets.load_breast_cancer(as_frame=True).frame, "target", True),
        "wine": Data(datasets.load_wine(as_frame=True).frame, "target", True),
        "fair, any affair": Data(fair.assign(affairs=(fair["affairs"] > 0).astype(int)), "affairs", True),
        "anes96, party (7)": Data(of("anes96"), "PID", True),
        "modechoice, chosen": Data(choices, "choice", True, "individual"),
        "diabetes": Data(datasets.load_diabetes(as_frame=True, scaled=False).frame, "target", False),
        "fair, affairs": Data(fair, "affairs", False),
    }


def held_out(data: Data, seed: int) -> tuple[Any, Any]:
    """The rows to train on and those that are held out."""
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    if data.group is not None:
        split = GroupShuffleSplit(1, test_size=0.2, random_state=seed)
        parts = next(split.split(data.frame, groups=data.frame[data.group]))
        return data.frame.iloc[parts[0]], data.frame.iloc[parts[1]]
    labels = data.frame[data.target] if data.is_classes else None
    train, test = train_test_split(data.frame, test_size=0.2, random_state=seed, stratify=labels)
    return train, test


def ours(data: Data, train: Any, test: Any, seed: int) -> dict[str, float]:
    from ignite_recipes import train_on_table

    task = "classification" if data.is_classes else "regression"
    result = train_on_table(train, data.target, task=task, group=data.group, seed=seed, device="cpu", verbose=False)
    found: dict[str, float] = result["predictor"].evaluate(test)
    return found


def of_sklearn(kind: str) -> Callable[[Data, Any, Any, int], dict[str, float]]:
    def measure(data: Data, train: Any, test: Any, seed: int) -> dict[str, float]:
        import pandas as pd
        from sklearn import ensemble, metrics, neural_network
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        ending = "Classifier" if data.is_classes else "Regressor"
        if kind == "trees":
            model = getattr(ensemble, f"HistGradientBoosting{ending}")(random_state=seed)
        else:
            network = getattr(neural_network, f"MLP{ending}")(early_stopping=kind == "stopped", random_state=seed)
            model = make_pipeline(StandardScaler(), network)
            if not data.is_classes:  # as ours does; without it the network is far from its end
                model = TransformedTargetRegressor(model, transformer=StandardScaler())
        left_out = [name for name in (data.target, data.group) if name is not None]
        inputs = [pd.get_dummies(part.drop(columns=left_out)) for part in (train, test)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it comes with 200 epochs
            model.fit(inputs[0], train[data.target])
        if not data.is_classes:
            guess = model.predict(inputs[1])
            return {"rmse": float(metrics.root_mean_squared_error(test[data.target], guess))}
        chances = model.predict_proba(inputs[1])
        return {
            "accuracy": 100 * float(model.score(inputs[1], test[data.target])),
            "log_loss": float(metrics.log_loss(test[data.target], chances, labels=model.classes_)),
        }

    return measure


PROGRAMS: dict[str, Callable[[Data, Any, Any, int], dict[str, float]]] = {
    "**train_on_table**": ours,
    "HistGradientBoosting": of_sklearn("trees"),
    "MLP, stopped early": of_sklearn("stopped"),
    "MLP, as it comes": of_sklearn("network"),
}


def tables(seeds: int = 5) -> str:
    """Mean and standard deviation over the seeds, on the rows that were held out."""
    rows = []
    for name, data in data_sets().items():
        cells: dict[str, list[str]] = {}
        for program in PROGRAMS.values():
            found = [program(data, *held_out(data, seed), seed) for seed in range(seeds)]
            for metric in ("accuracy", "log_loss") if data.is_classes else ("rmse",):
                values = np.array([one[metric] for one in found])
                digits = 1 if metric == "accuracy" else 3 if metric == "log_loss" else 2
                cells.setdefault(metric, []).append(f"{values.mean():.{digits}f} ± {values.std():.{digits}f}")
        names = {"accuracy": "accuracy, %", "log_loss": "log loss, nats", "rmse": "RMSE"}
        rows += [[name, len(data.frame), names[metric], *values] for metric, values in cells.items()]
    return table(["data set", "rows", "measured", *PROGRAMS], rows)


def table_memory(folder: Path) -> str:
    """What ``supervised FILE`` and ``predict`` take of memory above their imports, in sizes of the numbers."""
    path = write_large(folder)
    numbers = ROWS * (COLUMNS + 1) * 8 / 2**20
    commands = {
        "train one epoch": ["supervised", path, "--target", "y", "--epochs", "1", "--runs-dir", f"{folder}/runs"],
        "predict": ["predict", f"{folder}/runs/exp1", path, "--output", f"{folder}/predictions.csv"],
    }
    rows = []
    for name, arguments in commands.items():
        began = time.monotonic()
        command = [sys.executable, "-W", "ignore", "-c", _MEMORY, *map(str, arguments), "--device", "cpu"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = int(said.split()[-1]) / 1024
        rows.append([name, f"{peak:.0f}", f"{peak / numbers:.1f}", f"{time.monotonic() - began:.0f}"])
    return table(["a million rows, 50 columns", "MiB above the imports", "of the numbers", "seconds"], rows)


def write_large(folder: Path) -> Path:
    """A CSV file of numbers, and classes that follow from three of them; half a gigabyte."""
    import polars as pl

    draw = np.random.default_rng(0)
    x = draw.standard_normal((ROWS, COLUMNS))
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
    path = folder / "large.csv"
    pl.DataFrame({**{f"c{k}": x[:, k] for k in range(COLUMNS)}, "y": y}).write_csv(path, float_precision=6)
    return path
