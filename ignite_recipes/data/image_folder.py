"""Labelled images in a folder of classes, each a folder of image files, as a data set."""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ignite_recipes.arguments import as_text, listed, whole_number
from ignite_recipes.data.image_decoding import Header, ImagesOnDisk, read_headers
from ignite_recipes.data.image_files import ImageFiles, find_images
from ignite_recipes.data.images import BaseDataset, DatasetRegistry
from ignite_recipes.data.table_split import split_rows
from ignite_recipes.data.transforms import Transform

__all__ = ["image_folder"]

logger = logging.getLogger(__name__)

MOST_IN_MEMORY = 2**30  # bytes of decoded images, up to which they are all kept
LONGEST_SIDE = 256  # pixels, up to which images keep their size if nothing else is asked for
SHRUNK_SIDE = 224  # pixels of the longer side of images that do not


@DatasetRegistry.register("folder")
def image_folder(
    root: str | os.PathLike[str] = "data",
    *,
    image_size: int | Sequence[int] | None = None,
    in_memory: bool | None = None,
    val_size: float = 0.2,
    split_seed: int = 0,
    transform: Transform | Callable[[Tensor], Any] | str | None = "affine",
    val_transform: Transform | Callable[[Tensor], Any] | str | None = None,
    seed: int = 0,
) -> BaseDataset:
    """Images in ``root/CLASS``, or in ``root/train/CLASS`` and ``root/val/CLASS``, decoded by Pillow.

    ``DatasetRegistry.create("photos/")`` is the same. Classes are the folders' names, sorted. Images are PNG, JPEG,
    BMP, GIF (the first picture), TIFF, WebP or PNM files, found by their endings, also in folders inside a class's;
    other files are left out and counted. They are turned upright as their EXIF data say. If there is a grey and a
    coloured one, all are coloured; transparency is ignored. What was decided is logged.

    Args:
        root: the folder. ``valid``, ``validation`` or ``test`` may stand for ``val``.
        image_size: (height, width), or one number for both, in pixels, to which images are resized, whatever their
            proportions; None keeps their size if it is the same for all and at most 256 pixels, and otherwise is the
            median, shrunk to at most 224 pixels.
        in_memory: decode all images now and keep them as bytes; False decodes an image whenever it is fetched, for
            which a loader's workers are useful; None keeps them if that takes at most 1 GiB.
        val_size: without a folder ``val`` the part to validate on, a fraction or a number of images, of each class its
            share.
        split_seed: the seed of that split, a function of it and of the files' names.
        transform, val_transform, seed: see :class:`~ignite_recipes.BaseDataset`.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is a file, or has no two classes, a class without images or one in ``val`` only; for a file
            that cannot be decoded, which is found when it is, and a size that is none.
    """
    root = Path(root).expanduser()
    files = find_images(root)
    paths, labels = (list(column) for column in zip(*files.train, *(files.val or ()), strict=True))
    headers = read_headers(paths)
    shape = _shape(headers, image_size, files.said)
    val = np.arange(len(files.train), len(paths))
    train = np.arange(len(files.train))
    if files.val is None:
        train, val = split_rows(len(paths), val_size, split_seed, labels=np.asarray(labels))
    if in_memory is None:
        in_memory = len(paths) * int(np.prod(shape)) <= MOST_IN_MEMORY
    decisions = _say(root, files, shape, len(train), len(val), in_memory)
    sides = [ImagesOnDisk([paths[number] for number in side], shape) for side in (train, val)]
    numbers = torch.tensor(labels)
    dataset = BaseDataset(
        sides[0].in_memory() if in_memory else sides[0],
        numbers[train],
        sides[1].in_memory() if in_memory else sides[1],
        numbers[val],
        name=root.resolve().name,
        class_names=[as_text(name) for name in files.classes],
        transform=transform,
        val_transform=val_transform,
        seed=seed,
        settings={"image_files": _identity(root, paths), "image_shape": list(shape)},
    )
    dataset.decisions = decisions
    return dataset


def _folder_named(name: str) -> Callable[..., BaseDataset] | None:
    """What makes the data set where a path is taken for the name of one."""
    path = Path(name).expanduser()
    if path.exists() or os.sep in name or (os.altsep or os.sep) in name:
        return partial(image_folder, path)
    return None


DatasetRegistry.otherwise = _folder_named


def _shape(headers: Sequence[Header], image_size: int | Sequence[int] | None, said: list[str]) -> tuple[int, int, int]:
    """(C, H, W) of all images."""
    num_grey = sum(header.is_grey for header in headers)
    channels = 1 if num_grey == len(headers) else 3
    if channels == 3 and num_grey:
        said.append(f"{num_grey} of {len(headers)} images are grey, the others coloured: all are taken as coloured")
    sizes = np.array([header[:2] for header in headers])
    height, width = (int(side) for side in np.median(sizes, axis=0))
    is_one_size = bool((sizes == sizes[0]).all())
    if image_size is not None:
        height, width = _checked_size(image_size)
    elif not is_one_size or max(height, width) > LONGEST_SIDE:
        factor = min(1.0, SHRUNK_SIDE / max(height, width)) if max(height, width) > LONGEST_SIDE else 1.0
        height, width = (max(1, round(side * factor)) for side in (height, width))
    if changed := int((sizes != (height, width)).any(axis=1).sum()):
        low, high = (" x ".join(map(str, pick(axis=0))) for pick in (sizes.min, sizes.max))
        of = f"of {low} pixels" if low == high else f"of {low} to {high} pixels"
        said.append(f"{changed} of {len(headers)} images, {of} (height x width), are resized to {height} x {width}")
    return channels, height, width


def _checked_size(image_size: int | Sequence[int]) -> tuple[int, int]:
    sides = list(image_size) if isinstance(image_size, (list, tuple)) else [image_size, image_size]
    if len(sides) != 2:
        raise ValueError(f"image_size must be (height, width) or one number for both; got {len(sides)} numbers")
    height, width = (whole_number(side, "image_size", "pixels") for side in sides)
    return height, width


def _say(
    root: Path, files: ImageFiles, shape: tuple[int, int, int], train: int, val: int, in_memory: bool
) -> list[str]:
    """Log what was decided; the lines."""
    decisions = [f"{root}: {text}" for text in files.said]
    for line in decisions:
        logger.warning(line)
    size = (train + val) * int(np.prod(shape)) / 2**20
    kept = f"kept in memory, {size:.0f} MiB" if in_memory else "decoded whenever they are fetched (num_workers helps)"
    channels, height, width = shape
    colour = "grey" if channels == 1 else "coloured"
    summary = (
        f"{root}: {len(files.classes)} classes, {listed(files.classes)}; {train} images to train on and {val} to "
        f"validate on, {colour}, {height} x {width} pixels, {kept}"
    )
    logger.info(summary)
    return [*decisions, summary]


def _identity(root: Path, paths: Sequence[Path]) -> str:
    """By what the files are known again: their number, and a hash of their names and sizes."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(as_text(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0").encode())
    return f"{len(paths)} files, {digest.hexdigest()[:16]}"
