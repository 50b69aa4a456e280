"""The pictures of a folder as a classifier takes them: found by their names, upright, resized, grey or in colour."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["find_pictures", "read_pictures"]

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def find_pictures(path: Path) -> list[Path]:
    """The image files in a folder and in its folders, sorted; a file is its own only one.

    Raises:
        ValueError: if there is none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.name[0] != ".")
    if not files:
        raise ValueError(f"{path} must hold images ({', '.join(ENDINGS)}); got none")
    return files


def read_pictures(files: Sequence[Path], shape: Sequence[int]) -> Tensor:
    """Images (N, C, H, W) in [0, 1].

    Args:
        files: N of them.
        shape: (C, H, W) of the images that the model was trained on; C is 1 or 3.

    Raises:
        ValueError: for another C, or naming a file that cannot be decoded.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise ValueError(f"a picture has 1 or 3 channels, and the model takes {channels}: predict in Python")
    return torch.stack([_decoded(file, channels, height, width) for file in files])


def _decoded(path: Path, channels: int, height: int, width: int) -> Tensor:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.array(picture, dtype=np.float32) / 255
    except Exception as error:  # Pillow raises errors of many kinds
        said = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} must be an image; it cannot be read ({said}): take it out, or mend it") from error
    return torch.from_numpy(pixels).reshape(height, width, channels).permute(2, 0, 1).contiguous()
