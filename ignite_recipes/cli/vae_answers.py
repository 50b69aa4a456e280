"""What ``ignite-recipes vae FILE`` does when its training has ended: it answers what an ecologist asks next."""

import logging
from pathlib import Path
from typing import Any

import torch

from ignite_recipes.answers.inputs import Inputs
from ignite_recipes.answers.run_data import VaeData
from ignite_recipes.cli.result import Result
from ignite_recipes.data import RowDataset
from ignite_recipes.exchange.ranks import rank
from ignite_recipes.models import VectorEmbedder
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["with_answers"]

logger = logging.getLogger(__name__)


def with_answers(
    result: Result,
    run: ExperimentRun,
    model: torch.nn.Module,
    data: VaeData,
    sides: tuple[RowDataset, RowDataset],
    settings: dict[str, Any],
) -> Result:
    """What was reached, and the files that an ecologist asks for; if these cannot be made, the model is there still."""
    folder = Path(run.make().experiment_dir)
    if rank() != 0:
        return result
    # Drawn and written with libraries that a training does not need.
    from ignite_recipes.answers.bird_files import write_bird_files
    from ignite_recipes.answers.reporting import write_report
    from ignite_recipes.answers.trained import find_trained

    try:
        predictor = VectorEmbedder(model, feature_names=data.names)
        found = write_bird_files(predictor, data, *sides, folder, settings["seed"])
        page = write_report(find_trained(run.make(), device=settings["device"]), Inputs(sides[1], None, []))
    except Exception as error:  # whatever it is, the training has ended well
        logger.warning("the model is trained and kept, but not all of its answers are written: %s", error)
        return result
    if found is None:
        return result._replace(text=f"Embeddings, species and maps are there too, and {page}\n{result.text}")
    rows = found.models.to_dicts()
    said = ", ".join(f"{row['model']} {row['average_precision']:.3f}" for row in rows)
    text = (
        f"Half of the species of {found.checklists:,} held-out checklists hidden, average precision: {said}\n"
        f"Embeddings, species, maps and the evaluation are in {page}\n{result.text}"
    )
    return result._replace(text=text, facts={**result.facts, "hidden_species": rows})
