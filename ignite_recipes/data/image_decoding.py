"""Decode image files with Pillow: to bytes of one size, grey or in colour."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ignite_recipes.optional import needs

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["BrokenImageError", "Header", "ImagesOnDisk", "decode", "join_images", "read_headers"]

_GREY = ("1", "L", "LA", "La", "I", "F")
_TURNED = (5, 6, 7, 8)  # of the EXIF tag that says how a camera was held: width and height change places
_ORIENTATION = 0x0112

T = TypeVar("T")


class Header(NamedTuple):
    """What a file says of its image: its size in pixels, as it is looked at, and whether it is grey."""

    height: int
    width: int
    is_grey: bool


class BrokenImageError(ValueError):
    """An image file that cannot be read; in one line, also where it comes from a loader's worker.

    torch makes an error of a worker's once more, with its whole traceback as the text.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.strip().rpartition(f"{type(self).__name__}: ")[2])


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """The headers of image files; no pixel is decoded.

    Raises:
        BrokenImageError: that counts the files that are not images, and names the first.
    """
    headers = _in_threads(_try_header, paths)
    if broken := [(path, error) for path, error in zip(paths, headers, strict=True) if isinstance(error, Exception)]:
        (path, error), count = broken[0], len(broken)
        others = "" if count == 1 else f", the first of {count} such files"
        raise BrokenImageError(
            f"{path}{others}, must be an image; it cannot be read ({_line(error)}): remove or replace it"
        )
    return headers  # type: ignore[return-value]


def _try_header(path: Path) -> Header | Exception:
    with needs("images"):
        from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            # Of a PNG that has no such data before its pixels, Pillow would decode these to see what follows.
            has_exif = image.format != "PNG" or "exif" in image.info
            if has_exif and image.getexif().get(_ORIENTATION) in _TURNED:
                width, height = height, width
            return Header(height, width, image.mode in _GREY or image.mode.startswith("I;16"))
    except Exception as error:
        return error


def decode(source: "Path | Image", shape: tuple[int, int, int]) -> Tensor:
    """An image (C, H, W) of bytes, upright, resized to H x W pixels if it has others, grey or in colour as C says.

    Args:
        source: the file, or an image of Pillow's.
        shape: (C, H, W).

    Raises:
        BrokenImageError: if the file is damaged.
    """
    with needs("images"):
        from PIL import Image

    try:
        if isinstance(source, Image.Image):
            return _pixels(source, shape)
        with Image.open(source) as opened:
            return _pixels(opened, shape)
    except Exception as error:  # Pillow raises errors of many kinds
        name = source if isinstance(source, Path) else "what is given as an image of Pillow's"
        raise BrokenImageError(
            f"{name} must be an image; it cannot be decoded ({_line(error)}): remove or replace it"
        ) from error


def _pixels(opened: "Image", shape: tuple[int, int, int]) -> Tensor:
    with needs("images"):
        from PIL import Image, ImageOps

    channels, height, width = shape
    image: Any = ImageOps.exif_transpose(opened)
    image = _bytes_of(image).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.array(image)  # (H, W) or (H, W, 3)
    return torch.from_numpy(pixels).view(height, width, channels).permute(2, 0, 1).contiguous()


def _bytes_of(image: "Image") -> "Image":
    """Grey values of 16 bits as their upper 8, which Pillow would cut off at 255."""
    with needs("images"):
        from PIL import Image

    if image.mode == "F":
        raise ValueError("it holds floats, whose range is not known")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray((values >> 8 if values.max(initial=0) > 255 else values).clip(0, 255).astype(np.uint8))


class ImagesOnDisk:
    """Images that are decoded when they are fetched; to look at like a tensor (N, C, H, W) of bytes.

    Args:
        paths: of the N files.
        shape: (C, H, W), that each is given.
    """

    dtype = torch.uint8

    def __init__(self, paths: Sequence[Path], shape: tuple[int, int, int]) -> None:
        self._paths = [str(path) for path in paths]  # smaller than Path, for workers that get a copy
        self.shape = torch.Size((len(paths), *shape))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, rows: Any) -> "ImagesOnDisk":
        """Those of these rows, (M,)."""
        _, channels, height, width = self.shape
        return ImagesOnDisk([Path(self._paths[row]) for row in rows], (channels, height, width))

    def take(self, indices: Iterable[int]) -> Tensor:
        """The images of one batch, (B, C, H, W)."""
        _, channels, height, width = self.shape
        return torch.stack([decode(Path(self._paths[index]), (channels, height, width)) for index in indices])

    def in_memory(self) -> Tensor:
        """All of them, (N, C, H, W), decoded by several threads."""
        images = torch.empty(self.shape, dtype=torch.uint8)
        channels, height, width = images.shape[1:]

        def fill(number: int) -> None:
            images[number] = decode(Path(self._paths[number]), (channels, height, width))

        _in_threads(fill, range(len(self)))
        return images


def join_images(first: Tensor | ImagesOnDisk, second: Tensor | ImagesOnDisk) -> Tensor | ImagesOnDisk:
    """All images of two parts, of the first one first."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    if isinstance(first, ImagesOnDisk) and isinstance(second, ImagesOnDisk):
        _, channels, height, width = first.shape
        return ImagesOnDisk([Path(path) for path in first._paths + second._paths], (channels, height, width))
    raise TypeError("both parts of the images must be in memory, or both on disk")


def _in_threads(function: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    """Pillow lets other threads run while it decodes."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        return list(threads.map(function, items))


def _line(error: Exception) -> str:
    """An error in one line of bounded length; Pillow names the file once more, and an address."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "it is not an image of a known kind" if "cannot identify" in text else text[:120]
