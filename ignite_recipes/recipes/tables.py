"""Train a network on a table: a file, a frame, arrays or tensors."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ignite_recipes.arguments import counted
from ignite_recipes.checkpoint.file import read_checkpoint
from ignite_recipes.checkpoint.run import check_same
from ignite_recipes.data.loaders import create_dataloaders
from ignite_recipes.data.table_target import CLASSIFICATION, TableTarget
from ignite_recipes.data.tables import is_path
from ignite_recipes.engine.metric_set import MetricSet
from ignite_recipes.handlers.progress import print_line
from ignite_recipes.loading.given import batch_size_for
from ignite_recipes.loading.randomness import derive_seed, preserve_generators, seed_torch
from ignite_recipes.models.mlp import multilayer_perceptron
from ignite_recipes.models.table_predictor import TablePredictor, table_state
from ignite_recipes.optional import polars as pl
from ignite_recipes.recipes.experiment_run import experiment_run
from ignite_recipes.recipes.options import RunOptions, Unpack, takes_run_options
from ignite_recipes.recipes.plain_settings import described
from ignite_recipes.recipes.supervised import MODES, train_model_advanced
from ignite_recipes.recipes.table_data import PreparedTable, check_fold, class_weighting, prepare_table
from ignite_recipes.said_once import warn

__all__ = ["train_on_table"]

logger = logging.getLogger(__name__)

FEW_ROWS = 10  # to validate on: what fewer say is mostly chance


@takes_run_options(max_grad_norm="gradient_clip")
def train_on_table(
    data: Any,
    target: Any,
    *,
    task: str | None = None,
    val_data: Any = None,
    val_size: float | None = 0.2,
    fold: tuple[int, int] | None = None,
    split_seed: int | None = None,
    group: Any = None,
    time: Any = None,
    ignore: Sequence[str] = (),
    class_weights: str | Mapping[Any, float] | None = None,
    max_categories: int = 50,
    model: nn.Module | Callable[[int, int], nn.Module] | None = None,
    hidden_dimension: int = 256,
    num_layers: int = 2,
    dropout_rate: float = 0.2,
    batch_size: int | None = None,
    num_workers: int = 0,
    epochs: int = 100,
    learning_rate: float = 0.001,
    device: str | torch.device | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    model_name: str = "model",
    use_scheduler: bool = True,
    scheduler_type: str = "plateau",
    gradient_clip: float | None = 1.0,
    use_mixed_precision: bool = True,
    use_augmentation: bool = False,
    early_stop_patience: int | None = 10,
    check_stability: bool = False,
    verbose: bool = True,
    **options: Unpack[RunOptions],
) -> dict[str, Any]:
    """Train a network to predict one column of a table from the others; it ends with its best weights.

    Text and booleans are classes, and so are whole numbers of few values; other numbers are quantities. Medians, scales
    and categories are learnt only from the training rows, see :class:`TablePreprocessor`, and are in every checkpoint.
    Rows without a target are left out, which is logged. The decisions on the columns are logged, and printed if
    ``verbose``. The training is that of :func:`train_model_advanced`; numbers are predicted, and their losses measured,
    in units of their standard deviation. ``metrics`` get numbers (N, 1), predicted and true, in the target's own units,
    or scores (N, classes) and the numbers of classes (N,).

    Args:
        data: the rows: the name of a CSV file (.csv, .csv.gz, .tsv), Parquet or Feather file; a frame of pandas or
            polars; a dict of columns; an array or a tensor (N, D) of any real type.
        target: the name of its column, or the values: an array, tensor, Series or list, (N,) or (N, 1).
        task: ``"regression"`` or ``"classification"``; None finds it from the target.
        val_data: rows to validate on, like ``data``, with the target's column or as ``(data, target)``; None splits.
        val_size: the part to validate on, a fraction in (0, 1) or a number of rows; each class has its share. None
            trains on all rows and validates on none; the best epoch is then that of the lowest training loss.
        fold: ``(k, n)`` validates on part k, from 1, of n fixed parts, in place of ``val_size``: each row is in one
            part. With ``time`` a fold trains on earlier rows, and the first rows are in no part.
        split_seed: the seed of the split; None is ``seed``, or 0 if that is None.
        group: a column, or values (N,): rows of one group stay on one side of the split. It is not an input.
        time: a column, or values (N,): the latest rows are validated on. It is not an input.
        ignore: names of columns that are not inputs; also several in one text, with commas.
        class_weights: ``"balanced"`` gives all classes the same weight in the loss; or a weight for each class by its
            name; None gives all rows the same weight. The mean over the training rows is 1.
        max_categories: the most categories of a column; rarer ones are joined into one.
        model: your own, from (N, D) vectors to (N, classes) outputs, or (N, 1) for numbers; or a function that makes it
            from these two sizes; None is a :func:`multilayer_perceptron`.
        hidden_dimension, num_layers, dropout_rate: those of the multilayer perceptron.
        batch_size: rows per batch; None is 32 to 1024, depending on the number of rows.
        num_workers: processes that fetch batches; with 0 this one does.
        epochs: the epoch to train to, counted from 1, also on a resume.
        learning_rate: the first rate of Adam.
        device: None or ``"auto"`` is the best available one.
        checkpoint_dir: the folder for ``{model_name}_best.pt`` and ``{model_name}_latest.pt``; None writes nothing.
            Files of an earlier run are first moved to a folder in it, ``earlier_1``.
        model_name: the start of the names of the files.
        use_scheduler, scheduler_type, gradient_clip, use_mixed_precision, check_stability: as of
            :func:`train_model_advanced`.
        use_augmentation: add noise to the vectors.
        early_stop_patience: epochs without a lower validation loss before the run stops; None trains to the end.
        verbose: print what was decided, and a line for each epoch.
        **options: those of every recipe, :class:`RunOptions`.

    Returns:
        The entries of :func:`train_model_advanced`, and ``predictor``, a :class:`TablePredictor` with the best weights;
        ``model``, its network; ``metrics`` of the validation rows: for classes ``accuracy``, ``balanced_accuracy`` and
        ``f1`` in percent, ``log_loss`` in nats and for two classes ``roc_auc``; for numbers ``rmse`` and ``mae`` in the
        target's units and ``r2``; NaN if one is not defined; ``baseline``, the ``accuracy`` or ``rmse`` of always
        predicting the most frequent class or the mean of the training rows; ``val_predictions``, a frame of polars with
        the numbers of the validation rows, from 0, the ``truth``, and the columns of :meth:`TablePredictor.predict`.
        Without validation rows the last three are empty.

    Raises:
        ValueError: for a table that cannot be trained on: no such column, a constant target, no usable input, a class
            that the rows to train on lack, an empty side of the split; a setting out of its range; a resume with other
            data or settings.
        FileNotFoundError, CheckpointError: if there is no such file, or no valid checkpoint to resume from.
        TypeError: for data of another kind.

    >>> x = torch.linspace(-1, 1, 200, dtype=torch.float64)[:, None]
    >>> result = train_on_table(x, 3 * x + 100, epochs=30, verbose=False, device="cpu", seed=0)
    >>> result["predictor"].target.task, result["metrics"]["rmse"] < 0.2 < result["baseline"]["rmse"]
    ('regression', True)
    """
    ignore = [ignore] if isinstance(ignore, str) else ignore
    settings = {
        "task": task,
        "val_size": val_size,
        "group": group if isinstance(group, str) else group is not None,
        "time": time if isinstance(time, str) else time is not None,
        "ignore": list(ignore),
        "class_weights": class_weights
        if class_weights is None or isinstance(class_weights, str)
        else dict(class_weights),
        "max_categories": max_categories,
        **({} if fold is None else {"fold": list(check_fold(fold))}),
    }
    if fold is not None and val_data is not None:
        raise ValueError(
            "val_data are validated on as they are, and a fold is of data; got both: leave one of them out"
        )
    run = experiment_run(options, checkpoint_dir=checkpoint_dir)
    saved = _saved(options["resume_from"], settings)
    seed = options["seed"]
    if split_seed is None:
        split_seed = seed if seed is not None else 0 if saved is None else saved["split_seed"]
    table = prepare_table(
        data,
        target,
        val_data=val_data,
        val_size=val_size,
        fold=fold,
        group=group,
        time=time,
        ignore=ignore,
        task=task,
        max_categories=max_categories,
        seed=split_seed,
        saved=saved,
    )
    weights = class_weighting(class_weights, table.target, table.train.targets)
    fingerprint = table.fingerprint()
    if saved is not None and saved["fingerprint"] != fingerprint:
        raise ValueError(
            "a run must be resumed with the data, the target and the seed of its start; the rows to train or "
            "to validate on are others: give it the same, or start a new run"
        )
    _say(table, verbose)
    network = {"hidden_dimension": hidden_dimension, "num_layers": num_layers, "dropout_rate": dropout_rate}
    sizes = len(table.preprocessor.feature_names), table.target.num_outputs
    net = _network(model, sizes, network, seed)
    metadata = {
        "preprocessor": table.preprocessor.state_dict(),
        "target": table.target.state_dict(),
        "network": network if model is None else None,
        "source": table.source,
        "settings": settings,
        "split_seed": split_seed,
        "fingerprint": fingerprint,
    }
    if batch_size is None:
        batch_size = batch_size_for(len(table.train))
    options["metrics"] = _in_units(options["metrics"], table.target)  # type: ignore[typeddict-item]
    train_loader, val_loader = create_dataloaders(table.train, table.val, batch_size, num_workers)
    told = {
        **settings,
        **({} if fold is None else {"fold": fold[0], "folds": fold[1]}),
        **_where(data, table.target, val_data, settings),
        **network,
        "split_seed": split_seed,
        "learning_rate": learning_rate,
        "patience": early_stop_patience,
        "scheduler": scheduler_type if use_scheduler else None,
        "gradient_clip": gradient_clip,
        "augmentation": use_augmentation,
    }
    train = partial(
        train_model_advanced,
        net,
        train_loader,
        val_loader,
        None if weights is None else WeightedCrossEntropy(weights),
        epochs=epochs,
        learning_rate=learning_rate,
        device=device,
        checkpoint_dir=checkpoint_dir,
        model_name=model_name,
        use_scheduler=use_scheduler,
        scheduler_type=scheduler_type,
        gradient_clip=gradient_clip,
        use_mixed_precision=use_mixed_precision,
        use_augmentation=use_augmentation,
        early_stop_patience=early_stop_patience,
        check_stability=check_stability,
        verbose=verbose,
        **{**options, "metadata": {**(options["metadata"] or {}), "table": metadata}, "experiment": run},  # type: ignore[arg-type]
    )
    file = data if is_path(data) else None
    with run.open("train_on_table", described(net, train_loader, options, told), data_file=file):
        results = train()
        predictor = TablePredictor(net, table.preprocessor, table.target)
        run.write_model(lambda: predictor, results["best_epoch"])
    return {**results, "predictor": predictor, "model": net, **_validated(predictor, table)}


def _validated(predictor: TablePredictor, table: PreparedTable) -> dict[str, Any]:
    """How good the network is on the rows to validate on, and what it says of each."""
    if table.val is None:
        return {"metrics": {}, "baseline": {}, "val_predictions": pl.DataFrame()}
    outputs, target = predictor.outputs_of(table.val.vectors), table.target
    said = {"row": table.val_rows, "truth": table.val_truth, **target.decode(outputs)}
    return {
        "metrics": predictor.metrics(outputs, table.val.targets),
        "baseline": _baseline(table.train.targets, table.val.targets, target),
        "val_predictions": pl.DataFrame(said),
    }


class WeightedCrossEntropy(nn.Module):
    """The cross-entropy, in nats, with a weight for each class; a mean over the samples, whatever batch they are in."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """(N, classes) and (N,) -> ()."""
        return (cross_entropy(outputs, labels, reduction="none") * self.weight[labels]).mean()


def _in_units(metrics: Any, target: TableTarget) -> MetricSet:
    """The metrics, such that numbers reach them in the target's own units."""
    taken = [name.removeprefix("val_") for name in MODES if name.startswith("val_")]
    is_scaled = target.task != CLASSIFICATION
    prepare = partial(_unscaled, target.scale, target.mean) if is_scaled else None
    return MetricSet(metrics, taken=taken, prepare=prepare)


def _unscaled(scale: float, mean: float, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    exact = torch.float32 if outputs.device.type == "mps" else torch.float64
    return outputs.to(exact) * scale + mean, targets.to(exact) * scale + mean


def _where(data: Any, target: TableTarget, val_data: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """By what an experiment finds the rows again that were validated on: only where all of it is in one file."""
    by = {name: settings[name] or None for name in ("group", "time")}
    is_found = is_path(data) and val_data is None and True not in by.values()
    return {"file": os.path.abspath(data) if is_found else None, "target": target.name, **by}


def _saved(path: str | os.PathLike[str] | None, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the run that is resumed knows of its table."""
    if path is None:
        return None
    saved = table_state(read_checkpoint(path), path)
    check_same(settings, saved["settings"], path)
    return saved


def _say(table: PreparedTable, verbose: bool) -> None:
    target, train, val = table.target, len(table.train), len(table.val_rows)
    if 0 < val < FEW_ROWS:
        warn(logger, f"{counted(val, 'row')} to validate on: what is measured there says little")
    classes = f" of {len(target.classes)} classes" if target.classes else ""
    lines = [
        f"target {target.name!r}: {target.task}{classes}; {train} rows to train on, {val} to validate on",
        *table.preprocessor.decisions,
    ]
    for line in lines:
        logger.info(line)
        if verbose:
            print_line(line)


def _network(
    model: nn.Module | Callable[[int, int], nn.Module] | None,
    sizes: tuple[int, int],
    network: Mapping[str, Any],
    seed: int | None,
) -> nn.Module:
    """The network; one that is made here has weights that are a function of the seed, if there is one."""
    if isinstance(model, nn.Module):
        return model
    make: Callable[[int, int], nn.Module] = multilayer_perceptron if model is None else model
    sized = network if model is None else {}
    if seed is None:
        return make(*sizes, **sized)
    with preserve_generators():
        seed_torch(derive_seed(seed, "weights"))
        return make(*sizes, **sized)


def _baseline(train: Tensor, val: Tensor, target: TableTarget) -> dict[str, float]:
    if target.task == CLASSIFICATION:
        return {"accuracy": 100 * float((val == train.bincount().argmax()).double().mean())}
    return {"rmse": float(val.double().square().mean().sqrt()) * target.scale}
