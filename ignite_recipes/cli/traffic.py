"""``ignite-recipes traffic``: train a traffic predictor on the CO2 series, or on a CSV file."""

from collections.abc import Sequence
from typing import Any, get_type_hints

import torch
from jsonargparse import ArgumentParser

from ignite_recipes.answers.run_data import traffic_sides
from ignite_recipes.answers.trained import window_predictor
from ignite_recipes.cli.attachments import monitored, require_best
from ignite_recipes.cli.experiments import Run, experiment_parser, run_experiment, run_options
from ignite_recipes.cli.options import add_options, option_names, parameter_texts
from ignite_recipes.cli.result import Result
from ignite_recipes.data import TrafficArrays, baseline_reports, load_co2, load_traffic_csv
from ignite_recipes.data.deadband import Limits
from ignite_recipes.handlers.progress import print_line
from ignite_recipes.recipes import TrafficParameters, getDefaultModelParams, trainModel
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["HELP", "main", "parser"]

HELP = "train a predictor of a sender's traffic on the CO2 series, or on a CSV file"

_OWN = ("seed", "num_epochs", "early_stop_patience", "save_checkpoints", "checkpoint_dir")
_OF_THE_DATA = ("input_size", "output_size", "num_classes", "len_source", "len_target")
_DEFAULTS = {
    "batch_size": 256,  # the CO2 series has 1770 windows: the recipe's 1024 would leave two steps an epoch
    "calibrate_flags": True,
}


def parser() -> ArgumentParser:
    """The command's options."""
    options = experiment_parser(
        "traffic",
        "Train a predictor of the traffic of a sender that transmits only changes; without a file, on the weekly CO2 "
        "series that comes with statsmodels.",
        trainModel,
    )
    options.add_argument(
        "file", nargs="?", type=str | None, help="a CSV of context columns, with a transmission flag or a deadband"
    )
    add_options(options, load_co2, ["len_source", "len_target", "deadband", "val_size"])
    add_options(options, load_traffic_csv, ["flag_column", "time_column"])
    options.add_argument("--epochs", type=int, default=50, help="the last epoch to train, counted from 1")
    options.add_argument("--patience", type=int | None, default=10, help="epochs to wait before stopping")
    texts, kinds = parameter_texts(TrafficParameters), get_type_hints(TrafficParameters)
    for name, value in _parameters().items():
        default = _DEFAULTS.get(name, value)
        options.add_argument(*option_names(name), type=kinds[name], default=default, help=texts[name])
    return options


def _parameters() -> dict[str, Any]:
    """The recipe's parameters that are neither the command's own nor given by the data."""
    defaults = getDefaultModelParams(1, 1, [torch.empty(1, 1, 1)])
    return {name: value for name, value in defaults.items() if name not in (*_OWN, *_OF_THE_DATA)}


def main(argv: Sequence[str], run: Run = run_experiment) -> Result:
    """Train, or do what ``run`` does with the recipe; the result, as one line."""
    return run("traffic", parser(), argv, traffic_sides, _train)


def _train(
    run: ExperimentRun,
    settings: dict[str, Any],
    data: tuple[TrafficArrays, TrafficArrays, Limits, list[str]],
) -> Result:
    train, val, limits, names = data
    parameters = getDefaultModelParams(settings["len_source"], settings["len_target"], train)
    parameters |= {name: settings[name] for name in (*_parameters(), "seed")}
    parameters |= {"num_epochs": settings["epochs"], "early_stop_patience": settings["patience"]}
    model, _, info = trainModel(
        parameters | {"save_checkpoints": False},
        train,
        val,
        device=settings["device"],
        **run_options(run, settings, trainModel),
    )
    require_best(run, settings, info["best_epoch"])
    predictor = window_predictor(model, settings, limits, names, info.get("flag_threshold"))
    run.write_model(lambda: predictor, info["best_epoch"])
    reports = {"model": predictor.evaluate(val), **baseline_reports(train, val)}
    for name, report in reports.items():
        print_line("  ".join([f"{name:<15}", *(f"{key} {value:.3f}" for key, value in report.items())]))
    return _verdict(reports, info, run.make().experiment_dir, monitored(settings, info))


def _verdict(reports: dict[str, dict[str, float]], info: dict[str, Any], folder: str, monitored: str) -> Result:
    model, *baselines = reports.values()
    best_mse = min(report["traffic_mse"] for report in baselines)
    best_kappa = max(report["kappa"] for report in baselines)
    beats = model["traffic_mse"] < best_mse and model["kappa"] > best_kappa
    return Result(
        f"Traffic: mean squared error {model['traffic_mse']:.4f} and kappa {model['kappa']:.3f}{monitored} at epoch "
        f"{info['best_epoch']} of {info['total_epochs_trained']}, {'better' if beats else 'no better'} than the "
        f"baselines ({best_mse:.4f}, {best_kappa:.3f}); curves and checkpoints are in {folder}",
        {
            "best_epoch": info["best_epoch"],
            "epochs_trained": info["total_epochs_trained"],
            "metrics": model,
            "baselines": {name: report for name, report in reports.items() if name != "model"},
            "is_better": beats,
        },
    )
