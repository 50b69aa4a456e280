"""The data of a command's run, made of its settings: what it trains on, and what its answers are checked with."""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import TensorDataset

from ignite_recipes.data import (
    BEST_PRACTICES,
    BaseDataset,
    ChecklistFilters,
    DatasetRegistry,
    RowDataset,
    SpeciesMatrix,
    TrafficArrays,
    effort_and_season,
    load_digits_matrix,
    read_species_matrix,
    spatial_blocks,
    split_train_val,
)
from ignite_recipes.data.deadband import Limits
from ignite_recipes.data.folds import fold_rows
from ignite_recipes.data.split import split_fold
from ignite_recipes.data.traffic_series import (
    TrafficSeries,
    read_co2,
    read_traffic_csv,
    split_series,
    split_series_at,
)
from ignite_recipes.optional import needs
from ignite_recipes.optional import pandas as pd

__all__ = [
    "EBIRD_CHOICES",
    "EBIRD_FILTERS",
    "VaeData",
    "digits_sides",
    "ebird_matrix",
    "fold_of",
    "image_dataset",
    "last_sample",
    "seed_of_split",
    "traffic_series",
    "traffic_sides",
    "vae_data",
    "vae_settings",
    "vae_sides",
]

EBIRD_CHOICES = (
    "min_species_observations", "min_checklist_species", "apply_quality_filters", "nrows", "sampling", "taxon_rank",
    "drop_higher", "shared_checklists",
)  # fmt: skip
"""The settings of a command that are arguments of ``read_species_matrix``."""
EBIRD_FILTERS = tuple(inspect.signature(ChecklistFilters).parameters)
"""Those that are filters of checklists."""

_OF_SOME = {"root": "data_root", "image_size": "image_size"}  # settings of some data sets -> the options
_FOR = {
    "root": "that is read from files, e.g. mnist",
    "image_size": "in a folder of images",
    "split_seed": "that is split at random, e.g. digits",
}


class VaeData:
    """What a variational autoencoder is trained on: the digits, or the checklists of an eBird file.

    Attributes:
        matrix: of rows in [0, 1], and covariates after them.
        names: the names of its columns; None for the digits.
        checklists: where, when and with what effort each row's checklist was made; None of the digits.
        covariates: how many of the columns, the last ones, are covariates.
    """

    def __init__(
        self,
        matrix: "Tensor | pd.DataFrame",
        names: list[str] | None = None,
        checklists: "pd.DataFrame | None" = None,
    ) -> None:
        self.matrix, self.names, self.checklists, self.covariates = matrix, names, checklists, 0

    @property
    def species(self) -> list[str] | None:
        """The names of the columns that are modelled."""
        return None if self.names is None else self.names[: len(self.names) - self.covariates]

    def add_covariates(self) -> None:
        """Append effort and season to the species."""
        assert self.names is not None
        assert self.checklists is not None
        assert isinstance(self.matrix, pd.DataFrame)
        found = effort_and_season(self.checklists)
        if taken := [name for name in found if name in self.names]:
            raise ValueError(f"no species may have the name of a covariate; got {taken}: rename it in the file")
        sparse = {  # as the species are: of a million checklists only what is not 0 is kept
            name: pd.arrays.SparseArray(column.to_numpy(), fill_value=np.float32(0)) for name, column in found.items()
        }
        self.matrix = pd.concat([self.matrix, pd.DataFrame(sparse, index=self.matrix.index)], axis=1)
        self.names, self.covariates = [*self.names, *map(str, found)], found.shape[1]


def vae_data(settings: Mapping[str, Any]) -> VaeData:
    """Vectors in [0, 1] and the names of their features: of an eBird file, or the digits.

    Raises:
        ValueError: if something is asked of the digits that only checklists have, or there is no such split.
    """
    for name, choices in {"split": ("random", "spatial"), "covariates": ("effort",)}.items():
        if settings.get(name) not in (None, *choices):
            raise ValueError(f"--{name} must be {' or '.join(choices)}; got {settings[name]!r}")
    spatial, covariates = settings.get("split") == "spatial", settings.get("covariates") is not None
    if settings["file"] is None:
        if spatial or covariates:
            asked = "--split spatial" if spatial else "--covariates"
            raise ValueError(f"{asked} is for checklists, not for the digits: name an eBird file, or leave it out")
        return VaeData(load_digits_matrix()[0])
    made = ebird_matrix(settings)
    data = VaeData(made.matrix, made.species, made.checklists)
    if covariates:
        data.add_covariates()
    return data


def ebird_matrix(settings: Mapping[str, Any]) -> SpeciesMatrix:
    """The matrix of an eBird file and its checklists, by the settings of a command; older ones have only some."""
    filters = dict(BEST_PRACTICES) if settings.get("best_practices") else {}
    filters |= {name: settings[name] for name in EBIRD_FILTERS if settings.get(name) is not None}
    choices = {name: settings[name] for name in EBIRD_CHOICES if settings.get(name) is not None}
    return read_species_matrix(settings["file"], **choices, **filters)


def vae_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the architecture that an experiment was given; one that is older has none of them."""
    names = ("likelihood", "scale", "num_layers", "input_dropout")
    return {name: settings[name] for name in names if settings.get(name) is not None}


def vae_sides(data: VaeData, settings: Mapping[str, Any]) -> tuple[RowDataset, RowDataset]:
    """The vectors to train on and those to validate on."""
    groups, seed = None, seed_of_split(settings)
    if settings.get("split") == "spatial":
        places = data.checklists
        assert places is not None
        groups = spatial_blocks(places["latitude"], places["longitude"], settings["block_km"])
        if (blocks := len(np.unique(groups))) < 2:
            raise ValueError(
                f"--split spatial needs checklists in at least two blocks; all {len(groups)} lie in {blocks} of "
                f"{settings['block_km']:g} km: choose a smaller --block-km"
            )
    if settings.get("fold") is not None:
        return split_fold(data.matrix, data.names, settings["fold"], settings["folds"], seed, groups)
    return split_train_val(data.matrix, data.names, settings["val_size"], seed, groups=groups)


def traffic_series(settings: Mapping[str, Any]) -> tuple[TrafficSeries, float | None]:
    """The series of a CSV file or the CO2 series, and its deadband; None where the file has a column of flags."""
    if settings["file"] is None:
        return read_co2(), settings["deadband"]
    flags = settings["flag_column"]
    if flags is None and settings["deadband"] is None:
        raise ValueError("--flag-column or --deadband must say which samples are transmitted; got neither")
    series = read_traffic_csv(settings["file"], flags, settings["time_column"])
    return series, settings["deadband"] if flags is None else None


def traffic_sides(settings: Mapping[str, Any]) -> tuple[TrafficArrays, TrafficArrays, Limits, list[str]]:
    """The windows to train on, those to validate on, the limits that both are scaled by, and the features' names."""
    series, deadband = traffic_series(settings)
    sizes = settings["len_source"], settings["len_target"]
    samples = len(series.context)
    sides = fold_of(settings, samples, times=np.arange(samples))
    if sides is None:
        return *split_series(series, *sizes, deadband, settings["val_size"]), series.names
    return *split_series_at(_first(series, sides[1][-1] + 1), *sizes, deadband, sides[1][0]), series.names


def last_sample(settings: Mapping[str, Any]) -> int:
    """The number of samples up to the end of those that are validated on."""
    samples = len(traffic_series(settings)[0].context)
    sides = fold_of(settings, samples, times=np.arange(samples))
    return samples if sides is None else int(sides[1][-1]) + 1


def _first(series: TrafficSeries, samples: int) -> TrafficSeries:
    return series._replace(
        context=series.context[:samples],
        flags=None if series.flags is None else series.flags[:samples],
        times=None if series.times is None else series.times[:samples],
    )


def digits_sides(settings: Mapping[str, Any]) -> tuple[TensorDataset, TensorDataset, list[int]]:
    """The digits to train on, a stratified fifth or a fold to validate on, each with its label; the latter's rows."""
    with needs("cli"):
        from sklearn.model_selection import train_test_split

    images, labels = load_digits_matrix()
    parts: Any = fold_of(settings, len(labels), labels=labels.numpy())
    if parts is None:
        rows = range(len(labels))
        parts = train_test_split(rows, test_size=0.2, stratify=labels, random_state=seed_of_split(settings))
    train, val = (TensorDataset(images[part], labels[part]) for part in parts)
    return train, val, [int(row) for row in parts[1]]


def seed_of_split(settings: Mapping[str, Any]) -> int:
    """By which rows are divided: that of the run, if none was given for it."""
    own = settings.get("split_seed")
    return int(settings["seed"] if own is None else own)


def fold_of(settings: Mapping[str, Any], num_rows: int, **by: Any) -> tuple[Any, Any] | None:
    """The rows of a member's fold to train on and those to validate on; None of a run without folds."""
    if settings.get("fold") is None:
        return None
    sides = fold_rows(num_rows, settings["folds"], seed_of_split(settings), **by)
    train, val = sides[settings["fold"] - 1]
    return train, val


def image_dataset(settings: Mapping[str, Any]) -> BaseDataset:
    """The data set of labelled images, made by the registry.

    Raises:
        ValueError: if it takes no root and one is given, or what is registered makes no data set.
    """
    given = {name: settings[of] for name, of in _OF_SOME.items() if settings.get(of) is not None}
    own_split = settings.get("split_seed") if settings.get("fold") is None else None
    if own_split is not None:
        given["split_seed"] = own_split
    taken = inspect.signature(DatasetRegistry.get(settings["dataset"])).parameters
    for name in given:
        if name not in taken:
            option = _OF_SOME.get(name, name).replace("_", "-")
            raise ValueError(
                f"--{option} is for a data set {_FOR[name]}; {settings['dataset']!r} takes no {name}: leave it out"
            )
    try:
        dataset = DatasetRegistry.create(settings["dataset"], seed=settings["seed"], **given)
    except TypeError as error:  # a mistake in a data set of the user's own
        raise ValueError(f"data set {settings['dataset']!r}: {error}") from error
    if not isinstance(dataset, BaseDataset):
        raise ValueError(f"data set {settings['dataset']!r} must make a BaseDataset; got {type(dataset).__name__}")
    if settings.get("fold") is not None:
        dataset.cut_fold(settings["fold"], settings["folds"], seed_of_split(settings))
    return dataset
