"""What limits the F1 of the transmission flags: on a simulated series whose true probabilities are known.

Each of the two features is a damped oscillation that is pushed at random, an autoregression of order 2, scaled by
limits that are declared. A sender transmits by send-on-delta. The probability of each flag, given all that is known
when it is predicted, comes from the same autoregression run on many times: with the best threshold it gives the F1
that no predictor can exceed but by chance. Time is in order: the first 60% of the samples are trained on, the next
20% choose the epoch and the threshold, and the F1 is of the last 20%.
"""

import statistics
import sys
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import one_thread, spread, table
from ignite_recipes.data.deadband import send_on_delta
from ignite_recipes.data.traffic import TrafficArrays, make_traffic_windows
from ignite_recipes.data.traffic_flags import flag_threshold

__all__ = ["flags"]

SAMPLES, SOURCE, TARGET, FEATURES = 5000, 10, 5, 2
FUTURES = 400  # of each window, for its true probabilities
DAMPING, PERIOD = 0.95, 30.0  # of the oscillation, a sample and in samples
FIRST, SECOND = 2 * DAMPING * np.cos(2 * np.pi / PERIOD), -(DAMPING**2)
DEADBANDS = {"frequent": 0.08, "rare": 0.15}
SMOOTHED = 5  # samples of the mean that looks ahead

VARIANTS: dict[str, dict[str, Any]] = {
    "as documented": {},
    "the loss of the flags alone": {"lambda_traffic_class": 0.0, "lambda_context": 0.0},
    "a polynomial of degree 1": {"degree": 1},
    "`fits_path`": {"fits_path": True},
}


class Sides(NamedTuple):
    """Windows to train on, to choose with, and to measure on; and the true probabilities of the last."""

    train: TrafficArrays
    val: TrafficArrays
    test: TrafficArrays
    chances: tuple[Tensor, Tensor]
    """(N, T), of the windows to choose with and of those to measure on."""


def flags(seeds: int = 5, samples: int = SAMPLES, epochs: int = 30) -> str:
    """F1 of the flags of each way to predict them, mean and standard deviation over the seeds, in Markdown.

    Args:
        seeds: of the series and of the training.
        samples: of a series.
        epochs: of a training, at most.
    """
    with one_thread():
        found = {
            name: [_figures(deadband, seed, samples, epochs) for seed in range(seeds)]
            for name, deadband in DEADBANDS.items()
        }
    header = [f"F1 of the flags, {seeds} seeds"]
    rates = {name: statistics.mean(run["rate"] for run in runs) for name, runs in found.items()}
    header += [f"{name}, {100 * rate:.0f}% of the samples" for name, rate in rates.items()]
    names = [name for name in next(iter(found.values()))[0] if name != "rate"]
    return table(
        header, [[name, *(spread([run[name] for run in runs], 3) for runs in found.values())] for name in names]
    )


def _figures(deadband: float, seed: int, samples: int, epochs: int) -> dict[str, float]:
    sides = make_sides(deadband, seed, samples)
    figures = {"rate": float(sides.test.transmissions.mean())}
    figures["every sample"] = f1(torch.ones_like(sides.test.transmissions), sides.test, 0.5)
    for name, parameters in VARIANTS.items():
        val, test = trained_chances(sides.train, sides.val, sides.test, parameters, seed, epochs)
        figures[f"{name}, threshold 0.5"] = f1(test, sides.test, 0.5)
        figures[f"{name}, threshold chosen"] = f1(test, sides.test, flag_threshold(val, sides.val.transmissions))
    unfair = {"sources smoothed with look-ahead": _ahead(deadband, seed, samples)}
    unfair["windows split at random"] = _shuffled(sides, seed)
    for name, other in unfair.items():
        val, test = trained_chances(*other, {}, seed, epochs)
        threshold = flag_threshold(val, other[1].transmissions)
        figures[f"{name} (not to be had), threshold chosen"] = f1(test, other[2], threshold)
    val, test = sides.chances
    figures["the true probabilities, threshold 0.5"] = f1(test, sides.test, 0.5)
    figures["the true probabilities, threshold chosen"] = f1(
        test, sides.test, flag_threshold(val, sides.val.transmissions)
    )
    print(f"deadband {deadband}, seed {seed}", figures, file=sys.stderr, flush=True)
    return figures


def make_sides(deadband: float, seed: int, samples: int) -> Sides:
    """The simulated series of a seed, its windows, and their true probabilities."""
    scaled, sent, sides = _series(deadband, seed, samples)
    windows = make_traffic_windows(scaled, sent, SOURCE, TARGET)
    train, val, test = (_part(windows, side) for side in sides)
    generator = np.random.default_rng([seed, 1])
    return Sides(train, val, test, tuple(true_chances(each, deadband, generator) for each in (val, test)))


def _series(deadband: float, seed: int, samples: int) -> tuple[Tensor, Tensor, list[slice]]:
    generator = np.random.default_rng(seed)
    values = np.zeros((samples + 300, FEATURES))
    pushes = generator.standard_normal(values.shape)
    for t in range(2, len(values)):
        values[t] = FIRST * values[t - 1] + SECOND * values[t - 2] + pushes[t]
    scaled, sent = send_on_delta(values[300:], deadband, (-_half_range(), _half_range()))
    length = SOURCE + TARGET
    ends = [0, int(0.6 * samples), int(0.8 * samples), samples]
    return scaled, sent, [slice(start, end - length + 1) for start, end in pairwise(ends)]


def _half_range() -> float:
    """Five standard deviations of the autoregression, whose variance has a closed form; pushes have 1."""
    variance = (1 - SECOND) / ((1 + SECOND) * ((1 - SECOND) ** 2 - FIRST**2))
    return float(5 * np.sqrt(variance))


def true_chances(windows: TrafficArrays, deadband: float, generator: np.random.Generator) -> Tensor:
    """The probability of each flag of N windows, (N, T): the part of many futures in which the sample is sent."""
    push = 1 / (2 * _half_range())
    # Around its centre, 0.5, the scaled series obeys the same recursion.
    before, now = (windows.sources[:, k].double().numpy()[:, None] - 0.5 for k in (-2, -1))
    shape = (len(now), FUTURES, FEATURES)
    before, now = np.broadcast_to(before, shape), np.broadcast_to(now, shape)
    held = np.broadcast_to(windows.last_transmitted.double().numpy() - 0.5, shape)
    chances = []
    for _ in range(TARGET):
        before, now = now, FIRST * now + SECOND * before + push * generator.standard_normal(shape)
        is_sent = (np.abs(now - held) > deadband).any(-1)
        held = np.where(is_sent[..., None], now, held)
        chances.append(is_sent.mean(1))
    return torch.from_numpy(np.stack(chances, axis=1))


def trained_chances(
    train: TrafficArrays, val: TrafficArrays, test: TrafficArrays, parameters: dict[str, Any], seed: int, epochs: int
) -> tuple[Tensor, Tensor]:
    """The probabilities (N, T) that a trained predictor gives to the flags of the last two."""
    from ignite_recipes import getDefaultModelParams, predict_traffic, trainModel

    p = getDefaultModelParams(SOURCE, TARGET, train, batch_size=256)
    p |= {"num_epochs": epochs, "seed": seed, "save_checkpoints": False, **parameters}
    model, _, _ = trainModel(p, train, val, verbose=False, device="cpu")
    logits = [predict_traffic(model, each).transmission_logits.double() for each in (val, test)]
    return logits[0].sigmoid(), logits[1].sigmoid()


def f1(chances: Tensor, windows: TrafficArrays, threshold: float) -> float:
    """Of the flags, those above a threshold being expected."""
    expected, sent = chances > threshold, windows.transmissions > 0.5
    return float(2 * (expected & sent).sum() / max(int(expected.sum() + sent.sum()), 1))


def _ahead(deadband: float, seed: int, samples: int) -> tuple[TrafficArrays, ...]:
    """The same windows, whose sources are centred means: their last samples know of the target's first ones."""
    scaled, sent, sides = _series(deadband, seed, samples)
    padded = torch.nn.functional.pad(scaled.T, (SMOOTHED // 2, SMOOTHED // 2), mode="replicate").T
    smoothed = padded.unfold(0, SMOOTHED, 1).mean(-1)
    windows = make_traffic_windows(scaled, sent, SOURCE, TARGET, smoothed)
    return tuple(_part(windows, side) for side in sides)


def _shuffled(sides: Sides, seed: int) -> tuple[TrafficArrays, ...]:
    """The same windows, dealt at random: most of those to measure on share samples with some to train on."""
    parts = sides[:3]
    together = TrafficArrays(*(torch.cat(arrays) for arrays in zip(*parts, strict=True)))
    order = torch.randperm(len(together.sources), generator=torch.Generator().manual_seed(seed))
    dealt = order.split([len(part.sources) for part in parts])
    return tuple(TrafficArrays(*(array[rows] for array in together)) for rows in dealt)


def _part(windows: TrafficArrays, side: slice) -> TrafficArrays:
    return TrafficArrays(*(array[side] for array in windows))
