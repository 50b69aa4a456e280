"""What a run on checklists leaves for an ecologist: embeddings with their places, species, maps, an evaluation."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ignite_recipes.answers.held_out_species import HeldOutSpecies, evaluate_held_out_species
from ignite_recipes.answers.run_data import VaeData
from ignite_recipes.data import RowDataset
from ignite_recipes.data.effort import effort_and_season
from ignite_recipes.data.frames import frame_rows
from ignite_recipes.files import replace_file
from ignite_recipes.loading.row_sets import spaced_rows
from ignite_recipes.models import VectorEmbedder, extract_embeddings
from ignite_recipes.models.species_embeddings import nearest_rows, species_embeddings
from ignite_recipes.optional import polars as pl
from ignite_recipes.plotting.latent_space import plot_latent, principal_components
from ignite_recipes.plotting.places import plot_places
from ignite_recipes.plotting.style import as_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "EMBEDDINGS",
    "EVALUATION",
    "GEOGRAPHIC_MAP",
    "LATENT_MAP",
    "NEAREST_SPECIES",
    "SPECIES_EMBEDDINGS",
    "SPECIES_SCORES",
    "write_bird_files",
]

logger = logging.getLogger(__name__)

EMBEDDINGS, SPECIES_EMBEDDINGS, NEAREST_SPECIES = "embeddings.csv", "species_embeddings.csv", "nearest_species.csv"
EVALUATION, SPECIES_SCORES = "evaluation.csv", "species_scores.csv"
LATENT_MAP, GEOGRAPHIC_MAP = "latent_map.png", "geographic_map.png"

_MOST_DRAWN = 20_000  # points of the latent map
_MOST_EMBEDDED = 50_000  # checklists of which the species' embeddings are made
_NEAREST = 5


def write_bird_files(
    predictor: VectorEmbedder, data: VaeData, train: RowDataset, val: RowDataset, folder: Path, seed: int
) -> HeldOutSpecies | None:
    """Write all of it into the experiment's folder.

    Args:
        predictor: the best model of the run, with the names of the columns.
        data: the data of the run.
        train, val: its two sides.
        folder: the folder of the experiment.
        seed: the seed of the hidden half.

    Returns:
        How well hidden species are predicted; None of a likelihood that gives no probabilities of presence, which is
        logged.
    """
    species, facts = data.species, data.checklists
    assert species is not None
    assert facts is not None
    rows = frame_rows(data.matrix, data.names)
    embeddings = extract_embeddings(predictor.model, rows)
    richness = _richness(rows, len(species))
    side = np.full(len(rows), "train", dtype=object)
    side[val.indices] = "validation"
    columns = {
        "checklist": pl.Series([str(name) for name in facts.index]),
        **{name: pl.Series(facts[name].to_numpy(np.float64), nan_to_null=True) for name in ("latitude", "longitude")},
        "date": pl.Series([None if day != day else str(day.date()) for day in facts["date"]], dtype=pl.String),
        "side": pl.Series(side.tolist()),
        "species": pl.Series(richness),
        **{f"z{k + 1}": pl.Series(embeddings[:, k].numpy()) for k in range(embeddings.shape[1])},
    }
    _write_table(folder / EMBEDDINGS, pl.DataFrame(columns))
    _write_species(predictor, embeddings, rows, species, folder)
    _write_maps(embeddings, richness, facts, folder)
    try:
        effort = None if data.covariates else effort_and_season(facts).to_numpy()
        sides = None if effort is None else (effort[train.indices], effort[val.indices])
        found = evaluate_held_out_species(predictor.model, train, val, species, effort=sides, seed=seed)
    except ValueError as error:
        logger.warning("hidden species were not predicted: %s", error)
        return None
    _write_table(folder / EVALUATION, found.models)
    _write_table(folder / SPECIES_SCORES, found.species)
    return found


def _write_species(
    predictor: VectorEmbedder, embeddings: Tensor, rows: RowDataset, species: list[str], folder: Path
) -> None:
    some = spaced_rows(len(embeddings), _MOST_EMBEDDED)
    found = species_embeddings(predictor.model, embeddings[torch.from_numpy(some)]).numpy()
    on = np.zeros(len(species), np.int64)
    for block in rows.blocks():
        on += block[:, : len(species)].gt(0).sum(0).numpy()
    columns = {f"z{k + 1}": found[:, k] for k in range(found.shape[1])}
    _write_table(folder / SPECIES_EMBEDDINGS, pl.DataFrame({"species": species, "checklists": on, **columns}))
    numbers, cosines = nearest_rows(found, _NEAREST) if len(species) > 1 else (np.empty((1, 0), int), np.empty((1, 0)))
    near: dict[str, Any] = {"species": species}
    for k in range(numbers.shape[1]):
        near |= {f"nearest_{k + 1}": [species[j] for j in numbers[:, k]], f"cosine_{k + 1}": cosines[:, k].round(4)}
    _write_table(folder / NEAREST_SPECIES, pl.DataFrame(near))


def _write_maps(embeddings: Tensor, richness: NDArray[np.int64], facts: Any, folder: Path) -> None:
    some = spaced_rows(len(embeddings), _MOST_DRAWN)
    drawn = plot_latent(
        embeddings[torch.from_numpy(some)],
        labels=richness[some],
        label_name="species on the checklist",
        categorical=False,
    )
    _write_picture(folder / LATENT_MAP, drawn)
    points, (name, _) = principal_components(embeddings.numpy())
    try:
        drawn = plot_places(facts["latitude"], facts["longitude"], points[:, 0], value_name=f"latent {name}")
    except ValueError as error:
        logger.warning("no geographic map: %s", error)
    else:
        _write_picture(folder / GEOGRAPHIC_MAP, drawn)


def _richness(rows: RowDataset, count: int) -> NDArray[np.int64]:
    return np.concatenate([block[:, :count].gt(0).sum(1).numpy() for block in rows.blocks()])


def _write_table(path: Path, frame: "pl.DataFrame") -> None:
    replace_file(path, frame.write_csv)


def _write_picture(path: Path, figure: "Figure") -> None:
    png, _ = as_png(figure)
    replace_file(path, lambda file: file.write(png))
