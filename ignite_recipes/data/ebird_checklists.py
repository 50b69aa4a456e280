"""What is known of each checklist: where and when it was made, with what effort, by how many observers."""

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.arguments import listed
from ignite_recipes.data.ebird_archive import find_ebird_file, is_of_sampling_events
from ignite_recipes.data.ebird_columns import (
    CHECKLIST,
    CHECKLIST_COLUMNS,
    DATE,
    DISTANCE,
    DURATION,
    LATITUDE,
    LONGITUDE,
    NUMBERS,
    OBSERVERS,
    TIME,
    protocol_column,
    protocol_name,
    with_ebd_names,
)
from ignite_recipes.data.ebird_file import Columns, read_tables
from ignite_recipes.data.ebird_species import BLOCK_ROWS, is_named
from ignite_recipes.data.frames import as_pandas, is_frame
from ignite_recipes.optional import pandas as pd

__all__ = ["checklist_columns", "checklist_facts", "one_row_each", "read_checklist_rows", "read_checklists"]

COLUMNS = ("latitude", "longitude", "date", "start_minutes", "duration_minutes", "distance_km", "observers", "protocol")

_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::\d{2})?\s*([AP]M)?", re.IGNORECASE)


def read_checklists(
    path_or_frame: "str | os.PathLike[str] | pd.DataFrame", identifiers: "Iterable[str] | None" = None
) -> "pd.DataFrame":
    """Where, when and with what effort checklists were made, one row per checklist.

    Args:
        path_or_frame: an eBird file, or its rows as a frame. Columns that it lacks become missing values.
        identifiers: the checklists to read, in this order, e.g. ``matrix["SAMPLING EVENT IDENTIFIER"]``; by default
            all, in the order of their identifiers.

    Returns:
        A frame whose index, SAMPLING EVENT IDENTIFIER, equals ``identifiers``, with the columns

        - ``latitude``, ``longitude``: in degrees;
        - ``date``: a datetime64, without the time of day;
        - ``start_minutes``: after midnight, local time;
        - ``duration_minutes``, ``distance_km``, ``observers``: the distance of a stationary checklist is 0;
        - ``protocol``: as releases of today call it, e.g. ``"Traveling"``; a category.

        NaN (NaT for dates) means that the file does not say it, or not in a known form.

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
    facts = checklist_facts(read_checklist_rows(path_or_frame))
    if identifiers is None:
        return facts
    if isinstance(identifiers, str):
        raise ValueError(f"identifiers must be a list of checklists' identifiers; got {identifiers!r}: put it in [...]")
    wanted = list(identifiers)
    if missing := sorted(set(wanted) - set(facts.index)):
        raise ValueError(f"the file must hold every checklist of identifiers; it lacks {listed(missing)}: take its own")
    return facts.loc[wanted]


def read_checklist_rows(path_or_frame: "str | os.PathLike[str] | pd.DataFrame") -> "pd.DataFrame":
    """What a file or a frame says of each checklist, one row each, as :func:`one_row_each` has them.

    A file of sightings does, and one of sampling events; of a download with both the latter is taken.
    """
    if is_frame(path_or_frame):
        return one_row_each(with_ebd_names(as_pandas(path_or_frame)))
    path = Path(path_or_frame)  # type: ignore[arg-type]
    file = find_ebird_file(path, "checklists" if is_of_sampling_events(path) else "sightings")
    return one_row_each(read_tables(file, [checklist_columns(file.header.names)])[0])


def checklist_columns(names: Collection[str]) -> Columns:
    """What is to be read of each checklist from a file with these columns."""
    protocol = protocol_column(names)
    wanted = (*CHECKLIST_COLUMNS, *([] if protocol is None else [protocol]))
    return Columns([name for name in wanted if name in names], once_per=CHECKLIST)


def one_row_each(rows: "pd.DataFrame") -> "pd.DataFrame":
    """One row for each checklist, with the first value of each column that is not missing.

    Its index holds the identifiers, sorted; its columns are those of checklists that ``rows`` has.

    Raises:
        ValueError: if there is no column of identifiers.
    """
    if CHECKLIST not in rows:
        raise ValueError(f"checklists must be named by a column {CHECKLIST}; got the columns {listed(rows.columns)}")
    identifiers = pd.Categorical(rows[CHECKLIST])
    used = np.zeros(len(identifiers.categories), dtype=bool)
    named = is_named(identifiers)
    used[identifiers.codes[named]] = True
    texts = identifiers.categories.to_numpy(dtype=object)
    order = np.flatnonzero(used)
    order = order[np.argsort(texts[order], kind="stable")]
    place = np.full(len(texts), -1)
    place[order] = np.arange(len(order))
    columns = {}
    for name in checklist_columns(list(map(str, rows.columns))).names:
        if name != CHECKLIST:
            values = rows[name] if name in NUMBERS else pd.Series(pd.Categorical(rows[name]))
            known = values.notna().to_numpy() & named if name in NUMBERS else is_named(pd.Categorical(values)) & named
            where = np.full(len(order), -1)
            for start in reversed(range(0, len(rows), BLOCK_ROWS)):
                found = start + np.flatnonzero(known[start : start + BLOCK_ROWS])[::-1]
                where[place[identifiers.codes[found]]] = found  # of several the last one written, which is the first
            columns[name] = pd.api.extensions.take(values.array, where, allow_fill=True)
    return pd.DataFrame(columns, index=pd.Index(texts[order], name=CHECKLIST))


def checklist_facts(rows: "pd.DataFrame") -> "pd.DataFrame":
    """What :func:`read_checklists` returns, from one row for each checklist."""
    kinds = _of_each_value(rows, protocol_column(rows.columns), protocol_name)
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
    return pd.DataFrame(columns, index=rows.index, columns=list(COLUMNS))


def _numbers(rows: "pd.DataFrame", name: str) -> NDArray[np.float64]:
    if name not in rows:
        return np.full(len(rows), np.nan)
    values = rows[name]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)


def _of_each_value(rows: "pd.DataFrame", name: str | None, what: Any) -> NDArray[Any]:
    """A function of each value, called once for each distinct one; None where it is missing."""
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
    """As 2024-01-31, of that, of a time on that day, and of the 01-31-2024 of older downloads of your own data."""
    words = str(text).strip()[:10]
    if older := re.fullmatch(r"(\d{2})[-/](\d{2})[-/](\d{4})", words):
        return f"{older[3]}-{older[1]}-{older[2]}"
    return words if re.fullmatch(r"\d{4}-\d{2}-\d{2}", words) else None
