"""A model of images takes files and images of Pillow's, decoded as those of a folder that it was trained on."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from polars.testing import assert_frame_equal
from torch import nn

from ignite_recipes import ArrayPredictor, load_model, save_model
from ignite_recipes.data.image_folder import image_folder

SHAPE = (3, 6, 5)


def pixels(seed, height=6, width=5):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def picture(path, seed, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, **settings)).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    for label, name in enumerate(("crow", "kite")):
        for k in range(3):
            picture(tmp_path / "birds" / name / f"{k}.png", 10 * label + k)
    picture(tmp_path / "birds" / "kite" / "large.png", 5, height=9, width=12)
    return tmp_path / "birds"


def model_of(shape=SHAPE, **settings):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 2))
    return ArrayPredictor(net, **{"class_names": ["crow", "kite"], "input_shape": shape, **settings})


def files(root):
    return sorted(root.rglob("*.png"))


def test_files_are_decoded_as_in_training(root, tmp_path):
    data = image_folder(root, image_size=(6, 5), transform=None, val_size=1)
    trained_on = {image.numpy().tobytes() for side in (data.train, data.val) for image, _ in side}
    seen = []
    predictor = model_of()
    predictor.model.register_forward_pre_hook(lambda module, inputs: seen.extend(inputs[0]))
    predictor.predict(root)
    assert {image.numpy().tobytes() for image in seen} == trained_on
    assert len(seen) == 7


GIVEN = {
    "a folder": lambda root: root,
    "a folder by its name": os.fspath,
    "a list of files": files,
    "a list of names": lambda root: [os.fspath(path) for path in files(root)],
    "a tuple": lambda root: tuple(files(root)),
    "images": lambda root: [Image.open(path) for path in files(root)],
    "both": lambda root: [path if k % 2 else Image.open(path) for k, path in enumerate(files(root))],
}


@pytest.mark.parametrize("kind", GIVEN)
def test_however_images_are_given_the_predictions_are_the_same(root, tmp_path, kind):
    predictor = load_model(save_model(tmp_path / "model.safetensors", model_of()), model_of().model)
    found = predictor.predict(GIVEN[kind](root))
    if "folder" in kind:
        assert found["file"].to_list() == [os.fspath(path.relative_to(root)) for path in files(root)]
        found = found.drop("file")
    alone = [predictor.predict(path) for path in files(root)]
    assert found.columns == ["prediction", "p_crow", "p_kite"]
    for k, one in enumerate(alone):
        assert_frame_equal(found[k], one)
        assert_frame_equal(predictor.predict(Image.open(files(root)[k])), one)


def test_the_classes_of_a_folder_are_known_by_its_folders_and_of_other_images_they_are_given(root):
    predictor, targets = model_of(), [0, 0, 0, 1, 1, 1, 1]
    expected = predictor.evaluate(torch.stack(_tensors(root)), targets)
    assert predictor.evaluate(root) == predictor.evaluate(os.fspath(root)) == expected
    assert predictor.evaluate(files(root), targets) == expected


def _tensors(root):
    from ignite_recipes.data.image_decoding import decode

    return [decode(path, SHAPE).float() / 255 for path in files(root)]


def test_a_photo_is_turned_upright_and_a_grey_model_gets_grey(tmp_path):
    path, exif = tmp_path / "turned.png", Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    image = Image.fromarray(pixels(1, height=5, width=6))
    image.save(path, exif=exif)
    upright = image.transpose(Image.Transpose.ROTATE_270)
    assert_frame_equal(model_of().predict(path), model_of().predict(upright))
    grey = model_of((1, 6, 5))
    assert_frame_equal(grey.predict(path), grey.predict(upright.convert("L")))


BAD = {
    "no file": (model_of, lambda root: root / "no.png", FileNotFoundError, "there must be an image, or a folder"),
    "no file in a list": (model_of, lambda root: [*files(root), "no.png"], FileNotFoundError, "at no.png"),
    "a folder in a list": (model_of, lambda root: [*files(root), root], ValueError, "a list of images must hold files"),
    "an empty folder": (model_of, lambda root: root.parent / "empty", ValueError, "must hold images"),
    "no image": (model_of, lambda root: root.parent / "text.png", ValueError, "must be an image; it cannot be read"),
    "an empty list": (model_of, lambda root: [], (TypeError, ValueError), "data must|at least one"),
    "a file and an array": (model_of, lambda root: [*files(root), pixels(1)], (TypeError, ValueError), "batch"),
    "a closed image": (model_of, lambda root: closed(files(root)[0]), ValueError, "image of Pillow's must be an image"),
    "a model of vectors": (lambda: model_of((90,)), files, TypeError, r"a model of images.*got one of \(90,\)"),
    "any shape": (lambda: model_of(input_shape=None), files, TypeError, "a model of images.*got one of None"),
    "four channels": (lambda: model_of((4, 6, 5)), files, ValueError, "a picture has 1 or 3 channels"),
}


def closed(path):
    image = Image.open(path)
    image.close()
    return image


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image_is_refused_in_one_line(root, name):
    (root.parent / "empty").mkdir()
    (root.parent / "text.png").write_text("text")
    make, data, error, message = BAD[name]
    with pytest.raises(error, match=message) as raised:
        make().predict(data(root))
    assert "\n" not in str(raised.value)


def test_images_of_unknown_classes_are_not_evaluated(root):
    (root / "kite").rename(root / "owl")
    with pytest.raises(ValueError, match="a folder of images for each class, 'crow', 'kite', to evaluate with"):
        model_of().evaluate(root)
    with pytest.raises(ValueError, match="pass targets="):
        model_of().evaluate(files(root))
    with pytest.raises(ValueError, match="must hold a folder of images for each class"):
        model_of().evaluate(root / "crow")


def test_true_classes_may_be_given_by_their_names():
    predictor = ArrayPredictor(nn.Linear(3, 2), class_names=["crow", "kite"])
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    numbers = [0, 1, 1, 0, 1, 0]
    names = [["crow", "kite"][number] for number in numbers]
    assert predictor.evaluate(x, names) == predictor.evaluate(x, numbers)
    with pytest.raises(ValueError, match="targets must be classes, 'crow', 'kite'; got 'owl' too"):
        predictor.evaluate(x, [*names[:5], "owl"])
