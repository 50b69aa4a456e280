"""Data sets of labelled images, and random transforms of those that are trained on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ignite_recipes.arguments import whole_number
from ignite_recipes.data.digits import load_digits_matrix
from ignite_recipes.data.folds import fold_rows
from ignite_recipes.data.image_decoding import ImagesOnDisk, join_images
from ignite_recipes.data.loaders import create_dataloader
from ignite_recipes.data.transforms import EachImage, Transform, checked_transform
from ignite_recipes.loading.randomness import derive_seed
from ignite_recipes.loading.row_sets import BatchDataset, row_numbers, take_rows
from ignite_recipes.optional import needs
from ignite_recipes.registry import Registry

__all__ = ["BaseDataset", "DatasetRegistry"]


class ImageDataset(BatchDataset[tuple[Tensor, Tensor]]):
    """Labelled images; a list of them is fetched by one indexing operation, and only then becomes float.

    Args:
        images: (N, C, H, W), bytes, or floats in [0, 1]; or files, which are decoded when they are fetched.
        labels: (N,), whole numbers from 0.
        transform: the transform of the images that are fetched; see :class:`BaseDataset`.
        seed: the seed of the transform's random draws.

    Raises:
        TypeError, ValueError: if the images, the labels or the transform are not such.

    >>> dataset = ImageDataset(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8), torch.tensor([1, 0, 2]))
    >>> images, labels = dataset.__getitems__([2, 0])
    >>> images.shape, images.unique(), labels
    (torch.Size([2, 1, 2, 2]), tensor([0.2000]), tensor([2, 1]))
    """

    def __init__(
        self,
        images: Tensor | ImagesOnDisk,
        labels: Tensor,
        transform: Transform | Callable[[Tensor], Any] | str | None = None,
        seed: int = 0,
    ) -> None:
        self.images = images if isinstance(images, ImagesOnDisk) else _checked_images(images)
        self.labels = _checked_labels(labels, len(images))
        self.transform, self.seed = checked_transform(transform), seed
        self.reapply_transforms(0)

    def reapply_transforms(self, epoch: int) -> None:
        """Draw new numbers for the transform, a function of (seed, epoch) only, one row per image."""
        self.epoch = whole_number(epoch, "epoch", at_least=0)
        num_draws = getattr(self.transform, "num_draws", 0)
        # A generator of its own, so that neither prefetching nor what else is drawn can change them.
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "transforms", self.epoch))
        self.draws = torch.rand(len(self), num_draws, generator=generator)  # (N, K)

    draws_nothing = True  # what an image looks like is a function of seed, epoch and place

    @property
    def shape(self) -> torch.Size:
        """(C, H, W) of an image, as it is fetched."""
        return self[0][0].shape if isinstance(self.transform, EachImage) else self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """The images of one batch, (B, C, H, W) float32 in [0, 1], and their labels, (B,) int64."""
        numbers = row_numbers(indices)
        fetched = (
            self.images.take(indices) if isinstance(self.images, ImagesOnDisk) else take_rows(self.images, numbers)
        )
        images = fetched.float()
        if fetched.dtype == torch.uint8:
            images /= 255
        if isinstance(self.transform, EachImage):
            keys = [derive_seed(self.seed, "transform", self.epoch, int(index)) for index in indices]
            images = self.transform(images, keys)
        elif self.transform is not None:
            images = self.transform(images, take_rows(self.draws, numbers))
        return images, take_rows(self.labels, numbers)


class BaseDataset:
    """A data set of labelled images in two parts, to train on and to validate on, kept in memory in its own type.

    Only training images are transformed, each by its own row of random draws: what an image looks like is a
    function of the seed, the epoch of the last :meth:`reapply_transforms` and its place in the data set, and
    not of the order, the batch or the worker it is fetched in.

    Args:
        train_images, val_images: (N, C, H, W), bytes, or floats in [0, 1].
        train_labels, val_labels: (N,), the class of each image, from 0.
        name: the name of the data set, for logs.
        num_classes: by default one more than the highest label.
        class_names: the names of the classes, in the order of their numbers; they are in the checkpoints of a run.
        transform: the transform of training images: None, ``"affine"`` for :class:`RandomAffine` with its own
            strengths; a function of an image (C, H, W), float32 in [0, 1], e.g. any of torchvision's v2, which may draw
            from the generators of torch, NumPy and Python; or a function of images (B, C, H, W) and draws (B, K) in [0,
            1) that has its K as attribute ``num_draws``, which is quicker.
        val_transform: the transform of the images to validate on, e.g. without randomness what ``transform`` does to
            sizes.
        seed: the seed of the transforms' random draws.
        settings: plain values that the checkpoints of a run say of the data, and a resumed run must have as they were.

    Attributes:
        decisions: what was decided about the data, in a line each.
        val_rows: (M,), the numbers by which the images to validate on are known: from 0, or of all images if these were
            divided into folds.

    Raises:
        TypeError, ValueError: if images, labels and classes do not go together, or the transform is none.

    >>> images, labels = torch.rand(10, 1, 8, 8), torch.arange(10) % 3
    >>> dataset = BaseDataset(images[:8], labels[:8], images[8:], labels[8:], name="noise")
    >>> dataset.num_classes, dataset.input_shape
    (3, (1, 8, 8))
    >>> train_loader, val_loader = dataset.get_dataloaders(batch_size=5)
    >>> [len(labels) for images, labels in train_loader]
    [5, 3]
    """

    def __init__(
        self,
        train_images: Tensor | ImagesOnDisk,
        train_labels: Tensor,
        val_images: Tensor | ImagesOnDisk,
        val_labels: Tensor,
        *,
        name: str,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        transform: Transform | Callable[[Tensor], Any] | str | None = "affine",
        val_transform: Transform | Callable[[Tensor], Any] | str | None = None,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.train = ImageDataset(train_images, train_labels, transform, seed)
        self.val = ImageDataset(val_images, val_labels, val_transform, seed)
        self.name = name
        self.val_rows = np.arange(len(self.val))
        self.decisions: list[str] = []
        self.class_names = None if class_names is None else list(class_names)
        if self.class_names is not None and num_classes is None:
            num_classes = len(self.class_names)
        named = {} if self.class_names is None else {"class_names": self.class_names}
        self.train.settings = self.val.settings = {**(settings or {}), **named}
        channels, height, width = self.train.shape
        self.input_shape: tuple[int, int, int] = (channels, height, width)
        highest = int(max(self.train.labels.max(), self.val.labels.max()))
        self.num_classes = highest + 1 if num_classes is None else num_classes
        if self.train.shape != self.val.shape:
            raise ValueError(
                f"training and validation images must be of one shape (C, H, W); got {self.input_shape} and "
                f"{tuple(self.val.shape)} in {name}: resize them, by val_transform if transform changes the size"
            )
        if self.num_classes <= highest:
            raise ValueError(f"labels must be below num_classes, {num_classes}; got {highest} in {name}")
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise ValueError(f"class_names must name each of {self.num_classes} classes; got {len(self.class_names)}")

    def get_dataloaders(
        self, batch_size: int = 64, num_workers: int = 0, pin_memory: bool = False
    ) -> tuple[DataLoader[tuple[Tensor, Tensor]], DataLoader[tuple[Tensor, Tensor]]]:
        """Loaders of images (B, C, H, W) float32 in [0, 1] and labels (B,): all of them, training ones shuffled.

        Args:
            batch_size: images per batch; the last batch may be shorter.
            num_workers: processes that fetch batches; with 0 the caller's own does, mostly the quickest here.
            pin_memory: fetch into page-locked memory, for quicker copies to an accelerator; nothing without one.

        Raises:
            ValueError: if a number is too small.
        """
        return (
            create_dataloader(self.train, batch_size, num_workers, pin_memory, shuffle=True),
            create_dataloader(self.val, batch_size, num_workers, pin_memory, shuffle=False),
        )

    def cut_fold(self, fold: int, folds: int, seed: int = 0) -> None:
        """Divide all images, of both parts, into folds, each with its share of every class; validate on one of them.

        Args:
            fold: its number, from 1.
            folds: how many there are.
            seed: the seed of the division.

        Raises:
            ValueError: if there are fewer images than folds.
        """
        labels = torch.cat([self.train.labels, self.val.labels])
        images = join_images(self.train.images, self.val.images)
        sides = fold_rows(len(labels), folds, seed, labels=labels.numpy())[fold - 1]
        for part, rows in zip((self.train, self.val), sides, strict=True):
            part.images, part.labels = images[rows], labels[rows]
            part.reapply_transforms(part.epoch)
        self.val_rows = sides[1]

    def reapply_transforms(self, epoch: int) -> None:
        """Transform the training images again, from the next time that a loader is iterated over.

        Without a call, each image keeps its first transform, that of epoch 0, in every epoch. Call it between
        two epochs, with the number of the one that comes; workers see it when they are started.
        """
        self.train.reapply_transforms(epoch)


DatasetRegistry: Registry[BaseDataset] = Registry("data set")
"""What it makes is a :class:`BaseDataset`."""


@DatasetRegistry.register("digits")
def digits(*, transform: Transform | str | None = "affine", seed: int = 0, split_seed: int = 0) -> BaseDataset:
    """Scikit-learn's 1,797 images of handwritten digits, (1, 8, 8); 360 for validation; nothing is downloaded.

    Args:
        transform: the transform of the training images; see :class:`BaseDataset`.
        seed: the seed of the transform's random draws.
        split_seed: the seed of the split, which has the same part of each digit on either side.

    >>> dataset = DatasetRegistry.create("digits")
    >>> len(dataset.train), len(dataset.val), dataset.input_shape, dataset.num_classes
    (1437, 360, (1, 8, 8), 10)
    """
    with needs("cli"):
        from sklearn.model_selection import train_test_split

    pixels, labels = load_digits_matrix()
    rows = torch.arange(len(labels)).numpy()
    train, val = train_test_split(rows, stratify=labels.numpy(), test_size=0.2, random_state=split_seed)
    images = pixels.view(-1, 1, 8, 8)
    return BaseDataset(
        images[train], labels[train], images[val], labels[val], name="digits", transform=transform, seed=seed
    )


def _checked_images(images: Tensor) -> Tensor:
    if not isinstance(images, Tensor) or not (images.dtype == torch.uint8 or images.is_floating_point()):
        kind = f"{type(images).__name__} of {getattr(images, 'dtype', 'no dtype')}"
        raise TypeError(f"images must be a tensor of bytes or floats; got {kind}: torch.from_numpy makes one")
    if images.ndim != 4:
        raise ValueError(
            f"images must be (N, C, H, W); got shape {tuple(images.shape)}: where there is no channel, "
            "images.unsqueeze(1) adds it"
        )
    if not images.numel():
        raise ValueError(f"there must be at least one image on either side; got shape {tuple(images.shape)}")
    _, channels, height, width = images.shape
    if width in (1, 3, 4) and channels == height and channels > 4:
        raise ValueError(
            f"images must be (N, C, H, W); got shape {tuple(images.shape)}, which looks like (N, H, W, C): "
            "images.permute(0, 3, 1, 2) puts the channels first"
        )
    if images.is_floating_point() and images.isnan().any():
        raise ValueError("floats of images must be in [0, 1]; got NaN: fill or drop those")
    if images.is_floating_point() and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(f"floats of images must be in [0, 1]; got {images.min():g} to {images.max():g}: scale them")
    return images.detach()


def _checked_labels(labels: Tensor, n: int) -> Tensor:
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        kind = f"{type(labels).__name__} of {getattr(labels, 'dtype', 'no dtype')}"
        raise TypeError(f"labels must be a tensor of whole numbers; got {kind}")
    if labels.shape != (n,):
        raise ValueError(f"labels must be one for each of the {n} images, ({n},); got shape {tuple(labels.shape)}")
    if labels.min() < 0:
        raise ValueError(f"labels must count from 0; got {int(labels.min())}")
    return labels.long()
