"""Find the image files of a folder of classes, and what they are to be used for."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ignite_recipes.arguments import listed

__all__ = ["ENDINGS", "ImageFiles", "find_images"]

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm")
_HIDDEN = (".", "__")
_NO_IMAGES = "files left out, which are no images by their endings"
_TRAIN, _VAL = ("train", "training"), ("val", "valid", "validation", "test", "testing")


@dataclass
class ImageFiles:
    """The images of a folder.

    Attributes:
        classes: the names of the classes, sorted; a label is a class's place in it.
        train: the files to train on, or all of them, each with its label; sorted by class and path.
        val: those to validate on; None where there is no folder of them.
        said: what was left out, in a sentence each.
    """

    classes: list[str] = field(default_factory=list)
    train: list[tuple[Path, int]] = field(default_factory=list)
    val: list[tuple[Path, int]] | None = None
    said: list[str] = field(default_factory=list)


def find_images(root: Path) -> ImageFiles:
    """The images in ``root/CLASS``, or in ``root/train/CLASS`` and ``root/val/CLASS``, in folders inside a class's too.

    Files are taken for images by their endings, in capitals or not. Hidden files and folders are passed over.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is a file, or holds no two classes with images, a class without any, or one in val only.
    """
    if root.is_file():
        step = "unpack it" if root.suffix in (".zip", ".gz", ".tar", ".tgz") else "name the folder that it lies in"
        raise ValueError(f"{root} must be a folder with one of images for each class; it is a file: {step}")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}, which is to hold a folder of images for each class")
    folders = _folders(root)
    by_name = {folder.name.lower(): folder for folder in folders}
    train, val = (
        next((by_name[name] for name in names if name in by_name and _folders(by_name[name])), None)
        for names in (_TRAIN, _VAL)
    )
    if val is not None and train is None and len(folders) == len(by_name.keys() & {*_VAL}):
        raise ValueError(f"{root} must hold a folder train next to {val.name}; got none: name it so")
    found = ImageFiles()
    others = Counter[str]()
    place = root if train is None else train
    sides = [_classes(place, others)]
    if train is not None and val is not None:
        sides.append(_classes(val, others))
        unused = [folder.name for folder in folders if folder not in (train, val)]
        if unused:
            found.said.append(f"the folders {listed(unused)} next to {train.name} and {val.name} are not used")
    _check(place, sides, root)
    found.classes = sorted(sides[0])
    files = [
        [(path, label) for label, name in enumerate(found.classes) for path in side.get(name, ())] for side in sides
    ]
    found.train, found.val = files[0], files[1] if len(files) > 1 else None
    if found.val is not None and (unseen := [name for name in found.classes if not sides[1].get(name)]):
        found.said.append(f"the classes {listed(unseen)} have no image to validate on")
    found.said += [f"{kind}: {count}" for kind, count in others.items()]
    return found


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith(_HIDDEN))


def _classes(place: Path, others: Counter[str]) -> dict[str, list[Path]]:
    """The images of each folder in ``place``, sorted by their paths; ``others`` counts what else is there."""
    classes: dict[str, list[Path]] = {}
    for folder in _folders(place):
        classes[folder.name] = []
        for where, inner, names in os.walk(folder):
            inner[:] = [name for name in inner if not name.startswith(_HIDDEN)]  # e.g. a notebook's checkpoints
            inside = Path(where) != folder
            for name in names:
                if name.startswith("."):
                    continue
                if not name.lower().endswith(ENDINGS):
                    others[_NO_IMAGES] += 1
                    continue
                classes[folder.name].append(Path(where, name))
                others["images in folders inside their class's, counted to that class"] += inside
        classes[folder.name].sort(key=lambda path: path.relative_to(place).as_posix())
    for path in place.iterdir():
        if path.is_file() and not path.name.startswith("."):
            is_image = path.name.lower().endswith(ENDINGS)
            others["images left out next to the folders of the classes" if is_image else _NO_IMAGES] += 1
    for kind in [kind for kind, count in others.items() if not count]:
        del others[kind]
    return classes


def _check(place: Path, sides: list[dict[str, list[Path]]], root: Path) -> None:
    """Whether there are classes to train on."""
    train = sides[0]
    if not train:
        images = [path.name for path in place.iterdir() if path.name.lower().endswith(ENDINGS)]
        got = f"got {len(images)} images and no folder: sort them into folders" if images else "it holds no folder"
        raise ValueError(f"{place} must hold a folder of images for each class; {got}")
    if not any(train.values()):
        raise ValueError(f"{place} must hold images, e.g. {', '.join(ENDINGS[:3])}, in folders of classes; got none")
    if len(train) == 1:
        (name,) = train
        inner = [folder.name for folder in _folders(place / name)]
        step = f": perhaps it is {place / name}, which holds {listed(inner)}" if inner else ": add the other classes"
        raise ValueError(f"{place} must hold folders of at least two classes; got {name!r} only{step}")
    if empty := [name for name, files in train.items() if not files]:
        raise ValueError(f"the folder of every class must hold an image; got none in {_paths(place, empty)}: remove it")
    for side in sides[1:]:
        if unknown := [name for name, files in side.items() if files and name not in train]:
            raise ValueError(
                f"the classes to validate on must be among those to train on; {root} has {listed(unknown)} to validate "
                f"on only: add images to {place.name}, or remove them"
            )
        if not any(side.values()):
            raise ValueError(f"the folder to validate on must hold images; got none in {root}: remove it, or fill it")


def _paths(place: Path, names: Iterable[str]) -> str:
    return listed(str(place / name) for name in names)
