"""A predictor of a sender's traffic, from a polynomial's path through the samples it saw last."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from ignite_recipes.data.traffic import TrafficArrays
from ignite_recipes.devices import without_autocast

__all__ = ["TrafficPrediction", "TrafficPredictor", "traffic_losses"]

BLOCK = 65_536  # windows that are fitted at a time
RIDGE = 1e-6  # by which the fit is held to the polynomial, in squares of the context's range a window


class TrafficPrediction(NamedTuple):
    """What :class:`TrafficPredictor` says of N windows."""

    path: Tensor
    """(N, T, F), the context that is expected."""
    traffic: Tensor
    """(N, 1), the part of the target's samples that will be transmitted."""
    class_logits: Tensor
    """(N, classes), of their number."""
    transmission_logits: Tensor
    """(N, T), of each sample's flag."""


class TrafficPredictor(nn.Module):
    """A least-squares polynomial of the source, its geometry, and a residual network with three heads.

    The path extrapolates each feature of the source and is clamped to [0, 1]; no step of the training changes it. The
    network sees the magnitudes of its T points and of the last transmitted sample, the distances of each two
    of these T + 1 points, and the traffic of the source.

    Args:
        input_size: F, features of the context.
        output_size: T, samples of a target.
        num_classes: the number of classes of the traffic, by default T + 1.
        hidden_size: width of the network.
        num_layers: its residual blocks, each a linear layer, batch norm, ReLU and dropout.
        dropout_rate: probability of dropping a hidden unit in training, from 0 to 1.
        dt: time from one sample to the next; a scale of the polynomial, on which its values do not depend.
        degree: the degree of the polynomial.
        len_source: S, samples of a source.
        fits_path: let :meth:`fit_path` replace the polynomial's path by the linear one that fits the windows best;
            until then it is the polynomial's.

    Raises:
        ValueError: if a size is below 1, or the source too short for the polynomial.

    >>> model = TrafficPredictor(input_size=2, output_size=5).eval()
    >>> prediction = model(torch.rand(4, 10, 2), torch.rand(4, 1, 2), torch.rand(4, 1))
    >>> [tuple(output.shape) for output in prediction]
    [(4, 5, 2), (4, 1), (4, 6), (4, 5)]
    """

    extrapolation: Tensor
    upper: Tensor

    def __init__(
        self,
        input_size: int,
        output_size: int,
        num_classes: int | None = None,
        hidden_size: int = 64,
        num_layers: int = 5,
        dropout_rate: float = 0.2,
        dt: float = 0.01,
        degree: int = 3,
        len_source: int = 10,
        *,
        fits_path: bool = False,
    ) -> None:
        super().__init__()
        num_classes = output_size + 1 if num_classes is None else num_classes
        sizes = {
            "input_size": input_size,
            "output_size": output_size,
            "num_classes": num_classes,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "len_source": len_source,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1; got {size}")
        if degree < 0 or not 0 < dt < float("inf"):
            raise ValueError(f"degree must be at least 0 and dt a time above 0; got {degree} and {dt}")
        if len_source < degree + 1:
            raise ValueError(
                f"len_source must be at least degree + 1 = {degree + 1}, to fit the polynomial; got {len_source}: "
                f"use longer sources, or degree={max(len_source - 1, 0)}"
            )
        self.input_size, self.output_size, self.num_classes = input_size, output_size, num_classes
        self.len_source, self.degree, self.dt, self.fits_path = len_source, degree, dt, fits_path
        points = output_size + 1
        features = points + points * (points - 1) // 2 + 1
        # Constants of the sizes above, so not in the state dict; but for a path that is fitted.
        extrapolation = _extrapolation(len_source, output_size, degree, dt)
        if fits_path:
            each = np.kron(extrapolation.numpy(), np.eye(input_size, dtype=np.float32))
            extrapolation = torch.from_numpy(np.pad(each, ((0, 0), (0, 1))))  # (T F, S F + 1)
        self.register_buffer("extrapolation", extrapolation, persistent=fits_path)
        self.register_buffer("upper", torch.triu_indices(points, points, offset=1), persistent=False)
        # Distances between neighbours are small: without the norm the magnitudes would drown them.
        self.input_layer = nn.Sequential(nn.BatchNorm1d(features), nn.Linear(features, hidden_size))
        self.blocks = nn.ModuleList(_block(hidden_size, dropout_rate) for _ in range(num_layers))
        self.traffic_head = nn.Linear(hidden_size, 1)
        self.class_head = nn.Linear(hidden_size, num_classes)
        self.transmission_head = nn.Linear(hidden_size, output_size)

    def forward(self, sources: Tensor, last_transmitted: Tensor, source_traffic: Tensor) -> TrafficPrediction:
        """Predict the target windows.

        Args:
            sources: context (N, S, F), in [0, 1].
            last_transmitted: (N, 1, F).
            source_traffic: (N, 1).

        Raises:
            ValueError: if the sources are not of the model's S and F.
        """
        if sources.ndim != 3 or sources.shape[1:] != (self.len_source, self.input_size):
            raise ValueError(
                f"sources must be (windows, len_source {self.len_source}, input_size {self.input_size}); got "
                f"{tuple(sources.shape)}: make the windows and the model with the same sizes"
            )
        path = self.extrapolate(sources)
        hidden = self.input_layer(self.features(path, last_transmitted, source_traffic))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return TrafficPrediction(
            path, self.traffic_head(hidden).sigmoid(), self.class_head(hidden), self.transmission_head(hidden)
        )

    def extrapolate(self, sources: Tensor) -> Tensor:
        """The path after the source, in [0, 1]: (N, S, F) -> (N, T, F); float32, also under autocast."""
        with without_autocast(sources.device):  # its weights cancel: half precision is not enough
            sources = sources.to(self.extrapolation.dtype)
            if not self.fits_path:
                return (self.extrapolation @ sources).clamp(0, 1)
            path = sources.flatten(1) @ self.extrapolation[:, :-1].T + self.extrapolation[:, -1]
            return path.reshape(-1, self.output_size, self.input_size).clamp(0, 1)

    @torch.no_grad()
    def fit_path(self, windows: TrafficArrays) -> None:
        """Make the path the linear function of the whole source, with a constant, that is nearest to the targets.

        It is a least-squares vector autoregression, directly for each sample of the target. If the windows are too few
        or all equal, so that they do not determine it, it stays close to the polynomial. Always computed on the CPU, in
        float64.

        Args:
            windows: the training windows, in [0, 1].

        Raises:
            ValueError: for a model that was made without ``fits_path``, or with other sizes than the windows.
        """
        if not self.fits_path:
            raise ValueError("the model must be made with fits_path=True, to keep a path of its own")
        sizes = (self.len_source, self.output_size, self.input_size)
        found = (windows.sources.shape[1], *windows.targets.shape[1:])
        if found != sizes:
            raise ValueError(f"windows must be of the model's len_source, output_size, input_size {sizes}; got {found}")
        size, before = self.len_source * self.input_size + 1, self.extrapolation.double().cpu()
        products, errors = torch.zeros(size, size).double(), torch.zeros(size, len(before)).double()
        for sources, targets in zip(*(torch.split(array, BLOCK) for array in windows[:2]), strict=True):
            seen = torch.cat([sources.double().cpu().flatten(1), torch.ones(len(sources), 1).double()], dim=1)
            products += seen.T @ seen
            errors += seen.T @ (targets.double().cpu().flatten(1) - seen @ before.T)
        ridge = RIDGE * products.diagonal().max() * torch.eye(size).double()  # the greatest is N, in [0, 1]
        self.extrapolation.copy_((before.T + torch.linalg.solve(products + ridge, errors)).T)

    def features(self, path: Tensor, last_transmitted: Tensor, source_traffic: Tensor) -> Tensor:
        """The inputs of the network, (N, (T + 1)(T + 2) / 2 + 1): magnitudes, distances and the source's traffic."""
        points = torch.cat([path, last_transmitted.to(path.dtype)], dim=1)
        first, second = self.upper
        # norm's gradient is 0, not NaN, where two points are the same
        distances = (points[:, first] - points[:, second]).norm(dim=-1)
        return torch.cat([points.norm(dim=-1), distances, source_traffic.to(path.dtype)], dim=1)


def traffic_losses(
    outputs: tuple[Tensor, Tensor, Tensor, Tensor],
    batch: tuple[Tensor, ...],
    lambda_traffic_class: float = 100.0,
    lambda_transmission: float = 500.0,
    lambda_context: float = 100.0,
) -> dict[str, Tensor]:
    """The total loss and its four components, before their weights, averaged over the windows.

    ``traffic`` is the mean squared error of the traffic, ``classification`` the cross entropy of its class,
    ``transmission`` the binary cross entropy of the flags, ``context`` the mean squared error of the path, for which no
    weight is trained. Computed in float32, also under autocast.

    Args:
        outputs: the outputs of :class:`TrafficPredictor`.
        batch: the eight arrays, as in :class:`~ignite_recipes.data.traffic.TrafficDataset`.
        lambda_traffic_class, lambda_transmission, lambda_context: weights of the last three; the first's is 1.

    >>> zeros = (torch.zeros(1, 2, 1), torch.zeros(1, 1), torch.zeros(1, 3), torch.zeros(1, 2))
    >>> batch = [None, zeros[0], None, None, zeros[1], torch.zeros(1, 1), zeros[3], None]
    >>> {name: round(value.item(), 4) for name, value in traffic_losses(zeros, batch).items()}
    {'loss': 456.4348, 'traffic': 0.0, 'classification': 1.0986, 'transmission': 0.6931, 'context': 0.0}
    """
    _, targets, _, _, target_traffic, target_class, transmissions, _ = batch
    with without_autocast(targets.device):
        path, traffic, class_logits, transmission_logits = (output.float() for output in outputs)
        components = {
            "traffic": mse_loss(traffic, target_traffic.float()),
            "classification": cross_entropy(class_logits, target_class.long().flatten()),
            "transmission": binary_cross_entropy_with_logits(transmission_logits, transmissions.float()),
            "context": mse_loss(path, targets.float()),
        }
    weights = {"classification": lambda_traffic_class, "transmission": lambda_transmission, "context": lambda_context}
    total = components["traffic"] + sum(weight * components[name] for name, weight in weights.items())
    return {"loss": total, **components}


def _extrapolation(len_source: int, len_target: int, degree: int, dt: float) -> Tensor:
    """The matrix (T, S) that takes a source to its polynomial's values at the target's times."""
    times = np.arange(len_source + len_target, dtype=np.float64) * dt
    # The fit is the same in any unit and origin of time; these keep the powers apart.
    times = (times - times[:len_source].mean()) / max(float(np.ptp(times[:len_source])), dt)
    powers = np.vander(times, degree + 1)
    return torch.from_numpy(powers[len_source:] @ np.linalg.pinv(powers[:len_source])).float()


def _block(size: int, dropout_rate: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, size), nn.BatchNorm1d(size), nn.ReLU(), nn.Dropout(dropout_rate))
