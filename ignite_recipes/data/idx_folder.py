"""Labelled images in a folder of IDX files, under the names that MNIST and the data sets made after it have."""

import logging
import os
import re
from pathlib import Path

import torch
from torch import Tensor

from ignite_recipes.data.idx import read_idx
from ignite_recipes.data.images import BaseDataset, DatasetRegistry
from ignite_recipes.data.transforms import Transform

__all__ = ["find_idx_file", "list_prefixes", "read_idx_images"]

logger = logging.getLogger(__name__)

PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_SPELLINGS = "with a dash or a dot before idx, test for t10k, plain or .gz"
_TRAIN_IMAGES = re.compile(r"(.*?)train-images[-.]idx3-ubyte(\.gz)?")


@DatasetRegistry.register("idx")
def idx_images(
    root: str | os.PathLike[str] = "data",
    *,
    prefix: str | None = None,
    transform: Transform | str | None = "affine",
    seed: int = 0,
) -> BaseDataset:
    """The images of any data set in four IDX files, ``train`` to train on, ``t10k`` or ``test`` to validate on.

    The files are named as MNIST's, ``train-images-idx3-ubyte``, or with a dot, ``train-images.idx3-ubyte``, plain or
    compressed, e.g. ``.gz``. There are as many classes as the labels name. Labels that start at 1 are counted from 0,
    which the log says; the images of files named as EMNIST's, that are stored transposed, are turned upright.

    Args:
        root: the folder with the files.
        prefix: what the files' names start with, e.g. ``"emnist-letters-"``; by default that of the only data set
            there.
        transform: the transform of the training images; see :class:`BaseDataset`.
        seed: the seed of the transform's random draws.

    Raises:
        FileNotFoundError: if the folder or a file is missing.
        ValueError: if there are several data sets and no prefix, a file is damaged, or images and labels do not go
            together.
    """
    folder = Path(root)
    if prefix is None:
        found = list_prefixes(folder)
        if len(found) > 1:
            prefixes = ", ".join(map(repr, found))
            raise ValueError(f"{folder} holds several data sets: pass the prefix of one, of {prefixes}")
        prefix = found[0] if found else ""
    name = prefix.strip("-_.") or folder.resolve().name
    return read_idx_images(folder, prefix, name=name, transform=transform, seed=seed)


def list_prefixes(folder: Path) -> list[str]:
    """What the names of the training images in a folder start with, sorted; ``""`` is one of them for MNIST's.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: pass that of the IDX files as root (--data-root)")
    matches = (_TRAIN_IMAGES.fullmatch(path.name) for path in folder.iterdir() if path.is_file())
    return sorted({match[1] for match in matches if match})


def find_idx_file(folder: Path, name: str) -> Path | None:
    """The file of this name, or of another spelling of it; None if there is none.

    Args:
        folder: where to look.
        name: as MNIST's authors spell it, with a dash before ``idx`` and without ``.gz``.
    """
    names = [name, name.replace("t10k-", "test-")]
    spelt = [each for name in names for each in (name, f"{name}.gz")]
    spelt += [each.replace("-idx", ".idx") for each in spelt]
    return next((folder / each for each in spelt if (folder / each).is_file()), None)


def read_idx_images(
    folder: Path,
    prefix: str = "",
    *,
    name: str,
    num_classes: int | None = None,
    min_classes: int = 1,
    first_label: int | None = None,
    transform: Transform | str | None = "affine",
    seed: int = 0,
) -> BaseDataset:
    """The data set in the four IDX files of a folder whose names start with a prefix.

    Args:
        folder: with the files.
        prefix: the prefix of their names; ``"emnist-..."`` stands for images that are stored transposed.
        name: the name of the data set, for logs and errors.
        num_classes: by default as many as the labels name.
        min_classes: as many at least, also where the images of the last classes are missing.
        first_label: of class 0; by default 1 for EMNIST's letters and labels of which 1 is the lowest, else 0.
        transform, seed: see :class:`BaseDataset`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or images and labels do not go together.
    """
    names = [f"{prefix}{part}" for part in PARTS]
    files = [path for each in names if (path := find_idx_file(folder, each)) is not None]
    if len(files) < len(names):
        missing = ", ".join(each for each in names if find_idx_file(folder, each) is None)
        raise FileNotFoundError(f"{folder} must hold {missing}, {_SPELLINGS}: put them there")
    (train_images, train_labels), (val_images, val_labels) = _read_pair(*files[:2]), _read_pair(*files[2:])
    if prefix.startswith("emnist-"):
        train_images, val_images = (images.mT.contiguous() for images in (train_images, val_images))
    labels = torch.cat([train_labels, val_labels]).long()
    lowest, highest = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if first_label is None:
        first_label = int(prefix == "emnist-letters-" or lowest == 1)
        if first_label:
            logger.info("%s: the labels start at 1, so class k has label k + 1", name)
    if not first_label <= lowest or (num_classes is not None and highest - first_label >= num_classes):
        last = "" if num_classes is None else f" to {num_classes - 1 + first_label}"
        raise ValueError(
            f"{files[1]} and {files[3]} must hold labels from {first_label}{last}; got {lowest} to {highest}: "
            "take the labels of the same data set"
        )
    if highest - first_label >= min_classes > 1:
        logger.warning("%s: %d classes, so the files are of another data set", name, highest - first_label + 1)
    return BaseDataset(
        train_images,
        train_labels.long() - first_label,
        val_images,
        val_labels.long() - first_label,
        name=name,
        num_classes=max(min_classes, highest - first_label + 1) if num_classes is None else num_classes,
        transform=transform,
        seed=seed,
    )


def _read_pair(image_file: Path, label_file: Path) -> tuple[Tensor, Tensor]:
    """Images (N, 1, H, W) and labels (N,)."""
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"{image_file} and {label_file} must hold (N, H, W) images and (N,) labels; got {tuple(images.shape)} "
            f"and {tuple(labels.shape)}: take both from one set"
        )
    if not (images.dtype == torch.uint8 or images.is_floating_point()) or labels.is_floating_point():
        raise ValueError(
            f"{image_file} must hold bytes, or floats in [0, 1], and {label_file} whole numbers; got {images.dtype} "
            f"and {labels.dtype}: convert the numbers"
        )
    return images.unsqueeze(1), labels
