"""The comparison with pandas is one of the same matrix, and the large file is one of distinct checklists."""

import sys
from itertools import count

import pytest

from benchmarks import ebird as benchmark
from benchmarks.ebird import ebird, ebird_large
from ignite_recipes.data import load_ebird_data

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the memory of a process is not counted there")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(benchmark, "BLOCK_CHECKLISTS", 50)


@pytest.fixture
def in_this_process(monkeypatch):
    """What is measured still has a process of its own."""
    monkeypatch.setattr(benchmark, "_apart", lambda function, *arguments: function(*arguments))


@pytest.mark.slow
def test_pandas_and_ours_are_compared_on_the_same_matrix(tmp_path):
    text = ebird(1, tmp_path, num_checklists=60)
    assert text.count("\n| `") == 2
    assert "rows of 52 columns" in text
    assert "to the same matrix, by a digest" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("in_this_process")
def test_another_matrix_is_an_error_and_the_file_is_deleted(tmp_path, monkeypatch):
    numbers = count()
    monkeypatch.setattr(benchmark, "_digest", lambda program: next(numbers))
    with pytest.raises(RuntimeError, match="the same matrix; got the digests"):
        ebird(1, tmp_path, num_checklists=5)
    assert not list(tmp_path.iterdir())


def test_a_digest_tells_a_single_value_from_another(tmp_path):
    path = benchmark.write_example_ebd(tmp_path / "e.txt", 20)
    matrix = benchmark._ours(path)()
    other = matrix.astype("uint8")
    other.iloc[3, 4] ^= 1
    ours, pandas, changed = (
        benchmark._digest(lambda make=make: make)
        for make in (lambda: matrix, lambda: benchmark._pandas_matrix(path), lambda: other)
    )
    assert ours == pandas
    assert ours != changed


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_file_larger_than_the_memory_allowed_is_trained_from_and_deleted(tmp_path):
    text = ebird_large(0.001, 2, tmp_path)
    assert "| one epoch of the VAE |" in text
    assert "limited to 2 GiB (RLIMIT_DATA)" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_process_that_exceeds_its_memory_is_an_error_and_the_file_is_deleted(tmp_path):
    with pytest.raises(RuntimeError, match="'train' failed"):
        ebird_large(0.001, 0.1, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_pieces_of_a_large_file_hold_other_checklists_groups_and_sightings(tmp_path):
    copies = benchmark._write_large(tmp_path / "e.txt", 0.0005)
    columns = ["SAMPLING EVENT IDENTIFIER", "GROUP IDENTIFIER", "GLOBAL UNIQUE IDENTIFIER"]
    data = load_ebird_data(tmp_path / "e.txt", columns=columns)
    piece = data[: len(data) // copies]
    assert copies > 1
    assert data["SAMPLING EVENT IDENTIFIER"].nunique() == 50 * copies
    assert data["GROUP IDENTIFIER"].nunique() == piece["GROUP IDENTIFIER"].nunique() * copies
    assert data["GLOBAL UNIQUE IDENTIFIER"].is_unique
