"""The page of a report: sections of texts, tables and pictures, as one HTML file that needs nothing else."""

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ignite_recipes.optional import needs
from ignite_recipes.plotting.style import as_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Picture", "Section", "Table", "cell", "write_page"]

_LONGEST = 200  # characters of a cell


@dataclass
class Table:
    """Rows of texts, aligned by what they hold.

    >>> Table(["class", "recall"], [["crow", 0.5]]).rows
    [['crow', '0.5']]
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    numeric: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        self.numeric = [
            bool(self.rows) and all(_is_number(row[k]) or row[k] is None for row in self.rows)
            for k in range(len(self.header))
        ]
        self.header = [cell(name) for name in self.header]
        self.rows = [[cell(value) for value in row] for row in self.rows]


@dataclass
class Picture:
    """A drawn figure, with a text for those who cannot see it."""

    source: str
    alternative: str
    width: int
    caption: str = ""

    @classmethod
    def of(cls, figure: "Figure", alternative: str, caption: str = "") -> "Picture":
        """Drawn, and embedded."""
        png, size = as_png(figure)
        source = "data:image/png;base64," + base64.b64encode(png).decode()
        return cls(source, alternative, size["width"], caption)


@dataclass
class Section:
    """A heading and what stands below it: texts, tables, pictures."""

    title: str
    parts: list[str | Table | Picture]

    @property
    def anchor(self) -> str:
        """By which the page's list of contents leads here."""
        return "-".join("".join(letter if letter.isalnum() else " " for letter in self.title.lower()).split())


def cell(value: Any) -> str:
    """A value as a table shows it.

    >>> cell(None), cell(0.123456), cell(float("nan")), cell(3)
    ('-', '0.1235', '-', '3')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def write_page(title: str, subtitle: str, headline: str, sections: Iterable[Section]) -> str:
    """The page; whatever stands in texts and tables is text, and never becomes HTML."""
    with needs("report"):
        from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ignite_recipes.answers", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests |= {
        "table": lambda part: isinstance(part, Table),
        "picture": lambda part: isinstance(part, Picture),
    }
    template = environment.get_template("report.html.jinja")
    return template.render(title=title, subtitle=subtitle, headline=headline, sections=list(sections))
