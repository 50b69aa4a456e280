"""The loop by hand, as people write it, and tuned: what every step is compared with.

Both do what the recipe does by default: clip where it clips, look for numbers that are not finite, average the losses
over samples, validate each epoch, stop early and keep the best weights. ``row-wise`` collating, Adam as it comes and
``.item()`` in each step are the usual way. The tuned loop fetches a batch with one indexing operation, has the fused
optimizer, and reads no number inside an epoch; so that nobody gains by a slow baseline, it leaves the check for
numbers that are not finite out.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

__all__ = ["Losses", "batched_loader", "row_loader", "train", "train_tuned"]

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


def train(
    model: nn.Module,
    losses: Losses,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
    epochs: int,
    *,
    lr: float = 1e-3,
    max_norm: float | None = None,
    patience: int | None = None,
) -> None:
    """The loop as people write it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    best, best_weights, wait = math.inf, None, 0
    for _ in range(epochs):
        model.train()
        totals: dict[str, float] = {}
        count = 0
        for batch in train_loader:
            n = len(batch[0])
            optimizer.zero_grad()
            values = losses(model, batch, True)
            values["loss"].backward()
            if max_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            for name, value in values.items():
                number = value.item()
                if not math.isfinite(number):
                    raise FloatingPointError(f"{name} is {number}")
                totals[name] = totals.get(name, 0.0) + number * n
            count += n
            optimizer.step()
        model.eval()
        val_loss, val_count = 0.0, 0
        with torch.no_grad():
            for batch in val_loader:
                val_loss += losses(model, batch, False)["loss"].item() * len(batch[0])
                val_count += len(batch[0])
        val_loss /= val_count
        if patience is not None:
            if val_loss < best:
                best, best_weights, wait = val_loss, copy.deepcopy(model.state_dict()), 0
            else:
                wait += 1
                if wait >= patience:
                    break
    if best_weights is not None:
        model.load_state_dict(best_weights)


def train_tuned(
    model: nn.Module,
    losses: Losses,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
    epochs: int,
    *,
    lr: float = 1e-3,
    max_norm: float | None = None,
    patience: int | None = None,
) -> None:
    """The same with what an expert knows."""
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
    best, best_weights, wait = math.inf, None, 0
    for _ in range(epochs):
        model.train()
        rows, sizes = [], []
        for batch in train_loader:
            optimizer.zero_grad(set_to_none=True)
            values = losses(model, batch, True)
            values["loss"].backward()
            if max_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, max_norm)
            optimizer.step()
            rows.append([value.detach() for value in values.values()])
            sizes.append(len(batch[0]))
        _weighted_means(rows, sizes)
        model.eval()
        rows, sizes = [], []
        with torch.no_grad():
            for batch in val_loader:
                rows.append([losses(model, batch, False)["loss"]])
                sizes.append(len(batch[0]))
        (val_loss,) = _weighted_means(rows, sizes)
        if patience is not None:
            if val_loss < best:
                best, wait = val_loss, 0
                best_weights = {name: value.clone() for name, value in model.state_dict().items()}
            else:
                wait += 1
                if wait >= patience:
                    break
    if best_weights is not None:
        model.load_state_dict(best_weights)


def _weighted_means(rows: list[list[Tensor]], sizes: list[int]) -> list[float]:
    weights = torch.tensor(sizes, dtype=torch.float64)
    values = torch.stack([torch.stack(row) for row in rows]).double()
    return ((values * weights[:, None]).sum(0) / weights.sum()).tolist()
