"""Scikit-learn's bundled images of handwritten digits, as a matrix."""

import torch
from torch import Tensor

from ignite_recipes.optional import needs

__all__ = ["load_digits_matrix"]


def load_digits_matrix() -> tuple[Tensor, Tensor]:
    """The 1,797 images of 8 x 8 pixels that come with scikit-learn, one per row; nothing is downloaded.

    Returns:
        The images, (1797, 64) float32 in [0, 1], and the digit each one shows, (1797,) int64.

    >>> images, labels = load_digits_matrix()
    >>> images.shape, labels[:3].tolist()
    (torch.Size([1797, 64]), [0, 1, 2])
    """
    with needs("cli"):
        from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64)
