"""Read the eBird Basic Dataset and make the matrix of checklists by species from it."""

import logging
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ignite_recipes.arguments import listed, shown
from ignite_recipes.data.ebird_archive import EbirdFile, find_ebird_file, is_of_sampling_events
from ignite_recipes.data.ebird_checklists import checklist_columns, one_row_each, read_checklist_rows
from ignite_recipes.data.ebird_choices import Choices
from ignite_recipes.data.ebird_columns import (
    CATEGORY,
    CHECKLIST,
    CHECKLIST_COLUMNS,
    COMPLETE,
    GROUP,
    OBSERVED,
    SCIENTIFIC,
    SPECIES,
    SUBSPECIES,
    protocol_column,
    with_ebd_names,
)
from ignite_recipes.data.ebird_file import Columns, read_tables
from ignite_recipes.data.ebird_filters import ChecklistFilters
from ignite_recipes.data.ebird_matrix import SpeciesMatrix, build_matrix
from ignite_recipes.optional import pandas as pd

__all__ = ["create_species_matrix", "load_ebird_data", "read_species_matrix"]

logger = logging.getLogger(__name__)

_OF_TAXA = (SPECIES, SCIENTIFIC, SUBSPECIES, CATEGORY, OBSERVED)


def load_ebird_data(
    path: str | os.PathLike[str],
    nrows: int | None = None,
    columns: Sequence[str] | None = None,
    *,
    details: bool = False,
) -> "pd.DataFrame":
    """Read sightings, one per row, from a file of the eBird Basic Dataset.

    Only the columns asked for are kept in memory, as categoricals (columns of numbers, like LATITUDE, as
    float64): the file itself, which may be larger than the memory, is read a block at a time, out of an archive too.
    In eBird's own files quotes are read as text, and stray tabs in the comments at the end of a line do no harm.

    Args:
        path: a download of eBird: a ``.zip`` or ``.tar``, the folder that was in it, or the tab-separated file itself,
            ``.txt`` or ``.txt.gz``. Also MyEBirdData.csv, and what auk or R wrote of such files (tab, comma or
            semicolon). Text that is not UTF-8 is read as Latin-1, with a warning.
        nrows: read only this number of rows from the start of the file; by default all.
        columns: read exactly these, in this order, by their names in the file or in the eBird Basic Dataset; by default
            those that :func:`create_species_matrix` needs, if the file has them: the sampling event and its group, the
            common name, the scientific name and their category, the protocol (the first that the file has of
            OBSERVATION TYPE, PROTOCOL TYPE, PROTOCOL NAME and PROTOCOL CODE) and whether all species were reported.
        details: without ``columns``, read also what its filters, other ranks of taxa and :func:`read_checklists`
            need: place, date, effort, observers, and the names of subspecies.

    Returns:
        One row per sighting. The columns have their names of the eBird Basic Dataset, whatever the file calls them, and
        those of ``columns`` the names that are given there. Empty fields are missing values.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, has no rows or lacks a column, or ``nrows`` is not positive; if it is a
            download of GBIF or one of sampling events only, with what to do.

    >>> import tempfile
    >>> from ignite_recipes.data import write_example_ebd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_example_ebd(f"{folder}/kerala.txt", num_checklists=10)
    ...     load_ebird_data(file, nrows=3, columns=["COMMON NAME", "LATITUDE"]).shape
    (3, 2)
    """
    _check_nrows(nrows)
    if isinstance(columns, str) or (columns is not None and not columns):
        raise ValueError(f"columns must be a list of one or more column names, or None; got {shown(columns)}")
    path = Path(path)
    file = find_ebird_file(path) if columns is None else find_ebird_file(path, None)
    if columns is None:
        (data,) = _read(file, [_default_columns(file, details)], nrows)
        return data
    wanted = list(dict.fromkeys(columns))
    known = dict(zip(file.header.written, file.header.names, strict=True)) | {name: name for name in file.header.names}
    if missing := [name for name in wanted if name not in known]:
        names = [name for name in file.header.written if name]
        raise ValueError(f"{file} must have the columns {listed(wanted)}; it lacks {missing}, and has {listed(names)}")
    (data,) = _read(file, [Columns(list(dict.fromkeys(known[name] for name in wanted)))], nrows)
    return data[[known[name] for name in wanted]].set_axis(wanted, axis=1)


def create_species_matrix(
    data: "pd.DataFrame",
    min_species_observations: int | None = None,
    min_checklist_species: int | None = None,
    apply_quality_filters: bool = True,
    *,
    sampling: "str | os.PathLike[str] | pd.DataFrame | None" = None,
    taxon_rank: str | None = None,
    drop_higher: bool = True,
    shared_checklists: str | None = None,
    **filters: Any,
) -> "tuple[pd.DataFrame, list[str]]":
    """Which species was seen on which checklist, from one row per sighting.

    The steps come in this order: taxa, filters of checklists, shared checklists, rare species, short checklists; the
    log has a table of what each left. A checklist that lost all its species to the last two is kept, as zeros, unless
    ``min_checklist_species`` drops it. A checklist without any sighting is not in ``data``: ``sampling`` has it.

    With ``apply_quality_filters`` the rows become those that the R package auk would compare:

    - ``taxon_rank="species"``: subspecies groups (CATEGORY issf), forms, intergrades and domestic birds count as their
      species, by its common name, as ``auk_rollup`` has it; so feral pigeons are Rock Pigeons. A species that is
      reported as several of them counts once. Taxa of no single species (spuh, slash, hybrid) are left out.
    - ``protocols=["Traveling", "Stationary"]`` and ``complete_only=True``: only checklists made while traveling or
      stationary, and complete ones (ALL SPECIES REPORTED), are kept.
    - ``shared_checklists="first"``: of the checklists that observers shared (one GROUP IDENTIFIER) one is kept, as
      ``auk_unique`` has it for checklists: the one that passed the filters before and whose SAMPLING EVENT IDENTIFIER
      comes first in the order of text. Sightings that only another observer of the group noted are left out with that
      checklist.

    Each of these is a keyword with other choices.

    Args:
        data: sightings, as :func:`load_ebird_data` returns them, or auk. Without SCIENTIFIC NAME a taxon below a
            species goes to its COMMON NAME without parentheses; without CATEGORY it is recognised by the names; without
            GROUP IDENTIFIER shared checklists cannot be recognised, and a warning says so.
        min_species_observations: drop species seen on fewer checklists than this.
        min_checklist_species: drop checklists with fewer of the remaining species than this.
        apply_quality_filters: do the steps above; without it every taxon counts by its COMMON NAME, and every
            checklist.
        sampling: all checklists of the same region and time: eBird's file of sampling events, the archive that holds
            it, or a frame of its rows. Those without a sighting become rows of zeros, as by ``auk_zerofill``, and what
            ``data`` does not hold about a checklist is taken from there.
        taxon_rank: what counts as one: ``"species"``; ``"subspecies"``, where taxa below a species count by their own
            names; or ``"genus"``, which takes spuhs, slashes and hybrids of one genus along. By default species, or
            without quality filters each taxon as it was reported.
        drop_higher: leave out taxa of no single species, as ``auk_rollup`` does; False counts them by their own names.
        shared_checklists: ``"first"``; ``"union"``, which gives that one the species of all that were shared, as
            ``auk_unique`` does for sightings; or ``"all"``, which keeps them all. By default first, or without quality
            filters all.
        **filters: those of :class:`ChecklistFilters`, e.g. ``max_duration_minutes=300``; ``**BEST_PRACTICES`` are
            eBird's. They need columns that ``load_ebird_data(path, details=True)`` reads.

    Returns:
        The matrix and its species. The matrix has one row per checklist, sorted by its identifier: first
        the column SAMPLING EVENT IDENTIFIER, then 0 or 1 per species, by common name, sorted (sparse
        columns). Its index is named GROUP IDENTIFIER and holds the group of a shared checklist, or the
        identifier of one that is not shared; without groups in ``data`` it just counts. A join keeps that index:
        ``matrix.join(facts.set_index("SAMPLING EVENT IDENTIFIER"), on="SAMPLING EVENT IDENTIFIER")``.

    Raises:
        ValueError: if a column is missing, a threshold is negative, an argument makes no sense, or the filters leave
            nothing.

    References: https://docs.ropensci.org/auk/reference/auk_rollup.html; auk_unique.html, auk_zerofill.html there.

    >>> import pandas as pd
    >>> seen = [("S2", "House Crow"), ("S1", "Black Kite"), ("S1", "House Crow")]
    >>> data = pd.DataFrame(seen, columns=["SAMPLING EVENT IDENTIFIER", "COMMON NAME"])
    >>> matrix, species = create_species_matrix(data, apply_quality_filters=False)
    >>> species, matrix[species].to_numpy().tolist()
    (['Black Kite', 'House Crow'], [[1, 1], [0, 1]])
    """
    choices = Choices.of_arguments(
        min_species_observations, min_checklist_species, apply_quality_filters, taxon_rank, drop_higher,
        shared_checklists, _filters(filters),
    )  # fmt: skip
    data = with_ebd_names(data)
    there = {CHECKLIST: CHECKLIST in data, SPECIES: SPECIES in data or SCIENTIFIC in data}
    if missing := [name for name, is_there in there.items() if not is_there]:
        raise ValueError(f"data must have the columns {[*there]}; it lacks {missing}: load_ebird_data reads them")
    events = None if sampling is None else read_checklist_rows(sampling)
    made = build_matrix(data, one_row_each(data), events, choices)
    return made.matrix, made.species


def read_species_matrix(
    path: str | os.PathLike[str],
    min_species_observations: int | None = None,
    min_checklist_species: int | None = None,
    apply_quality_filters: bool = True,
    *,
    nrows: int | None = None,
    sampling: str | os.PathLike[str] | None = None,
    taxon_rank: str | None = None,
    drop_higher: bool = True,
    shared_checklists: str | None = None,
    **filters: Any,
) -> SpeciesMatrix:
    """Which species was seen on which checklist, and the facts about the checklists, from an eBird file.

    It is :func:`load_ebird_data` and :func:`create_species_matrix` in one, in less memory: the facts about a checklist
    are kept once, not with each of its sightings.

    Args:
        path: as :func:`load_ebird_data` takes it.
        min_species_observations: drop species seen on fewer checklists than this.
        min_checklist_species: drop checklists with fewer of the remaining species than this.
        apply_quality_filters: keep the rows that the R package auk would compare: complete checklists, made while
            traveling or stationary, one of those that observers shared, and species, to which lower taxa are rolled up.
        nrows: read only this number of sightings from the start of the file; by default all. The last checklist may
            lack some.
        sampling: eBird's file of sampling events, or an archive with it: checklists on which none of the species was
            seen become rows of zeros. By default the one in the same archive, if there is one and all rows are read.
        taxon_rank: species, subspecies or genus; by default species, or without quality filters each taxon as it was
            reported.
        drop_higher: leave out taxa of no single species (spuh, slash, hybrid).
        shared_checklists: keep the first of the checklists that observers shared, the first with the species of all
            (union), or all.
        **filters: those of :class:`ChecklistFilters`.

    Returns:
        The matrix, its species, its checklists and the steps that led to it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, a column is missing, an argument makes no sense, or nothing is left.

    >>> import tempfile
    >>> from ignite_recipes.data import write_example_ebd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_example_ebd(f"{folder}/kerala.txt", num_checklists=200)
    ...     matrix, species, checklists, steps = read_species_matrix(file, 10, max_duration_minutes=60)
    >>> bool(checklists["duration_minutes"].max() <= 60), steps.index[-2:].tolist()
    (True, ['shared checklists once', 'min_species_observations=10'])
    """
    _check_nrows(nrows)
    choices = Choices.of_arguments(
        min_species_observations, min_checklist_species, apply_quality_filters, taxon_rank, drop_higher,
        shared_checklists, _filters(filters),
    )  # fmt: skip
    path = Path(path)
    file = find_ebird_file(path)
    if sampling is not None and nrows is not None:
        raise ValueError(
            f"sampling needs all sightings: a checklist whose rows come after the first nrows={nrows} would be zeros; "
            "leave one of the two out"
        )
    if sampling is None and nrows is None and file.member is not None:
        sampling = path if is_of_sampling_events(path) else None
        if sampling is not None:
            logger.info("%s holds sampling events too: checklists without a sighting of the species are counted", path)
    taxa = Columns([name for name in (CHECKLIST, *_OF_TAXA) if name in file.header.names])
    sightings, rows = _read(file, [taxa, checklist_columns(file.header.names)], nrows)
    events = None if sampling is None else read_checklist_rows(sampling)
    return build_matrix(sightings, one_row_each(rows), events, choices)


def _read(file: EbirdFile, tables: Sequence[Columns], nrows: int | None) -> "list[pd.DataFrame]":
    frames = read_tables(file, tables, nrows)
    if frames[0].empty:
        raise ValueError(f"{file} must hold at least one row below its header; got none: download it again")
    return frames


def _default_columns(file: EbirdFile, details: bool) -> Columns:
    names = file.header.names
    protocol = protocol_column(names)
    wanted = [CHECKLIST, GROUP, SPECIES, SCIENTIFIC, CATEGORY, protocol, COMPLETE, OBSERVED]
    if details:
        wanted += [SUBSPECIES, *(name for name in CHECKLIST_COLUMNS if name not in wanted)]
    return Columns([name for name in wanted if name is not None and name in names])


def _filters(given: Mapping[str, Any]) -> ChecklistFilters:
    """The filters that the keywords make.

    Raises:
        TypeError: for a keyword that is none of them.
    """
    known = list(ChecklistFilters.__dataclass_fields__)
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f": did you mean {near[0]!r}?" if near else f"; known are {listed(known, len(known))}"
            raise TypeError(f"{name!r} is not a filter of checklists{meant}")
    return ChecklistFilters(**given)


def _check_nrows(nrows: int | None) -> None:
    if nrows is not None and not nrows >= 1:
        raise ValueError(f"nrows must be at least 1, or None for the whole file; got {nrows}")
