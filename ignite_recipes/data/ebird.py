"""Read the eBird Basic Dataset and make the matrix of checklists by species from it."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.data.ebird_file import read_columns, read_header

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

__all__ = ["create_species_matrix", "load_ebird_data"]
logger = logging.getLogger(__name__)

CHECKLIST = "SAMPLING EVENT IDENTIFIER"
GROUP = "GROUP IDENTIFIER"
SPECIES = "COMMON NAME"
CATEGORY = "CATEGORY"
COMPLETE = "ALL SPECIES REPORTED"
PROTOCOLS = ("OBSERVATION TYPE", "PROTOCOL TYPE", "PROTOCOL NAME")  # newest first; the first one present counts

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
            the sampling event and its group, the common name and its category, the protocol
            (OBSERVATION TYPE, in older releases PROTOCOL TYPE) and whether all species were reported.

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
    import pandas as pd

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

    The filters work in this order, each once: the quality of the sightings, rare species, short checklists.
    A checklist that lost all its species is kept, as zeros, unless ``min_checklist_species`` drops it.

    Args:
        data: sightings, as :func:`load_ebird_data` returns them.
        min_species_observations: drop species seen on fewer checklists than this.
        min_checklist_species: drop checklists with fewer of the remaining species than this.
        apply_quality_filters: keep only full species (CATEGORY), checklists made while travelling or
            stationary, and complete ones (ALL SPECIES REPORTED).

    Returns:
        The matrix and its species. The matrix has one row per checklist, sorted by its identifier: first
        the column SAMPLING EVENT IDENTIFIER, then 0 or 1 per species, by common name, sorted (sparse
        columns). Its index is named GROUP IDENTIFIER and holds the group of a shared checklist, or the
        identifier of one that is not shared; without groups in ``data`` it just counts.

    Raises:
        ValueError: if a column is missing, a threshold is negative, or the filters leave nothing.

    >>> import pandas as pd
    >>> seen = [("S2", "House Crow"), ("S1", "Black Kite"), ("S1", "House Crow")]
    >>> data = pd.DataFrame(seen, columns=["SAMPLING EVENT IDENTIFIER", "COMMON NAME"])
    >>> matrix, species = create_species_matrix(data, apply_quality_filters=False)
    >>> species, matrix[species].to_numpy().tolist()
    (['Black Kite', 'House Crow'], [[1, 1], [0, 1]])
    """
    import pandas as pd

    _check_thresholds(min_species_observations, min_checklist_species)
    filters = _quality_filters(data) if apply_quality_filters else {}
    _check_columns(data, [CHECKLIST, SPECIES, *filters])
    left = {"rows of data": len(data)}  # rows, species or checklists after each filter
    checklists, species = pd.Categorical(data[CHECKLIST]), pd.Categorical(data[SPECIES])
    rows = _good_rows(data, filters, left) & _named_rows(checklists, species)
    left[f"rows by having {CHECKLIST} and {SPECIES}"] = int(rows.sum())
    seen = _seen(checklists, species, rows)
    observations = seen.getnnz(axis=0)
    lists, kinds = _sorted_codes(checklists, seen.getnnz(axis=1)), _sorted_codes(species, observations)
    kinds = kinds[observations[kinds] >= (min_species_observations or 1)]
    left[f"species by min_species_observations={min_species_observations}"] = len(kinds)
    seen = seen[:, kinds]
    lists = lists[seen.getnnz(axis=1)[lists] >= (min_checklist_species or 0)]
    left[f"checklists by min_checklist_species={min_checklist_species}"] = len(lists)
    _check_left(left)

    names = species.categories[kinds].tolist()
    index = _groups(pd.Categorical(data[GROUP]), checklists, rows)[lists] if GROUP in data else None
    sparse: Any = pd.DataFrame.sparse  # an accessor that pandas' stubs do not know
    matrix: pd.DataFrame = sparse.from_spmatrix(seen[lists], index=index, columns=names)
    matrix.insert(0, CHECKLIST, np.asarray(checklists.categories)[lists])
    return matrix, names


def _choose_columns(path: Path, header: list[str], columns: Sequence[str] | None) -> list[str]:
    if isinstance(columns, str) or (columns is not None and not columns):
        raise ValueError(f"columns must be a list of one or more column names, or None; got {columns!r}")
    protocol = next((name for name in PROTOCOLS if name in header), PROTOCOLS[0])
    wanted = [CHECKLIST, GROUP, SPECIES, CATEGORY, protocol, COMPLETE] if columns is None else list(columns)
    if missing := [name for name in wanted if name not in header]:
        raise ValueError(
            f"{path} must be a tab-separated file of the eBird Basic Dataset with the columns {wanted}; "
            f"it lacks {missing}: unpack it if it is an archive, or name with columns=[...] those it has"
        )
    return list(dict.fromkeys(wanted))


def _seen(checklists: "pd.Categorical", species: "pd.Categorical", rows: NDArray[np.bool_]) -> "csr_matrix[np.uint8]":
    """1 where a checklist (row) has a species (column), by their codes, in the chosen rows of the data."""
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
    import pandas as pd

    known = rows & _is_named(groups)
    group_of = checklists.categories.to_numpy(dtype=object, copy=True)
    group_of[checklists.codes[known]] = groups.categories.to_numpy(dtype=object)[groups.codes[known]]
    index: pd.Index[Any] = pd.Index(group_of, name=GROUP)
    return index


def _quality_filters(data: "pd.DataFrame") -> dict[str, set[str]]:
    """Which values of which column a sighting must have."""
    protocol = next((name for name in PROTOCOLS if name in data), PROTOCOLS[0])
    return {CATEGORY: {"species"}, protocol: {"traveling", "stationary"}, COMPLETE: {"1", "1.0", "true"}}


def _good_rows(data: "pd.DataFrame", filters: dict[str, set[str]], left: dict[str, int]) -> NDArray[np.bool_]:
    """Which rows pass all filters; notes in ``left`` how many are left after each."""
    import pandas as pd

    good = np.ones(len(data), dtype=bool)
    for name, accepted in filters.items():
        values = pd.Categorical(data[name])
        is_accepted = np.zeros(len(data), dtype=bool)
        for code, value in enumerate(values.categories):
            if str(value).strip().lower() in accepted:
                is_accepted |= values.codes == code  # to index by the codes would take 8 bytes a row
        good &= is_accepted
        left[f"rows by {name} {' or '.join(sorted(accepted))}"] = int(good.sum())
    return good


def _named_rows(checklists: "pd.Categorical", species: "pd.Categorical") -> NDArray[np.bool_]:
    """Which rows say what was seen on which checklist; all, unless the file was cut short."""
    named = _is_named(checklists) & _is_named(species)
    if not named.all():
        logger.warning("left out %d rows without %s or %s", (~named).sum(), CHECKLIST, SPECIES)
    return named


def _is_named(values: "pd.Categorical") -> NDArray[np.bool_]:
    """Where there is a value; an empty text is none."""
    named: NDArray[np.bool_] = values.codes >= 0
    if "" in values.categories:
        named &= values.codes != values.categories.get_loc("")
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
            f"data must have the columns {needed}; it lacks {missing}: load_ebird_data(path) reads them all, "
            "and apply_quality_filters=False needs the first two only"
        )


def _check_left(left: dict[str, int]) -> None:
    if blame := next((step for step, count in left.items() if not count), None):
        steps = ", ".join(f"{count} {step}" for step, count in left.items())
        raise ValueError(f"the filters must leave some checklists; left after each: {steps}; loosen {blame!r}")
