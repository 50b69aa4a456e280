"""Read the eBird Basic Dataset and make the matrix of checklists by species from it."""

import gzip
import logging
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
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

MAX_HEADER_BYTES = 65_536  # a header is some 900 bytes long; a file of another kind may have no line ends


def load_ebird_data(
    path: str | os.PathLike[str], nrows: int | None = None, columns: Sequence[str] | None = None
) -> "pd.DataFrame":
    """Read sightings, one per row, from a file of the eBird Basic Dataset.

    Only the columns asked for are kept in memory, as categoricals (columns of numbers, like LATITUDE, as
    float64). Quotes are read as text, and stray tabs in the comments at the end of a line do no harm.

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
    import polars as pl

    if nrows is not None and not nrows >= 1:
        raise ValueError(f"nrows must be at least 1, or None for the whole file; got {nrows}")
    path = Path(path)
    wanted = _choose_columns(path, _read_header(path), columns)
    # Cast while scanning: 4 bytes a field are kept, and the casts run beside the parsing.
    kept = [
        pl.col(name).cast(pl.Float64, strict=False) if name in NUMBERS else pl.col(name).cast(pl.Categorical)
        for name in wanted
    ]
    rows = pl.scan_csv(
        path, separator="\t", quote_char=None, truncate_ragged_lines=True, infer_schema=False,
        encoding="utf8-lossy", n_rows=nrows, glob=False,
    )  # fmt: skip
    try:
        table = rows.select(kept).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{path} cannot be read to its end ({error}); download or unpack it again") from error
    if not table.height:
        raise ValueError(f"{path} must hold at least one row below its header; got none: download it again")
    return pd.DataFrame({column.name: _to_pandas(column) for column in table})


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
    data = data[_good_rows(data, filters, left) & _named_rows(data)]
    left[f"rows by having {CHECKLIST} and {SPECIES}"] = len(data)
    checklists, species = _sorted_categorical(data[CHECKLIST]), _sorted_categorical(data[SPECIES])
    seen = _seen(checklists, species)
    common = seen.getnnz(axis=0) >= (min_species_observations or 1)
    left[f"species by min_species_observations={min_species_observations}"] = int(common.sum())
    seen = seen[:, common]
    long = seen.getnnz(axis=1) >= (min_checklist_species or 0)
    left[f"checklists by min_checklist_species={min_checklist_species}"] = int(long.sum())
    _check_left(left)

    names = np.asarray(species.categories)[common].tolist()
    index = _groups(data[GROUP], checklists)[long] if GROUP in data else None
    sparse: Any = pd.DataFrame.sparse  # an accessor that pandas' stubs do not know
    matrix: pd.DataFrame = sparse.from_spmatrix(seen[long], index=index, columns=names)
    matrix.insert(0, CHECKLIST, np.asarray(checklists.categories)[long])
    return matrix, names


def _read_header(path: Path) -> list[str]:
    """The names in the first line of a plain or gzipped file."""
    if not path.exists():
        raise FileNotFoundError(f"there is no eBird file {path}; check the path, or write_example_ebd makes one")
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_packed else path.open("rb") as file:
            line = file.readline(MAX_HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} must be a readable text file, plain or gzipped; got {error!r}") from error
    if not line.strip():
        raise ValueError(f"{path} must begin with the header of an eBird file; it is empty: download it again")
    return line.decode("utf-8-sig", errors="replace").rstrip("\r\n").split("\t")


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


def _to_pandas(column: "pl.Series") -> Any:
    """A column of numbers as an array, one of categories as a pandas categorical with sorted categories."""
    import pandas as pd
    import polars as pl

    if column.dtype == pl.Float64:
        return column.to_numpy()
    distinct = column.drop_nulls().unique()
    names, numbers = distinct.cast(pl.String), distinct.to_physical().to_numpy()
    order = names.arg_sort().to_numpy()
    missing = int(numbers.max(initial=0)) + 1
    codes = np.full(missing + 1, -1, np.int32)  # by polars' own number of the category
    codes[numbers[order]] = np.arange(len(order))
    values = codes[column.to_physical().fill_null(missing).to_numpy()]
    return pd.Categorical.from_codes(values, categories=pd.Index(names.sort().to_list(), dtype=str))


def _sorted_categorical(column: "pd.Series[Any]") -> "pd.Categorical":
    """The values with the categories that occur, sorted; an empty text is a missing value."""
    import pandas as pd

    values = pd.Categorical(column).remove_unused_categories()
    return values.set_categories(sorted(name for name in values.categories if name != ""))


def _seen(checklists: "pd.Categorical", species: "pd.Categorical") -> "csr_matrix[np.uint8]":
    """1 where a checklist (row) has a species (column), from one code of each per sighting."""
    from scipy.sparse import csr_matrix

    shape = (len(checklists.categories), len(species.categories))
    seen = csr_matrix((np.ones(len(species), np.uint8), (checklists.codes, species.codes)), shape=shape)
    seen.sum_duplicates()
    seen.data.fill(1)  # a species reported twice was added up
    return seen


def _groups(groups: "pd.Series[Any]", checklists: "pd.Categorical") -> "pd.Index[Any]":
    """The group of each category of ``checklists``, or its own identifier."""
    import pandas as pd

    shared = _sorted_categorical(groups)
    known = shared.codes >= 0
    group_of = checklists.categories.to_numpy(dtype=object, copy=True)
    group_of[checklists.codes[known]] = np.asarray(shared.categories, dtype=object)[shared.codes[known]]
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
        is_accepted = [str(value).strip().lower() in accepted for value in values.categories]
        good &= np.array([*is_accepted, False])[values.codes]  # a missing value has code -1: the last one
        left[f"rows by {name} {' or '.join(sorted(accepted))}"] = int(good.sum())
    return good


def _named_rows(data: "pd.DataFrame") -> NDArray[np.bool_]:
    """Which rows say what was seen on which checklist; all, unless the file was cut short."""
    named: NDArray[np.bool_] = np.logical_and.reduce(
        [(data[name].notna() & (data[name] != "")).to_numpy() for name in (CHECKLIST, SPECIES)]
    )
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
            f"data must have the columns {needed}; it lacks {missing}: load_ebird_data(path) reads them all, "
            "and apply_quality_filters=False needs the first two only"
        )


def _check_left(left: dict[str, int]) -> None:
    if blame := next((step for step, count in left.items() if not count), None):
        steps = ", ".join(f"{count} {step}" for step, count in left.items())
        raise ValueError(f"the filters must leave some checklists; left after each: {steps}; loosen {blame!r}")
