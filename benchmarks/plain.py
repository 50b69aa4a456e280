"""The loop by hand, as people write it, and tuned: what every step is compared with.

Both do what the recipe does by default: clip where it clips, look for numbers that are not finite, average the losses
over samples, validate each epoch, stop early and keep the best weights. Collating row by row, Adam as it comes and
``.item()`` in each step are the usual way. The tuned loop fetches a batch with one indexing operation, has the fused
optimizer, and reads no number inside an epoch; so that nobody gains by a slow baseline, it leaves the check for
numbers that are not finite out.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

__all__ = ["Losses", "Task", "batched_loader", "matrix_products", "plain_loop", "tuned_loop"]

Losses = Callable[[nn.Module, Any, bool], Mapping[str, Tensor]]
"""``losses(model, batch, training)``: 0-d tensors, of which ``"loss"`` is minimised."""


def row_loader(tensors: tuple[Tensor, ...], batch_size: int, shuffle: bool) -> DataLoader[Any]:
    """The usual loader: row by row, then collated."""
    return DataLoader(TensorDataset(*tensors), batch_size, shuffle=shuffle)


def batched_loader(tensors: tuple[Tensor, ...], batch_size: int, shuffle: bool) -> DataLoader[Any]:
    """Torch's own way to fetch a batch by one indexing operation."""
    dataset = TensorDataset(*tensors)
    order = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
    return DataLoader(dataset, sampler=BatchSampler(order, batch_size, drop_last=False), batch_size=None)


@dataclass(frozen=True)
class Task:
    """What every program of a workload does, as far as its framework has it."""

    make_model: Callable[[], nn.Module]  # with the same first weights each time
    losses: Losses
    train: tuple[Tensor, ...]  # whose rows are trained on
    val: tuple[Tensor, ...]  # and those that are validated on, once an epoch
    batch_size: int
    epochs: int
    max_norm: float | None = None  # of all gradients together; None does not clip
    patience: int | None = None  # epochs; None neither stops early nor keeps the best weights
    plateau: bool = False  # a tenth of the learning rate when the validation loss no longer falls
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None  # of predictions and targets, if it is the whole loss
    average_all: bool = False  # all losses of the validation, and not "loss" alone

    def loaders(self, make: Callable[..., Any] = row_loader) -> tuple[Any, Any]:
        """Of shuffled training batches, and of validation batches."""
        return make(self.train, self.batch_size, True), make(self.val, self.batch_size, False)


def plain_loop(make_task: Callable[[], Task]) -> Callable[[], None]:
    """The loop as people write it."""
    task = make_task()
    return partial(_train, task, *task.loaders())


def tuned_loop(
    make_task: Callable[[], Task], loader: Callable[..., Iterable[Any]] = batched_loader
) -> Callable[[], None]:
    """The same with what an expert knows."""
    task = make_task()
    return partial(_train_tuned, task, *task.loaders(loader))


def _train(task: Task, train_loader: Iterable[Any], val_loader: Iterable[Any]) -> None:
    model = task.make_model()
    optimizer = torch.optim.Adam(model.parameters())

    def train_epoch() -> None:
        totals: dict[str, float] = {}
        for batch in train_loader:
            n = len(batch[0])
            optimizer.zero_grad()
            values = task.losses(model, batch, True)
            values["loss"].backward()
            if task.max_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), task.max_norm)
            for name, value in values.items():
                number = value.item()
                if not math.isfinite(number):
                    raise FloatingPointError(f"{name} is {number}")
                totals[name] = totals.get(name, 0.0) + number * n
            optimizer.step()

    def validate() -> float:
        total, count = 0.0, 0
        for batch in val_loader:
            total += task.losses(model, batch, False)["loss"].item() * len(batch[0])
            count += len(batch[0])
        return total / count

    _run_epochs(task, model, train_epoch, validate, copy.deepcopy)


def _train_tuned(task: Task, train_loader: Iterable[Any], val_loader: Iterable[Any]) -> None:
    model = task.make_model()
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, fused=True)

    def train_epoch() -> None:
        rows, sizes = [], []
        for batch in train_loader:
            optimizer.zero_grad(set_to_none=True)
            values = task.losses(model, batch, True)
            values["loss"].backward()
            if task.max_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, task.max_norm)
            optimizer.step()
            rows.append([value.detach() for value in values.values()])
            sizes.append(len(batch[0]))
        _weighted_means(rows, sizes)

    def validate() -> float:
        rows, sizes = [], []
        for batch in val_loader:
            rows.append([task.losses(model, batch, False)["loss"]])
            sizes.append(len(batch[0]))
        return _weighted_means(rows, sizes)[0]

    _run_epochs(task, model, train_epoch, validate, lambda weights: {k: v.clone() for k, v in weights.items()})


def _run_epochs(
    task: Task,
    model: nn.Module,
    train_epoch: Callable[[], None],
    validate: Callable[[], float],
    copied: Callable[[Any], Any],
) -> None:
    """Train and validate, stop early, and end with the best weights."""
    best, best_weights, wait = math.inf, None, 0
    for _ in range(task.epochs):
        model.train()
        train_epoch()
        model.eval()
        with torch.no_grad():
            val_loss = validate()
        if task.patience is None:
            continue
        if val_loss < best:
            best, best_weights, wait = val_loss, copied(model.state_dict()), 0
        else:
            wait += 1
            if wait >= task.patience:
                break
    if best_weights is not None:
        model.load_state_dict(best_weights)


def _weighted_means(rows: list[list[Tensor]], sizes: list[int]) -> list[float]:
    weights = torch.tensor(sizes, dtype=torch.float64)
    values = torch.stack([torch.stack(row) for row in rows]).double().cpu()
    return ((values * weights[:, None]).sum(0) / weights.sum()).tolist()


def matrix_products(sizes: Iterable[tuple[int, int]], batch_size: int, steps: int) -> Callable[[], None]:
    """The matrix products of the training steps of linear layers, and nothing else.

    Forward, gradient of the weights, and of the inputs where they need one: not in the first layer.
    """
    layers = [
        (torch.randn(batch_size, i), torch.randn(o, i), torch.randn(batch_size, o), number > 0)
        for number, (i, o) in enumerate(sizes)
    ]

    def work() -> None:
        with torch.no_grad():
            for _ in range(steps):
                for x, weight, gradient, inner in layers:
                    torch.mm(x, weight.t())
                    torch.mm(gradient.t(), x)
                    if inner:
                        torch.mm(gradient, weight)

    return work
