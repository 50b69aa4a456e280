"""A training image's look is a function of (seed, epoch, image); a validation image is what it was."""

import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch.nn.functional import avg_pool2d
from torch.utils.data import DataLoader, Subset

from ignite_recipes.data.images import BaseDataset, DatasetRegistry, ImageDataset, digits
from ignite_recipes.data.transforms import RandomAffine
from ignite_recipes.loading.keyed_loader import KeyedLoader

N_TRAIN, N_VAL = 23, 9
GENERATOR = torch.Generator().manual_seed(0)
BYTES = torch.randint(0, 256, (N_TRAIN + N_VAL, 2, 6, 5), generator=GENERATOR, dtype=torch.uint8)
LABELS = torch.arange(N_TRAIN + N_VAL)  # each image has its own, so that it can be told


def dataset(images=BYTES, labels=LABELS, **settings):
    return BaseDataset(
        images[:N_TRAIN], labels[:N_TRAIN], images[N_TRAIN:], labels[N_TRAIN:], **{"name": "test", **settings}
    )


def by_label(loader):
    """The images of a loader in the order of their labels."""
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    return images[labels.argsort()]


# The transform


@st.composite
def batches(draw):
    """Images of any size, and draws for them."""
    size = [draw(st.integers(1, high)) for high in (4, 3, 9, 9)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    return torch.rand(size, generator=generator), torch.rand(size[0], 4, generator=generator)


strengths = st.builds(
    RandomAffine, shift=st.floats(0, 0.99), rotation=st.floats(0, 180), scale=st.floats(0, 3, allow_subnormal=False)
)


@settings(deadline=None)
@given(batches())
def test_without_strength_a_transform_is_the_identity(batch):
    images, draws = batch
    torch.testing.assert_close(RandomAffine(shift=0, rotation=0, scale=0)(images, draws), images, atol=1e-5, rtol=0)


@settings(deadline=None)
@given(batches(), strengths)
def test_in_the_middle_of_its_draws_a_transform_is_the_identity(batch, transform):
    images, draws = batch
    torch.testing.assert_close(transform(images, torch.full_like(draws, 0.5)), images, atol=1e-5, rtol=0)


@settings(deadline=None)
@given(batches(), strengths)
def test_images_keep_their_shape_and_range_and_are_not_changed_in_place(batch, transform):
    images, draws = batch
    before = images.clone()
    result = transform(images, draws)
    assert (result.shape, result.dtype) == (images.shape, torch.float32)
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(images, before)


def test_white_is_not_made_whiter_by_rounding():
    assert RandomAffine()(torch.ones(2000, 1, 5, 5), torch.rand(2000, 4)).max() <= 1


@pytest.mark.parametrize(
    ("draws", "rows", "columns"),
    [
        pytest.param([0, 0.5, 0.5, 0.5], 0, -2, id="left"),
        pytest.param([1, 0.5, 0.5, 0.5], 0, 2, id="right"),
        pytest.param([0.75, 0.5, 0.5, 0.5], 0, 1, id="half of the way right"),
        pytest.param([0.5, 0, 0.5, 0.5], -1, 0, id="up"),
        pytest.param([0.5, 1, 0.5, 0.5], 1, 0, id="down"),
        pytest.param([0, 1, 0.5, 0.5], 1, -2, id="left and down"),
    ],
)
def test_a_shift_by_whole_pixels_moves_them_and_leaves_black(draws, rows, columns):
    image = torch.rand(1, 1, 4, 8)
    moved = RandomAffine(shift=0.25, rotation=0, scale=0)(image, torch.tensor([draws]))
    padded = torch.zeros(1, 1, 4 + 8, 8 + 8)
    padded[..., 4 + rows : 8 + rows, 4 + columns : 12 + columns] = image
    torch.testing.assert_close(moved, padded[..., 4:8, 4:12], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(5, 5), (4, 8), (9, 3)], ids=str)
@pytest.mark.parametrize(("draw", "turns"), [(0.0, -1), (1.0, 1)], ids=["clockwise", "counterclockwise"])
def test_a_right_angle_turns_the_image_by_one_also_where_it_is_not_square(size, draw, turns):
    image, side = torch.rand(1, 1, *size), min(size)
    turned = RandomAffine(shift=0, rotation=90, scale=0)(image, torch.tensor([[0.5, 0.5, draw, 0.5]]))
    top, left = ((each - side) // 2 for each in size)
    middle = (..., slice(top, top + side), slice(left, left + side))
    torch.testing.assert_close(turned[middle], torch.rot90(image[middle], turns, (2, 3)), atol=1e-5, rtol=0)


def test_half_the_size_is_the_mean_of_each_four_pixels_in_the_middle():
    image = torch.rand(1, 2, 8, 8)
    smaller = RandomAffine(shift=0, rotation=0, scale=1)(image, torch.tensor([[0.5, 0.5, 0.5, 0]]))
    expected = torch.zeros(1, 2, 8, 8)
    expected[..., 2:6, 2:6] = avg_pool2d(image, 2)
    torch.testing.assert_close(smaller, expected, atol=1e-5, rtol=0)


def test_twice_the_size_undoes_half_the_size():
    image = torch.zeros(1, 1, 8, 8)
    image[..., 2:6, 2:6] = 1
    twice, half = torch.tensor([[0.5, 0.5, 0.5, 1]]), torch.tensor([[0.5, 0.5, 0.5, 0]])
    transform = RandomAffine(shift=0, rotation=0, scale=1)
    torch.testing.assert_close(transform(image, twice)[..., 1:7, 1:7], torch.ones(1, 1, 6, 6))
    torch.testing.assert_close(transform(transform(image, twice), half)[..., 3:5, 3:5], torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": -0.1}, r"shift must be a fraction.*\[0, 1\); got -0.1"),
        ({"shift": 1}, "got 1"),
        ({"shift": float("nan")}, "got nan"),
        ({"rotation": -1}, "rotation must be in degrees, from 0 to 180; got -1"),
        ({"rotation": 181}, "got 181"),
        ({"scale": -0.5}, "scale must be.*got -0.5"),
        ({"scale": float("inf")}, "got inf"),
    ],
    ids=str,
)
def test_strengths_out_of_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RandomAffine(**settings)


def test_a_transform_says_its_settings():
    assert repr(RandomAffine(shift=0.2, rotation=3, scale=0)) == "RandomAffine(shift=0.2, rotation=3, scale=0)"


# What an image looks like


@settings(deadline=None)
@given(st.lists(st.integers(0, N_TRAIN - 1), min_size=1, max_size=40), st.integers(0, 5))
def test_an_image_is_the_same_to_the_bit_in_whatever_batch_and_order(indices, epoch):
    data = dataset()
    data.reapply_transforms(epoch)
    together, labels = data.train.__getitems__(list(range(N_TRAIN)))
    assert torch.equal(labels, LABELS[:N_TRAIN])
    assert torch.equal(data.train.__getitems__(indices)[0], together[indices])
    assert torch.equal(data.train[indices[0]][0], together[indices[0]])
    assert torch.equal(data.train[indices[0] - N_TRAIN][0], together[indices[0]])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.integers(1, 3))
def test_images_change_with_the_seed_and_the_epoch_and_with_nothing_else(seed, other_seed, epoch, other_epoch):
    def images(seed, epoch):
        data = dataset(seed=seed)
        for other in (7, epoch):  # what was drawn in between leaves no trace
            data.reapply_transforms(other)
        torch.rand(3)
        return by_label(data.get_dataloaders(5)[0])

    same = (seed, epoch) == (other_seed, other_epoch)
    assert torch.equal(images(seed, epoch), images(other_seed, other_epoch)) is same


def test_every_image_changes_in_its_own_way():
    one = BYTES[:1].expand(N_TRAIN + N_VAL, -1, -1, -1)
    images = by_label(dataset(one).get_dataloaders()[0])
    assert len(images.unique(dim=0)) == N_TRAIN


def test_without_a_call_each_image_keeps_its_first_transform_in_every_epoch():
    data = dataset()
    loader, _ = data.get_dataloaders(5)
    first = by_label(loader)
    assert torch.equal(by_label(loader), first)
    data.reapply_transforms(1)
    assert not torch.equal(by_label(loader), first)
    data.reapply_transforms(0)
    assert torch.equal(by_label(loader), first)


def test_workers_give_the_same_images_and_see_new_transforms_when_they_are_started():
    alone, helped = dataset(), dataset()
    loader, _ = alone.get_dataloaders(5)
    helped_loader, _ = helped.get_dataloaders(5, num_workers=2)
    for epoch in (1, 2):
        alone.reapply_transforms(epoch)
        helped.reapply_transforms(epoch)
        assert torch.equal(by_label(helped_loader), by_label(loader))


def test_a_keyed_loader_shows_new_transforms_to_workers_that_would_continue():
    alone, helped = dataset(), dataset()
    plain = helped.get_dataloaders(5)[0]
    loader = KeyedLoader(
        DataLoader(helped.train, 5, num_workers=1, persistent_workers=True, collate_fn=plain.collate_fn), seed=0
    )
    for epoch in (1, 2):
        for data in (alone, helped):
            data.reapply_transforms(epoch)
        loader.enter(epoch)
        assert torch.equal(by_label(loader), by_label(alone.get_dataloaders()[0]))


def test_a_keyed_loader_by_itself_never_draws_new_transforms():
    data = dataset()
    loader = KeyedLoader(data.get_dataloaders(5)[0], seed=0)
    first = by_label(loader)
    loader.enter(2)
    assert torch.equal(by_label(loader), first)


def test_transforms_touch_no_global_generator():
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    data = digits()
    data.reapply_transforms(3)
    data.train.__getitems__([1, 2])
    data.get_dataloaders()
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_validation_images_are_never_transformed():
    data = dataset(transform="affine")
    _, loader = data.get_dataloaders(4)
    for epoch in (0, 1, 2):
        data.reapply_transforms(epoch)
        assert torch.equal(torch.cat([images for images, _ in loader]), BYTES[N_TRAIN:] / 255)


def test_without_a_transform_training_images_are_what_they_were():
    data = dataset(transform=None)
    data.reapply_transforms(1)
    assert torch.equal(by_label(data.get_dataloaders(4)[0]), BYTES[:N_TRAIN] / 255)


def with_draws(num_draws):
    def transform(images, draws):
        seen.append(draws)
        return images * 0.5

    seen = []
    transform.num_draws = num_draws
    return transform, seen


@pytest.mark.parametrize("num_draws", [0, 1, 7])
def test_a_function_of_ones_own_gets_float_images_and_as_many_draws_as_it_wants(num_draws):
    transform, seen = with_draws(num_draws)
    data = dataset(transform=transform)
    images, _ = data.train.__getitems__([3, 1])
    assert torch.equal(images, BYTES[[3, 1]] / 255 * 0.5)
    assert seen[0].shape == (2, num_draws)
    assert ((seen[0] >= 0) & (seen[0] < 1)).all()


# The data set


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_floats_and_bytes_give_the_same_images(dtype):
    images = torch.randint(0, 2, BYTES.shape, dtype=torch.uint8)
    of_bytes, of_floats = dataset(images * 255, transform=None), dataset(images.to(dtype), transform=None)
    for bytes_part, floats_part in ((of_bytes.train, of_floats.train), (of_bytes.val, of_floats.val)):
        everything = list(range(len(bytes_part)))
        fetched = bytes_part.__getitems__(everything)[0], floats_part.__getitems__(everything)[0]
        assert torch.equal(*fetched)
        assert fetched[1].dtype == torch.float32


def test_images_stay_as_they_came_and_become_float_only_in_a_batch():
    data = dataset()
    assert data.train.images.data_ptr() == BYTES.data_ptr()
    assert data.train.images.dtype == torch.uint8
    assert data.train[0][0].dtype == torch.float32


def test_a_fetched_batch_can_be_written_to_without_changing_the_images():
    data = dataset(BYTES / 255, transform=None)
    before = data.train[5][0].clone()
    for part in data.train.__getitems__([5, 5]):
        part.zero_()
    assert torch.equal(data.train[5][0], before)
    assert data.train[5][1] == 5


def test_sizes_and_classes_are_those_of_the_images():
    data = dataset(name="a name")
    assert (data.name, data.input_shape, data.num_classes) == ("a name", (2, 6, 5), N_TRAIN + N_VAL)
    assert type(data.input_shape) is tuple
    assert dataset(num_classes=50).num_classes == 50


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64], ids=str)
def test_labels_of_any_whole_numbers_are_int64(dtype):
    for loader in dataset(labels=torch.zeros(N_TRAIN + N_VAL, dtype=dtype)).get_dataloaders():
        assert next(iter(loader))[1].dtype == torch.int64


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 30))
def test_loaders_give_each_image_once_and_nothing_is_dropped(batch_size):
    for loader, expected in zip(dataset().get_dataloaders(batch_size), (N_TRAIN, N_VAL), strict=True):
        batches = list(loader)
        assert [len(labels) for _, labels in batches[:-1]] == [batch_size] * (len(batches) - 1)
        assert sum(len(labels) for _, labels in batches) == expected
        for images, labels in batches:
            assert (type(images), images.dtype, labels.dtype) == (torch.Tensor, torch.float32, torch.int64)
            assert images.shape == (len(labels), 2, 6, 5)
        start = 0 if expected == N_TRAIN else N_TRAIN
        assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == list(range(start, start + expected))


def test_training_images_are_shuffled_anew_each_epoch_and_validation_images_never():
    train, val = dataset().get_dataloaders()
    orders = [torch.cat([labels for _, labels in train]).tolist() for _ in range(2)]
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])
    assert torch.cat([labels for _, labels in val]).tolist() == list(range(N_TRAIN, N_TRAIN + N_VAL))


def test_a_batch_is_64_images_and_is_fetched_by_one_call(monkeypatch):
    calls = []
    fetch = ImageDataset.__getitems__
    monkeypatch.setattr(ImageDataset, "__getitems__", lambda self, indices: calls.append(0) or fetch(self, indices))
    train, val = digits().get_dataloaders()
    assert len(list(train)) == len(calls) == -(-1437 // 64)
    assert len(list(val)) == -(-360 // 64)


def test_loaders_refuse_numbers_that_are_too_small():
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1; got 0"):
        dataset().get_dataloaders(0)
    with pytest.raises(ValueError, match="num_workers must be a whole number of at least 0; got -1"):
        dataset().get_dataloaders(num_workers=-1)


def test_asking_for_pinned_memory_never_warns():
    loader, _ = dataset().get_dataloaders(pin_memory=True)
    next(iter(loader))
    assert torch.accelerator.is_available() or not loader.pin_memory


def test_a_part_can_be_batched_by_other_loaders():
    data = dataset()
    collate = data.get_dataloaders()[1].collate_fn
    images, labels = next(iter(DataLoader(Subset(data.val, [4, 2]), 2, collate_fn=collate)))
    assert torch.equal(images, BYTES[[N_TRAIN + 4, N_TRAIN + 2]] / 255)
    assert labels.tolist() == [N_TRAIN + 4, N_TRAIN + 2]


def test_a_data_set_survives_pickling():
    data = dataset(seed=4)
    data.reapply_transforms(2)
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again.train[3][0], data.train[3][0])


def test_a_subclass_needs_only_its_images():
    class Stripes(BaseDataset):
        def __init__(self, *, seed=0):
            images = torch.zeros(8, 1, 8, 8)
            images[::2, :, ::2] = 1
            labels = torch.arange(8) % 2
            super().__init__(images[:6], labels[:6], images[6:], labels[6:], name="stripes", seed=seed)

    assert Stripes(seed=1).num_classes == 2


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        pytest.param({"images": BYTES.numpy()}, TypeError, "got ndarray of uint8: torch.from_numpy", id="an array"),
        pytest.param({"images": BYTES.int()}, TypeError, "got Tensor of torch.int32", id="int32"),
        pytest.param({"images": BYTES[:, 0]}, ValueError, r"\(N, C, H, W\).*got shape \(23, 6, 5\).*squeeze", id="3-D"),
        pytest.param({"images": BYTES[:, :0]}, ValueError, r"got shape \(23, 0, 6, 5\)", id="no channel"),
        pytest.param(
            {"images": BYTES[:N_TRAIN]},
            ValueError,
            r"at least one image on either side; got shape \(0, ",
            id="no validation",
        ),
        pytest.param({"images": BYTES.float()}, ValueError, r"in \[0, 1\]; got 0 to 255: scale", id="to 255"),
        pytest.param({"images": BYTES / 255 - 0.5}, ValueError, r"got -0.5 to 0.5", id="negative"),
        pytest.param({"images": BYTES / torch.nan}, ValueError, "got NaN: fill or drop", id="nan"),
        pytest.param({"images": BYTES[:, :1, :5].movedim(1, 3)}, ValueError, r"permute\(0, 3, 1", id="channels last"),
        pytest.param({"labels": LABELS.float()}, TypeError, "whole numbers; got Tensor of torch.float32", id="floats"),
        pytest.param({"labels": LABELS.tolist()}, TypeError, "got list", id="a list"),
        pytest.param({"labels": LABELS[:30]}, ValueError, r"9 images, \(9,\); got shape \(7,\)", id="too few labels"),
        pytest.param({"labels": LABELS[:, None]}, ValueError, r"got shape \(23, 1\)", id="a column"),
        pytest.param({"labels": LABELS - 1}, ValueError, "count from 0; got -1", id="from -1"),
        pytest.param({"num_classes": 31}, ValueError, "below num_classes, 31; got 31 in test", id="too few classes"),
        pytest.param({"transform": "Affine"}, ValueError, "None, a function or one of affine; got 'Affine'", id="name"),
        pytest.param({"transform": lambda x, y: x}, TypeError, "attribute num_draws", id="no num_draws"),
        pytest.param({"transform": 3}, TypeError, "attribute num_draws.*got 3", id="a number"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        dataset(**settings)


def test_images_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 6, 5\) and \(2, 5, 5\) in test"):
        BaseDataset(BYTES, LABELS, BYTES[:, :, 1:], LABELS, name="test")


@pytest.mark.parametrize("epoch", [-1, 1.0, None])
def test_an_epoch_is_a_whole_number(epoch):
    with pytest.raises(ValueError, match=f"epoch must be a whole number of at least 0; got {epoch}"):
        dataset().reapply_transforms(epoch)


# Digits


def test_digits_are_split_once_for_all_with_the_same_part_of_each():
    data = digits(transform=None)
    original = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    parts = torch.cat([data.train.images, data.val.images])
    assert sorted(parts.flatten(1).tolist()) == sorted(original.flatten(1).tolist())
    assert (len(data.train), len(data.val), data.name, data.num_classes) == (1437, 360, "digits", 10)
    for part, size in ((data.train, 1437), (data.val, 360)):
        counts = part.labels.bincount() / size
        torch.testing.assert_close(counts, torch.tensor(load_digits().target).bincount() / 1797, atol=0.002, rtol=0)


def test_labels_of_digits_stay_with_their_images():
    known = {tuple(row): label for row, label in zip(*load_digits(return_X_y=True), strict=True)}
    data = digits(split_seed=3)
    for part in (data.train, data.val):
        rows = (part.images * 16).flatten(1).double().tolist()
        assert [known[tuple(row)] for row in rows] == part.labels.tolist()


def test_the_split_depends_on_its_seed_only():
    np.random.seed(5)
    assert torch.equal(digits(seed=0).val.images, digits(seed=1).val.images)
    assert not torch.equal(digits().val.images, digits(split_seed=1).val.images)


def test_digits_are_in_the_registry():
    assert "digits" in DatasetRegistry
    assert DatasetRegistry.create("digits", transform=None).train.transform is None
