"""How well hidden species of simulated checklists are predicted, and what a model finds out of the simulated truth."""

import contextlib
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from benchmarks import measuring
from ignite_recipes import (
    RowDataset,
    VariationalAutoencoder,
    create_dataloaders,
    create_species_matrix,
    effort_and_season,
    evaluate_held_out_species,
    extract_embeddings,
    load_ebird_data,
    read_checklists,
    spatial_blocks,
    species_embeddings,
    split_train_val,
    train_variational_autoencoder,
    write_example_ebd,
)
from ignite_recipes.answers.held_out_species import compare_on_hidden
from ignite_recipes.data.kerala_birds import BIRDS
from ignite_recipes.models.species_baselines import ease_weights
from ignite_recipes.models.species_embeddings import nearest_rows

__all__ = ["birds"]

NUM_CHECKLISTS, BLOCK_KM = 4000, 50.0
PENALTIES = (30.0, 100.0, 300.0, 1000.0)  # of EASE
SETTINGS: Mapping[str, Any] = {"num_epochs": 100, "patience": 10}
PLAIN, TOLD = "VAE", "VAE, covariates"
MEASURES = ("recall@10", "ndcg@10", "average_precision", "brier", "calibration_error")
TRUTH = {
    "habitat": "habitat of held-out checklists, told from their embeddings, %",
    "season": "winter or summer, told from their embeddings, %",
    "neighbours": "nearest species that share a habitat, %",
    "winter": "winter visitors told from residents by the model's season, AUC",
    "effort": "species whose log-odds rise with the duration, %",
}


class World(NamedTuple):
    """Simulated checklists, each with its covariates, its block and its true habitat."""

    present: Tensor
    covariates: Tensor
    species: list[str]
    blocks: NDArray[np.int64]
    habitat: NDArray[Any]
    is_winter: NDArray[np.bool_]


def birds(folder: Path, seeds: int = 5) -> str:
    """Two tables of held-out checklists and one of what was recovered, in Markdown.

    Args:
        folder: where the simulated files are written, and deleted afterwards.
        seeds: worlds, each with a seed of its own for split and run.
    """
    scores: dict[str, dict[str, list[dict[str, Any]]]] = {"random": {}, "spatial": {}}
    found: dict[str, list[dict[str, float]]] = {PLAIN: [], TOLD: []}
    sizes = []
    with measuring.one_thread():
        for seed in range(seeds):
            world = _world(folder / "birds.txt", seed)
            sizes.append(world.present.shape)
            for split, of_models in scores.items():
                for name, rows, recovered in _measured(world, split, seed):
                    for row in rows:
                        of_models.setdefault(row["model"], []).append(row)
                    if split == "random":
                        found[name].append(recovered)
                print(f"world {seed}, {split}", file=sys.stderr, flush=True)
    parts = [_score_table(split, of_models) for split, of_models in scores.items()]
    lines = [(text, *(_spread([one[key] for one in found[name]]) for name in found)) for key, text in TRUTH.items()]
    parts.append(measuring.table(("recovered of the simulated truth, split at random", *found), lines))
    rows_, species = (_range([size[k] for size in sizes]) for k in (0, 1))
    return "\n\n".join(parts) + (
        f"\n\n{rows_} simulated checklists, {species} species; a fifth to test, a fifth of the rest to choose the "
        f"epoch; blocks of {BLOCK_KM:g} km; half of the species hidden. Mean and standard deviation of {seeds} worlds "
        f"and seeds. {measuring.machine()}.\n"
    )


def _measured(world: World, split: str, seed: int) -> Iterator[tuple[str, list[dict[str, Any]], dict[str, float]]]:
    """Of each of the two models the rows of the table that are new, and what it has found out."""
    sides = _sides(world, split, seed)
    effort, penalty = (world.covariates[sides[0]], world.covariates[sides[2]]), _penalty(world, sides, seed)
    for name in (PLAIN, TOLD):
        model = _trained(world, sides, name == TOLD, seed)
        train, _, test = (_rows(world, side, name == TOLD) for side in sides)
        told = {"effort": effort, "penalty": penalty, "seed": seed}
        rows = evaluate_held_out_species(model, train, test, world.species, **told).models.to_dicts()
        rows = rows if name == PLAIN else rows[:1]  # the baselines are the same again
        yield name, [{**rows[0], "model": name}, *rows[1:]], _recovered(model, world, sides, name == TOLD)


def _world(path: Path, seed: int) -> World:
    try:
        write_example_ebd(path, NUM_CHECKLISTS, seed=seed)
        matrix, species = create_species_matrix(load_ebird_data(path), 20)
        names = matrix["SAMPLING EVENT IDENTIFIER"]
        facts = read_checklists(path, names)
        places = load_ebird_data(path, columns=["SAMPLING EVENT IDENTIFIER", "LOCALITY"])
    finally:
        path.unlink(missing_ok=True)
    places = places.drop_duplicates("SAMPLING EVENT IDENTIFIER").set_index("SAMPLING EVENT IDENTIFIER")
    month = pd.DatetimeIndex(facts["date"]).month
    return World(
        torch.tensor(matrix[species].to_numpy(), dtype=torch.float32),
        torch.tensor(effort_and_season(facts).to_numpy()),
        species,
        spatial_blocks(facts["latitude"], facts["longitude"], BLOCK_KM),
        places.loc[names, "LOCALITY"].astype(str).str.split("--").str[-1].to_numpy(dtype=object),
        np.asarray((month >= 10) | (month <= 3)),
    )


def _sides(world: World, split: str, seed: int) -> list[NDArray[np.int64]]:
    """The numbers of the rows to train on, to choose the epoch with, and to test."""
    groups = world.blocks if split == "spatial" else np.arange(len(world.blocks))
    rest, test = split_train_val(world.present, val_size=0.2, random_seed=seed, groups=groups)
    train, val = split_train_val(rest.rows, val_size=0.2, random_seed=seed, groups=groups[rest.indices])
    return [rest.indices[train.indices], rest.indices[val.indices], test.indices]


def _penalty(world: World, sides: list[NDArray[np.int64]], seed: int) -> float:
    """Of EASE, the one with the best average precision where the models' epoch is chosen, too."""
    train, val = (world.present[side].numpy() > 0 for side in sides[:2])
    is_hidden = np.random.default_rng(seed).random(val.shape) < 0.5
    scores = {str(one): ((val & ~is_hidden) @ ease_weights(train, one), False) for one in PENALTIES}
    found = compare_on_hidden(scores, val, is_hidden, world.species, [10]).models
    return float(found.sort("average_precision", descending=True)["model"][0])


def _rows(world: World, rows: NDArray[np.int64], told: bool) -> Tensor:
    return torch.cat([world.present, world.covariates], 1)[rows] if told else world.present[rows]


def _trained(world: World, sides: list[NDArray[np.int64]], told: bool, seed: int) -> VariationalAutoencoder:
    torch.manual_seed(seed)
    count = world.covariates.shape[1] if told else 0
    model = VariationalAutoencoder(len(world.species), 16, 256, input_dropout=0.5, covariates=count)
    if told:
        model.standardize_covariates(world.covariates[sides[0]])
    loaders = create_dataloaders(*(RowDataset(_rows(world, side, told)) for side in sides[:2]), 64)
    with contextlib.redirect_stdout(io.StringIO()):
        train_variational_autoencoder(model, *loaders, seed=seed, print_every=None, **SETTINGS)
    return model.eval()


def _recovered(
    model: VariationalAutoencoder, world: World, sides: list[NDArray[np.int64]], told: bool
) -> dict[str, float]:
    train, test = (extract_embeddings(model, _rows(world, side, told)) for side in (sides[0], sides[2]))
    by_name = {bird.common_name: bird for bird in BIRDS}
    known = [k for k, name in enumerate(world.species) if name in by_name]  # feral pigeons, e.g., live anywhere
    homes = [set(by_name[world.species[k]].habitats.split()) for k in known]
    near, _ = nearest_rows(species_embeddings(model, train)[known])
    shared = [[bool(homes[k] & homes[j]) for j in row] for k, row in enumerate(near)]
    found = {
        "habitat": _told(train, world.habitat[sides[0]], test, world.habitat[sides[2]]),
        "season": _told(train, world.is_winter[sides[0]], test, world.is_winter[sides[2]]),
        "neighbours": 100 * float(np.mean(shared)),
        "winter": float("nan"),
        "effort": float("nan"),
    }
    if told:
        z, usual = train, world.covariates[sides[0]].nanmean(0)
        change = {}
        for name, first, second in (
            ("winter", {0: 0.0, 1: 1.0}, {0: 0.0, 1: -1.0}),  # January and July, of sine and cosine
            ("effort", {2: np.log(121)}, {2: np.log(31)}),  # two hours and half an hour
        ):
            sides_of = [_with(usual, values).expand(len(z), -1) for values in (first, second)]
            with torch.no_grad():
                change[name] = (model.outputs(z, sides_of[0]) - model.outputs(z, sides_of[1])).mean(0).numpy()
        visits = np.array([by_name[world.species[k]].winter for k in known])
        a, b = change["winter"][known][visits], change["winter"][known][~visits]
        found["winter"] = float((a[:, None] > b).mean())
        found["effort"] = 100 * float((change["effort"] > 0).mean())
    return found


def _with(usual: Tensor, values: Mapping[int, float]) -> Tensor:
    changed = usual.clone()
    for column, value in values.items():
        changed[column] = value
    return changed


def _told(train: Tensor, labels: NDArray[Any], test: Tensor, truth: NDArray[Any]) -> float:
    """The accuracy of a logistic regression on embeddings, in percent."""
    model = LogisticRegression(max_iter=2000).fit(train.numpy(), labels.astype(str))
    return 100 * float((model.predict(test.numpy()) == truth.astype(str)).mean())


def _score_table(split: str, of_models: Mapping[str, list[dict[str, Any]]]) -> str:
    header = (f"split {'at random' if split == 'random' else 'by blocks'}", *MEASURES)
    order = [PLAIN, TOLD, "EASE", "effort and season", "prevalence"]
    return measuring.table(
        header, [(name, *(_spread([row[one] for row in of_models[name]], 3) for one in MEASURES)) for name in order]
    )


def _range(values: list[int]) -> str:
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"


def _spread(values: list[Any], digits: int = 2) -> str:
    return "-" if any(value is None or value != value for value in values) else measuring.spread(values, digits)
