"""A folder of images is a data set: classes by folder, one size, one kind of colour, and one line for each mistake."""

import random
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from support.equality import equal, weights
from torch import nn
from torch.utils.data import DataLoader

from ignite_recipes import BaseDataset, DatasetRegistry, ModelRegistry, train_model_advanced
from ignite_recipes.data import image_folder as folder_module
from ignite_recipes.data.image_decoding import decode
from ignite_recipes.data.image_folder import image_folder
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.row_sets import collate_rows


def pixels(height=9, width=8, seed=0, colour=True):
    shape = (height, width, 3) if colour else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write(path, array=None, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels() if array is None else array).save(path, **settings)
    return path


def make(root, per_class=10, classes=("ant", "bee"), **settings):
    for label, name in enumerate(classes):
        for k in range(per_class):
            write(root / name / f"{k:02}.png", pixels(seed=100 * label + k, **settings))
    return root


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "insects")


def said(caplog):
    return [
        record.getMessage().partition(": ")[2]
        for record in caplog.records
        if (record.name, record.levelname) == ("ignite_recipes.data.image_folder", "WARNING")
    ]


def test_classes_are_the_folders_and_pixels_what_the_files_hold(root, caplog):
    data = image_folder(root, transform=None)
    assert (data.class_names, data.num_classes, data.input_shape, data.name) == (
        ["ant", "bee"],
        2,
        (3, 9, 8),
        "insects",
    )
    assert (len(data.train), len(data.val), said(caplog)) == (16, 4, [])
    assert data.val.labels.tolist() == [0, 0, 1, 1]
    expected = {pixels(seed=100 * label + k).tobytes() for label in range(2) for k in range(10)}
    found = [image for side in (data.train, data.val) for image, _ in side]
    assert {(image * 255).round().byte().permute(1, 2, 0).numpy().tobytes() for image in found} == expected


def test_the_split_is_a_function_of_names_and_its_seed(root, tmp_path):
    first, again = image_folder(root), image_folder(root)
    shutil.copytree(root, tmp_path / "copy")
    copied, other = image_folder(tmp_path / "copy"), image_folder(root, split_seed=1)
    assert torch.equal(first.val.images, again.val.images)
    assert torch.equal(first.val.images, copied.val.images)
    assert not torch.equal(first.val.images, other.val.images)
    torch.rand(3), np.random.rand(), random.random()
    assert torch.equal(image_folder(root).train[3][0], first.train[3][0])


@pytest.mark.parametrize("val", ["val", "valid", "test", "Validation"])
def test_a_folder_of_images_to_validate_on_is_taken(tmp_path, val, caplog):
    make(tmp_path / "train", 3)
    make(tmp_path / val, 2)
    make(tmp_path / "extra", 2)
    data = image_folder(tmp_path)
    assert (len(data.train), len(data.val)) == (6, 4)
    assert said(caplog) == [f"the folders 'extra' next to train and {val} are not used"]


def test_without_images_to_validate_on_those_of_train_are_split(tmp_path):
    make(tmp_path / "train", 5)
    data = image_folder(tmp_path)
    assert (len(data.train), len(data.val), data.class_names) == (8, 2, ["ant", "bee"])


def test_a_class_that_is_called_train_is_a_class(tmp_path):
    assert image_folder(make(tmp_path, classes=("car", "train"))).class_names == ["car", "train"]


def test_files_that_are_no_images_and_folders_in_folders_are_counted_and_said(root, caplog):
    (root / "ant" / "notes.txt").write_text("x")
    (root / "list.csv").write_text("x")
    (root / "ant" / ".DS_Store").write_text("x")
    (root / ".hidden").mkdir()
    write(root / "ant" / ".ipynb_checkpoints" / "0-checkpoint.png")
    write(root / "bee" / "more" / "deep" / "one.JPG", format="JPEG")
    write(root / "logo.png")
    data = image_folder(root)
    assert len(data.train) + len(data.val) == 21
    assert sorted(said(caplog)) == [
        "files left out, which are no images by their endings: 2",
        "images in folders inside their class's, counted to that class: 1",
        "images left out next to the folders of the classes: 1",
    ]


def test_hidden_folders_inside_a_class_are_passed_over(root, caplog):
    for name in (".ipynb_checkpoints", "__MACOSX"):
        write(root / "ant" / name / "copy.png")
    assert len(image_folder(root).train) == 16
    assert said(caplog) == []


def test_images_of_other_sizes_are_resized_to_the_median_and_it_is_said(root, caplog):
    write(root / "ant" / "wide.png", pixels(5, 40))
    data = image_folder(root)
    assert data.input_shape == (3, 9, 8)
    assert said(caplog) == ["1 of 21 images, of 5 x 8 to 9 x 40 pixels (height x width), are resized to 9 x 8"]


@pytest.mark.parametrize(("size", "shape"), [(12, (12, 12)), ((6, 14), (6, 14)), (np.int64(7), (7, 7))])
def test_a_size_that_is_asked_for_is_taken(root, size, shape):
    assert image_folder(root, image_size=size).train[0][0].shape == (3, *shape)


def test_large_images_are_shrunk_and_small_ones_are_not(tmp_path, caplog):
    make(tmp_path / "large", 2, height=300, width=600)
    assert image_folder(tmp_path / "large").input_shape == (3, 112, 224)
    assert said(caplog) == ["4 of 4 images, of 300 x 600 pixels (height x width), are resized to 112 x 224"]
    make(tmp_path / "small", 2, height=256, width=200)
    assert image_folder(tmp_path / "small").input_shape == (3, 256, 200)


def test_grey_images_have_one_channel_and_three_among_coloured_ones(tmp_path, root, caplog):
    grey = make(tmp_path / "grey", colour=False)
    assert image_folder(grey).input_shape == (1, 9, 8)
    write(root / "bee" / "grey.png", pixels(colour=False))
    data = image_folder(root, val_size=1, transform=None)
    assert data.input_shape == (3, 9, 8)
    assert said(caplog) == ["1 of 21 images are grey, the others coloured: all are taken as coloured"]


KINDS = {
    "bits": lambda: Image.fromarray(pixels(colour=False) > 127),
    "palette": lambda: Image.fromarray(pixels()).quantize(256),
    "transparency": lambda: Image.fromarray(pixels()).convert("RGBA"),
    "grey with transparency": lambda: Image.fromarray(pixels(colour=False)).convert("LA"),
    "16 bits": lambda: Image.fromarray(pixels(colour=False).astype(np.uint16) * 257),
    "CMYK": lambda: Image.fromarray(pixels()).convert("CMYK"),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_pixels_becomes_bytes(tmp_path, name):
    KINDS[name]().save(path := tmp_path / ("a.tiff" if name == "CMYK" else "a.png"))
    grey, coloured = decode(path, (1, 9, 8)), decode(path, (3, 9, 8))
    assert (grey.shape, coloured.shape, grey.dtype) == ((1, 9, 8), (3, 9, 8), torch.uint8)
    if name in ("16 bits", "grey with transparency"):
        assert grey[0].numpy().tolist() == pixels(colour=False).tolist()
    if name == "transparency":
        assert coloured.permute(1, 2, 0).numpy().tolist() == pixels().tolist()


def test_a_photo_is_turned_as_its_camera_was_held(tmp_path):
    array = pixels(6, 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    for name in ("a", "b"):
        write(tmp_path / name / "1.png", array, exif=exif)
        write(tmp_path / name / "2.png", array, exif=exif)
    data = image_folder(tmp_path, transform=None)
    assert data.input_shape == (3, 10, 6)
    turned = torch.from_numpy(np.rot90(array, k=-1).copy()).permute(2, 0, 1)
    assert torch.equal((data.train[0][0] * 255).round().byte(), turned)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_are_decoded_when_fetched_are_the_same(root, workers, monkeypatch, caplog):
    kept, fetched = image_folder(root), image_folder(root, in_memory=False)
    assert torch.equal(fetched.train.__getitems__([3, 0, -1])[0], kept.train.__getitems__([3, 0, -1])[0])
    epochs = [list(KeyedLoader(data.get_dataloaders(5, workers)[0], seed=1)) for data in (kept, fetched)]
    for one, other in zip(*epochs, strict=True):
        assert equal(list(one), list(other))
    monkeypatch.setattr(folder_module, "MOST_IN_MEMORY", 100)
    with caplog.at_level("INFO"):
        large = image_folder(root)
    assert not isinstance(large.train.images, torch.Tensor)
    assert "decoded whenever they are fetched" in large.decisions[-1]
    assert caplog.records[-1].getMessage() == large.decisions[-1]


def test_a_path_is_taken_where_a_name_is(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    for name in ("insects", "./insects", str(root), f"{root}/"):
        assert DatasetRegistry.create(name, seed=3, transform=None).class_names == ["ant", "bee"]
    root.rename(root.parent / "digits")  # a name comes first
    assert DatasetRegistry.create("digits").num_classes == 10
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        DatasetRegistry.create("elsewhere/nowhere")
    with pytest.raises(ValueError, match=r"data set must be one of.*got 'nowhere'"):
        DatasetRegistry.create("nowhere")


@pytest.mark.parametrize("model", ["mynet", "lenet", "mlp"])
def test_every_registered_model_is_made_for_the_images_and_learns_and_the_checkpoint_has_the_names(
    tmp_path, model, monkeypatch
):
    for label, name in enumerate(("dark", "light", "red")):
        for k in range(8):
            array = (
                pixels(seed=9 * label + k) // 4 + np.array([[0, 0, 0], [180, 180, 180], [180, 0, 0]], np.uint8)[label]
            )
            write(tmp_path / "images" / name / f"{k}.png", array)
    data = image_folder(tmp_path / "images")
    torch.manual_seed(0)
    net = ModelRegistry.create(model, num_classes=data.num_classes, input_shape=data.input_shape)
    results = train_model_advanced(
        *(net, data.train, data.val), epochs=12, device="cpu", verbose=False, learning_rate=0.005, seed=0, batch_size=8
    )
    assert results["class_names"] == ["dark", "light", "red"]
    assert max(results["history"]["val_accuracy"]) == 100


def _mistakes(root):
    """What is made of a good folder -> what is said."""

    def cut(path):
        path.write_bytes(path.read_bytes()[:60])

    def empty_class():
        (root / "cow").mkdir()

    def val_only():
        make(root / "train", 2)
        make(root / "val", 2, classes=("ant", "cow"))

    def only_val():
        shutil.rmtree(root)
        make(root / "val", 2)

    def empty_val():
        make(root / "train", 2)
        (root / "val" / "ant").mkdir(parents=True)

    def no_folders():
        shutil.rmtree(root)
        write(root / "a.png")

    def one_class():
        shutil.rmtree(root / "ant")

    def too_deep():
        shutil.copytree(root, root / "both" / "insects")
        shutil.rmtree(root / "ant"), shutil.rmtree(root / "bee")
        (root / "both" / "insects").rename(root / "insects"), (root / "both").rmdir()

    def nothing():
        shutil.rmtree(root)
        root.mkdir()

    def no_images():
        for path in root.glob("*/*.png"):
            path.rename(path.with_suffix(".txt"))

    def floats():
        Image.fromarray(np.random.rand(9, 8).astype(np.float32)).save(root / "ant" / "f.tiff")

    return {
        "a text with an image's ending": (lambda: (root / "bee/x.png").write_text("x"), r"x.png, must be an image"),
        "an empty file": (lambda: (root / "bee/x.jpg").write_bytes(b""), "not an image of a known kind"),
        "several of them": (lambda: [(root / f"bee/{k}.gif").touch() for k in "abc"], "the first of 3 such files"),
        "an image that is cut": (lambda: cut(root / "ant" / "03.png"), "03.png must be an image; it cannot be decoded"),
        "floats": (floats, "holds floats, whose range is not known"),
        "a class without images": (empty_class, "must hold an image; got none in .*cow"),
        "a class to validate on only": (val_only, "has 'cow' to validate on only"),
        "a folder val only": (only_val, "must hold a folder train next to val"),
        "an empty folder val": (empty_val, "folder to validate on must hold images"),
        "no folders": (no_folders, "got 1 images and no folder"),
        "one class": (one_class, "at least two classes; got 'bee' only: add the other"),
        "a folder too high": (too_deep, "got 'insects' only: perhaps it is .*insects, which holds 'ant', 'bee'"),
        "an empty folder": (nothing, "it holds no folder"),
        "no images": (no_images, "must hold images, e.g. .png"),
    }


@pytest.mark.parametrize("name", _mistakes(None))
def test_a_mistake_gets_one_line(root, name):
    mistake, message = _mistakes(root)[name]
    mistake()
    with pytest.raises(ValueError, match=message) as error:
        image_folder(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 0}, "image_size must be a whole number of pixels"),
        ({"image_size": (1, 2, 3)}, "image_size must be .*got 3 numbers"),
        ({"image_size": "big"}, "image_size must be a whole number"),
        ({"val_size": 1.5}, "val_size must be a fraction"),
        ({"transform": "rotate"}, "transform must be None, a function or one of affine"),
        ({"transform": lambda image: image[0]}, r"must make an image \(C, H, W\)"),
        ({"transform": lambda image: image[:, 1:]}, "must be of one shape.*by val_transform"),
    ],
)
def test_settings_that_make_no_sense_get_one_line(root, settings, message):
    with pytest.raises((ValueError, TypeError), match=message) as error:
        image_folder(root, **settings)
    assert "\n" not in str(error.value)


def test_a_file_is_no_folder(root, tmp_path):
    for path in (root / "ant" / "00.png", tmp_path / "insects.zip"):
        path.touch()
        with pytest.raises(ValueError, match=r"must be a folder.*it is a file: (unpack|name)"):
            image_folder(path)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_breaks_later_ends_the_run_with_one_line_that_names_it(root, workers):
    data = image_folder(root, in_memory=False)
    for path in root.glob("*/*.png"):
        path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(ValueError, match=r"\A\S*\.png must be an image; it cannot be decoded .*") as error:
        next(iter(KeyedLoader(data.get_dataloaders(4, workers)[0], seed=0)))
    assert "\n" not in str(error.value)


class Noise:
    """Draws from every global generator, and from one of its own."""

    def __init__(self):
        self.own = np.random.default_rng(0)

    def __call__(self, image):
        return (
            image * 0
            + torch.tensor([torch.rand(()), random.random(), np.random.rand()])[:, None, None]
            + self.own.random()
        )


@pytest.mark.slow
@pytest.mark.parametrize("in_memory", [True, False])
def test_what_an_ordinary_transform_makes_of_an_image_depends_on_seed_epoch_and_place_only(root, in_memory):
    data = image_folder(root, transform=Noise(), in_memory=in_memory)
    whole, _ = data.train.__getitems__(list(range(16)))
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    for order in ([5, 3], [3], [15, 5, 0, 3]):
        assert torch.equal(data.train.__getitems__(order)[0], whole[order])
    assert (torch.equal(torch.get_rng_state(), before[0]), random.getstate()) == (True, before[1])
    assert np.random.get_state()[1].tolist() == before[2]
    assert len({image.sum().item() for image in whole}) == 16
    data.reapply_transforms(1)
    assert not torch.equal(data.train.__getitems__([3])[0], whole[[3]])
    data.reapply_transforms(0)
    batches = [*DataLoader(data.train, 5, num_workers=0 if in_memory else 2, collate_fn=collate_rows)]
    assert torch.equal(torch.cat([images for images, _ in batches]), whole)
    assert not torch.equal(image_folder(root, transform=Noise(), seed=1).train[0][0], whole[0])


@pytest.mark.slow
def test_a_run_with_an_ordinary_transform_that_was_cut_inside_an_epoch_is_the_same_run(root, tmp_path):
    def run(stop=None, **settings):
        data = image_folder(root, transform=Noise())
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(216, 2))

        class Stop:
            def attach(self, trainer):
                from ignite.engine import Events

                trainer.add_event_handler(Events.ITERATION_COMPLETED(once=stop), self)

            def __call__(self, trainer):
                raise KeyboardInterrupt

        train_model_advanced(
            *(model, data.train, data.val), epochs=3, device="cpu", verbose=False, seed=0, batch_size=5,
            handlers=[Stop()] if stop else [], **settings,
        )  # fmt: skip
        return weights(model)

    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(stop=7, checkpoint_dir=tmp_path, save_every_iterations=2)
    assert equal(run(resume_from=tmp_path / "model_latest.pt"), whole)


def test_a_transform_of_both_sides_may_change_the_size():
    images, labels = torch.rand(6, 1, 8, 8), torch.arange(6) % 2
    crop = lambda image: image[:, 1:-1, 1:-1]  # noqa: E731
    data = BaseDataset(images, labels, images, labels, name="noise", transform=crop, val_transform=crop)
    assert data.input_shape == (1, 6, 6)
    assert torch.equal(data.val.__getitems__([0, 1])[0], images[:2, :, 1:-1, 1:-1])
