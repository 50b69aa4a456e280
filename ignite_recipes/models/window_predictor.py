"""A traffic predictor with the scale of its inputs: predictions for each window of a new series."""

import logging
import numbers
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ignite_recipes.arguments import shown
from ignite_recipes.data.traffic import TrafficArrays, TrafficDataset, make_traffic_windows
from ignite_recipes.data.traffic_flags import HALF, expected_transmissions
from ignite_recipes.data.traffic_report import traffic_report
from ignite_recipes.data.traffic_series import TrafficSeries, read_traffic_csv
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.models.inference import predict_traffic
from ignite_recipes.models.names import checked_features, checked_units
from ignite_recipes.models.traffic import TrafficPrediction
from ignite_recipes.optional import polars as pl

__all__ = ["WindowPredictor"]

logger = logging.getLogger(__name__)


class WindowPredictor:
    """Predicts the traffic after each window of a series with a :class:`TrafficPredictor`.

    Args:
        model: the traffic predictor.
        feature_names: the names of the F features, by which the columns of a file are checked.
        limits: the low and the high end of each feature, (F,) each, that training scaled to 0 and 1; without them
            only arrays in [0, 1] are taken.
        deadband: the deadband of the training; None if the flags are a column.
        flag_column, time_column: the names of these columns of a file.
        units: the units of features, by name.
        flag_threshold: the probability above which a transmission is expected, in (0, 1), as :func:`flag_threshold`
            chooses it; None is 0.5.

    >>> from ignite_recipes import TrafficPredictor
    >>> windows = make_traffic_windows(torch.rand(20, 1), torch.ones(20), 10, 2)
    >>> predictor = WindowPredictor(TrafficPredictor(input_size=1, output_size=2))
    >>> frame = predictor.predict(windows)
    >>> frame.columns[:7], frame.columns[7:]
    (['prediction', 'p_0', 'p_1', 'p_2', 'traffic', 'p_sent_1', 'p_sent_2'],
     ['sent_1', 'sent_2', 'transmissions', 'transmissions_low', 'transmissions_high'])
    """

    kind: ClassVar[str] = "windows"
    class_names: ClassVar[None] = None

    def __init__(
        self,
        model: nn.Module,
        *,
        feature_names: Sequence[str] | None = None,
        limits: tuple[Any, Any] | None = None,
        deadband: float | None = None,
        flag_column: str | None = None,
        time_column: str | None = None,
        units: Mapping[str, str] | None = None,
        flag_threshold: float | None = None,
    ) -> None:
        self.model, self.units = model, checked_units(units)
        self.trained: dict[str, Any] = {}
        plain: Any = unwrap(model)
        self.feature_names = checked_features(feature_names, getattr(plain, "input_size", None))
        self.limits = None if limits is None else tuple(np.asarray(end, dtype=np.float64).tolist() for end in limits)
        if self.limits is not None and (
            len(self.limits) != 2 or not all(np.shape(end) == (plain.input_size,) for end in self.limits)
        ):
            raise ValueError(f"limits must be two arrays, of the {plain.input_size} features; got {limits!r:.80}")
        self.deadband, self.flag_column, self.time_column = deadband, flag_column, time_column
        self.flag_threshold = HALF if flag_threshold is None else flag_threshold
        if not isinstance(self.flag_threshold, numbers.Real) or not 0 < self.flag_threshold < 1:
            raise ValueError(f"flag_threshold must be a probability, in (0, 1); got {shown(flag_threshold)}")

    def read(self, path: str | os.PathLike[str]) -> TrafficSeries:
        """The samples of a CSV file, which must have the features of the training.

        Raises:
            FileNotFoundError, ValueError: as :func:`load_traffic_csv`.
        """
        series = read_traffic_csv(os.fspath(path), self.flag_column, self.time_column)
        if self.feature_names is None or series.names == self.feature_names:
            return series
        if missing := [name for name in self.feature_names if name not in series.names]:
            raise ValueError(f"{path} must have the columns of the training; {missing[0]!r} is missing: add it")
        order = [series.names.index(name) for name in self.feature_names]
        return series._replace(context=series.context[:, order], names=self.feature_names)

    def windows(self, data: Any, *, to_come: bool = False) -> TrafficArrays:
        """The windows of a series or of a CSV file, scaled as for the training; those of arrays as they are.

        Args:
            data: the eight arrays, a :class:`~ignite_recipes.data.traffic_series.TrafficSeries`, or a CSV file.
            to_come: also those whose target is not known yet; the arrays of the targets then have no meaning.

        Raises:
            ValueError: if there are no limits to scale by, or the series is too short.
        """
        if isinstance(data, TrafficDataset):
            return data.arrays
        if isinstance(data, tuple) and not isinstance(data, TrafficSeries):
            return TrafficArrays(*data)
        series = data if isinstance(data, TrafficSeries) else self.read(data)
        if self.limits is None:
            raise ValueError("a series must be scaled by the limits of the training, which are not known here")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            context, flags = series.scaled(self.limits, self.deadband)
        for warning in caught:
            logger.warning("%s", warning.message)
        model: Any = unwrap(self.model)
        if to_come:
            context = torch.cat([context, context[-1:].expand(model.output_size, -1)])
            flags = torch.cat([flags, torch.zeros(model.output_size)])
        return make_traffic_windows(context, flags, model.len_source, model.output_size)

    def predict(self, data: Any) -> "pl.DataFrame":
        """The predictions for each window, in their order; for a series also for the windows to come.

        Args:
            data: as in :meth:`windows`.

        Returns:
            A frame of polars: ``prediction``, the most probable number of transmissions in the target; ``p_0``,
            ``p_1``, ..., the probability of each number; ``traffic``, the part of the samples that is expected;
            ``p_sent_1``, ..., the probability that each sample of the target is transmitted, and ``sent_1``, ..., 1
            where it is above the threshold, else 0; ``transmissions``, how many are expected by these probabilities,
            and the 95% interval ``transmissions_low`` to ``transmissions_high`` of :func:`expected_transmissions`. Of
            a series the first columns are ``row``, the number of the source's last sample from 0, and its ``time``.
        """
        is_series = not isinstance(data, tuple | TrafficDataset) or isinstance(data, TrafficSeries)
        if not is_series:
            return self.decode(self.outputs(self.windows(data)))
        series = data if isinstance(data, TrafficSeries) else self.read(data)
        found = self.decode(self.outputs(self.windows(series, to_come=True)))
        model: Any = unwrap(self.model)
        rows = range(model.len_source - 1, len(series.context))
        places = {"row": pl.Series(rows)}
        if series.times is not None:
            places["time"] = pl.Series([series.times[row] for row in rows])
        return pl.DataFrame(places).hstack(found)

    def outputs(self, windows: TrafficArrays) -> TrafficPrediction:
        """The outputs of the model for windows."""
        return predict_traffic(unwrap(self.model), windows)  # type: ignore[arg-type]

    def decode(self, outputs: TrafficPrediction) -> "pl.DataFrame":
        """The predictions from outputs of the model, a row for each window."""
        chances = outputs.class_logits.double().softmax(1)
        flags = outputs.transmission_logits.double().sigmoid()
        columns = {"prediction": chances.argmax(1).numpy()}
        columns |= {f"p_{k}": column for k, column in enumerate(chances.numpy().T)}
        columns["traffic"] = outputs.traffic[:, 0].numpy()
        columns |= {f"p_sent_{k}": column for k, column in enumerate(flags.numpy().T, start=1)}
        sent = (flags > self.flag_threshold).long()
        columns |= {f"sent_{k}": column for k, column in enumerate(sent.numpy().T, start=1)}
        counts = expected_transmissions(flags)
        columns |= {"transmissions": counts.expected.numpy(), "transmissions_low": counts.low.numpy()}
        columns["transmissions_high"] = counts.high.numpy()
        return pl.DataFrame(columns)

    def evaluate(self, data: Any) -> dict[str, float]:
        """The measures of :func:`traffic_report` for windows whose target is known."""
        windows = self.windows(data)
        return traffic_report(self.outputs(windows), windows, self.flag_threshold)

    def description(self) -> dict[str, Any]:
        """What a model file needs to make it again."""
        return {
            "limits": None if self.limits is None else list(self.limits),
            "deadband": self.deadband,
            "flag_column": self.flag_column,
            "time_column": self.time_column,
            "flag_threshold": self.flag_threshold,
        }

    @classmethod
    def from_description(cls, model: nn.Module, description: Mapping[str, Any]) -> "WindowPredictor":
        """Made again of a model file."""
        names = ("feature_names", "limits", "deadband", "flag_column", "time_column", "units")
        threshold = description.get("flag_threshold")  # files of earlier versions have none
        return cls(model, **{name: description[name] for name in names}, flag_threshold=threshold)

    def program(self) -> tuple[nn.Module, tuple[Tensor, ...], list[str]]:
        """The model, two windows, and what it gives for them."""
        model: Any = unwrap(self.model)
        sources = torch.rand(2, model.len_source, model.input_size)
        inputs = (sources, torch.rand(2, 1, model.input_size), torch.rand(2, 1))
        return _Outputs(model), inputs, [*TrafficPrediction._fields]


class _Outputs(nn.Module):
    """The model's outputs as a plain tuple, which other tools know."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, sources: Tensor, last_transmitted: Tensor, source_traffic: Tensor) -> tuple[Tensor, ...]:
        """As of :class:`TrafficPredictor`."""
        return tuple(self.model(sources, last_transmitted, source_traffic))
