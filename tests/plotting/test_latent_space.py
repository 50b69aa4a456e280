"""Points are the embeddings, each with the colour of its label, and the model is as it was."""

import calendar
import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from matplotlib.colors import to_hex
from sklearn.decomposition import PCA

from ignite_recipes import RowDataset, VariationalAutoencoder, create_dataloaders, plot_latent
from ignite_recipes.plotting.style import COLORS

X = torch.rand(40, 6)
DIGITS = torch.arange(40) % 10
NAN = math.nan


def points(collection):
    return np.asarray(collection.get_offsets())


def groups(figure):
    return {collection.get_label(): points(collection) for collection in figure.axes[0].collections}


def test_two_dimensions_are_drawn_as_they_are(assert_clear):
    z = torch.randn(40, 2)
    figure = plot_latent(z)
    np.testing.assert_allclose(points(figure.axes[0].collections[0]), z)
    assert figure.axes[0].get_xlabel() == "latent dimension 1"
    assert not figure.legends
    assert_clear(figure)


@pytest.mark.parametrize("kind", ["digits", "words", "booleans"])
def test_each_kind_has_its_own_points_and_an_entry_beside_the_axes(kind, assert_clear):
    labels = {"digits": DIGITS, "words": [f"bird {k}" for k in DIGITS.tolist()], "booleans": DIGITS > 4}[kind]
    z = torch.randn(40, 2)
    figure = plot_latent(z, labels=labels, label_name="kind")
    kinds = np.asarray(labels)
    assert set(groups(figure)) == {str(one) for one in np.unique(kinds).tolist()}
    for one in np.unique(kinds).tolist():
        np.testing.assert_allclose(groups(figure)[str(one)], z[torch.as_tensor(kinds == one)])
    collections = figure.axes[0].collections
    looks = {(to_hex(c.get_facecolor()[0]), len(c.get_paths()[0].vertices)) for c in collections}
    assert len({color for color, _ in looks}) == len(collections)
    assert figure.legends[0].get_title().get_text() == "kind"
    assert_clear(figure)


def test_kinds_are_in_their_natural_order():
    figure = plot_latent(torch.randn(3, 2), labels=["kind 10", "kind 2", "10 kinds"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["10 kinds", "kind 2", "kind 10"]


def colors_of(figure):
    return [tuple(one.get_facecolor()[0][:3]) for one in figure.axes[0].collections]


MONTHS = ["Dec", "jan.", "July", "feb"]


@pytest.mark.parametrize(
    ("labels", "name", "order"),
    [
        (MONTHS, "season", ["jan.", "feb", "July", "Dec"]),
        ([12, 1, 7, 2], "Month", ["1", "2", "7", "12"]),
        (["Sun", "Monday", "wed", "Tue"], "day", ["Monday", "Tue", "wed", "Sun"]),
        (pd.Categorical(["b", "c", "a", "b"], ["c", "b", "a"], ordered=True), "size", ["c", "b", "a"]),
        (pl.Series(["b", "c", "a", "b"], dtype=pl.Enum(["c", "b", "a"])), "size", ["c", "b", "a"]),
    ],
)
def test_kinds_that_have_an_order_have_it_in_the_legend_and_in_their_colours(labels, name, order, assert_clear):
    figure = plot_latent(torch.randn(4, 2), labels=labels, label_name=name)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == order
    assert len(set(colors_of(figure))) == len(order)
    assert not {to_hex(color) for color in colors_of(figure)[1:]} & {color.lower() for color in COLORS[1:4]}
    assert_clear(figure)


def test_all_months_go_round_and_words_that_are_none_have_no_order():
    def looks(labels):
        return colors_of(plot_latent(torch.zeros(len(labels), 2), labels=labels))

    def far(one, other):
        return max(abs(a - b) for a, b in zip(one, other, strict=True))

    names = [calendar.month_name[k] for k in range(1, 13)]
    colors = looks(names)
    steps = [far(*pair) for pair in zip(colors, [*colors[1:], colors[0]], strict=True)]
    assert max(steps) < 0.5  # December is as near to January as any other two
    assert [to_hex(color) for color in looks(["January", "Mayor"])] == [color.lower() for color in COLORS[:2]]


@pytest.mark.parametrize("labels", [torch.rand(40), np.arange(40) * 3, DIGITS.float().tolist()])
def test_numbers_have_a_colour_bar_with_their_name(labels, assert_clear):
    figure = plot_latent(torch.randn(40, 2), labels=labels, label_name="length, cm")
    np.testing.assert_allclose(figure.axes[0].collections[0].get_array(), labels)
    assert figure.axes[1].get_ylabel() == "length, cm"
    assert not figure.legends
    assert_clear(figure)


def test_you_may_say_whether_labels_are_kinds():
    z = torch.randn(40, 2)
    assert not plot_latent(z, labels=DIGITS, categorical=False).legends
    assert plot_latent(z, labels=DIGITS.float(), categorical=True).legends
    assert plot_latent(z, labels=range(40), categorical=True).legends


@pytest.mark.parametrize("labels", [["a", None, "b", None], [1.0, NAN, 2.0, NAN], ["a", NAN, "b", None]])
def test_what_has_no_label_is_drawn_grey_and_said_so(labels, assert_clear):
    z = torch.randn(4, 2)
    figure = plot_latent(z, labels=labels)
    np.testing.assert_allclose(groups(figure)["no label"], z[[1, 3]])
    assert sum(map(len, groups(figure).values())) == 4
    assert "no label" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert_clear(figure)


@pytest.mark.parametrize("dimensions", [3, 16])
def test_more_dimensions_are_projected_as_scikit_learn_does(dimensions):
    z = np.random.default_rng(1).normal(size=(50, dimensions)) * np.arange(1, dimensions + 1) + 5
    figure = plot_latent(z)
    pca = PCA(2, svd_solver="full")
    wanted = pca.fit_transform(z)
    np.testing.assert_allclose(points(figure.axes[0].collections[0]), wanted, atol=1e-6)
    shares = pca.explained_variance_ratio_ * 100
    assert figure.axes[0].get_xlabel() == f"principal component 1 ({shares[0]:.0f}% of the variance)"
    assert figure.axes[0].get_ylabel() == f"principal component 2 ({shares[1]:.0f}% of the variance)"


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 5), (40, 1)])
def test_few_points_or_dimensions_are_drawn_too(shape, pixels):
    figure = plot_latent(torch.ones(shape), labels=["a"] * shape[0])
    assert len(points(figure.axes[0].collections[0])) == shape[0]
    pixels(figure)


@pytest.mark.parametrize("training", [True, False])
def test_a_models_points_are_its_latent_means_in_the_data_sets_order_and_nothing_moves(training, pixels):
    model = VariationalAutoencoder(6, 2, 8).train(training)
    state = torch.get_rng_state()
    loaders = [X, RowDataset(X), create_dataloaders(RowDataset(X), None, batch_size=7)[0], X.numpy()]
    figures = [plot_latent(model, data, DIGITS) for data in loaders]
    assert len({pixels(figure) for figure in figures}) == 1
    assert model.training == training
    assert torch.equal(state, torch.get_rng_state())
    means = model.embed(X).detach()
    np.testing.assert_allclose(groups(figures[0])["3"], means[DIGITS == 3], rtol=1e-5)
    assert figures[0].axes[0].get_xlabel() == "latent dimension 1, standard deviations of the prior"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.zeros(3),), ValueError, r"must be \(N, Z\).*got shape \(3,\)"),
        ((torch.zeros(0, 2),), ValueError, r"got shape \(0, 2\)"),
        ((torch.tensor([[1.0, NAN], [1.0, 2.0]]),), ValueError, "NaN or infinity in 1 of 2 rows"),
        (("embeddings.pt",), TypeError, r"must be numbers \(N, Z\), or a model; got str"),
        ((torch.zeros(3, 2), X), TypeError, "data go with a model.*leave them out"),
        ((torch.nn.Linear(6, 2), X), TypeError, "method embed"),
        ((torch.zeros(3, 2), None, [1, 2]), ValueError, r"labels must be 3, one for each.*got shape \(2,\)"),
        ((torch.zeros(70, 2), None, [f"{k}" for k in range(70)]), ValueError, "at most 60 kinds.*got 70: group"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        plot_latent(*arguments)
