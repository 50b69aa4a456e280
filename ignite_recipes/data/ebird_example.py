"""Write simulated checklists of Kerala in the format of the eBird Basic Dataset."""

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.arguments import shown
from ignite_recipes.data.kerala_birds import BIRDS, PLACES
from ignite_recipes.files import replace_file

__all__ = ["write_example_ebd"]

EBD_COLUMNS: tuple[str, ...] = tuple(
    """GLOBAL UNIQUE IDENTIFIER|LAST EDITED DATE|TAXONOMIC ORDER|CATEGORY|TAXON CONCEPT ID|COMMON NAME|
SCIENTIFIC NAME|SUBSPECIES COMMON NAME|SUBSPECIES SCIENTIFIC NAME|EXOTIC CODE|OBSERVATION COUNT|
BREEDING CODE|BREEDING CATEGORY|BEHAVIOR CODE|AGE/SEX|COUNTRY|COUNTRY CODE|STATE|STATE CODE|COUNTY|
COUNTY CODE|IBA CODE|BCR CODE|USFWS CODE|ATLAS BLOCK|LOCALITY|LOCALITY ID|LOCALITY TYPE|LATITUDE|LONGITUDE|
OBSERVATION DATE|TIME OBSERVATIONS STARTED|OBSERVER ID|OBSERVER ORCID ID|SAMPLING EVENT IDENTIFIER|
OBSERVATION TYPE|PROTOCOL NAME|PROTOCOL CODE|PROJECT NAMES|PROJECT IDENTIFIERS|DURATION MINUTES|
EFFORT DISTANCE KM|EFFORT AREA HA|NUMBER OBSERVERS|ALL SPECIES REPORTED|GROUP IDENTIFIER|HAS MEDIA|
APPROVED|REVIEWED|REASON|CHECKLIST COMMENTS|SPECIES COMMENTS""".replace("\n", "").split("|")
)
"""The named columns of a current release, in their order; a line of the file ends in one empty field more."""

OLDER_NAMES = {"OBSERVATION TYPE": "PROTOCOL TYPE", "CHECKLIST COMMENTS": "TRIP COMMENTS"}
OLDER_LACKS = {"PROTOCOL NAME", "TAXON CONCEPT ID", "OBSERVER ORCID ID"}

PROTOCOLS = ("Traveling", "Stationary", "Incidental", "Historical")
PROTOCOL_CODES = ("P22", "P21", "P20", "P62")

# What a file holds in addition to full species: category, common and scientific name, and those of the subspecies.
OTHER_TAXA = (
    ("issf", "Barn Swallow", "Hirundo rustica", "Barn Swallow (Eurasian)", "Hirundo rustica rustica"),
    ("issf", "Purple Heron", "Ardea purpurea", "Purple Heron (Purple)", "Ardea purpurea [purpurea Group]"),
    ("spuh", "white egret sp.", "Egretta/Ardea sp.", "", ""),
    ("spuh", "swift sp.", "Apodidae sp.", "", ""),
    ("slash", "Tibetan/Greater Sand-Plover", "Anarhynchus atrifrons/leschenaultii", "", ""),
    ("slash", "Pin-tailed/Swinhoe's Snipe", "Gallinago stenura/megala", "", ""),
    ("hybrid", "Little Egret x Western Reef-Heron (hybrid)", "Egretta garzetta x gularis", "", ""),
    ("domestic", "Rock Pigeon", "Columba livia", "Rock Pigeon (Feral Pigeon)", "Columba livia (Feral Pigeon)"),
)

# A stray tab makes a line longer than the header, and no quote is ever closed on purpose.
COMMENTS = (
    'Heard the "kuttroo" call twice',
    '"Pair at the nest',
    "Joby's counting, mine for the ducks",
    "Rain\tuntil 8,\tthen clear",
    '5" of water in the field\tbirds far off',
    "കൊക്ക്, on the bund",
)


class Checklists(NamedTuple):
    """The facts of n checklists, one array of n each."""

    party: NDArray[np.int64]  # checklists of one party are shared: the same walk, several observers
    is_shared: NDArray[np.bool_]
    place: NDArray[np.int64]  # into PLACES
    month: NDArray[np.int64]  # 1 to 12
    day: NDArray[np.int64]  # 1 to 28
    minutes: NDArray[np.int64]
    protocol: NDArray[np.int64]  # into PROTOCOLS
    is_complete: NDArray[np.bool_]


def write_example_ebd(
    path: str | os.PathLike[str],
    num_checklists: int = 2000,
    *,
    seed: int = 0,
    release: Literal["current", "older"] = "current",
) -> Path:
    r"""Write a file that reads like an eBird Basic Dataset, with simulated checklists of about 130 real species.

    Each checklist is made in one habitat, the last part of its LOCALITY ("Vembanad Lake--wetland"). A species
    is found with a probability that depends on the habitat, the locality, the season and the duration. As in
    real files there are subspecies, hybrids and other taxa that are not species, incomplete and incidental
    checklists, counts of "X", checklists shared by two or three observers, quotes and stray tabs in comments.

    Args:
        path: the file to write; missing folders are made, and an existing file is replaced completely.
        num_checklists: number of distinct sampling events, each with at least one species.
        seed: the file is a function of it and ``num_checklists``; no global generator is read or seeded.
        release: ``"older"`` names the protocol column PROTOCOL TYPE and lacks three newer columns.

    Returns:
        The path.

    Raises:
        ValueError: if ``num_checklists`` is not positive or ``release`` is unknown.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_example_ebd(f"{folder}/example.txt", num_checklists=10)
    ...     file.read_text(encoding="utf-8").split("\t")[5]
    'COMMON NAME'
    """
    if num_checklists < 1:
        raise ValueError(f"num_checklists must be at least 1; got {num_checklists}")
    if release not in ("current", "older"):
        raise ValueError(f"release must be 'current' or 'older'; got {shown(release)}")
    rng = np.random.default_rng(seed)
    checklists = _draw_checklists(rng, num_checklists)
    found = _draw_species(rng, checklists)
    columns = [name for name in EBD_COLUMNS if release == "current" or name not in OLDER_LACKS]
    names = [OLDER_NAMES.get(name, name) if release == "older" else name for name in columns]
    lines = chain(["\t".join(names) + "\t\n"], _lines(rng, checklists, found, columns))
    return replace_file(path, lambda file: file.writelines(line.encode() for line in lines))


def _draw_checklists(rng: np.random.Generator, n: int) -> Checklists:
    size = rng.choice([1, 2, 3], size=n, p=[0.88, 0.08, 0.04])  # n parties are enough
    party = np.repeat(np.arange(n), size)[:n]
    by_party = {
        "place": rng.integers(len(PLACES), size=n),
        "month": rng.integers(1, 13, size=n),
        "day": rng.integers(1, 29, size=n),
        "minutes": np.clip(rng.lognormal(mean=np.log(45), sigma=0.7, size=n), 5, 300).astype(np.int64),
        "protocol": rng.choice(len(PROTOCOLS), size=n, p=[0.5, 0.32, 0.12, 0.06]),
    }
    facts = {name: values[party] for name, values in by_party.items()}
    is_complete = (rng.random(n) < 0.93)[party] & (facts["protocol"] != PROTOCOLS.index("Incidental"))
    is_shared = np.bincount(party, minlength=n)[party] > 1
    return Checklists(party=party, is_shared=is_shared, is_complete=is_complete, **facts)


def _draw_species(rng: np.random.Generator, checklists: Checklists) -> NDArray[np.bool_]:
    """Which species each checklist holds: (n, S)."""
    n = len(checklists.party)
    is_home = np.array([[place.habitat in bird.habitats.split() for bird in BIRDS] for place in PLACES])
    rate = -np.log1p(-np.array([bird.found_per_hour for bird in BIRDS]))  # finds per hour, (S,)
    rate = rate * np.where(is_home, 1.0, 0.02) * rng.lognormal(sigma=0.6, size=is_home.shape)  # (places, S)
    is_winter = (checklists.month >= 10) | (checklists.month <= 3)
    in_season = np.where([bird.winter for bird in BIRDS], is_winter[:, None], True)  # (n, S)
    hours = checklists.minutes / 60 * np.where(checklists.is_complete, 1.0, 0.2)
    chance = -np.expm1(-rate[checklists.place] * hours[:, None]) * np.where(in_season, 1.0, 0.02)
    first_of_party = np.searchsorted(checklists.party, checklists.party)
    found: NDArray[np.bool_] = (rng.random((n, len(BIRDS))) < chance)[first_of_party]
    # Observers of one party differ in a few species.
    differs = checklists.is_shared[:, None] & (rng.random(found.shape) < np.where(found, 0.06, 0.002))
    found ^= differs
    found[np.arange(n), chance.argmax(axis=1)] |= ~found.any(axis=1)
    return found


def _lines(
    rng: np.random.Generator, checklists: Checklists, found: NDArray[np.bool_], columns: list[str]
) -> Iterator[str]:
    sighting = 0
    for number in range(len(found)):
        row = dict.fromkeys(EBD_COLUMNS, "") | _checklist_fields(rng, checklists, number)
        species = np.flatnonzero(found[number])
        taxa = [("species", *BIRDS[i][:2], "", "") for i in species]
        taxa += [OTHER_TAXA[i] for i in np.flatnonzero(rng.random(len(OTHER_TAXA)) < 0.04)]
        counts = rng.geometric(0.3, size=len(taxa))
        quirks = rng.random((len(taxa), 2))
        for taxon, count, (uncounted, commented) in zip(taxa, counts.tolist(), quirks.tolist(), strict=True):
            sighting += 1
            row |= _sighting_fields(taxon, sighting, "X" if uncounted < 0.08 else str(count))
            row["SPECIES COMMENTS"] = COMMENTS[sighting % len(COMMENTS)] if commented < 0.06 else ""
            yield "\t".join([row[name] for name in columns]) + "\t\n"


def _checklist_fields(rng: np.random.Generator, checklists: Checklists, number: int) -> dict[str, str]:
    party, place_number = int(checklists.party[number]), int(checklists.place[number])
    place, protocol = PLACES[place_number], int(checklists.protocol[number])
    minutes, month = int(checklists.minutes[number]), int(checklists.month[number])
    is_timed = PROTOCOLS[protocol] != "Incidental"
    return {
        "LAST EDITED DATE": f"2025-01-{1 + number % 28:02d} 08:00:00",
        "COUNTRY": "India",
        "COUNTRY CODE": "IN",
        "STATE": "Kerala",
        "STATE CODE": "IN-KL",
        "COUNTY": place.district,
        "COUNTY CODE": place.district_code,
        "LOCALITY": f"{place.name}--{place.habitat}",
        "LOCALITY ID": f"L{500_000 + place_number}",
        "LOCALITY TYPE": "H",
        "LATITUDE": f"{place.latitude:.4f}",
        "LONGITUDE": f"{place.longitude:.4f}",
        "OBSERVATION DATE": f"2024-{month:02d}-{int(checklists.day[number]):02d}",
        "TIME OBSERVATIONS STARTED": f"{6 + party % 12:02d}:{5 * (party % 7):02d}:00" if is_timed else "",
        "OBSERVER ID": f"obsr{1000 + int(rng.integers(400))}",
        "SAMPLING EVENT IDENTIFIER": f"S{200_000_000 + number}",
        "OBSERVATION TYPE": PROTOCOLS[protocol],
        "PROTOCOL NAME": PROTOCOLS[protocol],
        "PROTOCOL CODE": PROTOCOL_CODES[protocol],
        "PROJECT NAMES": "eBird India",
        "PROJECT IDENTIFIERS": "EBIRD_IND",
        "DURATION MINUTES": str(minutes) if is_timed else "",
        "EFFORT DISTANCE KM": f"{minutes / 40:.3f}" if PROTOCOLS[protocol] == "Traveling" else "",
        "NUMBER OBSERVERS": "3" if checklists.is_shared[number] else "1",
        "ALL SPECIES REPORTED": str(int(checklists.is_complete[number])),
        "GROUP IDENTIFIER": f"G{10_000_000 + party}" if checklists.is_shared[number] else "",
        "HAS MEDIA": "0",
        "APPROVED": "1",
        "REVIEWED": "0",
        "CHECKLIST COMMENTS": COMMENTS[number % len(COMMENTS)] if rng.random() < 0.1 else "",
    }


def _sighting_fields(taxon: tuple[str, str, str, str, str], sighting: int, count: str) -> dict[str, str]:
    category, common_name, scientific_name, subspecies, subspecies_scientific = taxon
    return {
        "GLOBAL UNIQUE IDENTIFIER": f"URN:CornellLabOfOrnithology:EBIRD:OBS{3_000_000_000 + sighting}",
        "TAXONOMIC ORDER": str(_TAXONOMIC_ORDER.get(common_name, 40_000)),
        "TAXON CONCEPT ID": f"avibase-{_TAXONOMIC_ORDER.get(common_name, 40_000):08X}",
        "CATEGORY": category,
        "COMMON NAME": common_name,
        "SCIENTIFIC NAME": scientific_name,
        "SUBSPECIES COMMON NAME": subspecies,
        "SUBSPECIES SCIENTIFIC NAME": subspecies_scientific,
        "OBSERVATION COUNT": count,
    }


_TAXONOMIC_ORDER = {bird.common_name: 100 * (number + 1) for number, bird in enumerate(BIRDS)}
