"""Pictures as a classifier takes them: found by name, decoded as for the training, with their folders as classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ignite_recipes.arguments import as_text
from ignite_recipes.data.image_decoding import ImagesOnDisk, read_headers
from ignite_recipes.data.image_files import ENDINGS

__all__ = ["class_numbers", "find_pictures", "read_pictures"]


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
    read_headers(files)  # which counts the files that are not images before any is decoded
    return ImagesOnDisk(files, (channels, height, width)).in_memory()


def class_numbers(files: Sequence[Path], root: Path, class_names: Sequence[Any] | None) -> Tensor | None:
    """The class of each file, (N,), by the folder in ``root`` that it lies in, as :func:`image_folder` takes it.

    Args:
        files: N of them, in ``root``.
        root: a folder.
        class_names: the names of the classifier's classes, in the order of their numbers.

    Returns:
        The numbers; None if a file lies in no folder that is named like a class.
    """
    numbers = {str(name): number for number, name in enumerate(class_names or ())}
    folders = [as_text(file.relative_to(root).parts[0]) for file in files]
    return torch.tensor([numbers[name] for name in folders]) if numbers.keys() >= {*folders} else None
