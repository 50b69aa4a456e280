"""What is known of each checklist: where and when it was made, with what effort, by how many observers."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.arguments import listed
from ignite_recipes.data.ebird_columns import (
    CHECKLIST,
    DATE,
    DISTANCE,
    DURATION,
    LATITUDE,
    LONGITUDE,
    OBSERVERS,
    PROTOCOLS,
    TIME,
    protocol_name,
)
from ignite_recipes.data.ebird_file import read_columns, read_header
from ignite_recipes.data.frames import as_pandas, is_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_checklists"]

FACTS = (LATITUDE, LONGITUDE, DATE, TIME, DURATION, DISTANCE, OBSERVERS)
COLUMNS = ("latitude", "longitude", "date", "start_minutes", "duration_minutes", "distance_km", "observers", "protocol")

_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::\d{2})?\s*([AP]M)?", re.IGNORECASE)


def read_checklists(
    path_or_frame: "str | os.PathLike[str] | pd.DataFrame", identifiers: "Iterable[str] | None" = None
) -> "pd.DataFrame":
    """Where, when and with what effort checklists were made, one row per checklist.

    Args:
        path_or_frame: an eBird file, or its rows as a frame. Columns that it lacks become missing values.
        identifiers: which checklists, in this order, e.g. ``matrix["SAMPLING EVENT IDENTIFIER"]``; by default all, in
            the order of their identifiers.

    Returns:
        A frame whose index, SAMPLING EVENT IDENTIFIER, equals ``identifiers``, with the columns

        - ``latitude``, ``longitude``: in degrees;
        - ``date``: a datetime64, without the time of day;
        - ``start_minutes``: after midnight, local time;
        - ``duration_minutes``, ``distance_km``, ``observers``: of a stationary checklist the distance is 0;
        - ``protocol``: as releases of today call it, e.g. ``"Traveling"``; a category.

        NaN (NaT for dates) is what the file does not say, or says in no way that is known.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no column of identifiers, or lacks one of the checklists.

    >>> import tempfile
    >>> from ignite_recipes.data import write_example_ebd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_example_ebd(f"{folder}/kerala.txt", num_checklists=10)
    ...     checklists = read_checklists(file, ["S200000003", "S200000001"])
    >>> checklists["duration_minutes"].tolist(), checklists["protocol"].tolist()
    ([nan, 26.0], ['Incidental', 'Traveling'])
    """
    rows = as_pandas(path_or_frame) if is_frame(path_or_frame) else _read(Path(path_or_frame))  # type: ignore[arg-type]
    if CHECKLIST not in rows:
        raise ValueError(f"checklists must be named by a column {CHECKLIST}; got the columns {listed(rows.columns)}")
    rows = rows[~rows[CHECKLIST].duplicated() & rows[CHECKLIST].notna()]
    facts = _facts(rows)
    if identifiers is None:
        return facts.sort_index()
    wanted = list(identifiers)
    if missing := sorted(set(wanted) - set(facts.index)):
        raise ValueError(f"the file must hold every checklist of identifiers; it lacks {listed(missing)}: take its own")
    return facts.loc[wanted]


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    header = read_header(path)
    protocol = [name for name in PROTOCOLS if name in header][:1]
    names = [name for name in (CHECKLIST, *FACTS, *protocol) if name in header]
    return pd.DataFrame(read_columns(path, names, NUMBERS, None), copy=False)


NUMBERS = (LATITUDE, LONGITUDE, DURATION, DISTANCE, OBSERVERS)


def _facts(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The columns of the result, from one row per checklist with those of the file."""
    import pandas as pd

    index = pd.Index(rows[CHECKLIST].astype(object), name=CHECKLIST)
    protocol = next((name for name in PROTOCOLS if name in rows), None)
    kinds = _of_each_value(rows, protocol, protocol_name)
    distance = _numbers(rows, DISTANCE)
    distance[np.isnan(distance) & (kinds == "Stationary")] = 0.0
    dates = pd.to_datetime(pd.Series(_of_each_value(rows, DATE, _date), dtype=object), errors="coerce")
    columns = {
        "latitude": _numbers(rows, LATITUDE),
        "longitude": _numbers(rows, LONGITUDE),
        "date": dates.to_numpy(),
        "start_minutes": _of_each_value(rows, TIME, _minutes).astype(float),
        "duration_minutes": _numbers(rows, DURATION),
        "distance_km": distance,
        "observers": _numbers(rows, OBSERVERS),
        "protocol": pd.Categorical(kinds),
    }
    return pd.DataFrame(columns, index=index, columns=list(COLUMNS))


def _numbers(rows: "pd.DataFrame", name: str) -> NDArray[np.float64]:
    import pandas as pd

    if name not in rows:
        return np.full(len(rows), np.nan)
    values = rows[name]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)


def _of_each_value(rows: "pd.DataFrame", name: str | None, what: Any) -> NDArray[Any]:
    """A function of each value, called once for each distinct one; None where it is missing."""
    import pandas as pd

    if name is None or name not in rows:
        return np.full(len(rows), None, dtype=object)
    values = pd.Categorical(rows[name])
    of_code: NDArray[Any] = np.array([*map(what, values.categories), None], dtype=object)
    found: NDArray[Any] = of_code[values.codes]
    return found


def _minutes(text: object) -> float | None:
    """After midnight, of "07:15:00", "7:15" or "07:15 PM"."""
    found = _TIME.fullmatch(str(text).strip())
    if found is None:
        return None
    hours, minutes, half = int(found[1]), int(found[2]), (found[3] or "").upper()
    if half:
        hours = hours % 12 + 12 * (half == "PM")
    return float(60 * hours + minutes) if hours < 24 and minutes < 60 else None


def _date(text: object) -> str | None:
    """As 2024-01-31, of that, of a time on that day, and of the 01-31-2024 of older downloads of one's own data."""
    words = str(text).strip()[:10]
    if older := re.fullmatch(r"(\d{2})[-/](\d{2})[-/](\d{4})", words):
        return f"{older[3]}-{older[1]}-{older[2]}"
    return words if re.fullmatch(r"\d{4}-\d{2}-\d{2}", words) else None
