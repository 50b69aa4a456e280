"""What every test starts from: one thread, so that sums are the same on every machine, and a fixed seed."""

import pytest
import torch

from ignite_recipes import set_seed


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    set_seed(0)
