"""MNIST and Fashion-MNIST, from the files of their authors."""

import os
from pathlib import Path

from torch import Tensor

from ignite_recipes.data.download import fetch
from ignite_recipes.data.idx import read_idx
from ignite_recipes.data.images import BaseDataset, DatasetRegistry
from ignite_recipes.data.transforms import Transform

__all__ = ["fashion_mnist", "mnist"]

_IMAGES, _LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"

# MD5 of the compressed files, as published.
_MNIST = {
    f"train-{_IMAGES}": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    f"train-{_LABELS}": "d53e105ee54ea40749a09fcbcd1e9432",
    f"t10k-{_IMAGES}": "9fb629c4189551a2d022fa330f9573f3",
    f"t10k-{_LABELS}": "ec29112dd5afa0611ce80d1b7f02629c",
}
# From the README of https://github.com/zalandoresearch/fashion-mnist
_FASHION_MNIST = {
    f"train-{_IMAGES}": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    f"train-{_LABELS}": "25c81989df183df01b3e8a0aad5dffbe",
    f"t10k-{_IMAGES}": "bef4ecab320f06d8554ea6380940ec79",
    f"t10k-{_LABELS}": "bb300cfdad3c16e7a12a480ee83cd310",
}


@DatasetRegistry.register("mnist")
def mnist(
    root: str | os.PathLike[str] = "data",
    *,
    download: bool = True,
    url: str = "https://ossci-datasets.s3.amazonaws.com/mnist/",
    transform: Transform | str | None = "affine",
    seed: int = 0,
) -> BaseDataset:
    """Handwritten digits, (1, 28, 28): 60,000 to train on and 10,000, the t10k files, to validate on.

    The files are those of torchvision, plain or compressed, e.g. ``root/MNIST/raw/t10k-labels-idx1-ubyte.gz``,
    with any number of images; all of them are used.

    Args:
        root: the folder of data sets.
        download: fetch what is missing, 12 MB in all; a file that is there is left as it is.
        url: where from; the files must be the published ones.
        transform: of the training images; see :class:`BaseDataset`.
        seed: of the transform's random draws.

    Raises:
        FileNotFoundError: if files are missing and must not be fetched.
        DownloadError: if one cannot be fetched.
        ValueError: if a file is damaged, or images and labels do not go together.

    Reference: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document
    Recognition, Proceedings of the IEEE, 1998.
    """
    files = _provide(Path(root, "MNIST", "raw"), _MNIST, url if download else None)
    return _dataset("mnist", files, transform, seed)


@DatasetRegistry.register("fashion_mnist")
def fashion_mnist(
    root: str | os.PathLike[str] = "data",
    *,
    download: bool = True,
    url: str = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    transform: Transform | str | None = "affine",
    seed: int = 0,
) -> BaseDataset:
    """Pictures of ten kinds of clothes, in sizes, numbers and files like :func:`mnist`, in ``root/FashionMNIST/raw``.

    Arguments and errors are those of :func:`mnist`; 31 MB in all are fetched.

    Reference: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017.
    """
    files = _provide(Path(root, "FashionMNIST", "raw"), _FASHION_MNIST, url if download else None)
    return _dataset("fashion_mnist", files, transform, seed)


def _provide(folder: Path, hashes: dict[str, str], url: str | None) -> list[Path]:
    """The four files, in the order of their hashes; the missing ones are fetched from ``url``, if not None."""
    missing = [name for name in hashes if _find(folder, name) is None]
    if missing and url is None:
        raise FileNotFoundError(
            f"{folder} must hold {', '.join(missing)}, plain or .gz: put them there, or pass download=True"
        )
    for name in missing:
        fetch(f"{str(url).rstrip('/')}/{name}.gz", folder / f"{name}.gz", hashes[name])
    return [_find(folder, name) or folder / name for name in hashes]


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _dataset(name: str, files: list[Path], transform: Transform | str | None, seed: int) -> BaseDataset:
    train, val = _read_pair(*files[:2]), _read_pair(*files[2:])
    return BaseDataset(*train, *val, name=name, num_classes=10, transform=transform, seed=seed)


def _read_pair(image_file: Path, label_file: Path) -> tuple[Tensor, Tensor]:
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"{image_file} and {label_file} must hold (N, H, W) images and (N,) labels; got {tuple(images.shape)} "
            f"and {tuple(labels.shape)}: take both from one set"
        )
    return images.unsqueeze(1), labels
