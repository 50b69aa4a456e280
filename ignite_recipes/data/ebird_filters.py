"""Which checklists to keep: by date, place, protocol and effort."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.arguments import listed, shown
from ignite_recipes.data.ebird_columns import (
    COMPLETE,
    DATE,
    DISTANCE,
    DURATION,
    LATITUDE,
    OBSERVERS,
    PROTOCOLS,
    REGIONS,
    protocol_name,
)
from ignite_recipes.data.ebird_filter_checks import (
    as_list,
    check_amount,
    check_box,
    check_months,
    check_words,
    day,
)
from ignite_recipes.data.ebird_species import rows_with
from ignite_recipes.optional import pandas as pd

__all__ = ["BEST_PRACTICES", "ChecklistFilters"]

BEST_PRACTICES: Mapping[str, Any] = MappingProxyType(
    {
        "protocols": ("Traveling", "Stationary"),
        "max_duration_minutes": 360.0,
        "max_distance_km": 10.0,
        "max_speed_km_per_hour": 100.0,
        "max_observers": 10,
    }
)
"""The filters that eBird's scientists recommend, for ``create_species_matrix(data, **BEST_PRACTICES)``.

Strimas-Mackey, Hochachka, Ruiz-Gutierrez, Robinson, Miller, Auer, Kelling, Fink and Johnston (2023): Best Practices
for Using eBird Data, version 2.0, https://ebird.github.io/ebird-best-practices/ebird.html. Version 1.0 (2020) had 5
hours and 5 km.
"""


@dataclass(frozen=True, kw_only=True)
class ChecklistFilters:
    """Which checklists to keep; None is any. One of which a quantity is not known does not pass a filter of it.

    What is a list may also be a text with commas, ``"12,1,2"``.

    Attributes:
        protocols: e.g. ``["Traveling", "Stationary", "Area"]``, or eBird's codes, as ``"P22"``.
        complete_only: whether only complete checklists are kept, on which all species are reported.
        start_date: the first day, as ``"2024-01-31"``, or a date.
        end_date: the last day, which is kept too.
        months: of the year, each from 1 to 12, e.g. ``[12, 1, 2]``.
        bounding_box: west, south, east and north, in degrees, as in ``auk_bbox``; its edges are kept. A box whose
            west is greater than its east lies across the 180th meridian.
        region: names or codes of countries, states or counties as eBird has them, e.g. ``["IN-KL"]``.
        min_duration_minutes: the least duration, in minutes.
        max_duration_minutes: the greatest duration, in minutes.
        max_distance_km: the greatest distance, in km; that of a stationary checklist is 0.
        max_speed_km_per_hour: the greatest speed, in km/h: the distance divided by the duration.
        max_observers: the greatest number of observers.

    Raises:
        ValueError: if a setting is of another kind, or can leave nothing.

    >>> ChecklistFilters(months="12,1,2", max_duration_minutes=300).given()
    {'months': [12, 1, 2], 'max_duration_minutes': 300}
    >>> ChecklistFilters(**BEST_PRACTICES).max_distance_km
    10.0
    """

    protocols: str | Sequence[str] | None = None
    complete_only: bool | None = None
    start_date: str | None = None
    end_date: str | None = None
    months: str | Sequence[int] | None = None
    bounding_box: str | Sequence[float] | None = None
    region: str | Sequence[str] | None = None
    min_duration_minutes: float | None = None
    max_duration_minutes: float | None = None
    max_distance_km: float | None = None
    max_speed_km_per_hour: float | None = None
    max_observers: int | None = None

    def __post_init__(self) -> None:
        for name, kind in {"protocols": str, "region": str, "months": int, "bounding_box": float}.items():
            object.__setattr__(self, name, as_list(getattr(self, name), kind))
        start, end = (day(name, getattr(self, name)) for name in ("start_date", "end_date"))
        if start is not None and end is not None and start > end:
            raise ValueError(f"start_date must not be later than end_date; got {start} and {end}: swap them")
        if self.complete_only not in (None, True, False):
            raise ValueError(f"complete_only must be True, False or None; got {shown(self.complete_only)}")
        check_months(self.months)
        check_box(self.bounding_box)
        for name in ("region", "protocols"):
            check_words(name, getattr(self, name))
        for name, unit in _AMOUNTS.items():
            check_amount(name, unit, getattr(self, name))
        least, most = self.min_duration_minutes, self.max_duration_minutes
        if least is not None and most is not None and least > most:
            raise ValueError(f"min_duration_minutes must not be above max_duration_minutes; got {least} and {most}")

    def given(self) -> dict[str, Any]:
        """The filters that are set, in their order."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value is not False}

    def check_columns(self, names: Sequence[str]) -> None:
        """Raise ValueError if a filter needs columns of the file that are not among ``names``."""
        for name, value in self.given().items():
            needed = _NEEDED[name]
            if not any(column in names for column in needed):
                raise ValueError(
                    f"{name}={_words(value)} needs the column {' or '.join(needed)}, which the data lack: "
                    "read_species_matrix(path) and load_ebird_data(path, details=True) read it, sampling= may have it; "
                    f"for a file without it {_INSTEAD.get(name, 'leave this filter out')}"
                )

    def masks(self, facts: "pd.DataFrame", rows: "pd.DataFrame") -> dict[str, NDArray[np.bool_]]:
        """Which of N checklists each filter that is set keeps, by what the log calls it.

        Args:
            facts: as :func:`read_checklists` returns them.
            rows: the same checklists with the columns of the file.
        """
        return {f"{name}={_words(value)}": _KEEPS[name](value, facts, rows) for name, value in self.given().items()}


_AMOUNTS = {
    "min_duration_minutes": "minutes",
    "max_duration_minutes": "minutes",
    "max_distance_km": "km",
    "max_speed_km_per_hour": "km/h",
    "max_observers": "observers",
}
_NEEDED: dict[str, tuple[str, ...]] = {
    "complete_only": (COMPLETE,),
    "start_date": (DATE,),
    "end_date": (DATE,),
    "months": (DATE,),
    "bounding_box": (LATITUDE,),
    "region": REGIONS,
    "protocols": PROTOCOLS,
    "min_duration_minutes": (DURATION,),
    "max_duration_minutes": (DURATION,),
    "max_distance_km": (DISTANCE,),
    "max_speed_km_per_hour": (DISTANCE,),
    "max_observers": (OBSERVERS,),
}
_INSTEAD = {
    "complete_only": "pass complete_only=False, if you know that its checklists are complete",
    "protocols": "pass apply_quality_filters=False",
}


def _in_box(box: tuple[float, float, float, float], facts: "pd.DataFrame", rows: "pd.DataFrame") -> Any:
    west, south, east, north = box
    longitude, latitude = facts["longitude"].to_numpy(), facts["latitude"].to_numpy()
    is_east, is_west = longitude >= west, longitude <= east
    return (latitude >= south) & (latitude <= north) & (is_east & is_west if west <= east else is_east | is_west)


def _in_region(regions: Sequence[str], facts: "pd.DataFrame", rows: "pd.DataFrame") -> Any:
    """Also a state or county whose code begins with that of the region: IN-KL is in IN."""
    wanted = {region.strip().lower() for region in regions}
    found = np.zeros(len(rows), dtype=bool)
    for name in REGIONS:
        if name in rows:
            values = pd.Categorical(rows[name])
            names = [str(value).strip().lower() for value in values.categories]
            within = [_with_larger(value) if name.endswith("CODE") else {value} for value in names]
            found |= rows_with(values, {value for value, areas in zip(names, within, strict=True) if areas & wanted})
    return found


def _with_larger(code: str) -> set[str]:
    """The codes of a county, its state and its country."""
    words = code.split("-")
    return {"-".join(words[:n]) for n in range(1, len(words) + 1)}


def _by_protocol(protocols: Sequence[str], facts: "pd.DataFrame", rows: "pd.DataFrame") -> Any:
    wanted = {protocol_name(protocol).lower() for protocol in protocols}
    is_wanted = [str(name).lower() in wanted for name in facts["protocol"].cat.categories]
    return np.array([*is_wanted, False])[facts["protocol"].cat.codes]


def _speed(facts: "pd.DataFrame") -> Any:
    """In km/h; of no distance 0, also where it took no time, as eBird has of some stationary counts."""
    distance, hours = facts["distance_km"].to_numpy(), facts["duration_minutes"].to_numpy() / 60
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / hours)


def _is_complete(wanted: bool, facts: "pd.DataFrame", rows: "pd.DataFrame") -> Any:
    return rows_with(pd.Categorical(rows[COMPLETE]), {"1", "1.0", "true"})


_KEEPS: dict[str, Callable[[Any, "pd.DataFrame", "pd.DataFrame"], Any]] = {
    "complete_only": _is_complete,
    "start_date": lambda first, facts, rows: (facts["date"] >= str(day("start_date", first))).to_numpy(),
    "end_date": lambda last, facts, rows: (facts["date"] <= str(day("end_date", last))).to_numpy(),
    "months": lambda months, facts, rows: facts["date"].dt.month.isin(list(months)).to_numpy(),
    "bounding_box": _in_box,
    "region": _in_region,
    "protocols": _by_protocol,
    "min_duration_minutes": lambda least, facts, rows: facts["duration_minutes"].to_numpy() >= least,
    "max_duration_minutes": lambda most, facts, rows: facts["duration_minutes"].to_numpy() <= most,
    "max_distance_km": lambda most, facts, rows: facts["distance_km"].to_numpy() <= most,
    "max_speed_km_per_hour": lambda most, facts, rows: _speed(facts) <= most,
    "max_observers": lambda most, facts, rows: facts["observers"].to_numpy() <= most,
}


def _words(value: Any) -> str:
    return listed(value).replace("'", "") if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
