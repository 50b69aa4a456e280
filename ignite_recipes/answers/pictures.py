"""The pictures of a folder as a classifier takes them: found by their names, and decoded as for the training."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ignite_recipes.data.image_decoding import ImagesOnDisk, read_headers
from ignite_recipes.data.image_files import ENDINGS

__all__ = ["find_pictures", "read_pictures"]


def find_pictures(path: Path) -> list[Path]:
    """The image files in a folder and in its folders, sorted; a file is its own only one. Hidden ones are passed over.

    Raises:
        ValueError: if there is none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in ENDINGS and not any(part[0] == "." for part in file.relative_to(path).parts)
    )
    if not files:
        raise ValueError(f"{path} must hold images ({', '.join(ENDINGS)}); got none")
    return files


def read_pictures(files: Sequence[Path], shape: Sequence[int]) -> Tensor:
    """Images (N, C, H, W) of bytes.

    Args:
        files: N of them.
        shape: (C, H, W) of the images that the model was trained on; C is 1 or 3.

    Raises:
        ValueError: for another C, or naming a file that cannot be decoded.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise ValueError(f"a picture has 1 or 3 channels, and the model takes {channels}: predict in Python")
    read_headers(files)  # which counts the files that are no images before any is decoded
    return ImagesOnDisk(files, (channels, height, width)).in_memory()
