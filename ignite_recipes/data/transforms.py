"""Random transforms of images, each a function of the image and of numbers drawn elsewhere."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ignite_recipes.arguments import kind_of, shown
from ignite_recipes.loading.generators import is_generator, reachable, seed_generator
from ignite_recipes.loading.randomness import preserve_generators, seed_generators

__all__ = ["EachImage", "RandomAffine", "Transform", "checked_transform"]


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


class EachImage:
    """An ordinary transform, given one image at a time, whose random numbers are a function of a key.

    Before each image torch's, NumPy's and Python's generators are seeded by its key, and those that the transform holds
    in attributes; the global ones are put back afterwards. So what an image becomes does not depend on the batch, the
    worker or the order it is fetched in.

    Args:
        transform: a function of an image (C, H, W), float32 in [0, 1], to another one; torchvision's v2 are such.

    >>> noise = EachImage(lambda image: image + torch.rand(()))
    >>> images = torch.zeros(2, 1, 2, 2)
    >>> torch.equal(noise(images, [7, 8])[1:], noise(images[1:], [8]))
    True
    """

    def __init__(self, transform: Callable[[Tensor], Any]) -> None:
        self.transform = transform
        self._generators = [part for part in reachable([transform]) if is_generator(part)]

    def __call__(self, images: Tensor, keys: Sequence[int]) -> Tensor:
        """Transform each image (B, C, H, W) under its own key (B,)."""
        with preserve_generators():
            return torch.stack([self._transformed(*pair) for pair in zip(images, keys, strict=True)])

    def _transformed(self, image: Tensor, key: int) -> Tensor:
        seed_generators(key)
        for generator in self._generators:
            seed_generator(generator, key)
        result = self.transform(image)
        if not isinstance(result, Tensor) or result.dim() != 3:
            raise TypeError(
                f"transform must make an image (C, H, W), a tensor, of one; got {kind_of(result)}: transforms of "
                "Pillow's images need torchvision's ToPILImage before and ToTensor after them"
            )
        return result.float() / 255 if result.dtype == torch.uint8 else result.float()

    def __repr__(self) -> str:
        return f"EachImage({self.transform!r})"


def checked_transform(transform: Any) -> Any:
    """The transform itself, the one of that name, or an ordinary one made into a transform of batches.

    Returns:
        A :class:`Transform`, an :class:`EachImage` or None.

    Raises:
        ValueError: for an unknown name.
        TypeError: for what cannot be called.
    """
    if isinstance(transform, str):
        if transform not in _TRANSFORMS:
            raise ValueError(
                f"transform must be None, a function or one of {', '.join(_TRANSFORMS)}; got {transform!r}"
            )
        return _TRANSFORMS[transform]()
    if transform is None or isinstance(transform, EachImage):
        return transform
    if isinstance(transform, type) or not callable(transform):
        raise TypeError(
            "transform must be a function of an image (C, H, W), or one of images and draws with an attribute "
            f"num_draws; got {kind_of(transform) if isinstance(transform, type) else shown(transform)}"
        )
    if hasattr(transform, "num_draws"):
        return transform
    try:
        inspect.signature(transform).bind(None)
    except ValueError:  # of some built-in functions, which say nothing of themselves
        pass
    except TypeError as error:
        raise TypeError(
            "transform must be a function of one image, or of images and draws with an attribute num_draws, the random "
            f"numbers it needs for each image; got {shown(transform)}: {error}"
        ) from None
    return EachImage(transform)
