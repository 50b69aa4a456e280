"""From the sightings of eBird and what is known of their checklists to the matrix of checklists by species."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.arguments import listed
from ignite_recipes.data.ebird_checklists import checklist_facts
from ignite_recipes.data.ebird_choices import Choices
from ignite_recipes.data.ebird_columns import CATEGORY, CHECKLIST, GROUP, OBSERVED, SCIENTIFIC, SPECIES, SUBSPECIES
from ignite_recipes.data.ebird_species import (
    RolledUp,
    categories_of_names,
    is_named,
    rows_with,
    taxa_at_rank,
)
from ignite_recipes.data.ebird_steps import Step, check_left, table_of_steps
from ignite_recipes.optional import needs
from ignite_recipes.optional import pandas as pd

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["SpeciesMatrix", "build_matrix"]
logger = logging.getLogger(__name__)


class SpeciesMatrix(NamedTuple):
    """The matrix that was made from an eBird file, its checklists and its steps.

    >>> import tempfile
    >>> from ignite_recipes import read_species_matrix, write_example_ebd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made: SpeciesMatrix = read_species_matrix(write_example_ebd(f"{folder}/kerala.txt", 50))
    >>> len(made.matrix) == len(made.checklists) == int(made.steps["checklists"].iloc[-1])
    True
    """

    matrix: "pd.DataFrame"
    """As :func:`create_species_matrix` returns it."""
    species: list[str]
    """The names of its species."""
    checklists: "pd.DataFrame"
    """Where, when and with what effort each of its checklists was made, as :func:`read_checklists` returns them."""
    steps: "pd.DataFrame"
    """How many ``sightings``, ``checklists`` and ``species`` were left after each step; the index names the steps."""


def build_matrix(
    sightings: "pd.DataFrame", rows: "pd.DataFrame", sampling: "pd.DataFrame | None", choices: Choices
) -> SpeciesMatrix:
    """The matrix of the checklists that pass the filters.

    Args:
        sightings: one per row, with the columns of a species.
        rows: what they say of each checklist, as :func:`one_row_each` has it.
        sampling: the same from a file of sampling events, of all checklists; None without one.
        choices: what is kept.

    Raises:
        ValueError: if a column is missing, or nothing is left.
    """
    if sampling is not None:
        rows = _with_sampling(rows, sampling)
    choices.filters.check_columns([str(name) for name in rows.columns])
    facts = checklist_facts(rows)
    checklists, names = pd.Categorical(sightings[CHECKLIST]), _names(sightings)
    named = _named_rows(checklists, names)
    place = rows.index.get_indexer(pd.Index(checklists.categories, dtype=object)).astype(np.int32)  # in rows
    is_listed = np.full(len(rows), sampling is not None)  # also without a sighting
    if OBSERVED in sightings:
        is_absence = rows_with(pd.Categorical(sightings[OBSERVED]), {"false", "0"}) & named
        is_listed[place[checklists.codes[is_absence]]] = True
        named &= ~is_absence
    steps = [Step("all that was read", int(named.sum()), len(rows), len(np.unique(names.codes[named])))]

    taxa = _taxa(sightings, names, choices)
    good = named & taxa.has_species
    seen = _seen(place[checklists.codes[good]], taxa.species.codes[good], (len(rows), len(taxa.species.categories)))
    num_sightings = np.bincount(place[checklists.codes[good]], minlength=len(rows))
    kept = is_listed | (num_sightings > 0)
    if choices.taxon_rank is not None:
        dropped = "" if choices.taxon_rank == "genus" or choices.drop_higher else ", drop_higher=False"
        steps.append(_step(f"taxon_rank={choices.taxon_rank}{dropped}", kept, seen, num_sightings))
    for name, mask in choices.filters.masks(facts, rows).items():
        kept &= mask
        steps.append(_step(name, kept, seen, num_sightings))

    lists = np.flatnonzero(kept)
    groups = _groups(rows)
    if choices.shared_checklists != "all":
        lists, seen = _once(
            lists, None if groups is None else groups[lists], seen, choices.shared_checklists == "union"
        )
        name = "shared checklists once" + ", with all their species" * (choices.shared_checklists == "union")
        steps.append(_step(name, _mask(lists, len(rows)), seen, num_sightings))
    seen = seen[lists]
    kinds = _common(seen, taxa.species, choices.min_species_observations)
    seen = seen[:, kinds]
    if choices.min_species_observations:
        name = f"min_species_observations={choices.min_species_observations}"
        steps.append(Step(name, seen.nnz, len(lists), len(kinds)))
    is_long = seen.getnnz(axis=1) >= (choices.min_checklist_species or 0)
    lists, seen = lists[is_long], seen[is_long]
    if choices.min_checklist_species:
        name = f"min_checklist_species={choices.min_checklist_species}"
        steps.append(Step(name, seen.nnz, len(lists), int((seen.getnnz(axis=0) > 0).sum())))
    check_left(steps)
    logger.info("from the file to the matrix, left after each step:\n%s", table_of_steps(steps))

    species = [str(name) for name in taxa.species.categories[kinds]]
    _warn_of_constants(species, seen.getnnz(axis=0), len(lists))
    sparse: Any = pd.DataFrame.sparse  # an accessor that pandas' stubs do not know
    index = None if groups is None else pd.Index(groups[lists], name=GROUP)
    matrix: pd.DataFrame = sparse.from_spmatrix(seen, index=index, columns=species)
    matrix.insert(0, CHECKLIST, np.asarray(rows.index)[lists])
    return SpeciesMatrix(matrix, species, facts.iloc[lists], pd.DataFrame(steps).set_index("step"))


def _with_sampling(rows: "pd.DataFrame", sampling: "pd.DataFrame") -> "pd.DataFrame":
    """What both say of each checklist of the sampling events, of which the sightings' must be a part, as in auk."""
    lacking = rows.index.difference(sampling.index)
    if len(lacking):
        raise ValueError(
            f"sampling must hold every checklist of the sightings; {len(lacking)} of {len(rows)} are not in it, e.g. "
            f"{listed(lacking, 2)}: take both files from one download"
        )
    both = sampling.astype({name: object for name in sampling if sampling[name].dtype == "category"})
    for name in rows:
        known = rows[name].astype(object) if rows[name].dtype == "category" else rows[name]
        known = known.reindex(sampling.index)
        both[name] = both[name].where(both[name].notna(), known) if name in both else known
    return both


def _names(sightings: "pd.DataFrame") -> "pd.Categorical":
    """The common names; in a file of auk's that has none, the scientific ones."""
    return pd.Categorical(sightings[SPECIES if SPECIES in sightings else SCIENTIFIC])


def _taxa(sightings: "pd.DataFrame", names: "pd.Categorical", choices: Choices) -> RolledUp:
    """What each sighting counts as, which the log says."""
    if choices.taxon_rank is None:
        return RolledUp(names, np.ones(len(names), dtype=bool), np.zeros(len(names), dtype=bool))
    scientific, subspecies = (
        pd.Categorical(sightings[name]) if name in sightings else None for name in (SCIENTIFIC, SUBSPECIES)
    )
    if choices.taxon_rank == "genus" and scientific is None:
        raise ValueError(f"taxon_rank='genus' needs the column {SCIENTIFIC}, which the data lack: load it, too")
    if choices.taxon_rank == "subspecies" and subspecies is None and CATEGORY in sightings:
        raise ValueError(
            f"taxon_rank='subspecies' needs the column {SUBSPECIES}, which the data lack: read_species_matrix(path) "
            "and load_ebird_data(path, details=True) read it"
        )
    if CATEGORY in sightings:
        categories = pd.Categorical(sightings[CATEGORY])
    else:
        logger.info(
            "without the column %s, spuhs, slashes, hybrids and taxa below a species are recognised by their names",
            CATEGORY,
        )
        categories = categories_of_names(names)
    taxa = taxa_at_rank(
        choices.taxon_rank, names, scientific, categories, subspecies, drop_higher=choices.drop_higher
    )  # fmt: skip
    num_left, num_below = int(taxa.has_species.sum()), int((taxa.has_species & taxa.is_below).sum())
    logger.info(
        "of %d sightings, %d of subspecies groups, forms, intergrades and domestic birds count as their %s; "
        "%d of no single %s (spuh, slash, hybrid) are left out",
        len(names), num_below, choices.taxon_rank, len(names) - num_left, choices.taxon_rank,
    )  # fmt: skip
    return taxa


def _seen(lists: NDArray[Any], taxa: NDArray[Any], shape: tuple[int, int]) -> "csr_matrix[np.uint8]":
    """1 where a checklist (row) has a taxon (column)."""
    with needs("ebird"):
        from scipy.sparse import csr_matrix

    seen = csr_matrix((np.ones(len(lists), np.uint8), (lists, taxa)), shape=shape)
    seen.sum_duplicates()
    seen.data.fill(1)  # a taxon reported twice was added up
    return seen


def _step(name: str, kept: NDArray[np.bool_], seen: "csr_matrix[np.uint8]", num_sightings: NDArray[Any]) -> Step:
    num_species = int(np.count_nonzero(seen.T @ kept.astype(np.int64)))
    return Step(name, int(num_sightings[kept].sum()), int(kept.sum()), num_species)


def _mask(lists: NDArray[Any], size: int) -> NDArray[np.bool_]:
    mask = np.zeros(size, dtype=bool)
    mask[lists] = True
    return mask


def _groups(rows: "pd.DataFrame") -> "NDArray[Any] | None":
    """The group of each checklist, or its own identifier; None where groups are not known."""
    if GROUP not in rows:
        return None
    groups = rows[GROUP].astype(object)
    return groups.where(groups.notna() & groups.ne(""), rows.index.to_series()).to_numpy()


def _once(
    lists: NDArray[Any], groups: "NDArray[Any] | None", seen: "csr_matrix[np.uint8]", joins: bool
) -> "tuple[NDArray[Any], csr_matrix[np.uint8]]":
    """The first checklist of each group, in the order of their identifiers; with the species of all if it ``joins``."""
    if groups is None:
        logger.warning(
            "data has no %s: checklists that observers shared count as often as they were shared; "
            "load_ebird_data(path) reads it from a file that has it",
            GROUP,
        )
        return lists, seen
    numbers, _ = pd.factorize(groups)
    is_first = ~pd.Series(numbers).duplicated().to_numpy()
    first = lists[is_first]
    logger.info(
        "of %d checklists, %d are left out: others of their %s are kept, of each the one whose %s comes first",
        len(lists), len(lists) - len(first), GROUP, CHECKLIST,
    )  # fmt: skip
    if joins:
        entries = seen[lists].tocoo()
        seen = _seen(first[numbers[entries.row]], entries.col, seen.shape)
    return first, seen


def _common(seen: "csr_matrix[np.uint8]", species: "pd.Categorical", least: int | None) -> NDArray[np.int64]:
    """Which columns are on enough checklists, at least one, in the order of their names."""
    observations = seen.getnnz(axis=0)
    used = np.flatnonzero(observations >= max(least or 0, 1))
    names = species.categories.to_numpy(dtype=object)[used]
    return used[np.argsort(names, kind="stable")]


def _named_rows(checklists: "pd.Categorical", species: "pd.Categorical") -> NDArray[np.bool_]:
    """Which rows say what was seen on which checklist; all, unless the file was cut short."""
    named = is_named(checklists) & is_named(species)
    if not named.all():
        logger.warning("left out %d rows without %s or %s", (~named).sum(), CHECKLIST, SPECIES)
    return named


def _warn_of_constants(names: Sequence[str], observations: NDArray[Any], num_checklists: int) -> None:
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
