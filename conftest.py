"""What every doctest starts from: an empty folder, one thread and a fixed seed; `tests/` has a conftest of its own."""

import pytest
import torch

from ignite_recipes import set_seed


@pytest.fixture(autouse=True)
def _a_doctest_starts_alike(request: pytest.FixtureRequest) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
        torch.set_num_threads(1)
        set_seed(0)
