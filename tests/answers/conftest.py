"""The experiments that are asked."""

import pytest
from support.experiments import train_all


@pytest.fixture(scope="session")
def experiments(tmp_path_factory):
    """A folder with ``runs`` of every recipe."""
    folder = tmp_path_factory.mktemp("experiments")
    train_all(folder)
    return folder


@pytest.fixture
def runs(experiments):
    return experiments / "runs"
