"""Vectors come in the order of their data, whatever holds them, and looking at them changes nothing."""

import random

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import RowDataset, create_dataloaders
from ignite_recipes.plotting.vectors import read_vectors

X = torch.rand(11, 3)
Y = torch.arange(11)


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.numpy(),
        csr_array(X.numpy()),
        RowDataset(X),
        TensorDataset(X, Y),
        list(X.split(4)),
        [(X, Y)],
        DataLoader(X, 4),
        DataLoader(X, 4, generator=torch.Generator()),
        DataLoader(TensorDataset(X, Y), 4, shuffle=True),
        create_dataloaders(X, None, batch_size=4)[0],
        DataLoader(X, 4, shuffle=True, generator=torch.Generator()),
    ],
    ids=lambda data: type(data).__name__,
)
def test_rows_come_in_their_order_and_no_generator_moves(data):
    own = getattr(data, "generator", None)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), own and own.get_state()
    torch.testing.assert_close(read_vectors(data), X)
    torch.testing.assert_close(read_vectors(data, 5), X[:5])
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:3] == (random.getstate(), np.random.get_state()[1].tolist())
    assert own is None or torch.equal(before[3], own.get_state())


def test_images_keep_their_shape():
    images = torch.rand(5, 1, 2, 3)
    for data in (images, images.numpy(), TensorDataset(images)):
        torch.testing.assert_close(read_vectors(data, 3), images[:3])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (X[0], ValueError, r"\(N, D\) vectors .*got shape \(3,\)"),
        (X[:0], ValueError, "at least one vector; got none"),
        ([], ValueError, "at least one vector; got none"),
        (3, TypeError, "a tensor, an array.*got int"),
        ("rows.csv", TypeError, "a tensor, an array.*got str"),
        (["rows"], TypeError, "must yield batches .*got str"),
    ],
)
def test_what_holds_no_vectors_is_refused(data, error, message):
    with pytest.raises(error, match=message):
        read_vectors(data)
