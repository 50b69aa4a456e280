"""MNIST, Fashion-MNIST, KMNIST and EMNIST, from the files of their authors."""

import os
from functools import partial
from pathlib import Path

from ignite_recipes.arguments import shown
from ignite_recipes.data.download import fetch
from ignite_recipes.data.idx_folder import find_idx_file, list_prefixes, read_idx_images
from ignite_recipes.data.images import BaseDataset, DatasetRegistry
from ignite_recipes.data.transforms import Transform

__all__ = []

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
# As torchvision lists them for http://codh.rois.ac.jp/kmnist
_KMNIST = {
    f"train-{_IMAGES}": "bdb82020997e1d708af4cf47b453dcf7",
    f"train-{_LABELS}": "e144d726b3acfaa3e44228e80efcd344",
    f"t10k-{_IMAGES}": "5c965bf0a639b31b8f53240b1b52f4d7",
    f"t10k-{_LABELS}": "7320c461ea6c1c855c0b718fb2a4b134",
}
# The classes of EMNIST's splits.
_EMNIST = {"balanced": 47, "byclass": 62, "bymerge": 47, "digits": 10, "letters": 26, "mnist": 10}
_EMNIST_URL = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"


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

    The files are those of torchvision, plain or compressed, e.g. ``root/MNIST/raw/t10k-labels-idx1-ubyte.gz``, or
    with a dot, ``t10k-labels.idx1-ubyte``, with any number of images; all of them are used. There are 10 classes,
    or more where another data set's labels go further, which the log says. ``idx`` reads such files from any folder.

    Args:
        root: the folder of data sets.
        download: fetch what is missing, 12 MB in all; a file that is there is left as it is.
        url: where from; the files must be the published ones.
        transform: the transform of the training images; see :class:`BaseDataset`.
        seed: the seed of the transform's random draws.

    Raises:
        FileNotFoundError: if files are missing and must not be fetched.
        DownloadError: if one cannot be fetched.
        ValueError: if a file is damaged, or images and labels do not go together.

    Reference: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document
    Recognition, Proceedings of the IEEE, 1998.
    """
    folder = _provide(Path(root, "MNIST", "raw"), _MNIST, url if download else None)
    return read_idx_images(folder, name="mnist", min_classes=10, first_label=0, transform=transform, seed=seed)


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
    folder = _provide(Path(root, "FashionMNIST", "raw"), _FASHION_MNIST, url if download else None)
    return read_idx_images(folder, name="fashion_mnist", min_classes=10, first_label=0, transform=transform, seed=seed)


@DatasetRegistry.register("kmnist")
def kmnist(
    root: str | os.PathLike[str] = "data",
    *,
    download: bool = True,
    url: str = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    transform: Transform | str | None = "affine",
    seed: int = 0,
) -> BaseDataset:
    """Ten kinds of old Japanese letters, in sizes, numbers and files like :func:`mnist`, in ``root/KMNIST/raw``.

    Arguments and errors are those of :func:`mnist`; 21 MB in all are fetched.

    Reference: T. Clanuwat and others, Deep Learning for Classical Japanese Literature, arXiv:1812.01718, 2018.
    """
    folder = _provide(Path(root, "KMNIST", "raw"), _KMNIST, url if download else None)
    return read_idx_images(folder, name="kmnist", min_classes=10, first_label=0, transform=transform, seed=seed)


@DatasetRegistry.register("emnist")
def emnist(
    root: str | os.PathLike[str] = "data",
    *,
    split: str | None = None,
    transform: Transform | str | None = "affine",
    seed: int = 0,
) -> BaseDataset:
    """Handwritten letters and digits, (1, 28, 28), turned upright; nothing is fetched.

    The files are those of the authors' archive, plain or compressed, in ``root/EMNIST/raw`` or its folder ``gzip``,
    e.g. ``emnist-letters-train-images-idx3-ubyte.gz``. Letters, 1 to 26 in the files, are the classes 0 to 25.

    Args:
        root: the folder of data sets.
        split: ``balanced`` or ``bymerge`` (47 classes each), ``byclass`` (62), ``letters`` (26), ``digits`` or
            ``mnist`` (10 each); by default the only one there. Each is registered as ``emnist_letters`` etc. too.
        transform: the transform of the training images; see :class:`BaseDataset`.
        seed: the seed of the transform's random draws.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if there is no such split, or there are files of several and none is chosen, a file is damaged,
            or images and labels do not go together.

    Reference: G. Cohen, S. Afshar, J. Tapson, A. van Schaik, EMNIST: an extension of MNIST to handwritten letters,
    arXiv:1702.05373, 2017.
    """
    folder = Path(root, "EMNIST", "raw")
    places = [place for place in (folder, folder / "gzip") if place.is_dir()]
    found = {name: place for place in reversed(places) for name in _EMNIST if _prefix(name) in list_prefixes(place)}
    if split is not None and split not in _EMNIST:
        raise ValueError(f"split must be one of {', '.join(_EMNIST)}; got {shown(split)}")
    if split is None and len(found) > 1:
        splits = ", ".join(sorted(found))
        raise ValueError(
            f"{folder} holds several splits of EMNIST, {splits}: pass one, split={min(found)!r} "
            f"(--dataset emnist_{min(found)})"
        )
    if split is None and found:
        split = next(iter(found))
    if split not in found:
        wanted = f"{_prefix(split or 'letters')}train-{_IMAGES}"
        raise FileNotFoundError(
            f"{folder} must hold EMNIST's files, e.g. {wanted}, plain or .gz: unpack {_EMNIST_URL} there"
        )
    return read_idx_images(
        found[split],
        _prefix(split),
        name=f"emnist_{split}",
        num_classes=_EMNIST[split],
        first_label=int(split == "letters"),
        transform=transform,
        seed=seed,
    )


for _split in _EMNIST:
    DatasetRegistry.register(f"emnist_{_split}")(partial(emnist, split=_split))


def _prefix(split: str) -> str:
    return f"emnist-{split}-"


def _provide(folder: Path, hashes: dict[str, str], url: str | None) -> Path:
    """The folder, with its four files; the missing ones are fetched from ``url``, if not None."""
    missing = [name for name in hashes if find_idx_file(folder, name) is None]
    if missing and url is None:
        raise FileNotFoundError(
            f"{folder} must hold {', '.join(missing)}, plain or .gz: put them there, or pass download=True"
        )
    for name in missing:
        fetch(f"{str(url).rstrip('/')}/{name}.gz", folder / f"{name}.gz", hashes[name])
    return folder
