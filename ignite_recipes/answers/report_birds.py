"""What a report says of a run on checklists, from the files that the run left: hidden species, a map, neighbours."""

import base64
from pathlib import Path
from typing import Any

from ignite_recipes.answers.bird_files import (
    EVALUATION,
    GEOGRAPHIC_MAP,
    NEAREST_SPECIES,
    SPECIES_EMBEDDINGS,
    SPECIES_SCORES,
)
from ignite_recipes.answers.report_page import Picture, Section, Table
from ignite_recipes.optional import needs
from ignite_recipes.optional import polars as pl

__all__ = ["bird_sections"]

_SHOWN = 25  # species, of the tables


def bird_sections(folder: Path) -> list[Section]:
    """A section for each of the files that are there; none of another run."""
    found = [_evaluation(folder), _map(folder), _neighbours(folder)]
    return [section for section in found if section is not None]


def _evaluation(folder: Path) -> Section | None:
    if not (folder / EVALUATION).is_file() or not (folder / SPECIES_SCORES).is_file():
        return None
    models = pl.read_csv(folder / EVALUATION)
    species = pl.read_csv(folder / SPECIES_SCORES, infer_schema_length=None)
    first = models["model"][0]
    own = species.filter(pl.col("model") == first).sort("present", descending=True, maintain_order=True)
    parts: list[Any] = [
        "A random half of the species of each held-out checklist was hidden and predicted from the other half. Recall "
        "and NDCG are means over checklists, average precision (the area under the curve of precision and recall) and "
        "Brier score means over species; the calibration error is of all probabilities together. Scores that are not "
        "probabilities do not have the last two.",
        Table([name.replace("_", " ") for name in models.columns], models.rows(), "The model and its baselines"),
        Table(
            [name.replace("_", " ") for name in own.columns[1:]],
            [row[1:] for row in own.head(_SHOWN).rows()],
            f"The {min(_SHOWN, len(own))} species that were hidden most often where they were present; all of "
            f"them, and the baselines, are in {SPECIES_SCORES}",
        ),
    ]
    return Section("Hidden species", parts)


def _map(folder: Path) -> Section | None:
    path = folder / GEOGRAPHIC_MAP
    if not path.is_file():
        return None
    with needs("report"):
        from PIL import Image

    with Image.open(path) as image:
        width = round(image.width * 100 / 150)  # drawn with 150 dots an inch, shown with 100
    source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    text = "A map of the checklists, in each cell the mean of the first principal component of their latent means."
    return Section("Geographic map", [Picture(source, text, width)])


def _neighbours(folder: Path) -> Section | None:
    if not (folder / NEAREST_SPECIES).is_file() or not (folder / SPECIES_EMBEDDINGS).is_file():
        return None
    near = pl.read_csv(folder / NEAREST_SPECIES, infer_schema_length=None)
    counts = pl.read_csv(folder / SPECIES_EMBEDDINGS, columns=["species", "checklists"])
    rows = counts.join(near, on="species").sort("checklists", descending=True, maintain_order=True).head(_SHOWN)
    names = [name for name in near.columns if name.startswith("nearest_")]
    texts = [
        [
            row["species"],
            row["checklists"],
            ", ".join(f"{row[name]} ({row[name.replace('nearest', 'cosine')]:.2f})" for name in names),
        ]
        for row in rows.iter_rows(named=True)
    ]
    return Section(
        "Nearest species",
        [
            "Species whose log-odds rise and fall together along the latent dimensions, with the cosine of their "
            f"embeddings, of the {len(texts)} most frequent species; all are in {NEAREST_SPECIES}.",
            Table(["species", "checklists", "nearest"], texts),
        ],
    )
