"""Read the eBird Basic Dataset and make the matrix of checklists by species from it."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.arguments import shown
from ignite_recipes.data.ebird_file import read_columns, read_header
from ignite_recipes.data.ebird_species import is_named, roll_up_to_species, rows_with
from ignite_recipes.data.split import CHECKLIST, GROUP
from ignite_recipes.optional import needs
from ignite_recipes.optional import pandas as pd

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["create_species_matrix", "load_ebird_data"]
logger = logging.getLogger(__name__)

SPECIES = "COMMON NAME"
SCIENTIFIC = "SCIENTIFIC NAME"
CATEGORY = "CATEGORY"
COMPLETE = "ALL SPECIES REPORTED"
PROTOCOLS = ("OBSERVATION TYPE", "PROTOCOL TYPE", "PROTOCOL NAME", "PROTOCOL CODE")  # the first one present counts

# What each column says of a checklist that is kept, lower-case; older releases wrote "eBird - Traveling Count".
TRAVELING_OR_STATIONARY = {
    "traveling", "ebird - traveling count", "p22",
    "stationary", "ebird - stationary count", "p21",
}  # fmt: skip
IS_COMPLETE = {"1", "1.0", "true"}

# Columns that hold a number or nothing in every release; OBSERVATION COUNT is none of them, it may be "X".
NUMBERS = (
    "TAXONOMIC ORDER", "LATITUDE", "LONGITUDE", "DURATION MINUTES", "EFFORT DISTANCE KM", "EFFORT AREA HA",
    "NUMBER OBSERVERS",
)  # fmt: skip


def load_ebird_data(
    path: str | os.PathLike[str], nrows: int | None = None, columns: Sequence[str] | None = None
) -> "pd.DataFrame":
    """Read sightings, one per row, from a file of the eBird Basic Dataset.

    Only the columns asked for are kept in memory, as categoricals (columns of numbers, like LATITUDE, as
    float64): the file itself, which may be larger than the memory, is read a block at a time. Quotes are read
    as text, and stray tabs in the comments at the end of a line do no harm.

    Args:
        path: the tab-separated file as eBird sends it, ``.txt`` or ``.txt.gz``.
        nrows: read only so many rows from the start of the file; by default all.
        columns: read exactly these, in this order; by default what :func:`create_species_matrix` needs:
            the sampling event and its group, the common name, the scientific name (if the file has it) and
            their category, the protocol (the first that the file has of OBSERVATION TYPE, PROTOCOL TYPE,
            PROTOCOL NAME and PROTOCOL CODE) and whether all species were reported.

    Returns:
        One row per sighting. Empty fields are missing values.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, has no rows or lacks a column, or ``nrows`` is not positive.

    >>> import tempfile
    >>> from ignite_recipes.data import write_example_ebd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_example_ebd(f"{folder}/kerala.txt", num_checklists=10)
    ...     load_ebird_data(file, nrows=3, columns=["COMMON NAME", "LATITUDE"]).shape
    (3, 2)
    """
    if nrows is not None and not nrows >= 1:
        raise ValueError(f"nrows must be at least 1, or None for the whole file; got {nrows}")
    path = Path(path)
    read = read_columns(path, _choose_columns(path, read_header(path), columns), NUMBERS, nrows)
    data = pd.DataFrame(read, copy=False)
    if data.empty:
        raise ValueError(f"{path} must hold at least one row below its header; got none: download it again")
    return data


def create_species_matrix(
    data: "pd.DataFrame",
    min_species_observations: int | None = None,
    min_checklist_species: int | None = None,
    apply_quality_filters: bool = True,
) -> "tuple[pd.DataFrame, list[str]]":
    """Which species was seen on which checklist, from one row per sighting.

    The filters work in this order, each once: the quality of the sightings, shared checklists, rare species, short
    checklists. A checklist that lost all its species is kept, as zeros, unless ``min_checklist_species`` drops it.

    With ``apply_quality_filters`` the rows become those that the R package auk would compare:

    - Subspecies groups (CATEGORY issf), forms, intergrades and domestic birds count as their species, by its common
      name, as ``auk_rollup`` has it; so feral pigeons are Rock Pigeons. A species that is reported as several of
      them counts once. Taxa of no single species (spuh, slash, hybrid) are left out.
    - Only checklists made while traveling or stationary, and complete ones (ALL SPECIES REPORTED), are kept.
    - Of the checklists that observers shared (one GROUP IDENTIFIER) one is kept, as ``auk_unique`` has it for
      checklists: of those that passed the filters before, the one whose SAMPLING EVENT IDENTIFIER comes first in
      the order of text. What only another observer of the group noted is left out with that one's checklist.

    How many sightings and checklists that concerns is logged.

    Args:
        data: sightings, as :func:`load_ebird_data` returns them. Without SCIENTIFIC NAME a taxon below a species goes
            to its COMMON NAME without parentheses; without GROUP IDENTIFIER shared checklists cannot be told,
            which is warned of.
        min_species_observations: drop species seen on fewer checklists than this.
        min_checklist_species: drop checklists with fewer of the remaining species than this.
        apply_quality_filters: do what is said above; without it every taxon counts by its COMMON NAME, and every
            checklist.

    Returns:
        The matrix and its species. The matrix has one row per checklist, sorted by its identifier: first
        the column SAMPLING EVENT IDENTIFIER, then 0 or 1 per species, by common name, sorted (sparse
        columns). Its index is named GROUP IDENTIFIER and holds the group of a shared checklist, or the
        identifier of one that is not shared; without groups in ``data`` it just counts. A join keeps that index:
        ``matrix.join(facts.set_index("SAMPLING EVENT IDENTIFIER"), on="SAMPLING EVENT IDENTIFIER")``.

    Raises:
        ValueError: if a column is missing, a threshold is negative, or the filters leave nothing.

    References: https://docs.ropensci.org/auk/reference/auk_rollup.html and auk_unique.html beside it.

    >>> import pandas as pd
    >>> seen = [("S2", "House Crow"), ("S1", "Black Kite"), ("S1", "House Crow")]
    >>> data = pd.DataFrame(seen, columns=["SAMPLING EVENT IDENTIFIER", "COMMON NAME"])
    >>> matrix, species = create_species_matrix(data, apply_quality_filters=False)
    >>> species, matrix[species].to_numpy().tolist()
    (['Black Kite', 'House Crow'], [[1, 1], [0, 1]])
    """
    _check_thresholds(min_species_observations, min_checklist_species)
    protocol = next((name for name in PROTOCOLS if name in data), PROTOCOLS[0])
    _check_columns(data, [CHECKLIST, SPECIES, *([CATEGORY, protocol, COMPLETE] if apply_quality_filters else [])])
    left = {"rows of data": len(data)}  # rows, species or checklists after each filter
    checklists, species = pd.Categorical(data[CHECKLIST]), pd.Categorical(data[SPECIES])
    rows = np.ones(len(data), dtype=bool)
    if apply_quality_filters:
        species, rows = _good_rows(data, species, protocol, left)
    rows &= _named_rows(checklists, species)
    left[f"rows by having {CHECKLIST} and {SPECIES}"] = int(rows.sum())
    seen = _seen(checklists, species, rows)
    lists = _sorted_codes(checklists, seen.getnnz(axis=1))
    groups = _groups(pd.Categorical(data[GROUP]), checklists, rows)[lists] if GROUP in data else None
    if apply_quality_filters:
        is_kept = _first_of_each(groups, len(lists))
        lists, groups = lists[is_kept], None if groups is None else groups[is_kept]
        left["checklists by counting shared ones once"] = len(lists)
    seen = seen[lists]
    observations = seen.getnnz(axis=0)
    kinds = _sorted_codes(species, observations)
    kinds = kinds[observations[kinds] >= (min_species_observations or 1)]
    left[f"species by min_species_observations={min_species_observations}"] = len(kinds)
    seen = seen[:, kinds]
    is_long = seen.getnnz(axis=1) >= (min_checklist_species or 0)
    lists, seen, groups = lists[is_long], seen[is_long], None if groups is None else groups[is_long]
    left[f"checklists by min_checklist_species={min_checklist_species}"] = len(lists)
    _check_left(left)

    names = species.categories[kinds].tolist()
    _warn_of_constants(names, seen.getnnz(axis=0), len(lists))
    sparse: Any = pd.DataFrame.sparse  # an accessor that pandas' stubs do not know
    matrix: pd.DataFrame = sparse.from_spmatrix(seen, index=groups, columns=names)
    matrix.insert(0, CHECKLIST, np.asarray(checklists.categories)[lists])
    return matrix, names


def _choose_columns(path: Path, header: list[str], columns: Sequence[str] | None) -> list[str]:
    if isinstance(columns, str) or (columns is not None and not columns):
        raise ValueError(f"columns must be a list of one or more column names, or None; got {shown(columns)}")
    protocol = next((name for name in PROTOCOLS if name in header), PROTOCOLS[0])
    needed = [CHECKLIST, GROUP, SPECIES, *([SCIENTIFIC] if SCIENTIFIC in header else []), CATEGORY, protocol, COMPLETE]
    wanted = needed if columns is None else list(columns)
    if missing := [name for name in wanted if name not in header]:
        raise ValueError(
            f"{path} must be a tab-separated file of the eBird Basic Dataset with the columns {wanted}; "
            f"it lacks {missing}: unpack it if it is an archive, or name with columns=[...] those it has"
        )
    return list(dict.fromkeys(wanted))


def _seen(checklists: "pd.Categorical", species: "pd.Categorical", rows: NDArray[np.bool_]) -> "csr_matrix[np.uint8]":
    """1 where a checklist (row) has a species (column), by their codes, in the chosen rows of the data."""
    with needs("ebird"):
        from scipy.sparse import csr_matrix

    shape = (len(checklists.categories), len(species.categories))
    ones = np.ones(np.count_nonzero(rows), np.uint8)
    seen = csr_matrix((ones, (checklists.codes[rows], species.codes[rows])), shape=shape)
    seen.sum_duplicates()
    seen.data.fill(1)  # a species reported twice was added up
    return seen


def _sorted_codes(values: "pd.Categorical", counts: NDArray[Any]) -> NDArray[np.int64]:
    """The codes of those categories that are counted at all, by their names."""
    used = np.flatnonzero(counts)
    names = values.categories.to_numpy(dtype=object)[used]
    return used[np.argsort(names, kind="stable")]


def _groups(groups: "pd.Categorical", checklists: "pd.Categorical", rows: NDArray[np.bool_]) -> "pd.Index[Any]":
    """The group of each category of ``checklists``, or its own identifier."""
    known = rows & is_named(groups)
    group_of = checklists.categories.to_numpy(dtype=object, copy=True)
    group_of[checklists.codes[known]] = groups.categories.to_numpy(dtype=object)[groups.codes[known]]
    index: pd.Index[Any] = pd.Index(group_of, name=GROUP)
    return index


def _good_rows(
    data: "pd.DataFrame", names: "pd.Categorical", protocol: str, left: dict[str, int]
) -> "tuple[pd.Categorical, NDArray[np.bool_]]":
    """The species of each row, and which rows pass the quality filters; notes in ``left`` how many after each."""
    scientific = pd.Categorical(data[SCIENTIFIC]) if SCIENTIFIC in data else None
    species, good, is_below = roll_up_to_species(names, scientific, pd.Categorical(data[CATEGORY]))
    left[f"rows by {CATEGORY} species, or below it"] = num_species = int(good.sum())
    logger.info(
        "of %d sightings, %d of subspecies groups, forms, intergrades and domestic birds count as their species; "
        "%d of no single species (spuh, slash, hybrid) are left out",
        len(good), (good & is_below).sum(), len(good) - num_species,
    )  # fmt: skip
    for name, accepted in ((protocol, TRAVELING_OR_STATIONARY), (COMPLETE, IS_COMPLETE)):
        good &= rows_with(pd.Categorical(data[name]), accepted)
        left[f"rows by {name} {'traveling or stationary' if name == protocol else 'true'}"] = int(good.sum())
    return species, good


def _first_of_each(groups: "pd.Index[Any] | None", num_checklists: int) -> NDArray[np.bool_]:
    """Which checklists are the first of their group, by their groups in the order of their identifiers."""
    if groups is None:
        logger.warning(
            "data has no %s: checklists that observers shared count as often as they were shared; "
            "load_ebird_data(path) reads it",
            GROUP,
        )
        return np.ones(num_checklists, dtype=bool)
    is_first: NDArray[np.bool_] = ~groups.duplicated()
    logger.info(
        "of %d checklists, %d are left out: others of their %s are kept, of each the one whose %s comes first",
        len(groups), len(groups) - is_first.sum(), GROUP, CHECKLIST,
    )  # fmt: skip
    return is_first


def _warn_of_constants(names: list[str], observations: NDArray[Any], num_checklists: int) -> None:
    """Say so where there is nothing to learn from."""
    if (observations == num_checklists).all():
        logger.warning(
            "the matrix should hold absences too; each of its %d species is on each of its %d checklists, and a model "
            "learns nothing from that: use more data, or lower the thresholds",
            len(names), num_checklists,
        )  # fmt: skip
    elif never := [name for name, count in zip(names, observations, strict=True) if not count]:
        logger.warning(
            "%d of %d species are on none of the checklists that min_checklist_species left, and a model learns "
            "nothing of them: %s%s; raise min_species_observations, or leave these columns out",
            len(never), len(names), ", ".join(never[:5]), ", ..." if len(never) > 5 else "",
        )  # fmt: skip


def _named_rows(checklists: "pd.Categorical", species: "pd.Categorical") -> NDArray[np.bool_]:
    """Which rows say what was seen on which checklist; all, unless the file was cut short."""
    named = is_named(checklists) & is_named(species)
    if not named.all():
        logger.warning("left out %d rows without %s or %s", (~named).sum(), CHECKLIST, SPECIES)
    return named


def _check_thresholds(min_species_observations: int | None, min_checklist_species: int | None) -> None:
    for name, value in (
        ("min_species_observations, a number of checklists,", min_species_observations),
        ("min_checklist_species, a number of species,", min_checklist_species),
    ):
        if value is not None and not value >= 0:
            raise ValueError(f"{name} must not be negative; got {value}: None switches this filter off")


def _check_columns(data: "pd.DataFrame", needed: list[str]) -> None:
    if missing := [name for name in needed if name not in data]:
        raise ValueError(
            f"data must have the columns {needed}; it lacks {missing}: load_ebird_data(path) reads them all (of the "
            f"protocol one of {list(PROTOCOLS)}), and apply_quality_filters=False needs the first two only"
        )


def _check_left(left: dict[str, int]) -> None:
    if blame := next((step for step, count in left.items() if not count), None):
        steps = ", ".join(f"{count} {step}" for step, count in left.items())
        raise ValueError(f"the filters must leave some checklists; left after each: {steps}; loosen {blame!r}")
