"""What members say of the rows that they did not train on: kept as files, judged, and averaged over members."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ignite_recipes.files import replace_file
from ignite_recipes.models import ArrayPredictor
from ignite_recipes.models.measures import NUMBER_MEASURES, class_measures, measured
from ignite_recipes.optional import polars as pl

__all__ = ["PREDICTIONS", "average_rows", "judge", "predict_batches", "read_predictions", "write_predictions"]

PREDICTIONS = "predictions.csv"
"""The file of the predictions of a member's validation rows: ``row``, ``truth``, ``prediction``, and ``p_<class>``."""


def predict_batches(predictor: ArrayPredictor, batches: Iterable[Any], rows: Any = None) -> "pl.DataFrame | None":
    """What a model says of labelled batches; None of outputs that are neither classes nor one number.

    Args:
        predictor: says it.
        batches: pairs of inputs and targets.
        rows: (N,), the numbers by which the rows are known; None counts them.
    """
    import torch

    outputs, targets = [], []
    for batch in batches:
        outputs.append(predictor.outputs(batch[0]))
        targets.append(torch.as_tensor(batch[1]).cpu())
    found, truth = torch.cat(outputs), torch.cat(targets)
    try:
        known, _ = predictor.comparable(found, truth)
    except ValueError:
        return None
    names = predictor.class_names
    true_values = pl.Series("truth", known if names is None else [names[k] for k in known])
    said = predictor.decode(found).get_columns()
    numbers = np.arange(len(known)) if rows is None else np.asarray(rows)
    return pl.DataFrame([pl.Series("row", numbers), true_values, *said])


def write_predictions(folder: Path, frame: "pl.DataFrame") -> None:
    """Into a member's folder; classes as texts."""
    replace_file(folder / PREDICTIONS, with_texts(frame).write_csv)


def read_predictions(folder: Path) -> "pl.DataFrame | None":
    """The predictions in a member's folder; None if it has none."""
    path = folder / PREDICTIONS
    if not path.is_file():
        return None
    names = pl.read_csv(path, n_rows=0).columns
    kind = pl.String if any(name.startswith("p_") for name in names) else pl.Float64
    return pl.read_csv(path, schema_overrides={"truth": kind, "prediction": kind}, infer_schema_length=None)


def with_texts(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Classes as the texts that stand in the names of their probabilities."""
    if not class_columns(frame):
        return frame
    texts = [pl.Series(name, [str(value) for value in frame[name]], pl.String) for name in ("truth", "prediction")]
    return frame.with_columns(texts)


def class_columns(frame: "pl.DataFrame") -> list[str]:
    """The columns of the classes' probabilities, in the order of the classes; none of numbers."""
    return [name for name in frame.columns if name.startswith("p_")]


def judge(frame: "pl.DataFrame") -> dict[str, float]:
    """How good predictions are: the measures that :func:`~ignite_recipes.evaluate` gives."""
    names = class_columns(frame)
    if not names:
        return measured(NUMBER_MEASURES, frame["truth"].to_numpy(), frame["prediction"].to_numpy())
    number_of = {name.removeprefix("p_"): number for number, name in enumerate(names)}
    truth = np.array([number_of[str(value)] for value in frame["truth"]])
    return measured(class_measures(len(names)), truth, frame.select(names).to_numpy())


def average_rows(frames: Sequence["pl.DataFrame"]) -> "pl.DataFrame":
    """For each row the mean over the members that did not train on it, of probabilities or of numbers.

    Returns:
        A frame of polars like those that are given, a row each, in the order of their numbers, and ``members``: how
        many have said something of it.

    Raises:
        ValueError: if what is true of a row differs between members, which were then validated on different data.

    >>> import polars as pl
    >>> first = pl.DataFrame({"row": [0, 1], "truth": [1.0, 2.0], "prediction": [1.0, 3.0]})
    >>> second = pl.DataFrame({"row": [1], "truth": [2.0], "prediction": [1.0]})
    >>> average_rows([first, second]).rows()
    [(0, 1.0, 1.0, 1), (1, 2.0, 2.0, 2)]
    """
    whole = pl.concat([with_texts(frame) for frame in frames], how="vertical_relaxed")
    names = class_columns(whole)
    by = whole.group_by("row").agg(
        pl.col("truth").first(),
        pl.col("truth").n_unique().alias("truths"),
        *(pl.col(name).mean() for name in names or ["prediction"]),
        pl.len().cast(pl.Int64).alias("members"),
    )
    by = by.sort("row")
    if by["truths"].max() != 1:
        raise ValueError("the members' rows have different truths: they were validated on different data")
    if names:
        chosen = by.select(names).to_numpy().argmax(1)
        by = by.with_columns(pl.Series("prediction", [names[k].removeprefix("p_") for k in chosen]))
    return by.select("row", "truth", "prediction", *names, "members")
