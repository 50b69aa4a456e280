"""The species of eBird sightings: taxa below a species are rolled up to it, as the R package auk does."""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.optional import pandas as pd

__all__ = [
    "RolledUp",
    "categories_of_names",
    "is_named",
    "roll_up_to_species",
    "rows_with",
    "taxa_at_rank",
]

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
    ``species`` has for "Hirundo rustica". Without such a row it goes to its own common name without what
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


def taxa_at_rank(
    rank: str,
    names: "pd.Categorical",
    scientific_names: "pd.Categorical | None",
    categories: "pd.Categorical",
    subspecies: "pd.Categorical | None",
    *,
    drop_higher: bool,
) -> RolledUp:
    """The taxon of each sighting at a rank, as :func:`roll_up_to_species` has it for species.

    Args:
        rank: ``"species"``; ``"subspecies"``, where a taxon below a species counts by its own name; or ``"genus"``, by
            the first word of the scientific name. To a genus belong its spuhs, slashes and hybrids too, if the data
            have a species of it, which tells it from a family ("Apodidae sp.").
        names: COMMON NAME of N rows.
        scientific_names: SCIENTIFIC NAME of the same rows; None where it is not known.
        categories: CATEGORY of the same rows.
        subspecies: SUBSPECIES COMMON NAME of the same rows; None where it is not known.
        drop_higher: whether taxa of no single species are left out, as ``auk_rollup`` has it; else they count by
            their own names. A genus has them anyway.
    """
    if rank == "genus":
        assert scientific_names is not None
        return _genera(scientific_names, categories)
    if rank == "subspecies":
        is_below = rows_with(categories, BELOW_SPECIES)
        own = names if subspecies is None else _with_names(names, subspecies, is_below & is_named(subspecies))
        rolled_up = RolledUp(own, is_below | rows_with(categories, {"species"}), np.zeros(len(names), dtype=bool))
    else:
        rolled_up = roll_up_to_species(names, scientific_names, categories)
    return rolled_up if drop_higher else rolled_up._replace(has_species=is_named(names))


def _genera(scientific: "pd.Categorical", categories: "pd.Categorical") -> RolledUp:
    is_of_species = rows_with(categories, {"species", *BELOW_SPECIES})
    used = np.zeros(len(scientific.categories) + 1, dtype=bool)  # the last is that of missing names
    used[scientific.codes[is_of_species]] = True
    texts = [str(text) for text in scientific.categories]
    genera = {text.split()[0] for text, is_used in zip(texts, used, strict=False) if is_used and _BINOMIAL.match(text)}

    def genus(text: object) -> str | None:
        first, *others = str(text).split()
        is_one = first in genera and not any(word[:1].isupper() and word.isalpha() for word in others)
        return first if is_one else None

    found = _of_values(scientific, genus)
    return RolledUp(found, found.codes >= 0, ~rows_with(categories, {"species"}))


def _with_names(names: "pd.Categorical", others: "pd.Categorical", rows: NDArray[np.bool_]) -> "pd.Categorical":
    """The names, but in the chosen rows the others."""
    all_names = list(dict.fromkeys([*names.categories, *others.categories]))
    code_of = {name: code for code, name in enumerate(all_names)}
    codes = names.codes.astype(np.min_scalar_type(-len(all_names) - 1))
    codes[rows] = np.array([code_of[name] for name in others.categories], codes.dtype)[others.codes[rows]]
    return pd.Categorical.from_codes(codes, categories=pd.Index(all_names))


def categories_of_names(names: "pd.Categorical") -> "pd.Categorical":
    """The CATEGORY that eBird's names tell, for files without it: common names, or scientific ones.

    >>> import pandas as pd
    >>> names = ["gull sp.", "Hairy/Downy Woodpecker", "Mallard x Gadwall (hybrid)", "Barn Swallow (A/B)", "Shikra"]
    >>> categories_of_names(pd.Categorical(names)).tolist()
    ['spuh', 'slash', 'hybrid', 'form', 'species']
    """
    return _of_values(names, _category_of)


def _category_of(name: object) -> str:
    text = str(name)
    own = _without_brackets(text)
    if re.search(r"\bsp\.(?! nov\.)", text):
        return "spuh"
    if "/" in own and not re.match(r"[A-Z][a-z-]+ [a-z-]+ [a-z-]+/", own):  # the last: two subspecies of one species
        return "slash"
    if " x " in own and not re.match(r"[A-Z][a-z-]+ [a-z-]+ [a-z-]+ x ", own):
        return "hybrid"
    is_below = own != text or re.fullmatch(r"[A-Z][a-z-]+ [a-z-]+ [a-z-]+.*", own) is not None
    return "form" if is_below else "species"


def _without_brackets(name: str) -> str:
    return re.split(r" [(\[]", name, maxsplit=1)[0]


def _of_values(values: "pd.Categorical", what: Callable[[object], Any]) -> "pd.Categorical":
    """A function of each value, called once for each distinct one; None, and what is missing, is missing."""
    results = [what(value) for value in values.categories]
    found = sorted({result for result in results if result is not None})
    code_of = {result: code for code, result in enumerate(found)}
    codes = np.array([*(code_of.get(result, -1) for result in results), -1], np.min_scalar_type(-len(found) - 1))
    return pd.Categorical.from_codes(codes[values.codes], categories=pd.Index(found, dtype=object))


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
    own = _without_brackets(name)
    if not scientific_name:
        return None if own.endswith(" sp.") or "/" in own or " x " in own else own
    if binomial := _BINOMIAL.match(scientific_name):
        # A file without common names has the scientific ones in their place.
        return name_of.get(binomial[1], binomial[1] if name == scientific_name else own)
    is_undescribed = category == "form" and "/" not in scientific_name and " x " not in scientific_name
    return name if is_undescribed else None
