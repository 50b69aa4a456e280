"""The parameters of the traffic recipe: what they mean, their defaults, and their checks."""

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypedDict

from ignite_recipes.arguments import shown
from ignite_recipes.data.traffic import TrafficDataset
from ignite_recipes.recipes.checks import check_count, check_positive

__all__ = ["CHECKPOINT_DIR", "TrafficParameters", "complete_parameters", "getDefaultModelParams"]

CHECKPOINT_DIR = "checkpoints"
"""Where checkpoints are written, by default."""


class TrafficParameters(TypedDict, total=False):
    """The parameters of :func:`trainModel`; those left out have the values of :func:`getDefaultModelParams`.

    Attributes:
        input_size: F, features of the context; that of the data.
        output_size: T, samples of a target; that of the data.
        num_classes: the number of classes of the traffic, at least T + 1.
        hidden_size: width of the network.
        num_layers: its residual blocks.
        dropout_rate: probability of dropping a hidden unit in training, from 0 to 1.
        dt: time from one sample to the next; a scale that the polynomial's values do not depend on.
        degree: the degree of the polynomial that extrapolates the source.
        len_source: S, samples of a source; that of the data.
        len_target: T, samples of a target; that of the data.
        batch_size: windows per batch.
        learning_rate: the first rate of Adam.
        num_epochs: the epoch to train to, counted from 1.
        use_mixed_precision: float16 with loss scaling on an accelerator; nothing on a CPU.
        gradient_clip: bound of the gradients' total norm; None does not clip.
        early_stop_patience: epochs without a lower validation loss before the run stops; None trains to the end.
        use_scheduler: reduce the learning rate during the training.
        scheduler_gamma: factor of one decay.
        scheduler_step_size: epochs from one decay to the next.
        weight_decay: that of Adam.
        num_workers: accepted as documented; windows in memory are fetched by the training process itself, which
            is quicker.
        pin_memory: fetch into page-locked memory, for quicker copies to CUDA.
        seed: the seed of the initial weights and of everything random in the training.
        save_checkpoints: write checkpoints.
        checkpoint_dir: the folder for them.
        lambda_traffic_class: weight of the cross-entropy of the traffic's class.
        lambda_transmission: weight of the binary cross-entropy of the transmission flags.
        lambda_context: weight of the mean squared error of the predicted context.
        fits_path: replace the polynomial's path by the linear one that is nearest to the targets of the training
            windows, :meth:`TrafficPredictor.fit_path`; it is found before the training, in one step.
        calibrate_flags: choose the threshold of the flags after the training, :func:`flag_threshold` of the
            validation windows; a model file keeps it, ``info`` has it as ``flag_threshold``.

    >>> import torch
    >>> from ignite_recipes import make_traffic_windows
    >>> windows = make_traffic_windows(torch.rand(30, 2), torch.ones(30), 10, 5)
    >>> chosen: TrafficParameters = {"num_epochs": 3, "gradient_clip": None}
    >>> parameters = getDefaultModelParams(10, 5, windows) | chosen
    >>> parameters["num_epochs"], parameters["gradient_clip"], parameters["hidden_size"]
    (3, None, 64)
    """

    input_size: int
    output_size: int
    num_classes: int
    hidden_size: int
    num_layers: int
    dropout_rate: float
    dt: float
    degree: int
    len_source: int
    len_target: int
    batch_size: int
    learning_rate: float
    num_epochs: int
    use_mixed_precision: bool
    gradient_clip: float | None
    early_stop_patience: int | None
    use_scheduler: bool
    scheduler_gamma: float
    scheduler_step_size: int
    weight_decay: float
    num_workers: int
    pin_memory: bool
    seed: int
    save_checkpoints: bool
    checkpoint_dir: str
    lambda_traffic_class: float
    lambda_transmission: float
    lambda_context: float
    fits_path: bool
    calibrate_flags: bool


def getDefaultModelParams(
    len_source: int,
    len_target: int,
    dataset: Sequence[Any] | TrafficDataset,
    batch_size: int = 1024,
    learning_rate: float = 1e-3,
    dropout_rate: float = 0.2,
) -> dict[str, Any]:
    """All parameters of :func:`trainModel`, to be changed as you like.

    Args:
        len_source: S, samples of the window that is seen.
        len_target: T, samples of the window whose traffic is predicted.
        dataset: the eight arrays, whose number of features the model gets.
        batch_size: windows per batch.
        learning_rate: the first rate of Adam.
        dropout_rate: probability of dropping a hidden unit in training.

    Returns:
        A dict with all keys of :class:`TrafficParameters`.

    >>> import torch
    >>> from ignite_recipes import make_traffic_windows
    >>> windows = make_traffic_windows(torch.rand(30, 2), torch.ones(30), 10, 5)
    >>> getDefaultModelParams(10, 5, windows)["early_stop_patience"]
    10
    """
    return {
        "input_size": (dataset.arrays if isinstance(dataset, TrafficDataset) else dataset)[0].shape[-1],
        "output_size": len_target,
        "num_classes": len_target + 1,
        "hidden_size": 64,
        "num_layers": 5,
        "dropout_rate": dropout_rate,
        "dt": 0.01,
        "degree": 3,
        "len_source": len_source,
        "len_target": len_target,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "num_epochs": 50,
        "use_mixed_precision": True,
        "gradient_clip": 1.0,
        "early_stop_patience": 10,
        "use_scheduler": True,
        "scheduler_gamma": 0.95,
        "scheduler_step_size": 5,
        "weight_decay": 1e-4,
        "num_workers": 4,
        "pin_memory": True,
        "seed": 42,
        "save_checkpoints": True,
        "checkpoint_dir": CHECKPOINT_DIR,
        "lambda_traffic_class": 100.0,
        "lambda_transmission": 500.0,
        "lambda_context": 100.0,
        "fits_path": False,
        "calibrate_flags": False,
    }


def complete_parameters(parameters: Mapping[str, Any], dataset: TrafficDataset) -> dict[str, Any]:
    """The parameters with defaults for those that are left out, checked by name and value."""
    if not isinstance(parameters, Mapping):
        raise TypeError(f"parameters must be a dict, e.g. of getDefaultModelParams(...); got {shown(parameters)}")
    length = parameters.get("len_source", dataset.len_source), parameters.get("len_target", dataset.len_target)
    defaults = getDefaultModelParams(*length, dataset)
    for name in parameters:
        if name not in defaults:
            near = get_close_matches(str(name), defaults, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the parameters are: {', '.join(defaults)}"
            raise ValueError(f"unknown parameter {name!r}; {hint}")
    p = {**defaults, **parameters}
    check_count(num_epochs=p["num_epochs"], batch_size=p["batch_size"], scheduler_step_size=p["scheduler_step_size"])
    check_positive(learning_rate=p["learning_rate"], scheduler_gamma=p["scheduler_gamma"])
    for name in ("weight_decay", "lambda_traffic_class", "lambda_transmission", "lambda_context"):
        if not isinstance(p[name], (int, float)) or not 0 <= p[name] < math.inf:
            raise ValueError(f"{name} must be a number, not negative; got {p[name]!r}")
    if not isinstance(p["dropout_rate"], (int, float)) or not 0 <= p["dropout_rate"] <= 1:
        raise ValueError(f"dropout_rate must be a probability, from 0 to 1; got {p['dropout_rate']!r}")
    for name in ("fits_path", "calibrate_flags"):
        if not isinstance(p[name], bool):
            raise ValueError(f"{name} must be True or False; got {shown(p[name])}")
    found = {"len_source": dataset.len_source, "len_target": dataset.len_target, "input_size": dataset.num_features}
    for name, value in found.items():
        if p[name] != value:
            raise ValueError(f"{name} must be that of the data, {value}; got {p[name]}")
    if p["output_size"] != p["len_target"] or p["num_classes"] <= p["len_target"]:
        raise ValueError(
            f"output_size must be len_target = {p['len_target']} and num_classes at least one more; got "
            f"{p['output_size']} and {p['num_classes']}"
        )
    return p
