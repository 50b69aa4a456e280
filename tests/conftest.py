"""What every test starts from: one thread, so that sums are the same on every machine, and a fixed seed.

And what it leaves to the next one of the process: the log's level, and signals that mean what they meant.
"""

import logging
import signal

import pytest
import torch

from ignite_recipes import set_seed


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    set_seed(0)


@pytest.fixture(autouse=True)
def _left_as_found():
    log = logging.getLogger("ignite_recipes")
    level, meaning = log.level, signal.getsignal(signal.SIGINT)
    yield
    log.setLevel(level)  # the command, called in this process, sets it
    assert signal.getsignal(signal.SIGINT) == meaning, "a handler still listens to signals"
