"""Train a predictor of the traffic that a sender who transmits only changes will cause."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ignite_recipes.checkpoint.newest import BEST, LATEST
from ignite_recipes.data.traffic import TrafficArrays, TrafficDataset, collate_traffic
from ignite_recipes.devices import as_device
from ignite_recipes.engine.create import create_trainer
from ignite_recipes.engine.evaluator import create_evaluator
from ignite_recipes.engine.losses import LossFunction
from ignite_recipes.handlers import (
    BestCheckpoint,
    Checkpointing,
    EpochAverages,
    LearningRateScheduler,
)
from ignite_recipes.loading.randomness import derive_seed, preserve_generators, seed_generators
from ignite_recipes.models import WindowPredictor
from ignite_recipes.models.inference import chosen_threshold
from ignite_recipes.models.traffic import TrafficPredictor, traffic_losses
from ignite_recipes.recipes.assembly import (
    attach_records,
    attach_step_handlers,
    attach_stopping,
    attach_validation,
    chosen_precision,
    fused_adam,
    new_evaluator,
    new_history,
    new_trainer,
    saves_inside,
    train_to,
)
from ignite_recipes.recipes.checks import check_saves
from ignite_recipes.recipes.earlier_files import SetAside, epoch_files
from ignite_recipes.recipes.experiment_run import ExperimentRun, experiment_run
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.options import Attachable, RunOptions, Unpack, default_options, takes_run_options
from ignite_recipes.recipes.plain_settings import described
from ignite_recipes.recipes.traffic_parameters import CHECKPOINT_DIR, complete_parameters, getDefaultModelParams
from ignite_recipes.recipes.traffic_results import COMPONENTS, MODES, VIEWS, histories_of, info_of, line_of, truth

__all__ = [
    "trainModel",
    "trainModelByDefaultSetting",
    "train_one_epoch",
    "validate_model",
]

LAMBDAS = ("lambda_traffic_class", "lambda_transmission", "lambda_context")
SIZES = ("input_size", "output_size", "num_classes", "hidden_size", "num_layers", "dropout_rate", "dt", "degree")
KEPT_CHECKPOINTS = 3


def trainModelByDefaultSetting(
    len_source: int,
    len_target: int,
    trainData: Any,
    testData: Any,
    verbose: bool = True,
) -> tuple[TrafficPredictor, dict[str, Any], dict[str, Any]]:
    """:func:`trainModel` with the parameters of :func:`getDefaultModelParams`.

    >>> from ignite_recipes import make_traffic_windows
    >>> context = torch.linspace(0, 1, 20)[:, None]
    >>> always, never = (make_traffic_windows(context, flags, 10, 5) for flags in (torch.ones(20), torch.zeros(20)))
    >>> model, histories, info = trainModelByDefaultSetting(10, 5, always, never, verbose=False)
    >>> info["best_epoch"], info["total_epochs_trained"], info["stopped_early"]
    (1, 11, True)
    """
    parameters = getDefaultModelParams(len_source, len_target, trainData)
    return trainModel(parameters, trainData, testData, verbose)


@takes_run_options(max_grad_norm='parameters["gradient_clip"]', seed='parameters["seed"]')
def trainModel(
    parameters: Mapping[str, Any],
    trainData: Sequence[Any] | TrafficDataset,
    testData: Sequence[Any] | TrafficDataset,
    verbose: bool = True,
    *,
    device: str | torch.device | None = None,
    **options: Unpack[RunOptions],
) -> tuple[TrafficPredictor, dict[str, Any], dict[str, Any]]:
    """Train a :class:`TrafficPredictor` with Adam; it is returned with the weights of its best epoch.

    The best epoch has the lowest validation loss, unless ``monitor`` names another number; early stopping watches it
    too. Losses are means over windows. A metric whose name begins with that of an output, ``traffic_``,
    ``classification_``, ``transmission_`` or ``context_``, gets this output and its truth; the class and the
    transmissions are logits (N, classes) and (N, T). Named metrics must have such names, e.g. ``["classification_f1",
    "traffic_r2"]``. Any other metric gets all four, outputs and targets each a tuple (path, traffic, class_logits,
    transmission_logits).

    Args:
        parameters: as in :func:`getDefaultModelParams`; missing ones have its values.
        trainData, testData: the eight arrays, in the documented order, of training and validation: context and
            traffic in [0, 1], the class the number of the target's transmissions; :class:`TrafficArrays`.
        verbose: print a line for each epoch.
        device: None or ``"auto"`` is the best available one.
        **options: those of every recipe, :class:`RunOptions`.

    Returns:
        The model, in evaluation mode; ``histories`` with ``train_loss, val_loss, learning_rate`` and
        ``loss_components`` (``traffic, classification, transmission, context``, of the validation data), an entry an
        epoch, and for each metric ``val_{name}``; and ``info`` with ``best_epoch`` (from 1), ``best_val_loss,
        total_epochs_trained, stopped_early``, for each metric ``best_val_{name}``, from the best epoch, ``report`` with
        the values that are not numbers, and with ``calibrate_flags`` ``flag_threshold``. ``checkpoint_dir`` holds
        ``best_model.pt`` and the newest three ``checkpoint_epoch_N.pt``; files of an earlier run are first moved to a
        folder in it, ``earlier_1``.

    Raises:
        ValueError: for arrays that hold NaN, have other units, contradict each other or differ in size, parameters that
            are unknown or out of their range, a source too short for the polynomial, or a resume with other parameters.
        NonFiniteError: for a loss or gradient that is not finite.
        FileNotFoundError, CheckpointError: if there is no valid checkpoint to resume from.

    >>> from ignite_recipes import make_traffic_windows
    >>> windows = make_traffic_windows(torch.rand(40, 1), torch.ones(40), 10, 5)
    >>> parameters = {"num_epochs": 2, "hidden_size": 8, "save_checkpoints": False}
    >>> model, histories, info = trainModel(parameters, windows, windows, verbose=False, device="cpu")
    >>> histories["learning_rate"], info["total_epochs_trained"], info["stopped_early"]
    ([0.001, 0.001], 2, False)
    >>> traffic, *_ = model.eval()(windows.sources, windows.last_transmitted, windows.source_traffic)
    """
    train_set, val_set = _dataset(trainData), _dataset(testData)
    p = complete_parameters(parameters, train_set)
    _check_sizes(train_set, val_set)
    run = _experiment(p, options)
    place = "checkpoints (save_checkpoints is off)"
    has_place = p["save_checkpoints"] or run.is_kept
    check_saves(options["save_every_iterations"], has_place=has_place, place=place)
    target = as_device(device)
    options["precision"] = chosen_precision(options, target, p["use_mixed_precision"])
    options["max_grad_norm"], options["seed"] = p["gradient_clip"], p["seed"]
    settings = {name: value for name, value in p.items() if name not in _FREE_ON_RESUME}
    if not p["fits_path"]:  # which checkpoints of earlier versions do not know
        del settings["fits_path"]
    measuring = Measuring(options, MODES, "val_loss", validates=True, views=VIEWS)
    model = _new_model(p)
    if p["fits_path"]:
        model.fit_path(train_set.arrays)
    model.to(target)
    loss = _loss(p)
    optimizer = fused_adam(model, target, p["learning_rate"], p["weight_decay"])
    trainer = new_trainer(model, optimizer, loss, options, device=target, get_inputs=_inputs, settings=settings)
    components = [f"val_{name}" for name in COMPONENTS]
    history = new_history(["train_loss", "val_loss", "learning_rate", *components], measuring)

    # One step, in the order in which it happens.
    attach_step_handlers(trainer, options)

    # One epoch: measure, decide, save.
    attach_validation(trainer, new_evaluator(trainer, measuring), _loader(val_set, p, shuffle=False), measuring)
    if p["use_scheduler"]:
        LearningRateScheduler(optimizer, "step", gamma=p["scheduler_gamma"], step_size=p["scheduler_step_size"]).attach(
            trainer
        )
    stopping = attach_stopping(trainer, p["early_stop_patience"], measuring)
    line, print_every = partial(line_of, stopping), 1 if verbose else None
    report = attach_records(trainer, history, line, measuring, options, print_every=print_every, stopping=stopping)
    train_loader = _loader(train_set, p, shuffle=True)
    with run.open("trainModel", described(model, train_loader, options, p)), _high_precision_matmul():
        run.attach(trainer, options, measuring, "weighted loss", _savers(p, measuring, options))
        train_to(p["num_epochs"], trainer, train_loader, options, settings)
        threshold = chosen_threshold(model, val_set) if p["calibrate_flags"] else None
        run.write_model(lambda: WindowPredictor(model, flag_threshold=threshold), stopping.best_epoch)
    info = info_of(stopping, history, measuring, report)
    if threshold is not None:
        info["flag_threshold"] = threshold
    return model.eval(), histories_of(history, measuring), info


def train_one_epoch(
    model: nn.Module,
    loader: Iterable[Any],
    optimizer: Optimizer,
    *,
    device: str | torch.device | None = "cpu",
    parameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> dict[str, float]:
    """Train for one pass over a loader, with the step of :func:`trainModel`.

    Args:
        model: a :class:`TrafficPredictor`.
        loader: batches of the eight arrays; or windows, a :class:`TrafficDataset`.
        optimizer: the optimizer of the model.
        device: the device to train on.
        parameters: the weights of the losses, ``gradient_clip`` and ``use_mixed_precision``, as in
            :func:`getDefaultModelParams`; defaults where left out.
        seed: the seed of shuffling and dropout; None draws one.

    Returns:
        Means over the windows: ``loss, traffic, classification, transmission, context``.

    Raises:
        NonFiniteError: for a loss or gradient that is not finite.

    >>> from ignite_recipes import make_traffic_windows
    >>> windows = TrafficDataset(make_traffic_windows(torch.rand(40, 1), torch.ones(40), 10, 5))
    >>> loader = DataLoader(windows, 8, collate_fn=collate_traffic)
    >>> model = TrafficPredictor(input_size=1, output_size=5, hidden_size=8)
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    >>> losses = [train_one_epoch(model, loader, optimizer, seed=epoch) for epoch in range(5)]
    >>> losses[-1]["loss"] < losses[0]["loss"], sorted(losses[0])
    (True, ['classification', 'context', 'loss', 'traffic', 'transmission'])
    """
    p = {"gradient_clip": 1.0, "use_mixed_precision": True, **(parameters or {})}
    trainer = create_trainer(model, optimizer, _loss(p), device=device, seed=seed, get_inputs=_inputs)
    options = default_options(max_grad_norm=p["gradient_clip"])
    options["precision"] = chosen_precision(options, trainer.device, p["use_mixed_precision"])
    attach_step_handlers(trainer, options)
    trainer.run(_batches(loader), max_epochs=1)
    return {name: trainer.state.metrics[f"train_{name}"] for name in ("loss", *COMPONENTS)}


def validate_model(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    device: str | torch.device | None = "cpu",
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """The losses of a model on a loader, without training it; arguments and result as in :func:`train_one_epoch`.

    >>> from ignite_recipes import make_traffic_windows
    >>> windows = TrafficDataset(make_traffic_windows(torch.rand(40, 1), torch.ones(40), 10, 5))
    >>> model = TrafficPredictor(input_size=1, output_size=5, hidden_size=8)
    >>> halves, whole = (DataLoader(windows, n, collate_fn=collate_traffic) for n in (13, 26))
    >>> first, second = (validate_model(model, loader)["loss"] for loader in (halves, whole))
    >>> abs(first - second) < 1e-4 * second  # a mean over windows, however they are batched
    True
    """
    evaluator = create_evaluator(model, _loss(parameters or {}), device=device, get_inputs=_inputs)
    EpochAverages().attach(evaluator)
    return dict(evaluator.run(_batches(loader)).metrics)


# What a resume may change: where it ends, how it is fetched and where it is kept.
_FETCHING = ("num_workers", "pin_memory")
_FREE_ON_RESUME = ("num_epochs", *_FETCHING, "save_checkpoints", "checkpoint_dir", "seed", "calibrate_flags")


def _dataset(data: Sequence[Any] | TrafficDataset) -> TrafficDataset:
    return data if isinstance(data, TrafficDataset) else TrafficDataset(data)


def _batches(loader: Any) -> Any:
    """A loader as it is; windows as a data set of theirs."""
    return TrafficDataset(loader) if isinstance(loader, TrafficArrays) else loader


def _check_sizes(train_set: TrafficDataset, val_set: TrafficDataset) -> None:
    wanted, got = ((data.len_source, data.len_target, data.num_features) for data in (train_set, val_set))
    if wanted != got:
        raise ValueError(
            f"testData must have the len_source, len_target and number of features of trainData, {wanted}; got {got}: "
            "make the windows of both with the same lengths, of the same features"
        )


def _new_model(p: Mapping[str, Any]) -> TrafficPredictor:
    """A model whose weights depend on the seed alone; the global generators stay as they are."""
    with preserve_generators():
        seed_generators(derive_seed(p["seed"], "initial weights"))
        sizes = {name: p[name] for name in SIZES}
        return TrafficPredictor(**sizes, len_source=p["len_source"], fits_path=p["fits_path"])


def _loader(dataset: TrafficDataset, p: Mapping[str, Any], *, shuffle: bool) -> DataLoader[Any]:
    # No workers: batches that are in memory already are fetched faster than a worker hands one over. Four
    # persistent ones took 2.4 times as long on two cores (60,000 windows, batches of 1024, median of five).
    return DataLoader(
        dataset,
        p["batch_size"],
        shuffle=shuffle,
        collate_fn=collate_traffic,
        pin_memory=p["pin_memory"] and torch.cuda.is_available(),
        # A batch norm cannot learn from a single window.
        drop_last=shuffle and len(dataset) > 1 and len(dataset) % p["batch_size"] == 1,
    )


def _inputs(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    sources, _, last_transmitted, source_traffic, *_ = batch
    return sources, last_transmitted, source_traffic


def _loss(p: Mapping[str, Any]) -> LossFunction:
    return partial(_weighted_losses, {name: p[name] for name in LAMBDAS if name in p})


def _weighted_losses(
    weights: dict[str, float], model: nn.Module, inputs: Any, batch: Any, *, give_outputs: bool = False
) -> dict[str, Any]:
    outputs = model(*inputs)
    losses = traffic_losses(outputs, batch, **weights)  # which has the defaults
    return {**losses, "outputs": outputs, "targets": truth(batch)} if give_outputs else losses


def _experiment(p: Mapping[str, Any], options: RunOptions) -> ExperimentRun:
    """The experiment of the run; a folder of checkpoints that somebody has chosen would be another place for it."""
    is_chosen = p["save_checkpoints"] and p["checkpoint_dir"] != CHECKPOINT_DIR
    chosen = p["checkpoint_dir"] if is_chosen else None
    return experiment_run(options, checkpoint_dir=chosen, place='parameters["checkpoint_dir"]')


def _savers(p: Mapping[str, Any], measuring: Measuring, options: RunOptions) -> list[Attachable]:
    if not p["save_checkpoints"]:
        return []
    folder = Path(p["checkpoint_dir"])
    names = [BEST, LATEST, *epoch_files(p["num_epochs"])]
    aside = SetAside(folder, names, options["resume_from"])
    kept = Checkpointing(folder, keep=KEPT_CHECKPOINTS)
    best = BestCheckpoint(folder / BEST, measuring.monitor, mode=measuring.mode)
    return [aside, best, kept, *saves_inside(folder, options["save_every_iterations"])]


@contextmanager
def _high_precision_matmul() -> Iterator[None]:
    """TensorFloat-32 where there is one, for the time of the training."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
