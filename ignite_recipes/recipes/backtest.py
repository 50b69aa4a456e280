"""How good a traffic predictor would have been: trained again at each origin, and measured on later samples."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ignite_recipes.arguments import shown
from ignite_recipes.data.deadband import Limits, learn_limits
from ignite_recipes.data.traffic import TrafficArrays, make_traffic_windows, to_tensor
from ignite_recipes.data.traffic_flags import expected_transmissions, flag_threshold
from ignite_recipes.data.traffic_series import TrafficSeries, split_in_time
from ignite_recipes.models.inference import predict_traffic
from ignite_recipes.optional import polars as pl
from ignite_recipes.recipes.backtest_forecasts import arima, last_value, mean, seasonal_naive
from ignite_recipes.recipes.checks import check_count
from ignite_recipes.recipes.traffic import trainModel

__all__ = ["backtest"]

Array: TypeAlias = NDArray[np.float64]


class _Forecast(NamedTuple):
    """A forecast of N windows."""

    path: Array | None
    """(N, T, F); None where none is expected."""
    chances: Array
    """(N, T), the probability of each flag."""
    traffic: Array
    """(N,)."""


class _Origin(NamedTuple):
    """The windows of one origin."""

    scaled: Array
    """(L', F), all samples up to the end of the block after the origin."""
    sent: Array
    """(L',), their flags."""
    num_train: int
    """The samples to learn from; those up to the origin choose the epoch and the threshold."""
    sides: tuple[TrafficArrays, TrafficArrays, TrafficArrays]
    """To train on, to choose with, to measure on."""
    starts: tuple[NDArray[np.int64], NDArray[np.int64]]
    """The first rows of the targets of the last two."""


def backtest(
    context: Any,
    len_source: int,
    len_target: int,
    *,
    transmissions: Any = None,
    deadband: float | None = None,
    limits: Limits | None = None,
    origins: int = 3,
    min_train: float = 0.5,
    val_size: float = 0.2,
    season: int | None = None,
    arima_order: tuple[int, int, int] | None = (2, 0, 0),
    parameters: Mapping[str, Any] | None = None,
    by_origin: bool = False,
    device: str | torch.device | None = None,
) -> "pl.DataFrame":
    """Measure a traffic predictor and its baselines with a rolling origin, in one table.

    The samples after the first ``min_train`` are cut into ``origins`` blocks. At the beginning of each, its origin,
    everything is learnt again from the samples before it, also the limits that scale the context. Then each window
    whose target is in the block is predicted from the samples before its target. The last ``val_size`` of the samples
    before an origin are not trained on: they choose the best epoch, and for each predictor the threshold of the flags
    with the greatest F1.

    The ``model`` is compared with a ``context-free twin``, the same network with all context hidden from it, which
    knows how many samples of the source were transmitted; with the ``last value``, the ``mean``, the ``seasonal naive``
    and an ``ARIMA`` for each feature. These four predict the flags like another feature, as a number that is clamped to
    [0, 1] and used as a probability.

    Args:
        context: (L, F) floats, or (L,), equally spaced in time; or a series as :meth:`WindowPredictor.read` reads.
        len_source, len_target: S and T, samples of the windows.
        transmissions: (L,) flags; without them a ``deadband`` gives the flags.
        deadband: as in :func:`send_on_delta`, in parts of a feature's range.
        limits: the low and the high end of each feature; None learns them at each origin.
        origins: the number of origins; the model is trained twice at each.
        min_train: the part of the samples before the first origin, in (0, 1).
        val_size: the part of those before an origin that chooses, in (0, 1).
        season: samples of a season; None leaves the seasonal naive out.
        arima_order: (p, d, q); None leaves the ARIMA out.
        parameters: the parameters of the model, as in :func:`trainModel`; nothing is written.
        by_origin: a block of rows for each origin instead of one for all windows together.
        device: as in :func:`trainModel`.

    Returns:
        A frame of polars. ``predictor`` and ``step``, the sample of the target from 1, null for all of them together;
        ``windows``; ``context_mae`` and ``context_rmse``, of the scaled context, null for the twin; ``brier``, the mean
        squared error of the flags' probabilities; ``f1`` of the flags; and where ``step`` is null ``traffic_mse``, and
        ``coverage``, the part of the windows whose number of transmissions lies in the 95% interval of
        :func:`expected_transmissions`. With ``by_origin`` first ``origin``, the number of samples before it, and last
        ``threshold``.

    Raises:
        ValueError: if the series is too short, flags and deadband are both given or none, or a value is out of its
            range; and as :func:`trainModel`.
        ModuleNotFoundError: for an ARIMA without statsmodels.

    Warns:
        UserWarning: if context in a block leaves the limits learnt before it, and so is clamped.

    >>> wave = np.sin(np.arange(240) * np.pi / 12)
    >>> parameters = {"num_epochs": 1, "hidden_size": 4}
    >>> table = backtest(wave, 8, 2, deadband=0.2, origins=1, season=24, arima_order=None, parameters=parameters)
    >>> table.filter(table["step"].is_null())["predictor"].to_list()
    ['model', 'context-free twin', 'last value', 'mean', 'seasonal naive']
    >>> round(table.filter(table["predictor"] == "seasonal naive")["context_mae"].max(), 6)
    0.0

    Reference: R. J. Hyndman, G. Athanasopoulos, Forecasting: Principles and Practice, 2021, section 5.10.
    """
    check_count(len_source=len_source, len_target=len_target)
    if parameters is not None and not isinstance(parameters, Mapping):
        raise TypeError(f"parameters must be a dict, as of trainModel; got {shown(parameters)}")
    _check_order(arima_order)
    series = _series(context, transmissions, deadband)
    edges = _edges(len(series.context), len_target, origins, min_train, val_size)
    if season is not None:
        check_count(season=season)
    if season is not None and season > edges[0]:
        raise ValueError(f"season must be at most the samples before the first origin, {edges[0]}; got {season}")
    found: dict[str, list[dict[str, Array]]] = {}
    for start, end in pairwise(edges):
        origin = _origin(series, deadband, limits, start, end, (len_source, len_target), val_size)
        for name, predict in _predictors(parameters or {}, season, arima_order, device).items():
            found.setdefault(name, []).append({**_errors(origin, *predict(origin)), "origin": np.array([start])})
    if by_origin:
        rows = [row for k in range(origins) for name, all_of in found.items() for row in _rows(name, all_of[k : k + 1])]
        return pl.DataFrame(rows, infer_schema_length=None).select("origin", pl.exclude("origin"))
    pooled = [row for name, all_of in found.items() for row in _rows(name, all_of)]
    return pl.DataFrame(pooled, infer_schema_length=None).drop("origin", "threshold")


def _series(context: Any, transmissions: Any, deadband: float | None) -> TrafficSeries:
    if isinstance(context, TrafficSeries):
        if transmissions is not None:
            raise ValueError("transmissions go with a context that is an array; a series has its own: leave them out")
        series = context
    else:
        values = to_tensor("context", context).numpy()
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or not values.size:
            raise ValueError(f"context must be (samples, features); got shape {values.shape}")
        series = TrafficSeries(values, transmissions, [str(k) for k in range(values.shape[1])], None)
    if (series.flags is None) == (deadband is None):
        got = "neither" if deadband is None else "both"
        raise ValueError(f"exactly one of transmissions and deadband must say which samples are sent; got {got}")
    if series.flags is not None and np.shape(series.flags) != (len(series.context),):
        raise ValueError(
            f"transmissions must be one flag per sample of the context, ({len(series.context)},); got "
            f"{np.shape(series.flags)}: cut both to the same samples"
        )
    return series


def _edges(samples: int, len_target: int, origins: int, min_train: float, val_size: float) -> list[int]:
    """The origins, and the end of the last block."""
    check_count(origins=origins)
    for name, value in (("min_train", min_train), ("val_size", val_size)):
        if not isinstance(value, (int, float)) or not 0 < value < 1:
            raise ValueError(f"{name} must be a part of the samples, in (0, 1); got {shown(value)}")
    first = round(min_train * samples)
    edges = [first + (samples - first) * k // origins for k in range(origins + 1)]
    if min(b - a for a, b in pairwise(edges)) < len_target:
        raise ValueError(
            f"each block after an origin must have at least len_target = {len_target} samples; got "
            f"{samples - first} samples for {origins}: use fewer origins or a longer series"
        )
    return edges


def _check_order(order: Any) -> None:
    if order is None:
        return
    is_order = isinstance(order, (tuple, list)) and len(order) == 3
    if not is_order or any(type(each) is not int or each < 0 for each in order):
        raise ValueError(f"arima_order must be (p, d, q), three whole numbers, or None; got {shown(order)}")


def _origin(
    series: TrafficSeries,
    deadband: float | None,
    limits: Limits | None,
    start: int,
    end: int,
    sizes: tuple[int, int],
    val_size: float,
) -> _Origin:
    """Nothing from the block's end on is in it, and what is learnt is of the samples before its start."""
    known = series._replace(
        context=series.context[:end], flags=None if series.flags is None else series.flags[:end], times=None
    )
    scaled, sent = known.scaled(learn_limits(series.context[:start]) if limits is None else limits, deadband)
    num_train = start - round(val_size * start)
    train, val = split_in_time(scaled[:start], sent[:start], *sizes, num_train)
    windows = make_traffic_windows(scaled, sent, *sizes)
    test = TrafficArrays(*(array[start - sizes[0] :] for array in windows))
    starts = (np.arange(len(val.sources)) + num_train + sizes[0], np.arange(len(test.sources)) + start)
    return _Origin(scaled.double().numpy(), sent.double().numpy(), num_train, (train, val, test), starts)


def _predictors(
    parameters: Mapping[str, Any],
    season: int | None,
    arima_order: tuple[int, int, int] | None,
    device: str | torch.device | None,
) -> dict[str, Callable[[_Origin], list[_Forecast]]]:
    """The predictors by name: each predicts the windows to choose with and those to measure on."""
    found: dict[str, Callable[[_Origin], list[_Forecast]]] = {
        "model": partial(_trained, parameters, device, lambda windows: windows),
        "context-free twin": partial(_trained, parameters, device, _hide_context),
        "last value": partial(_untrained, last_value),
        "mean": partial(_untrained, mean),
    }
    if season is not None:
        found["seasonal naive"] = partial(_untrained, partial(seasonal_naive, season=season))
    if arima_order is not None:
        name = f"ARIMA({', '.join(map(str, arima_order))})"
        found[name] = partial(_untrained, partial(arima, order=arima_order))
    return found


def _hide_context(windows: TrafficArrays) -> TrafficArrays:
    """What the network sees of the context, without what it says."""
    shown_as = torch.full_like(windows.last_transmitted[:1], 0.5)
    return windows._replace(
        sources=shown_as.expand_as(windows.sources), last_transmitted=shown_as.expand_as(windows.last_transmitted)
    )


def _trained(
    parameters: Mapping[str, Any], device: Any, change: Callable[[TrafficArrays], TrafficArrays], origin: _Origin
) -> list[_Forecast]:
    train, val, test = map(change, origin.sides)
    chosen = {"batch_size": 256, **parameters, "save_checkpoints": False}
    with warnings.catch_warnings():  # of context out of range, which has been said
        warnings.filterwarnings("ignore", message=".* should be in")
        model, _, _ = trainModel(chosen, train, val, verbose=False, device=device)
    found = []
    for windows in (val, test):
        said = predict_traffic(model, windows)
        path = said.path.double().numpy() if change is not _hide_context else None
        chances = said.transmission_logits.double().sigmoid().numpy()
        found.append(_Forecast(path, chances, said.traffic[:, 0].double().numpy()))
    return found


def _untrained(forecast: Callable[..., Array], origin: _Origin) -> list[_Forecast]:
    together = np.column_stack([origin.scaled, origin.sent])
    steps = origin.sides[0].transmissions.shape[1]
    found = []
    # Both at once: an ARIMA is fitted once.
    parts = forecast(together, origin.num_train, np.concatenate(origin.starts), steps)
    for part in np.split(parts, [len(origin.starts[0])]):
        chances = part[..., -1].clip(0, 1)
        found.append(_Forecast(part[..., :-1], chances, chances.mean(1)))
    return found


def _errors(origin: _Origin, val: _Forecast, test: _Forecast) -> dict[str, Array]:
    """What the measures are made of, a row for each window."""
    _, chosen_with, windows = origin.sides
    threshold = flag_threshold(val.chances, chosen_with.transmissions)
    sent = windows.transmissions.double().numpy()
    counts = expected_transmissions(test.chances)
    truth = sent.sum(1)
    errors = {
        "sent": sent,
        "guess": (test.chances > threshold).astype(float),
        "chances": test.chances,
        "traffic": test.traffic - windows.target_traffic[:, 0].double().numpy(),
        "covered": ((counts.low.numpy() <= truth) & (truth <= counts.high.numpy())).astype(float),
        "threshold": np.array([threshold]),
    }
    if test.path is not None:
        errors["path"] = test.path - windows.targets.double().numpy()
    return errors


def _rows(name: str, parts: list[dict[str, Array]]) -> list[dict[str, Any]]:
    """The table's rows of one predictor, of all windows of these origins."""
    errors = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    steps = errors["sent"].shape[1]
    return [
        {
            "predictor": name,
            **_measures(errors, step),
            "traffic_mse": float(np.square(errors["traffic"]).mean()) if step is None else None,
            "coverage": float(errors["covered"].mean()) if step is None else None,
            "origin": int(errors["origin"][0]),
            "threshold": float(errors["threshold"][0]),
        }
        for step in (*range(steps), None)
    ]


def _measures(errors: Mapping[str, Array], step: int | None) -> dict[str, Any]:
    """The measures of one step, or of all."""
    of = slice(None) if step is None else slice(step, step + 1)
    sent, guess, chances = (errors[key][:, of] for key in ("sent", "guess", "chances"))
    path = errors["path"][:, of] if "path" in errors else None
    return {
        "step": None if step is None else step + 1,
        "windows": len(sent),
        "context_mae": None if path is None else float(np.abs(path).mean()),
        "context_rmse": None if path is None else float(np.sqrt(np.square(path).mean())),
        "brier": float(np.square(chances - sent).mean()),
        "f1": float(2 * (sent * guess).sum() / max(sent.sum() + guess.sum(), 1)),
    }
