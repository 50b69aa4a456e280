"""Predict new samples with an experiment."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ignite_recipes.answers.inputs import Inputs, read_inputs
from ignite_recipes.answers.trained import Trained, find_trained
from ignite_recipes.arguments import listed
from ignite_recipes.models import VectorEmbedder
from ignite_recipes.optional import polars as pl
from ignite_recipes.plotting.histories import Experiment

__all__ = ["predict", "predict_inputs"]


def predict(
    experiment: Experiment,
    data: Any = None,
    *,
    id_columns: Sequence[str] | None = None,
    what: str = "embeddings",
    model: nn.Module | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
    device: str | torch.device | None = "auto",
) -> "pl.DataFrame":
    """Predict new samples with the best weights of an experiment, in evaluation mode; rows in the order of the input.

    Args:
        experiment: its name, e.g. ``"exp3"``; the path of its folder, or its manager.
        data: its kind depends on the training: for a table a file or a frame; for a traffic predictor a CSV file;
            for a variational autoencoder an eBird file, or a table with its features; for a classifier a folder of
            images, or images (N, C, H, W). None is the validation data of the run.
        id_columns: the columns of the data to copy, which come first; None is those that the model did not use.
        what: for a variational autoencoder: ``"embeddings"``, ``"reconstruction"`` or ``"both"``.
        model: a model of the architecture that was trained, if it is one of your own.
        runs_dir: where the experiment is looked for by its name.
        device: where to predict; ``"auto"`` is the best available one.

    Returns:
        A frame of polars: the copied columns, then the ``prediction``, and for classes ``p_<class>``, the probability
        of each. For windows and vectors see :class:`WindowPredictor` and :class:`VectorEmbedder`.

    Raises:
        FileNotFoundError: if there is no such experiment or file.
        ValueError: if the data differ in kind from those of the training, or there is no such column.
        CheckpointError: if the experiment has no undamaged checkpoint.

    >>> import tempfile
    >>> import pandas as pd
    >>> from ignite_recipes.cli import main
    >>> table = pd.DataFrame({"name": [f"bird {k}" for k in range(40)], "size": [k % 7 for k in range(40)]})
    >>> table["kind"] = (table["size"] > 3).map({True: "large", False: "small"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table.to_csv(f"{folder}/birds.csv", index=False)
    ...     quickly = ["--epochs", "1", "--device", "cpu", "--runs-dir", folder]
    ...     _ = main(["supervised", f"{folder}/birds.csv", "--target", "kind", *quickly])
    ...     predictions = predict("exp1", table, runs_dir=folder, device="cpu")
    target 'kind': ...
    >>> predictions.columns
    ['name', 'kind', 'prediction', 'p_large', 'p_small']
    """
    trained = find_trained(experiment, runs_dir=runs_dir, model=model, device=device)
    return predict_inputs(trained, read_inputs(trained, data), id_columns, what)


def predict_inputs(
    trained: Trained, inputs: Inputs, id_columns: Sequence[str] | None = None, what: str = "embeddings"
) -> "pl.DataFrame":
    """The predictions of samples that were read, with what comes along first."""
    carried = _carried(inputs, id_columns)
    predictor: Any = trained.predictor
    if what != "embeddings" and not isinstance(predictor, VectorEmbedder):
        raise ValueError(
            f"what goes with a variational autoencoder; {trained.name} is of {trained.recipe}: leave it out"
        )
    if isinstance(predictor, VectorEmbedder):
        found = predictor.predict(inputs.data, what)
    else:
        found = pl.DataFrame(predictor.predict(inputs.data))
    if carried is None:
        return found
    return pl.DataFrame([*carried.drop(found.columns, strict=False).get_columns(), *found.get_columns()])


def _carried(inputs: Inputs, id_columns: Sequence[str] | None) -> "pl.DataFrame | None":
    if isinstance(id_columns, str):
        id_columns = [id_columns]
    if inputs.rows is None:
        if id_columns:
            raise ValueError(f"these data have no columns to copy; got {listed(id_columns)}")
        return None
    if id_columns is None:
        return inputs.rows.select(inputs.unused)
    if missing := [name for name in id_columns if name not in inputs.rows.columns]:
        raise ValueError(f"id_columns: the data have no column {missing[0]!r}; they have {listed(inputs.rows.columns)}")
    return inputs.rows.select(list(dict.fromkeys(id_columns)))
