"""Pictures as a classifier takes them: found by name, decoded as for the training, with their folders as classes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ignite_recipes.arguments import as_text
from ignite_recipes.data.image_decoding import ImagesOnDisk, decode, read_headers
from ignite_recipes.data.image_files import ENDINGS
from ignite_recipes.data.tables import is_path

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["class_numbers", "file_names", "find_pictures", "pictures_of", "read_pictures"]


def pictures_of(data: Any) -> "list[Path | Image] | None":
    """The image files and images of Pillow that ``data`` is or lists, those of a folder sorted; None if it is none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a folder without images, or one in a list, whose images would come between the others.
    """
    if is_path(data):
        path = Path(data).expanduser()
        return [*find_pictures(_existing(path))]
    if _is_image(data):
        return [data]
    if not isinstance(data, (list, tuple)) or not data or not all(is_path(one) or _is_image(one) for one in data):
        return None
    found = [one if _is_image(one) else _existing(Path(one).expanduser()) for one in data]
    if folders := [one for one in found if isinstance(one, Path) and one.is_dir()]:
        raise ValueError(f"a list of images must hold files; got the folder {folders[0]}: pass it by itself")
    return found


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"there must be an image, or a folder of images, at {path}; there is none")
    return path


def _is_image(data: Any) -> bool:
    """Whether it is an image of Pillow's, which is not imported to know it."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(data, pillow.Image)


def file_names(files: Sequence[Path], root: Path) -> list[str]:
    """The names of files in a folder."""
    return [as_text(os.fspath(file.relative_to(root))) for file in files]


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


def read_pictures(pictures: "Sequence[Path | Image]", shape: Sequence[int]) -> Tensor:
    """Images (N, C, H, W) of bytes.

    Args:
        pictures: N files or images of Pillow's.
        shape: (C, H, W) of the images that the model was trained on; C is 1 or 3.

    Raises:
        ValueError: for another C, or naming a file that cannot be decoded.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise ValueError(f"a picture has 1 or 3 channels, and the model takes {channels}: predict in Python")
    files = [one for one in pictures if isinstance(one, Path)]
    read_headers(files)  # which counts the files that are not images before any is decoded
    if len(files) == len(pictures):
        return ImagesOnDisk(files, (channels, height, width)).in_memory()
    return torch.stack([decode(one, (channels, height, width)) for one in pictures])


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
