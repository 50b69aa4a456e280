"""Rows of every kind of matrix are fetched alike, as float32."""

import pickle

import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix, csr_matrix
from support.rows import kinds, numbered

from ignite_recipes.data import RowDataset


@kinds
def test_every_kind_of_matrix_gives_the_same_float32_rows(make):
    array = numbered(6)
    dataset = RowDataset(make(array), ["a", "b", "c"])
    assert (len(dataset), dataset.num_features, dataset.feature_names) == (6, 3, ["a", "b", "c"])
    for rows, expected in (
        (dataset[4], array[4]),
        (dataset[-1], array[-1]),
        (dataset.__getitems__([5, 0, 0]), array[[5, 0, 0]]),
        (torch.stack(list(dataset)), array),
    ):
        assert rows.dtype == torch.float32
        assert not rows.requires_grad
        assert torch.equal(rows, torch.from_numpy(expected))


@kinds
def test_a_dataset_survives_pickling(make):
    dataset = pickle.loads(pickle.dumps(RowDataset(make(numbered(4)), list("abc"))))
    assert torch.equal(dataset.__getitems__([3, 1]), torch.from_numpy(numbered(4)[[3, 1]]))
    assert dataset.feature_names == list("abc")


@kinds
def test_a_fetched_batch_can_be_written_to_without_changing_the_rows(make):
    dataset = RowDataset(make(numbered(4)))
    dataset.__getitems__([0, 1]).zero_()
    assert torch.equal(dataset.__getitems__([0, 1, 2, 3]), torch.from_numpy(numbered(4)))


@kinds
def test_a_row_beyond_the_end_is_an_index_error(make):
    with pytest.raises(IndexError):
        RowDataset(make(numbered(4)))[4]


@pytest.mark.parametrize(
    ("rows", "names", "error", "message"),
    [
        pytest.param(np.zeros(3), None, ValueError, r"2-D.*got shape \(3,\)", id="a vector"),
        pytest.param(torch.zeros(2, 3, 4), None, ValueError, r"got shape \(2, 3, 4\)", id="images"),
        pytest.param(np.zeros((2, 3)), ["a"], ValueError, "each of the 3 columns.*got 1 names", id="too few names"),
        pytest.param([[1.0]], None, TypeError, "got list", id="a list"),
        pytest.param(np.array([["a"]]), None, TypeError, "ndarray of <U1", id="text"),
        pytest.param(np.zeros((2, 3), complex), None, TypeError, "complex128", id="complex"),
        pytest.param(csc_matrix((2, 3)), None, TypeError, "csc_matrix", id="columns compressed"),
        pytest.param(torch.zeros(2, 3).to_sparse(), None, TypeError, "got Tensor", id="sparse tensor"),
    ],
)
def test_bad_rows_say_what_must_hold(rows, names, error, message):
    with pytest.raises(error, match=message):
        RowDataset(rows, names)


def test_rows_that_were_moved_are_the_same_dense_and_of_their_own_type():
    sparse = csr_matrix(np.eye(4, dtype=np.uint8))
    moved = RowDataset(sparse, list("abcd")).to("cpu")
    assert moved.rows.dtype == torch.uint8
    assert moved.feature_names == list("abcd")
    assert torch.equal(moved.__getitems__([2, 0]), torch.eye(4)[[2, 0]])


def test_indices_are_a_number_for_each_row():
    assert RowDataset(numbered(4)).indices.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="a number for each of the 4 rows"):
        RowDataset(numbered(4), indices=np.arange(3))
