"""The report on a traffic predictor: measures compared with baselines, and the flags in time."""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ignite_recipes.answers.measured import bootstrap, show
from ignite_recipes.answers.report_classes import confusions
from ignite_recipes.answers.report_page import Picture, Section, Table
from ignite_recipes.answers.report_tables import measure_table, sentence
from ignite_recipes.data import TrafficArrays, baseline_reports, deadband_curve, traffic_report
from ignite_recipes.data.deadband_curve import DEADBANDS
from ignite_recipes.data.traffic_report import quadratic_kappa
from ignite_recipes.data.traffic_series import TrafficSeries
from ignite_recipes.models import WindowPredictor
from ignite_recipes.plotting.deadband_curve import plot_deadband_curve
from ignite_recipes.plotting.diagnostics import draw_confusion, draw_flags

__all__ = ["deadband_section", "window_measures", "window_sections"]

_SHOWN = 200  # samples in a row


def window_measures() -> dict[str, Any]:
    """As ``traffic_report``, of rows (traffic, number of transmissions, flags ...) of truth and prediction."""
    return {
        "traffic, mean squared error": _traffic_error,
        "number of transmissions, accuracy": _accuracy,
        "number of transmissions, kappa": lambda truth, guess: quadratic_kappa(truth[:, 1], guess[:, 1]),
        "flags, F1": _f1,
    }


def deadband_section(predictor: WindowPredictor, series: TrafficSeries) -> Section:
    """What other deadbands would cost and save on the whole series; the training's is marked, if it had one."""
    own = [] if predictor.deadband is None else [predictor.deadband]
    with warnings.catch_warnings():  # of samples out of the limits, which are told of where the windows are made
        warnings.simplefilter("ignore", UserWarning)
        bands = sorted({*DEADBANDS, *own})
        curve = deadband_curve(series.context, bands, predictor.limits, feature_names=series.names)
    text = (
        f"Send-on-delta on {len(series.context)} samples: a receiver holds the last transmitted sample. Deadbands and "
        "errors are parts of a feature's range."
    )
    picture = Picture.of(
        plot_deadband_curve(curve, predictor.deadband),
        "The error of the receiver over the part of the samples that is transmitted, for each deadband.",
        "A label is the deadband of the point below it.",
    )
    header = [name.replace("_", " ") for name in curve.columns]
    return Section("Deadband", [text, picture, Table(header, [list(row) for row in curve.iter_rows()])])


def window_sections(
    predictor: WindowPredictor, windows: TrafficArrays, train: TrafficArrays
) -> tuple[str, list[Section]]:
    """What stands first on the page, and the sections.

    Args:
        predictor: the model.
        windows: to measure on.
        train: those that the baselines' mean is taken of.
    """
    outputs = predictor.outputs(windows)
    numbers = outputs.class_logits.argmax(1, keepdim=True)
    chances = outputs.transmission_logits.double().sigmoid()
    flags = chances > predictor.flag_threshold
    truth = _rows(windows.target_traffic, windows.target_class, windows.transmissions)
    guess = _rows(outputs.traffic, numbers, flags)
    # Neighbouring windows share samples: drawn one by one, they would promise more than they know.
    block = windows.sources.shape[1] + windows.targets.shape[1]
    found = bootstrap(window_measures(), truth, guess, block=block)
    reports = {"model": traffic_report(outputs, windows, predictor.flag_threshold), **baseline_reports(train, windows)}
    best = min(report["traffic_mse"] for name, report in reports.items() if name != "model")
    error = sentence(found["traffic, mean squared error"], "")
    headline = f"Mean squared error of the traffic {error} on {len(truth)} windows; the best baseline has {show(best)}."
    rows = [[name, *(float(value) for value in report.values())] for name, report in reports.items()]
    header = ["", *(name.replace("_", " ") for name in reports["model"])]
    how = f"blocks of {block} windows in a row, which share samples, were drawn again, with replacement"
    counts = confusions(truth[:, 1].astype(np.int64), outputs.class_logits.softmax(1).numpy())
    sections = [
        Section("Measures", measure_table(predictor, found, len(truth), how)),
        Section(
            "Against the baselines",
            [
                f"Precision, recall and F1 are of the flags, expected where their probability is above "
                f"{show(predictor.flag_threshold)}; kappa is quadratically weighted, of the number of "
                "transmissions in a window.",
                Table(header, rows),
            ],
        ),
        Section("Flags", [_flags_picture(windows, chances, train, predictor.flag_threshold)]),
        Section(
            "Number of transmissions",
            [
                Picture.of(
                    draw_confusion(counts, range(len(counts))),
                    "Confusion matrix of the number of transmissions in a window: true downwards, predicted across.",
                )
            ],
        ),
    ]
    return headline, sections


def _flags_picture(windows: TrafficArrays, chances: Tensor, train: TrafficArrays, threshold: float) -> Picture:
    """Every T-th window, so that each sample stands there once."""
    len_target = windows.transmissions.shape[1]
    chosen = slice(0, max(len_target, _SHOWN // len_target * len_target), len_target)

    def in_a_row(values: Tensor) -> NDArray[Any]:
        return values[chosen].float().flatten().numpy()[:_SHOWN]

    mean = train.target_traffic.double().mean().float().expand_as(windows.source_traffic)
    guesses = {"last window": windows.source_traffic, "mean": mean, "always": torch.ones_like(mean)}
    expected = {name: in_a_row((traffic > 0.5).float().expand(-1, len_target)) for name, traffic in guesses.items()}
    figure = draw_flags(in_a_row(windows.transmissions), in_a_row(chances), expected, threshold)
    return Picture.of(
        figure,
        "Above: the probability that each sample is transmitted. Below: those that were, and are expected to be.",
        f"The first {len(expected['mean'])} samples; a mark for each that was transmitted or is expected to be.",
    )


def _rows(traffic: Tensor, numbers: Tensor, flags: Tensor) -> NDArray[np.float64]:
    """(N, 2 + T)."""
    return torch.cat([part.double() for part in (traffic, numbers, flags)], dim=1).numpy()


def _traffic_error(truth: NDArray[Any], guess: NDArray[Any]) -> float:
    return float(np.square(truth[:, 0] - guess[:, 0]).mean())


def _accuracy(truth: NDArray[Any], guess: NDArray[Any]) -> float:
    return float((truth[:, 1] == guess[:, 1]).mean())


def _f1(truth: NDArray[Any], guess: NDArray[Any]) -> float:
    sent, found = truth[:, 2:] > 0.5, guess[:, 2:] > 0.5
    return float(2 * (sent & found).sum() / max(int(sent.sum() + found.sum()), 1))
