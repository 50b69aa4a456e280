"""The columns of eBird's files: what the eBird Basic Dataset calls them, whatever a file calls them."""

import re
from collections.abc import Collection, Sequence

from ignite_recipes.optional import pandas as pd

__all__ = [
    "CATEGORY",
    "CHECKLIST",
    "CHECKLIST_COLUMNS",
    "COMPLETE",
    "DATE",
    "DISTANCE",
    "DURATION",
    "GROUP",
    "LATITUDE",
    "LONGITUDE",
    "NUMBERS",
    "OBSERVED",
    "OBSERVERS",
    "PROTOCOLS",
    "REGIONS",
    "SCIENTIFIC",
    "SPECIES",
    "SUBSPECIES",
    "TIME",
    "ebd_names",
    "protocol_column",
    "protocol_name",
    "with_ebd_names",
]

CHECKLIST = "SAMPLING EVENT IDENTIFIER"
GROUP = "GROUP IDENTIFIER"
SPECIES, SCIENTIFIC, SUBSPECIES = "COMMON NAME", "SCIENTIFIC NAME", "SUBSPECIES COMMON NAME"
CATEGORY = "CATEGORY"
OBSERVED = "SPECIES OBSERVED"  # of auk_zerofill: a row that is false says that a species was not seen
COMPLETE = "ALL SPECIES REPORTED"
PROTOCOLS = ("OBSERVATION TYPE", "PROTOCOL TYPE", "PROTOCOL NAME", "PROTOCOL CODE")  # the first one present counts
LATITUDE, LONGITUDE = "LATITUDE", "LONGITUDE"  # in degrees
DATE, TIME = "OBSERVATION DATE", "TIME OBSERVATIONS STARTED"
DURATION, DISTANCE, OBSERVERS = "DURATION MINUTES", "EFFORT DISTANCE KM", "NUMBER OBSERVERS"
REGIONS = ("COUNTRY", "COUNTRY CODE", "STATE", "STATE CODE", "COUNTY", "COUNTY CODE")

# Columns that hold a number or nothing in every release; OBSERVATION COUNT is none of them, it may be "X".
NUMBERS = ("TAXONOMIC ORDER", LATITUDE, LONGITUDE, DURATION, DISTANCE, "EFFORT AREA HA", OBSERVERS)

CHECKLIST_COLUMNS = (
    CHECKLIST, GROUP, COMPLETE, LATITUDE, LONGITUDE, DATE, TIME, DURATION, DISTANCE, OBSERVERS, *REGIONS,
)  # fmt: skip
"""What is the same in all rows of a checklist; the protocol is too."""

# What other files call them, in capitals and without signs: MyEBirdData.csv, and what R and auk make of names.
_ALSO = {
    "AGE SEX": "AGE/SEX",
    "ALL OBS REPORTED": COMPLETE,
    "AREA COVERED HA": "EFFORT AREA HA",
    "COUNT": "OBSERVATION COUNT",
    "DATE": DATE,
    "DISTANCE TRAVELED KM": DISTANCE,
    "DURATION MIN": DURATION,
    "LOCATION": "LOCALITY",
    "LOCATION ID": "LOCALITY ID",
    "NUMBER OF OBSERVERS": OBSERVERS,
    "OBSERVATION DETAILS": "SPECIES COMMENTS",
    "PROTOCOL": PROTOCOLS[0],
    "STATE PROVINCE": "STATE CODE",
    "SUBMISSION ID": CHECKLIST,
    "TIME": TIME,
}

_CODES = {"p22": "Traveling", "p21": "Stationary", "p20": "Incidental", "p23": "Area", "p62": "Historical"}
_OLDER = {
    "traveling count": "Traveling",
    "stationary count": "Stationary",
    "casual observation": "Incidental",
    "exhaustive area count": "Area",
}
_NAMES = {name.lower(): name for name in _CODES.values()}


def ebd_names(written: Sequence[str]) -> list[str]:
    """The columns of a file by the names of the eBird Basic Dataset; those that it does not know in capitals.

    Known are the names of auk (``sampling_event_identifier``), of R (``SAMPLING.EVENT.IDENTIFIER``) and of
    MyEBirdData.csv (``Submission ID``).

    >>> ebd_names(["checklist_id", "common_name", "Duration (Min)", "AGE/SEX"])
    ['SAMPLING EVENT IDENTIFIER', 'COMMON NAME', 'DURATION MINUTES', 'AGE/SEX']
    """
    plain = [" ".join(re.findall(r"\w+", name.replace("_", " "))).upper() for name in written]
    names = [_ALSO.get(name, name) for name in plain]
    if CHECKLIST not in names and "CHECKLIST ID" in names:  # of auk: the group of a shared checklist, or its own
        names[names.index("CHECKLIST ID")] = CHECKLIST
    return names


def with_ebd_names(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The frame with the names of the eBird Basic Dataset; itself if it has them, or is not a frame of checklists."""
    written = [str(name) for name in frame.columns]
    if CHECKLIST in written:
        return frame
    names = ebd_names(written)
    if CHECKLIST not in names:
        return frame
    # A second column of the same name would be ambiguous: it keeps the name that it has.
    return frame.set_axis([name if names.index(name) == k else written[k] for k, name in enumerate(names)], axis=1)


def protocol_column(names: Collection[object]) -> str | None:
    """The column that says how a checklist was made: which one there is depends on the release."""
    return next((name for name in PROTOCOLS if name in names), None)


def protocol_name(text: object) -> str:
    """A protocol as releases of today call it.

    >>> protocol_name("eBird - Traveling Count"), protocol_name("P21"), protocol_name("Nocturnal Flight Call Count")
    ('Traveling', 'Stationary', 'Nocturnal Flight Call Count')
    """
    words = " ".join(str(text).split())
    plain = words.lower().removeprefix("ebird - ")
    return _CODES.get(plain) or _OLDER.get(plain) or _NAMES.get(plain) or words
