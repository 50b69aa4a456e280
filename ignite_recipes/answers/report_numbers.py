"""What a report says of a model of numbers: measures, residuals, the worst rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.answers.inputs import Inputs
from ignite_recipes.answers.measured import bootstrap, show
from ignite_recipes.answers.report_page import Picture, Section
from ignite_recipes.answers.report_tables import example_table, measure_table, sentence
from ignite_recipes.models.file import Predictor
from ignite_recipes.models.measures import NUMBER_MEASURES
from ignite_recipes.plotting.diagnostics import draw_residuals

__all__ = ["number_sections"]

WORST = 12


def number_sections(
    predictor: Predictor, inputs: Inputs, truth: NDArray[Any], guess: NDArray[Any], name: str
) -> tuple[str, list[Section]]:
    """What stands first on the page, and the sections.

    Args:
        predictor: of the numbers.
        inputs: that were predicted.
        truth, guess: (N,), in the target's units.
        name: the name of the target.
    """
    unit = predictor.units.get("prediction", "")
    found = bootstrap(NUMBER_MEASURES, truth, guess)
    of_unit = f" {unit}" if unit else ""
    headline = (
        f"Root mean squared error {sentence(found['rmse'], of_unit)} on {len(truth)} samples; always guessing their "
        f"mean would give {show(float(truth.std()))}{of_unit}."
    )
    residuals = truth - guess
    worst = np.argsort(-np.abs(residuals), kind="stable")[:WORST]
    ends = [float(x) for x in np.quantile(residuals, [0.05, 0.5, 0.95])]
    first = {
        "true": truth[worst].tolist(),
        "predicted": guess[worst].tolist(),
        "true - predicted": residuals[worst].tolist(),
    }
    sections = [
        Section("Measures", measure_table(predictor, found, len(truth))),
        Section(
            "Residuals",
            [
                f"Half of the residuals are above {show(ends[1])}{of_unit}; nine in ten are between {show(ends[0])} "
                f"and {show(ends[2])}{of_unit}.",
                Picture.of(
                    draw_residuals(truth, guess, name, unit),
                    "Left: true values against predicted ones. Right: how their differences are spread.",
                ),
            ],
        ),
        Section(
            "Worst rows",
            [
                f"The {len(worst)} samples that are farthest from their prediction.",
                example_table(inputs.rows, worst, first),
            ],
        ),
    ]
    return headline, sections
