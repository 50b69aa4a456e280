"""Originals stand above what the model makes of them, and the model is as it was."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from ignite_recipes import RowDataset, VariationalAutoencoder, plot_reconstructions

X = torch.rand(30, 12)


class WithDropout(VariationalAutoencoder):
    def decode(self, z):
        return nn.functional.dropout(super().decode(z), training=self.training)


@pytest.fixture
def model():
    return WithDropout(12, 2, 8)


def images(figure):
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def reconstructed(model, x):
    with torch.no_grad():
        return VariationalAutoencoder.decode(model, model.embed(x))


@pytest.mark.parametrize("n", [1, 12])
def test_images_are_above_their_reconstructions(model, n, assert_clear):
    figure = plot_reconstructions(model, X, n, (3, 4))
    expected = [X[:n], reconstructed(model, X[:n])]
    shown = images(figure)
    assert len(shown) == 2 * n
    panels = [axes for axes in figure.axes if axes.images]
    figure.draw_without_rendering()
    places = {axes.get_position().bounds[:2]: image for axes, image in zip(panels, shown, strict=True)}
    rows = sorted({round(y, 6) for _, y in places}, reverse=True)
    for number, y in enumerate(rows):
        row = [image for (x, height), image in sorted(places.items()) if round(height, 6) == y]
        first = 10 * (number // 2)
        wanted = expected[number % 2][first : first + 10].reshape(-1, 3, 4).numpy()
        np.testing.assert_allclose(row, wanted, rtol=1e-6)
    names = [axes.get_ylabel() for axes in panels if axes.get_ylabel()]
    assert names == ["original", "reconstruction"] * (len(rows) // 2)
    assert_clear(figure)


def test_vectors_are_strips_of_a_pair_with_named_features(model, assert_clear):
    names = [f"a bird of kind {k}" for k in range(12)]
    figure = plot_reconstructions(model, RowDataset(X, names), 4)
    assert len(images(figure)) == 4
    for strip, original, reconstruction in zip(images(figure), X, reconstructed(model, X), strict=False):
        np.testing.assert_allclose(strip, torch.stack([original, reconstruction]).numpy(), rtol=1e-6)
    lowest = figure.axes[3]
    assert [label.get_text() for label in lowest.get_xticklabels()] == names
    assert [label.get_text() for label in lowest.get_yticklabels()] == ["original", "reconstruction"]
    assert_clear(figure)


def test_of_many_features_the_largest_are_shown_in_their_order(model):
    x = torch.zeros(1, 12)
    x[0, [7, 2, 9]] = 1
    figure = plot_reconstructions(model, x, max_features=3)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["2", "7", "9"]
    np.testing.assert_array_equal(images(figure)[0][0], [1, 1, 1])
    assert "3 of 12" in figure.axes[0].get_xlabel()


def test_every_panel_has_the_same_scale_from_0_to_1(model):
    figure = plot_reconstructions(model, X / 2, 3, (3, 4))
    assert {axes.images[0].get_clim() for axes in figure.axes if axes.images} == {(0, 1)}
    assert figure.axes[-1].get_ylabel() == "value"


@pytest.mark.parametrize("training", [True, False])
def test_it_draws_the_same_twice_and_leaves_model_and_generators_as_they_were(model, training, pixels):
    model.train(training)
    model.encoder_network.train(not training)
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    loader = DataLoader(X, 4, shuffle=True)
    assert pixels(plot_reconstructions(model, loader)) == pixels(plot_reconstructions(model, X))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_fails_is_in_its_mode_again(model):
    with pytest.raises(ValueError, match="must have 12 features"):
        plot_reconstructions(model.train(), X[:, :5])
    assert all(module.training for module in model.modules())


def test_data_that_are_images_need_no_shape(model):
    for x in (X.reshape(-1, 3, 4), X.reshape(-1, 1, 3, 4)):
        assert images(plot_reconstructions(model, x, 2))[0].shape == (3, 4)


def test_fewer_vectors_than_asked_for_are_all_drawn(model):
    assert len(images(plot_reconstructions(model, X[:2], 8, (3, 4)))) == 4


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (X * 2, {}, r"must lie in \[0, 1\]; got values from .*: scale them"),
        (X * torch.nan, {}, r"must lie in \[0, 1\]; got values from nan"),
        (X, {"n": 0}, "n must be a whole number of at least 1; got 0"),
        (X, {"n": 2.5}, "n must be a whole number of at least 1; got 2.5"),
        (X, {"max_features": 0}, "max_features must be"),
        (X, {"image_shape": (3, 5)}, r"image_shape must be .* 12 values .*got \(3, 5\)"),
        (X, {"image_shape": (12,)}, r"image_shape must be .*got \(12,\)"),
        (X, {"feature_names": ["a"]}, "feature_names must name each of the 12 columns.*got 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(model, data, settings, message):
    with pytest.raises(ValueError, match=message):
        plot_reconstructions(model, data, **settings)
