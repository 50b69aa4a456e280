"""Random transforms of images, each a function of the image and of numbers drawn elsewhere."""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

__all__ = ["RandomAffine", "Transform", "checked_transform"]


class Transform(Protocol):
    """What changes a batch of training images at random: a function, or an object that can be called."""

    num_draws: int
    """K, random numbers that it needs for each image."""

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Images (B, C, H, W) float32 in [0, 1] and numbers (B, K) in [0, 1) -> images; no other randomness."""


class RandomAffine:
    """Shift, turn and resize each image a little; bilinear, and black where it comes from outside.

    Each of the four draws of an image goes evenly from one end of its range to the other: across, down, turn,
    and the logarithm of the factor.

    Args:
        shift: at most, either way, as a fraction of the image's width and height.
        rotation: at most, either way, in degrees.
        scale: an image grows or shrinks by a factor of at most 1 + ``scale``.

    Raises:
        ValueError: if a strength is out of its range.

    >>> image = torch.eye(3).expand(1, 1, 3, 3)
    >>> RandomAffine(shift=1 / 3, rotation=0, scale=0)(image, torch.tensor([[0.0, 0.5, 0.5, 0.5]]))
    tensor([[[[0., 0., 0.],
              [1., 0., 0.],
              [0., 1., 0.]]]])
    """

    num_draws = 4

    def __init__(self, *, shift: float = 0.1, rotation: float = 10.0, scale: float = 0.1) -> None:
        if not 0 <= shift < 1:
            raise ValueError(f"shift must be a fraction of the image's side, in [0, 1); got {shift}")
        if not 0 <= rotation <= 180:
            raise ValueError(f"rotation must be in degrees, from 0 to 180; got {rotation}")
        if not 0 <= scale < math.inf:
            raise ValueError(f"scale must be 0 for images of one size, 0.1 for a tenth; got {scale}")
        self.shift, self.rotation, self.scale = shift, rotation, scale

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """Transform each image (B, C, H, W) by its four draws (B, 4)."""
        height, width = images.shape[-2:]
        across, down, turn, growth = (2 * draws - 1).T[:, :, None, None]  # (B, 1, 1) each, in [-1, 1)
        cos, sin = (math.radians(self.rotation) * turn).cos(), (math.radians(self.rotation) * turn).sin()
        factor = (1 + self.scale) ** growth
        # Where each pixel of the result comes from, in pixels from the centre. Each by itself and not by a matrix
        # product, as in affine_grid, whose last bits could depend on the size of the batch.
        x = torch.arange(width) - (width - 1) / 2 - self.shift * width * across  # (B, 1, W)
        y = (torch.arange(height) - (height - 1) / 2)[:, None] - self.shift * height * down  # (B, H, 1)
        sources = ((cos * x - sin * y) / factor * (2 / width), (sin * x + cos * y) / factor * (2 / height))
        return grid_sample(images, torch.stack(sources, dim=-1), align_corners=False).clamp_(0, 1)

    def __repr__(self) -> str:
        return f"RandomAffine(shift={self.shift}, rotation={self.rotation}, scale={self.scale})"


_TRANSFORMS = {"affine": RandomAffine}


def checked_transform(transform: Transform | str | None) -> Transform | None:
    """The transform itself, or the one of that name; ValueError for what is neither."""
    if isinstance(transform, str):
        if transform not in _TRANSFORMS:
            raise ValueError(
                f"transform must be None, a function or one of {', '.join(_TRANSFORMS)}; got {transform!r}"
            )
        return _TRANSFORMS[transform]()
    if transform is not None and not (callable(transform) and hasattr(transform, "num_draws")):
        raise TypeError(
            "transform must be a function of images and draws with an attribute num_draws, the random numbers it "
            f"needs for each image; got {transform!r}: set it, e.g. to 0"
        )
    return transform
