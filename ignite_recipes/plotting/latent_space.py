"""Where a model puts its data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ignite_recipes.data.vectors import read_vectors
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.models.inference import extract_embeddings
from ignite_recipes.plotting.categories import kinds_of, label_values
from ignite_recipes.plotting.style import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_latent", "principal_components"]

_ENTRIES_IN_A_COLUMN = 20  # of the legend
_NO_LABEL = "no label"
_BATCH = 4096


def plot_latent(
    model_or_embeddings: nn.Module | Tensor | NDArray[Any],
    data: Any = None,
    labels: Sequence[Any] | Tensor | NDArray[Any] | None = None,
    *,
    label_name: str = "label",
    categorical: bool | None = None,
) -> "Figure":
    """Draw the latent mean of every vector as a point, coloured by its label.

    Two latent dimensions are drawn as they are; for more, the two principal components are drawn, and the axes say
    which part of the variance they hold.

    Args:
        model_or_embeddings: a model with a method ``embed(x)``, such as :class:`VariationalAutoencoder`, evaluated as
            in inference; or the embeddings themselves, (N, Z), as from :func:`extract_embeddings`.
        data: for a model: a tensor, an array or a frame (N, D), a :class:`RowDataset`, or a loader. A loader that
            shuffles is read in its data set's order, with a warning.
        labels: N of them, in the order of the data: kinds (words, a few whole numbers) with a legend, or numbers
            with a colour bar. None and NaN are drawn grey. Kinds that have an order have colours in that order: months
            and days of the week by their names, whole numbers whose ``label_name`` is "month", an ordered categorical
            of pandas, an Enum of polars.
        label_name: the name of the labels, with their unit if they have one.
        categorical: whether labels are kinds; by default words and booleans are, and whole numbers of at most 20
            different values.

    Returns:
        A matplotlib figure, not shown.

    Raises:
        ValueError: if embeddings are not (N, Z) finite numbers, labels are not N, or are too many kinds to distinguish.
        TypeError: for another kind of model, or data that do not go with it.

    >>> figure = plot_latent(np.eye(3), labels=["heron", "stork", "heron"], label_name="bird")
    >>> figure.axes[0].get_xlabel(), [text.get_text() for text in figure.legends[0].get_texts()]
    ('principal component 1 (50% of the variance)', ['heron', 'stork'])
    """
    embeddings, unit = _embeddings(model_or_embeddings, data)
    points, names = _in_the_plane(embeddings, unit)
    figure = new_figure(6.0, 4.8)
    axes = figure.subplots()
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    if embeddings.shape[1] > 1:
        axes.set_aspect("equal", adjustable="datalim")  # distances are what the picture is about
    _scatter(axes, points, labels, label_name, categorical)
    return figure


def _embeddings(model_or_embeddings: Any, data: Any) -> tuple[NDArray[np.float64], str]:
    unit = ""
    if isinstance(model_or_embeddings, nn.Module):
        if data is None:
            raise TypeError("data must be given for a model, to embed them; got None: pass a tensor (N, D) or a loader")
        vectors = read_vectors(data).flatten(1)
        with preserve_generators(next((p.device for p in model_or_embeddings.parameters()), None)):
            batches = (vectors[first : first + _BATCH] for first in range(0, len(vectors), _BATCH))
            found: Any = extract_embeddings(model_or_embeddings, batches)
        unit = ", standard deviations of the prior"
    elif data is not None:
        raise TypeError(f"data go with a model; got them with {type(model_or_embeddings).__name__}: leave them out")
    else:
        found = model_or_embeddings
    if isinstance(found, Tensor):
        found = found.detach().cpu().double().numpy()
    try:
        embeddings = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"embeddings must be numbers (N, Z), or a model; got {type(found).__name__}") from None
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ValueError(f"embeddings must be (N, Z), a row for each of N vectors; got shape {embeddings.shape}")
    wrong = int((~np.isfinite(embeddings)).any(axis=1).sum())
    if wrong:
        raise ValueError(f"embeddings must be finite; got NaN or infinity in {wrong} of {len(embeddings)} rows")
    return embeddings, unit


def _in_the_plane(embeddings: NDArray[np.float64], unit: str) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Points (N, 2) and what their axes are; principal components have their largest weight above 0."""
    count, dimensions = embeddings.shape
    if dimensions == 1:
        return np.column_stack([embeddings[:, 0], np.arange(count)]), (f"latent dimension 1{unit}", "row")
    if dimensions == 2:
        return embeddings, (f"latent dimension 1{unit}", f"latent dimension 2{unit}")
    return principal_components(embeddings)


def principal_components(embeddings: NDArray[Any]) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """The first two of embeddings (N, Z), their largest weights above 0, and what their axes are called.

    Of one dimension the second component is 0.
    """
    if embeddings.shape[1] == 1:
        embeddings = np.column_stack([embeddings, np.zeros(len(embeddings))])
    centred = embeddings - embeddings.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)  # in rising order
    directions = directions[:, [-1, -2]]
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), [0, 1]])
    total = max(float(variances.sum()), np.finfo(float).tiny)
    shares = [100 * max(float(variances[-k]), 0) / total for k in (1, 2)]
    first, second = (f"principal component {k} ({share:.0f}% of the variance)" for k, share in enumerate(shares, 1))
    return centred @ directions, (first, second)


def _scatter(axes: "Axes", points: NDArray[np.float64], labels: Any, name: str, categorical: bool | None) -> None:
    look: dict[str, Any] = {"s": min(36.0, max(4.0, 30000 / len(points))), "linewidths": 0}
    look |= {"alpha": 0.8 if len(points) < 5000 else 0.4, "rasterized": len(points) > 5000}
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], color=COLORS[0], **look)
        return
    values = label_values(labels, len(points))
    missing = np.array([value is None or value != value for value in values.tolist()], dtype=bool)
    kinds = kinds_of(labels, values[~missing], name, categorical)
    if missing.any():
        grey = {**look, "color": "0.7", "marker": "x", "linewidths": 0.8}
        axes.scatter(points[missing, 0], points[missing, 1], label=_NO_LABEL, **grey)
    if kinds is None:
        numbers = {**look, "c": values[~missing].astype(np.float64), "cmap": "cividis", "alpha": 1}
        image = axes.scatter(points[~missing, 0], points[~missing, 1], **numbers)
        axes.figure.colorbar(image, ax=axes, label=name)
    shown = [] if kinds is None else list(zip(kinds.values, kinds.looks(), strict=True))
    for kind, own in shown:
        chosen = ~missing & (values == kind)
        axes.scatter(points[chosen, 0], points[chosen, 1], label=str(kind), **{**look, **own})
    if shown or missing.any():
        _legend(axes, name if shown else None)


def _legend(axes: "Axes", title: str | None) -> None:
    """Next to the axes, or below them if there is a colour bar; its markers are as large as is readable."""
    handles, labels = axes.get_legend_handles_labels()
    figure: Any = axes.figure
    columns = -(-len(labels) // _ENTRIES_IN_A_COLUMN)
    if title is not None:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width + columns * (0.5 + 0.085 * max(map(len, labels))), height)
    legend = figure.legend(
        handles,
        labels,
        loc="outside lower center" if title is None else "outside right upper",
        title=title,
        frameon=False,
        alignment="left",
        ncols=columns,
    )
    handles_shown: Any = legend.legend_handles
    for handle in handles_shown:
        handle.set_sizes([36])
        handle.set_alpha(1)
