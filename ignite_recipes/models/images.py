"""Models that classify images, and the registry of them."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, pad

from ignite_recipes.models.mlp import multilayer_perceptron
from ignite_recipes.registry import Registry

__all__ = ["LeNet", "ModelRegistry", "MyNet"]

_LENET_SIDE = 32  # pixels


def _keep_config(made: Any, name: str, settings: Mapping[str, Any]) -> None:
    """Note on the model what made it, so that a checkpoint can say so."""
    if not isinstance(made, nn.Module):
        raise TypeError(f"model {name!r} must make a torch.nn.Module; got {type(made).__name__}")
    model: Any = made
    model.model_config = {"name": name, **_plain(settings)}


def _plain(value: Any) -> Any:
    """The value in types that a checkpoint may hold; of anything else its ``repr``."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [*map(_plain, value)] if isinstance(value, list) else tuple(map(_plain, value))
    return value if type(value) in (type(None), bool, int, float, str) else repr(value)


ModelRegistry: Registry[nn.Module] = Registry("model", on_create=_keep_config)
"""What it makes has the attribute ``model_config``: its name and the settings that it was made with."""


@ModelRegistry.register("mynet")
class MyNet(nn.Module):
    """A small convolutional net: two pairs of 3 x 3 convolutions with batch norm and ReLU, and a linear layer.

    Each pair ends in the maximum, the first's over 2 x 2 pixels, the second's over each quarter of the image,
    so that it takes images of any size. 67,754 parameters for grey images of ten classes.

    Args:
        num_classes: K, of the images.
        input_shape: (C, H, W), at least 8 x 8 pixels.
        width: channels of the first pair; the second has twice as many.

    Raises:
        ValueError: if a size is too small.

    >>> import torch
    >>> model = ModelRegistry.create("mynet", num_classes=10)
    >>> model(torch.rand(4, 1, 28, 28)).shape, model.model_config
    (torch.Size([4, 10]), {'name': 'mynet', 'num_classes': 10})
    """

    smallest = 8  # pixels

    def __init__(self, num_classes: int = 10, input_shape: Sequence[int] = (1, 28, 28), width: int = 32) -> None:
        super().__init__()
        self.input_shape = _checked_shape(input_shape, self.smallest)
        _check_sizes(num_classes=num_classes, width=width)
        self.features = nn.Sequential(
            *_convolution(self.input_shape[0], width),
            *_convolution(width, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            *_convolution(2 * width, 2 * width),
        )
        self.classifier = nn.Linear(8 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of the classes: (N, C, H, W) -> (N, K)."""
        _check_images(images, self.input_shape[0], self.smallest)
        scores: Tensor = self.classifier(_max_of_quarters(self.features(images)).flatten(1))
        return scores


@ModelRegistry.register("lenet")
class LeNet(nn.Module):
    """LeNet-5: two 5 x 5 convolutions with pooling, and three linear layers, on images of 32 x 32 pixels.

    Images of 28 to 32 pixels per side get a margin of zeros, others are resized. As is usual today, the second
    convolution sees all channels, pooling has no weights, and the last layer is linear. 61,706 parameters for
    grey images of ten classes.

    Args:
        num_classes: K, of the images.
        input_shape: (C, H, W).

    Raises:
        ValueError: if a size is below 1.

    >>> import torch
    >>> LeNet()(torch.rand(4, 1, 28, 28)).shape
    torch.Size([4, 10])

    Reference: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document
    Recognition, Proceedings of the IEEE, 1998.
    """

    smallest = 1  # pixels

    def __init__(self, num_classes: int = 10, input_shape: Sequence[int] = (1, 28, 28)) -> None:
        super().__init__()
        self.input_shape = _checked_shape(input_shape, self.smallest)
        _check_sizes(num_classes=num_classes)
        self.features = nn.Sequential(
            *(nn.Conv2d(self.input_shape[0], 6, 5), nn.Tanh(), nn.AvgPool2d(2)),  # (N, 6, 14, 14)
            *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),  # (N, 16, 5, 5)
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(
            *(nn.Linear(400, 120), nn.Tanh()), *(nn.Linear(120, 84), nn.Tanh()), nn.Linear(84, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores of the classes: (N, C, H, W) -> (N, K)."""
        _check_images(images, self.input_shape[0], self.smallest)
        scores: Tensor = self.classifier(self.features(_to_lenet_side(images)))
        return scores


@ModelRegistry.register("mlp")
def mlp(
    num_classes: int = 10,
    input_shape: Sequence[int] = (1, 28, 28),
    hidden_dimension: int = 256,
    num_layers: int = 2,
    dropout_rate: float = 0.2,
) -> nn.Sequential:
    """A :func:`multilayer_perceptron` of all pixels: (N, C, H, W) -> (N, num_classes).

    Args:
        num_classes: the number of classes of the images.
        input_shape: (C, H, W).
        hidden_dimension, num_layers, dropout_rate: of the multilayer perceptron.

    Raises:
        ValueError: if a size is below 1.

    >>> import torch
    >>> mlp(10, (1, 8, 8), hidden_dimension=32)(torch.rand(4, 1, 8, 8)).shape
    torch.Size([4, 10])
    """
    channels, height, width = _checked_shape(input_shape, 1)
    layers = multilayer_perceptron(channels * height * width, num_classes, hidden_dimension, num_layers, dropout_rate)
    return nn.Sequential(nn.Flatten(), *layers)


def _convolution(channels_in: int, channels_out: int) -> list[nn.Module]:
    # Batch norm has a bias of its own.
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


def _max_of_quarters(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2, 2), as by ``AdaptiveMaxPool2d``, of which CUDA has no deterministic kernel."""
    height, width = maps.shape[-2:]
    return max_pool2d(maps, ((height + 1) // 2, (width + 1) // 2), (height // 2, width // 2))


def _to_lenet_side(images: Tensor) -> Tensor:
    """Images (N, C, H, W) on 32 x 32 pixels."""
    height, width = images.shape[-2:]
    down, across = _LENET_SIDE - height, _LENET_SIDE - width
    if 0 <= down <= 4 and 0 <= across <= 4:
        return pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
    return interpolate(images, (_LENET_SIDE, _LENET_SIDE), mode="bilinear", antialias=True)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1; got {size}")


def _checked_shape(input_shape: Sequence[int], smallest: int) -> tuple[int, int, int]:
    shape = tuple(operator.index(size) for size in input_shape)
    if len(shape) != 3 or min(shape) < 1 or min(shape[1:]) < smallest:
        raise ValueError(
            f"input_shape must be (channels, height, width), of at least {smallest} x {smallest} pixels; got {shape}"
        )
    return shape


def _check_images(images: Tensor, channels: int, smallest: int) -> None:
    if images.ndim != 4 or images.shape[1] != channels or min(images.shape[2:]) < smallest:
        raise ValueError(
            f"images must be (N, {channels}, H, W), of at least {smallest} x {smallest} pixels; got "
            f"{tuple(images.shape)}: make the model with the data set's input_shape"
        )
