"""The columns of eBird's files, by the names that the eBird Basic Dataset has for them."""

__all__ = ["CHECKLIST", "GROUP", "PROTOCOLS", "protocol_name"]

CHECKLIST = "SAMPLING EVENT IDENTIFIER"
GROUP = "GROUP IDENTIFIER"
SPECIES = "COMMON NAME"
SCIENTIFIC = "SCIENTIFIC NAME"
CATEGORY = "CATEGORY"
COMPLETE = "ALL SPECIES REPORTED"
PROTOCOLS = ("OBSERVATION TYPE", "PROTOCOL TYPE", "PROTOCOL NAME", "PROTOCOL CODE")  # the first one present counts
LATITUDE, LONGITUDE = "LATITUDE", "LONGITUDE"  # in degrees
DATE, TIME = "OBSERVATION DATE", "TIME OBSERVATIONS STARTED"
DURATION, DISTANCE, OBSERVERS = "DURATION MINUTES", "EFFORT DISTANCE KM", "NUMBER OBSERVERS"

_CODES = {"p22": "Traveling", "p21": "Stationary", "p20": "Incidental", "p23": "Area", "p62": "Historical"}
_OLDER = {
    "traveling count": "Traveling",
    "stationary count": "Stationary",
    "casual observation": "Incidental",
    "exhaustive area count": "Area",
}


def protocol_name(text: object) -> str:
    """A protocol as releases of today call it.

    >>> protocol_name("eBird - Traveling Count"), protocol_name("P21"), protocol_name("Nocturnal Flight Call Count")
    ('Traveling', 'Stationary', 'Nocturnal Flight Call Count')
    """
    words = " ".join(str(text).split())
    plain = words.lower().removeprefix("ebird - ")
    known = {name.lower(): name for name in _CODES.values()}
    return _CODES.get(plain) or _OLDER.get(plain) or known.get(plain) or words
