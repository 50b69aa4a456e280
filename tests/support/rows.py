"""Rows that can be told apart, as every kind of matrix that the loaders take."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, csr_matrix


def numbered(n, d=3):
    """Rows that can be told apart: (n, d), the first column counts."""
    return np.arange(n * d, dtype=np.float32).reshape(n, d)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


KINDS = {
    "tensor": torch.from_numpy,
    "tensor of bytes": lambda array: torch.from_numpy(array).to(torch.uint8),
    "tensor with a gradient": lambda array: torch.from_numpy(array).requires_grad_(),
    "array": lambda array: array,
    "array of float64": lambda array: array.astype(np.float64),
    "array of int64": lambda array: array.astype(np.int64),
    "array of big-endian numbers": lambda array: array.astype(">f4"),
    "array that is read-only": read_only,
    "array turned backwards twice": lambda array: array[::-1].copy()[::-1],
    "csr matrix": csr_matrix,
    "csr array of bytes": lambda array: csr_array(array.astype(np.uint8)),
}
kinds = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in KINDS.items()])


def first_column(dataset):
    return dataset.__getitems__(list(range(len(dataset))))[:, 0].int().tolist()
