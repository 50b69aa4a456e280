"""What every test starts from: one thread, so that sums are the same on every machine, a fixed seed, and a log as new."""

import logging

import pytest
import torch

from ignite_recipes import set_seed


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    set_seed(0)


@pytest.fixture(autouse=True)
def _the_log_of_one_test_is_not_the_next_ones():
    """The command, called in this process, sets the level of the package's log."""
    log = logging.getLogger("ignite_recipes")
    level = log.level
    yield
    log.setLevel(level)
