"""The MNIST benchmark runs on IDX and .amat files, and says what is missing where there are none."""

import gzip
import struct

import numpy as np
import pytest

from benchmarks.mnist import mnist
from ignite_recipes import load_digits_matrix


def images(n):
    """Digits of 8 x 8 pixels, as bytes."""
    return (load_digits_matrix()[0][:n].reshape(n, 8, 8) * 255).byte().numpy()


def write_idx(path, array):
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape))
        file.write(array.tobytes())


@pytest.mark.parametrize("form", ["idx", "amat"])
def test_it_runs_on_what_is_there(tmp_path, capsys, form):
    if form == "idx":
        write_idx(tmp_path / "train-images-idx3-ubyte.gz", images(600))
        write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", images(100))
    else:
        for part, n in (("train", 500), ("valid", 100), ("test", 100)):
            rows = (images(n).reshape(n, 64) > 127).astype(int)
            np.savetxt(tmp_path / f"binarized_mnist_{part}.amat", rows, fmt="%d")
    text = mnist(tmp_path, epochs=2, device="cpu")
    assert "| ours, 2 epochs, the best of them" in text
    assert "500 images to train on, 100 to validate, 100 to test" in text
    assert "| pythae's reproduction | 89.78 |" in text


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_without_files_it_says_which_are_wanted(tmp_path, folder):
    text = mnist(tmp_path / folder)
    assert text.startswith("Not run: ")
    assert "train-images-idx3-ubyte" in text
    assert "--data" in text
    assert "\n" not in text
