"""The digits are scikit-learn's, scaled to [0, 1]."""

import torch
from sklearn.datasets import load_digits

from ignite_recipes.data import load_digits_matrix


def test_images_and_labels_have_the_promised_shape_and_kind():
    images, labels = load_digits_matrix()
    assert (images.shape, images.dtype) == ((1797, 64), torch.float32)
    assert (labels.shape, labels.dtype) == ((1797,), torch.int64)


def test_images_fill_the_range_from_0_to_1_and_keep_every_grey():
    images, labels = load_digits_matrix()
    assert (images.min(), images.max()) == (0, 1)
    original = load_digits()
    assert torch.equal(images * 16, torch.tensor(original.data, dtype=torch.float32))
    assert labels.tolist() == original.target.tolist()
