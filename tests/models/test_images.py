"""Every model of the registry classifies images of any size it allows, and its configuration makes it again."""

import inspect
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import adaptive_max_pool2d, cross_entropy, pad

from ignite_recipes.data.images import digits
from ignite_recipes.models.images import LeNet, ModelRegistry, MyNet, mlp
from ignite_recipes.models.mlp import multilayer_perceptron

NAMES = ["lenet", "mlp", "mynet"]
names = pytest.mark.parametrize("name", NAMES)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_registry_has_these_models():
    assert set(NAMES) <= set(ModelRegistry.names())
    assert (ModelRegistry.get("mynet"), ModelRegistry.get("lenet"), ModelRegistry.get("mlp")) == (MyNet, LeNet, mlp)


@names
@pytest.mark.parametrize("num_classes", [1, 3, 10])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 9, 13), (1, 64, 40)], ids=str)
def test_every_model_takes_any_size_and_number_of_classes(name, num_classes, shape):
    model = ModelRegistry.create(name, num_classes=num_classes, input_shape=shape).eval()
    images = torch.rand(4, *shape)
    scores = model(images)
    assert (scores.shape, scores.dtype) == ((4, num_classes), torch.float32)
    assert scores.isfinite().all()
    torch.testing.assert_close(model(images[2:3]), scores[2:3])  # of one image, whatever the others are
    assert not torch.equal(scores[0], scores[1])


@names
def test_by_default_a_model_is_for_mnist(name):
    assert ModelRegistry.create(name, num_classes=10)(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert ModelRegistry.create(name)(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@names
def test_every_parameter_gets_a_gradient(name):
    model = ModelRegistry.create(name, input_shape=(1, 8, 8))
    cross_entropy(model(torch.rand(8, 1, 8, 8)), torch.arange(8)).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@names
def test_the_weights_are_a_function_of_the_seed(name):
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(torch.cat([parameter.flatten() for parameter in ModelRegistry.create(name).parameters()]))
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


def test_the_numbers_of_parameters_are_those_of_the_docstrings():
    assert count(MyNet()) == 67_754
    assert count(LeNet()) == 61_706


# MyNet


@settings(deadline=None)
@given(st.integers(4, 40), st.integers(4, 40))
def test_the_pooling_is_the_adaptive_one(height, width):
    from ignite_recipes.models.images import _max_of_quarters

    maps = torch.rand(2, 3, height, width)
    assert torch.equal(_max_of_quarters(maps), adaptive_max_pool2d(maps, 2))


def test_one_mynet_takes_images_of_any_size():
    model = MyNet(input_shape=(1, 8, 8)).eval()
    for size in ((8, 8), (8, 30), (17, 11)):
        assert model(torch.rand(2, 1, *size)).shape == (2, 10)


def test_the_width_is_the_first_channels():
    assert MyNet(width=4).features[0].out_channels == 4
    assert count(MyNet(width=4)) < count(MyNet(width=8))


def test_mynet_learns_the_digits_in_seconds():
    data = digits(transform=None)
    train_loader, val_loader = data.get_dataloaders()
    model = ModelRegistry.create("mynet", num_classes=data.num_classes, input_shape=data.input_shape, width=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(3):
        for images, labels in train_loader:
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(images).argmax(1) == labels).sum().item() for images, labels in val_loader)
    assert correct / 360 > 0.95


# LeNet


@settings(deadline=None, max_examples=20)
@given(st.integers(28, 32), st.integers(28, 32))
def test_lenet_sees_small_images_with_a_margin_of_zeros(height, width):
    model, images = LeNet().eval(), torch.rand(2, 1, height, width)
    top, left = (32 - height) // 2, (32 - width) // 2
    padded = pad(images, (left, 32 - width - left, top, 32 - height - top))
    assert torch.equal(model(images), model(padded))


@pytest.mark.parametrize("size", [(8, 8), (27, 28), (33, 32), (64, 64)], ids=str)
def test_lenet_sees_other_images_in_its_size(size):
    model = LeNet().eval()
    even = torch.full((1, 1, *size), 0.3)
    torch.testing.assert_close(model(even), model(torch.full((1, 1, 32, 32), 0.3)))
    seen = []
    model.features.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.rand(1, 1, *size)
    model(images)
    assert seen[0].shape == (1, 1, 32, 32)
    torch.testing.assert_close(seen[0].mean(), images.mean(), atol=0.02, rtol=0)


# The multilayer perceptron


def test_mlp_is_the_multilayer_perceptron_of_all_pixels_with_its_defaults():
    defaults = {name: each.default for name, each in inspect.signature(multilayer_perceptron).parameters.items()}
    mine = {name: each.default for name, each in inspect.signature(mlp).parameters.items()}
    assert mine == {"num_classes": 10, "input_shape": (1, 28, 28)} | {n: defaults[n] for n in list(defaults)[2:]}
    torch.manual_seed(1)
    model = mlp(3, (2, 4, 5), hidden_dimension=7, num_layers=3, dropout_rate=0.5)
    torch.manual_seed(1)
    expected = multilayer_perceptron(40, 3, 7, 3, 0.5)
    images = torch.rand(6, 2, 4, 5)
    assert torch.equal(model.eval()(images), expected.eval()(images.flatten(1)))
    assert repr(list(model)[1:]) == repr(list(expected))


# What a model says of itself


@names
def test_the_configuration_makes_the_same_architecture_again(name):
    model = ModelRegistry.create(name, num_classes=3, input_shape=(2, 9, 9))
    assert model.model_config == {"name": name, "num_classes": 3, "input_shape": (2, 9, 9)}
    again = _made_by(model.model_config)
    shapes = [{key: value.shape for key, value in each.state_dict().items()} for each in (model, again)]
    assert shapes[0] == shapes[1]


def _made_by(config):
    config = dict(config)
    return ModelRegistry.create(config.pop("name"), **config)


def test_a_configuration_is_of_its_model_alone_and_no_part_of_its_weights():
    one, other = ModelRegistry.create("mlp", num_layers=1), ModelRegistry.create("mlp")
    assert (one.model_config, other.model_config) == ({"name": "mlp", "num_layers": 1}, {"name": "mlp"})
    assert all(isinstance(value, torch.Tensor) for value in one.state_dict().values())


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        pytest.param(np.int64(3), 3, id="a number of numpy's"),
        pytest.param(np.float64(0.5), 0.5, id="a float of numpy's"),
        pytest.param(torch.Size([1, 8, 8]), (1, 8, 8), id="a size"),
        pytest.param([1, (2, None)], [1, (2, None)], id="nested"),
        pytest.param({"a": {"b": True}}, {"a": {"b": True}}, id="a dict"),
        pytest.param(nn.ReLU, repr(nn.ReLU), id="a class"),
        pytest.param(torch.float32, "torch.float32", id="a dtype"),
    ],
)
def test_a_configuration_can_be_kept_in_a_checkpoint(monkeypatch, setting, expected):
    monkeypatch.setattr(ModelRegistry, "_entries", {"net": lambda setting: nn.Linear(1, 1)})
    config = ModelRegistry.create("net", setting=setting).model_config
    assert config == {"name": "net", "setting": expected}
    assert type(config["setting"]) is type(expected)
    file = io.BytesIO()
    torch.save(config, file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == config


# Sizes that are none


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mynet", {"input_shape": (1, 7, 8)}, r"input_shape must be .*at least 8 x 8 pixels; got \(1, 7, 8\)"),
        ("mynet", {"input_shape": (1, 8, 7)}, r"got \(1, 8, 7\)"),
        ("mynet", {"input_shape": (0, 8, 8)}, r"got \(0, 8, 8\)"),
        ("mynet", {"input_shape": (28, 28)}, r"got \(28, 28\)"),
        ("mynet", {"num_classes": 0}, "num_classes must be at least 1; got 0"),
        ("mynet", {"width": 0}, "width must be at least 1; got 0"),
        ("lenet", {"input_shape": (1, 0, 8)}, r"at least 1 x 1 pixels; got \(1, 0, 8\)"),
        ("lenet", {"num_classes": -1}, "num_classes must be at least 1; got -1"),
        ("mlp", {"input_shape": (1, 28, 28, 1)}, r"got \(1, 28, 28, 1\)"),
        ("mlp", {"num_classes": 0}, "at least 1"),
        ("mlp", {"num_layers": 0}, "at least 1"),
    ],
    ids=str,
)
def test_wrong_sizes_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        ModelRegistry.create(name, **settings)


@pytest.mark.parametrize("model", [MyNet(), LeNet()], ids=["mynet", "lenet"])
@pytest.mark.parametrize("shape", [(4, 3, 28, 28), (28, 28), (4, 28, 28), (4, 1, 28), (4, 1, 28, 0)], ids=str)
def test_images_that_do_not_fit_the_model_are_refused(model, shape):
    with pytest.raises(
        ValueError, match=r"images must be \(N, 1, H, W\).*make the model with the data set's input_shape"
    ):
        model(torch.zeros(shape))


def test_images_that_are_too_small_for_mynet_are_refused():
    with pytest.raises(ValueError, match=r"at least 8 x 8 pixels; got \(4, 1, 8, 7\)"):
        MyNet()(torch.zeros(4, 1, 8, 7))
