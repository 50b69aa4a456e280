"""The species of eBird sightings: taxa below a species are rolled up to it, as the R package auk does."""

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.optional import pandas as pd

__all__ = ["RolledUp", "is_named", "roll_up_to_species", "rows_with"]

BELOW_SPECIES = ("issf", "form", "intergrade", "domestic")  # an issf is an identifiable subspecies or group of them
BLOCK_ROWS = 2**20  # at a time, where an operation takes 8 bytes or more a row

# The genus and the epithet; not "Anser sp.", "Larus argentatus/cachinnans" or "Anas crecca x carolinensis".
_BINOMIAL = re.compile(r"([A-Z][a-z-]+ [a-z-]+)(?![\w/.-])(?! x )")


class RolledUp(NamedTuple):
    """The species of N sightings."""

    species: "pd.Categorical"  # the common name of each one's species
    has_species: NDArray[np.bool_]  # (N,), False for taxa of no single species: spuh, slash, hybrid and the like
    is_below: NDArray[np.bool_]  # (N,), True for taxa below a species


def roll_up_to_species(
    names: "pd.Categorical", scientific_names: "pd.Categorical | None", categories: "pd.Categorical"
) -> RolledUp:
    """The common name of the species of each sighting.

    A subspecies group (issf), form, intergrade or domestic bird goes to the species of its binomial, the first two
    words of the scientific name: "Hirundo rustica [rustica Group]" to the COMMON NAME that a row of the category
    ``species`` has beside "Hirundo rustica". Without such a row it goes to its own common name without what
    stands in parentheses or brackets: "Barn Swallow (Eurasian)" to "Barn Swallow". A form of a species that is not yet
    described has no binomial ("Zoothera sp. nov."), and stays what it is.

    Args:
        names: COMMON NAME of N rows.
        scientific_names: SCIENTIFIC NAME of the same rows; None where it is not known.
        categories: CATEGORY of the same rows.

    Reference: ``auk_rollup`` of the R package auk, https://docs.ropensci.org/auk/reference/auk_rollup.html, which
    takes the species from the eBird taxonomy.
    """
    is_species, is_below = rows_with(categories, {"species"}), rows_with(categories, BELOW_SPECIES)
    has_species = is_species | is_below
    below = np.flatnonzero(is_below & is_named(names))
    scientific = pd.Categorical([None] * len(names)) if scientific_names is None else scientific_names
    size = (len(names.categories), len(scientific.categories) + 1, len(categories.categories))
    parts = (names.codes[below].astype(np.int64), scientific.codes[below].astype(np.int64) + 1, categories.codes[below])
    taxa, which = np.unique(np.ravel_multi_index(parts, size), return_inverse=True)

    name_of = _names_of_binomials(names, scientific, is_species & is_named(names))
    texts = [str(text) for text in scientific.categories]
    targets = [
        _species(
            str(names.categories[name]), texts[known - 1] if known else "", _plain(categories.categories[kind]), name_of
        )
        for name, known, kind in zip(*np.unravel_index(taxa, size), strict=True)
    ]
    all_names = list(dict.fromkeys([*names.categories, *(target for target in targets if target)]))
    code_of = {name: code for code, name in enumerate(all_names)}
    found = np.array([code_of.get(target, -1) for target in targets], np.int64)[which]
    codes = names.codes.astype(np.min_scalar_type(-len(all_names) - 1))
    codes[below[found >= 0]] = found[found >= 0]
    has_species[below] = found >= 0
    return RolledUp(pd.Categorical.from_codes(codes, categories=pd.Index(all_names)), has_species, is_below)


def rows_with(values: "pd.Categorical", accepted: Collection[str]) -> NDArray[np.bool_]:
    """Which rows have one of the accepted values, which are lower-case."""
    rows = np.zeros(len(values), dtype=bool)
    for code, value in enumerate(values.categories):
        if _plain(value) in accepted:
            rows |= values.codes == code  # to index by the codes would take 8 bytes a row
    return rows


def is_named(values: "pd.Categorical") -> NDArray[np.bool_]:
    """Where there is a value; an empty text is none."""
    named: NDArray[np.bool_] = values.codes >= 0
    if "" in values.categories:
        named &= values.codes != values.categories.get_loc("")
    return named


def _plain(value: object) -> str:
    return str(value).strip().lower()


def _names_of_binomials(
    names: "pd.Categorical", scientific: "pd.Categorical", is_species: NDArray[np.bool_]
) -> dict[str, str]:
    """The common name of each species in the rows chosen, by its binomial; the first of several."""
    none = len(names.categories)
    first = np.full(len(scientific.categories), none)
    for rows in _blocks(len(names)):
        known = is_species[rows] & (scientific.codes[rows] >= 0)
        np.minimum.at(first, scientific.codes[rows][known], names.codes[rows][known])
    pairs = zip(scientific.categories, first.tolist(), strict=True)
    return {str(binomial): names.categories[code] for binomial, code in pairs if code < none}


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK_ROWS) for start in range(0, n, BLOCK_ROWS))


def _species(name: str, scientific_name: str, category: str, name_of: dict[str, str]) -> str | None:
    """The common name of the species of a taxon below it; None where it is of no single species."""
    own = re.split(r" [(\[]", name, maxsplit=1)[0]
    if not scientific_name:
        return None if own.endswith(" sp.") or "/" in own or " x " in own else own
    if binomial := _BINOMIAL.match(scientific_name):
        return name_of.get(binomial[1], own)
    is_undescribed = category == "form" and "/" not in scientific_name and " x " not in scientific_name
    return name if is_undescribed else None
