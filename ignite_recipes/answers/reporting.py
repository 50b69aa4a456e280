"""A report of an experiment, as one page that opens without a network."""

import os
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from ignite_recipes.answers.inputs import Inputs, read_inputs, true_values
from ignite_recipes.answers.report_birds import bird_sections
from ignite_recipes.answers.report_classes import class_sections
from ignite_recipes.answers.report_numbers import number_sections
from ignite_recipes.answers.report_page import Section, write_page
from ignite_recipes.answers.report_run import curves_section, run_section, settings_section
from ignite_recipes.answers.report_vectors import vector_sections
from ignite_recipes.answers.report_windows import deadband_section, window_sections
from ignite_recipes.answers.run_data import traffic_series, traffic_sides
from ignite_recipes.answers.trained import Trained, find_trained
from ignite_recipes.arguments import as_text
from ignite_recipes.data.tables import as_column
from ignite_recipes.data.traffic_series import TrafficSeries
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.members import is_group
from ignite_recipes.files import replace_file
from ignite_recipes.many import Runs
from ignite_recipes.models import ArrayPredictor, TablePredictor, VectorEmbedder, WindowPredictor
from ignite_recipes.optional import check_installed
from ignite_recipes.plotting.histories import Experiment, find_experiment

__all__ = ["report", "report_on_many", "write_report"]

_DIGIT = (8, 8)


def report(
    experiment: Experiment,
    output: str | os.PathLike[str] | None = None,
    *,
    data: Any = None,
    targets: Any = None,
    model: nn.Module | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
    device: str | torch.device | None = "auto",
) -> Path:
    """Write one HTML page on an experiment; its pictures are in it, and it opens without a network.

    It has the model and the data of the training (the data file's hash, versions, the commit, the command), the curves
    with the best epoch, and measures with their bootstrap intervals. For classes it has confusions, each class,
    calibration and the worst examples; for numbers residuals and the worst rows; for a variational autoencoder
    reconstructions, a map and the effect of each dimension; for a traffic predictor its flags compared with the
    baselines, and the cost and gain of other deadbands. For many runs it has the settings with their intervals,
    verdicts on their differences, curves with a band, and the measures of the ensemble; with ``data`` it is the report
    on the ensemble.

    Args:
        experiment, model, runs_dir, device: as in :func:`predict`.
        output: the file to write; None is ``report.html`` in the experiment's folder.
        data, targets: data to measure on, as in :func:`evaluate`; None are the validation data of the run. If they do
            not exist any more, the report says so and holds the rest.

    Returns:
        The file.

    Raises:
        FileNotFoundError, ValueError, CheckpointError: as :func:`evaluate`.

    >>> import tempfile
    >>> from ignite_recipes.cli import main
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = main(["supervised", "--epochs", "1", "--device", "cpu", "--runs-dir", folder])
    ...     page = report("exp1", runs_dir=folder, device="cpu").read_text(encoding="utf-8")
    Epoch 1/1 | ...
    >>> "Confusion matrix" in page, "http://" in page
    (True, False)
    """
    check_installed("report")
    manager = find_experiment(experiment, runs_dir)
    if is_group(manager.experiment_dir) and data is None:
        return report_on_many(manager, output)
    trained = find_trained(manager, model=model, device=device)
    return write_report(trained, None if data is None else read_inputs(trained, data, targets), output)


def report_on_many(experiment: ExperimentManager, output: str | os.PathLike[str] | None = None) -> Path:
    """The report of an experiment of many runs."""
    from ignite_recipes.answers.report_many import write_many_report

    return write_many_report(Runs(experiment), _page_file(experiment, output))


def _page_file(experiment: ExperimentManager, output: str | os.PathLike[str] | None) -> Path:
    path = Path(experiment.experiment_dir, "report.html") if output is None else Path(output).expanduser()
    if path.suffix not in (".html", ".htm"):
        raise ValueError(f"a report must be written to a file that ends in .html; got {path.name!r}")
    return path


def write_report(trained: Trained, inputs: Inputs | None = None, output: str | os.PathLike[str] | None = None) -> Path:
    """The report of what was found and read; without inputs on the validation data, as far as they are there."""
    path = _page_file(trained.experiment, output)
    if inputs is None:
        try:
            headline, answers = _answers(trained, read_inputs(trained))
        except (ValueError, FileNotFoundError) as error:
            headline, answers = "", [Section("Measures", [f"Nothing was measured: {error}"])]
    else:
        headline, answers = _answers(trained, inputs)
    curves = curves_section(trained)
    sections = [*answers, *([] if curves is None else [curves]), run_section(trained), settings_section(trained)]
    subtitle = f"{trained.recipe}, best epoch {trained.epoch}, in {trained.experiment.experiment_dir}"
    page = write_page(f"Report on {trained.name}", subtitle, headline, sections)
    return replace_file(path, lambda file: file.write(as_text(page).encode()))


def _answers(trained: Trained, inputs: Inputs) -> tuple[str, list[Section]]:
    """What the model says of the inputs, and how good that is."""
    predictor = trained.predictor
    if isinstance(predictor, TablePredictor):
        return _of_table(trained, predictor, inputs)
    if isinstance(predictor, VectorEmbedder):
        is_digits = trained.settings.get("file") is None and trained.recipe == "vae"
        headline, sections = vector_sections(
            predictor, inputs, _DIGIT if is_digits else None, _digits(inputs) if is_digits else None
        )
        return headline, [*sections, *bird_sections(Path(trained.experiment.experiment_dir))]
    if isinstance(predictor, WindowPredictor):
        windows = predictor.windows(inputs.data)
        train = traffic_sides(trained.settings)[0] if trained.recipe == "traffic" else windows
        headline, sections = window_sections(predictor, windows, train)
        series = inputs.data if isinstance(inputs.data, TrafficSeries) else None
        if series is None and trained.recipe == "traffic":
            series = traffic_series(trained.settings)[0]  # that the run was trained on
        if series is None or predictor.limits is None:
            return headline, sections
        return headline, [*sections, deadband_section(predictor, series)]
    assert isinstance(predictor, ArrayPredictor)
    targets = true_values(trained, inputs, "report on it")
    truth, found = predictor.comparable(predictor.outputs(inputs.data), targets)
    if predictor.class_names is None:
        return number_sections(predictor, inputs, truth, found, "target")
    return class_sections(predictor, inputs, truth, found, _as_images(trained, inputs.data))


def _of_table(trained: Trained, predictor: TablePredictor, inputs: Inputs) -> tuple[str, list[Section]]:
    target = predictor.target
    column = as_column(true_values(trained, inputs, "report on it"), target.name)
    known = column.is_not_null()
    frame = inputs.data.filter(known)
    truth, found = predictor.comparable(predictor.outputs(frame), target.encode(column.filter(known)))
    rows = inputs._replace(data=frame, rows=frame.drop(target.name, strict=False))  # which stands first anyway
    if target.classes:
        return class_sections(predictor, rows, truth, found, None)
    return number_sections(predictor, rows, truth, found, target.name)


def _as_images(trained: Trained, data: Any) -> NDArray[Any] | None:
    """(N, H, W) or (N, H, W, 3), if the samples are images."""
    if not isinstance(data, torch.Tensor):
        return None
    if trained.recipe == "supervised" and data.shape[1:] == (64,):
        data = data.reshape(-1, 1, *_DIGIT)
    if data.dim() != 4 or data.shape[1] not in (1, 3):
        return None
    data = data / 255 if data.dtype == torch.uint8 else data.float().clamp(0, 1)
    images: NDArray[Any] = data.permute(0, 2, 3, 1).numpy()
    return images[..., 0] if images.shape[-1] == 1 else images


def _digits(inputs: Inputs) -> Any:
    """The digit that each vector shows, where they are the digits that the run was validated on."""
    from ignite_recipes.data import load_digits_matrix

    indices = getattr(inputs.data, "indices", None)
    return None if indices is None else load_digits_matrix()[1][torch.as_tensor(indices)].numpy()
