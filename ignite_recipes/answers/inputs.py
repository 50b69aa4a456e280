"""What an experiment predicts from: a file, a folder or your own data, and what comes along with its rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ignite_recipes.answers.run_data import (
    digits_sides,
    image_dataset,
    last_sample,
    traffic_sides,
    vae_data,
    vae_sides,
)
from ignite_recipes.answers.trained import Trained
from ignite_recipes.arguments import listed
from ignite_recipes.data import RowDataset
from ignite_recipes.data.ebird_archive import looks_like_ebird
from ignite_recipes.data.frames import as_pandas, is_frame
from ignite_recipes.data.pictures import class_numbers, file_names, find_pictures, read_pictures
from ignite_recipes.data.split import CHECKLIST
from ignite_recipes.data.tables import is_path, read_table
from ignite_recipes.experiments.members import is_group
from ignite_recipes.models import ArrayPredictor, TablePredictor, VectorEmbedder, WindowPredictor
from ignite_recipes.models.array_predictor import targets_of
from ignite_recipes.models.vae import row_width
from ignite_recipes.optional import polars as pl
from ignite_recipes.recipes.table_data import validation_rows

__all__ = ["Inputs", "read_inputs", "true_values"]


class Inputs(NamedTuple):
    """N samples to predict, in the order in which they were given."""

    data: Any
    """As the predictor takes them: a frame, vectors, images, or windows."""
    rows: "pl.DataFrame | None"
    """What is known of each sample, by which its row is recognised; None where there is nothing."""
    unused: list[str]
    """Those of these columns that the model does not use."""
    targets: Any = None
    """What is true, if it is known."""


def read_inputs(trained: Trained, data: Any = None, targets: Any = None) -> Inputs:
    """The samples of ``data`` as the experiment's predictor takes them.

    Args:
        trained: what predicts.
        data: a file, a folder of images, or data as the predictor takes them; None is what the run was validated on.
        targets: what is true, in place of what the data say.

    Raises:
        FileNotFoundError, ValueError, TypeError: if they cannot be read, or are not like those of the training.
        ValueError: without data also if the run was not started by a command, so that its data are not known, or its
            file has changed.
    """
    inputs = _validation_data(trained) if data is None else _given_data(trained, data)
    return inputs if targets is None else inputs._replace(targets=targets)


def true_values(trained: Trained, inputs: Inputs, purpose: str) -> Any:
    """What is true of samples that were read.

    Args:
        trained: what predicts classes or numbers.
        inputs: the samples.
        purpose: for the error, e.g. ``"evaluate with"``.

    Raises:
        ValueError: if it is not known.
    """
    if inputs.targets is not None:
        return inputs.targets
    if isinstance(trained.predictor, ArrayPredictor) and isinstance(inputs.data, (Dataset, DataLoader)):
        return targets_of(inputs.data)
    if isinstance(trained.predictor, TablePredictor):
        raise ValueError(f"the data must have the target's column {trained.predictor.target.name!r} to {purpose}")
    is_images = isinstance(trained.predictor, ArrayPredictor) and len(trained.predictor.input_shape or ()) == 3
    folders = f", or a folder with a folder of images for each class, {listed(trained.predictor.class_names or ())}"
    folders *= is_images
    raise ValueError(f"the true values must be known to {purpose}: pass targets=, or take the validation data{folders}")


def _given_data(trained: Trained, data: Any) -> Inputs:
    predictor = trained.predictor
    path = Path(data).expanduser() if is_path(data) else None
    if isinstance(predictor, TablePredictor):
        return _table_inputs(predictor, data)
    if isinstance(predictor, WindowPredictor):
        return Inputs(data if path is None else predictor.read(path), None, [])
    if path is not None and not path.exists():
        raise FileNotFoundError(f"data must be a file or a folder; there is none at {path}")
    if isinstance(predictor, VectorEmbedder):
        return _vector_inputs(predictor, data if path is None else _read_vectors(path, trained.settings))
    if isinstance(predictor, ArrayPredictor) and _is_pair(data):
        return Inputs(data[0], None, [], data[1])
    if not isinstance(predictor, ArrayPredictor) or (path is None and not is_frame(data)):
        return Inputs(data, None, [])
    if path is not None and len(predictor.input_shape or ()) == 3:
        return _image_inputs(path, predictor)
    return _numbers_inputs(predictor, data)


def _is_pair(data: Any) -> bool:
    """Whether these are inputs and what is true of them, as the recipes take them."""
    is_two = isinstance(data, (tuple, list)) and len(data) == 2
    return is_two and all(getattr(part, "shape", ()) for part in data) and len(data[0]) == len(data[1])


def _validation_data(trained: Trained) -> Inputs:
    """The samples that the run validated on, with what is true of them."""
    folder = trained.experiment.experiment_dir
    if is_group(folder):
        raise ValueError(
            f"{folder} holds many runs, each of which was validated on rows that others have seen: pass the data. What "
            f"its members say of rows that they have not seen is in {folder}/summary.json, and report shows it"
        )
    try:
        found = _of_settings(trained, trained.settings)
    except KeyError as error:
        raise ValueError(
            f"{trained.experiment.config_file} must hold the settings of a command; {error} is missing: pass the data"
        ) from error
    if found is None:
        raise ValueError(
            f"{trained.experiment.experiment_dir} was not trained by a command, so its validation data are not known: "
            "pass the data"
        )
    return found


def _of_settings(trained: Trained, settings: dict[str, Any]) -> Inputs | None:
    predictor, recipe = trained.predictor, trained.recipe
    if isinstance(predictor, TablePredictor):
        if settings.get("file") is None:
            return None
        rows = validation_rows(settings, predictor.text_columns, predictor.target, trained.data_file())
        return _table_inputs(predictor, rows)
    if recipe == "vae":
        vectors = vae_sides(vae_data(settings), settings)[1]
        return Inputs(vectors, _row_numbers(vectors.indices), ["row"])
    if recipe == "traffic":
        windows, samples = traffic_sides(settings)[1], last_sample(settings)
        count = len(windows.sources)
        last = samples - settings["len_target"] - count  # of the first source
        return Inputs(windows, _row_numbers(np.arange(count) + last), ["row"])
    if recipe == "classify":
        dataset = image_dataset(settings)
        images, labels = dataset.val.__getitems__(list(range(len(dataset.val))))
        return Inputs(images, _row_numbers(dataset.val_rows), ["row"], labels)
    if recipe == "supervised":
        _, val, numbers = digits_sides(settings)
        order = np.argsort(numbers)
        images, labels = (part[order] for part in val.tensors)
        return Inputs(images, _row_numbers(np.asarray(numbers)[order]), ["row"], labels)
    return None


def _table_inputs(predictor: TablePredictor, data: Any) -> Inputs:
    table = read_table(data, predictor.text_columns)
    used = set(predictor.preprocessor._fitted().columns)
    name, targets = predictor.target.name, None
    if name in table.columns and table[name].null_count() < table.height:
        targets = table[name]
    return Inputs(table, table, [column for column in table.columns if column not in used], targets)


def _read_vectors(path: Path, settings: Mapping[str, Any]) -> Any:
    """A table with a column for each feature; or an eBird file, whose taxa are named as in the training."""
    if path.suffix == ".txt" or path.name.endswith(".txt.gz") or looks_like_ebird(path):
        of_taxa = ("apply_quality_filters", "taxon_rank", "drop_higher", "shared_checklists", "covariates")
        return vae_data({"file": path, **{name: settings.get(name) for name in of_taxa}}).matrix
    return read_table(path)


def _vector_inputs(predictor: VectorEmbedder, data: Any) -> Inputs:
    """The model's features by their names; a species of a checklist file that is not in it was not seen."""
    if not is_frame(data):
        return Inputs(data, None, [])
    is_checklists = CHECKLIST in data.columns
    names = predictor.feature_names
    if names is None:
        frame = as_pandas(data)
        width = row_width(predictor.model) or frame.shape[1]
        numbers = [name for name in frame.columns if np.issubdtype(np.asarray(frame[name]).dtype, np.number)]
        if len(numbers) < width:
            raise ValueError(f"the table must have the model's {width} columns of numbers; got {len(numbers)}")
        names = numbers[-width:]
    known = [name for name in names if name in data.columns]
    if len(known) < len(names) and not (is_checklists and known):
        missing = listed([name for name in names if name not in data.columns])
        raise ValueError(f"the table must have the model's columns; missing: {missing}")
    others = [name for name in data.columns if name not in set(names)]
    frame = as_pandas(data)
    if is_checklists:
        others = [CHECKLIST]
    rows = pl.DataFrame({str(name): frame[name].to_list() for name in others}) if others else None
    matrix = np.zeros((len(frame), len(names)), dtype=np.float32)
    matrix[:, len(names) - getattr(predictor.model, "covariates", 0) :] = np.nan  # of effort nothing may be known
    places = [names.index(name) for name in known]
    matrix[:, places] = frame[known].to_numpy(dtype=np.float32)
    return Inputs(RowDataset(matrix, names), rows, [str(name) for name in others])


def _numbers_inputs(predictor: ArrayPredictor, data: Any) -> Inputs:
    """Columns of numbers, by their names where the model has some, else the last ones of a frame."""
    frame = read_table(data)
    (width,) = predictor.input_shape or (frame.width,)
    numbers = [name for name in frame.columns if frame[name].dtype.is_numeric()]
    names = predictor.feature_names or numbers[-width:]
    if missing := [name for name in names if name not in frame.columns]:
        raise ValueError(f"the table must have the model's columns; missing: {listed(missing)}")
    if len(names) != width:
        raise ValueError(f"the table must have the model's {width} columns of numbers; got {len(numbers)}")
    vectors = torch.from_numpy(frame.select(names).to_numpy().astype(np.float32))
    return Inputs(vectors, frame, [name for name in frame.columns if name not in set(names)])


def _image_inputs(path: Path, predictor: ArrayPredictor) -> Inputs:
    """The pictures of a folder and of its folders, by their names in order, or a single one.

    In folders that are named like the classes, their classes are known.
    """
    files = find_pictures(path)
    images = read_pictures(files, predictor.input_shape or ())
    names = file_names(files, path if path.is_dir() else path.parent)
    targets = class_numbers(files, path, predictor.class_names) if path.is_dir() else None
    return Inputs(images, pl.DataFrame({"file": names}), ["file"], targets)


def _row_numbers(numbers: Any) -> "pl.DataFrame":
    return pl.DataFrame({"row": np.asarray(numbers)})
