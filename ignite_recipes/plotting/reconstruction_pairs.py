"""Originals above what a model makes of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ignite_recipes.arguments import whole_number
from ignite_recipes.data.vectors import feature_names_of, read_vectors
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.models.vae import decoded, features_of
from ignite_recipes.plotting.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_reconstructions"]

_IMAGES_IN_A_ROW = 10
_PAIR = ("original", "reconstruction")
# Dark on white, as ink: values of [0, 1], the same in every panel.
_LOOK: dict[str, Any] = {"cmap": "Greys", "vmin": 0, "vmax": 1, "interpolation": "nearest"}


def plot_reconstructions(
    model: nn.Module,
    data: Any,
    n: int = 8,
    image_shape: tuple[int, int] | None = None,
    *,
    feature_names: Sequence[str] | None = None,
    max_features: int = 40,
) -> "Figure":
    """Draw the first vectors of a data set, each above its reconstruction from the latent mean.

    Images are drawn as images; for other vectors each pair is a strip of two rows, with a column for each feature. If
    there are more than ``max_features``, those with the largest values in the strips are drawn. The model is evaluated
    as in inference, and it and the global generators stay as they were.

    Args:
        model: with the methods ``embed(x)`` and ``decode(z)``, such as :class:`VariationalAutoencoder`.
        data: in [0, 1]: a tensor, an array or a frame (N, D), a :class:`RowDataset`, a loader, or images (N, H, W) or
            (N, 1, H, W). A loader that shuffles is read in its data set's order.
        n: the number of vectors to draw; all if they are fewer.
        image_shape: (H, W), if the vectors are images; known if the data are images.
        feature_names: the names of the D columns; by default those of the data set, or their numbers.
        max_features: the largest number of columns in a strip.

    Returns:
        A matplotlib figure, not shown.

    Raises:
        TypeError: for another kind of model or of data.
        ValueError: if the data are not in [0, 1], are empty, or do not fit ``image_shape`` or ``feature_names``.

    >>> from ignite_recipes import VariationalAutoencoder
    >>> model = VariationalAutoencoder(64, latent_dimension=2, hidden_dimension=8)
    >>> figure = plot_reconstructions(model, torch.rand(100, 64), n=3, image_shape=(8, 8))
    >>> [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    ['original', 'reconstruction', 'value']
    """
    for name, count in {"n": n, "max_features": max_features}.items():
        whole_number(count, name)
    originals = read_vectors(data, n, any_order=True)
    if image_shape is None and originals.dim() > 2:
        image_shape = (originals.shape[-2], originals.shape[-1])
    rows = originals.flatten(1)  # (n, D), and covariates
    originals = features_of(unwrap(model), rows)
    if not (originals.min() >= 0 and originals.max() <= 1):
        low, high = originals.min().item(), originals.max().item()
        raise ValueError(f"data must lie in [0, 1]; got values from {low:g} to {high:g}: scale them")
    pairs = torch.stack([originals, _reconstruct(model, rows)], dim=1)  # (n, 2, D)
    if image_shape is not None:
        return _draw_images(pairs, image_shape)
    names = feature_names_of(data) if feature_names is None else [str(name) for name in feature_names]
    return _draw_strips(pairs, None if names is None else names[: pairs.shape[-1]], max_features)


@torch.no_grad()
def _reconstruct(model: nn.Module, rows: Tensor) -> Tensor:
    plain: Any = unwrap(model)
    if not all(callable(getattr(plain, method, None)) for method in ("embed", "decode")):
        raise TypeError(
            f"model must have methods embed(x) and decode(z), e.g. a VariationalAutoencoder; got {type(plain).__name__}"
        )
    parameter = next(plain.parameters(), torch.empty(0))
    with in_evaluation_mode(plain), preserve_generators(parameter.device):
        x = rows.to(parameter)
        reconstructions = decoded(plain, x, plain.embed(x))
    originals = features_of(plain, rows)
    if reconstructions.shape != originals.shape:
        raise ValueError(
            f"model must reconstruct vectors of its data, {tuple(originals.shape)}; got {tuple(reconstructions.shape)}"
        )
    return reconstructions.float().cpu()


def _draw_images(pairs: Tensor, shape: tuple[int, int]) -> "Figure":
    count, _, size = pairs.shape
    if len(shape) != 2 or shape[0] * shape[1] != size:
        raise ValueError(f"image_shape must be (height, width) of the {size} values of a vector; got {shape!r}")
    columns = min(count, _IMAGES_IN_A_ROW)
    blocks = -(-count // columns)
    root = min(max(shape[0] / shape[1], 0.1), 10) ** 0.5  # images of any shape are as large, 1.1 inches square
    figure = new_figure((1.1 / root + 0.12) * columns + 2.2, 2 * blocks * (1.1 * root + 0.12) + 0.2, compress=True)
    panels = figure.subplots(2 * blocks, columns, squeeze=False)
    image = None
    for place in range(blocks * columns):
        for row, name in enumerate(_PAIR):
            axes = panels[2 * (place // columns) + row, place % columns]
            if place >= count:
                axes.remove()
                continue
            image = axes.imshow(pairs[place, row].reshape(tuple(shape)).numpy(), **_LOOK)
            axes.set_xticks([])
            axes.set_yticks([])
            if place % columns == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center")
    _color_bar(figure, image)
    return figure


def _draw_strips(pairs: Tensor, names: list[str] | None, max_features: int) -> "Figure":
    count, _, size = pairs.shape
    if names is not None and len(names) != size:
        raise ValueError(f"feature_names must name each of the {size} columns, in their order; got {len(names)} names")
    chosen = pairs.sum(dim=(0, 1)).argsort(descending=True, stable=True)[:max_features].sort().values
    labels = [str(k) if names is None else names[k] for k in chosen.tolist()]
    longest = max(map(len, labels))
    figure = new_figure(max(5.0, 0.2 * len(labels) + 2.2), 0.52 * count + 0.075 * longest + 0.9)
    panels = figure.subplots(count, 1, squeeze=False)[:, 0]
    image = None
    for axes, pair in zip(panels, pairs[:, :, chosen], strict=True):
        image = axes.imshow(pair.numpy(), aspect="auto", **_LOOK)
        axes.set_yticks([0, 1], _PAIR, fontsize="small")
        axes.set_xticks([])
    panels[-1].set_xticks(range(len(labels)), labels, rotation=90, fontsize="small")
    part = "" if len(labels) == size else f" ({len(labels)} of {size}, those with the largest values)"
    panels[-1].set_xlabel(f"feature{part}")
    _color_bar(figure, image)
    return figure


def _color_bar(figure: "Figure", image: Any) -> None:
    width, height = figure.get_size_inches()
    panels = max(width - 2.2, 0.3)  # inches, without the labels
    bar = 0.12  # inches wide, and nearly as high as the panels
    look = {"fraction": bar / panels, "pad": min(0.15 / panels, 0.4), "aspect": max(height - 0.6, 0.6) / bar}
    figure.colorbar(image, ax=figure.axes, label="value", ticks=[0, 0.5, 1], **look)
