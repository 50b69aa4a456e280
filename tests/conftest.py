"""What every test starts from: one thread, so that sums are the same on every machine, and a fixed seed.

And what it leaves to the next one of the process: the log's level, and signals that mean what they meant.
"""

import logging
import signal

import hypothesis
import pytest
import torch

from ignite_recipes import Curves, DatasetRegistry, ModelRegistry, set_seed

hypothesis.settings.register_profile("any machine", deadline=None)  # tests do not depend on how quick it is
hypothesis.settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    set_seed(0)


@pytest.fixture(autouse=True)
def _one_after_another(monkeypatch):
    """Many runs train together where a test asks for it, since a program must be traced and compiled first."""
    monkeypatch.setattr("ignite_recipes.many.running.TOGETHER", False)


@pytest.fixture(autouse=True)
def _left_as_found():
    log = logging.getLogger("ignite_recipes")
    meaning = signal.getsignal(signal.SIGINT)
    log.setLevel(logging.NOTSET)  # the command, called in this process, sets it, also for a whole file of tests
    yield
    log.setLevel(logging.NOTSET)
    assert signal.getsignal(signal.SIGINT) == meaning, "a handler still listens to signals"


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    """The current folder is the test's own; for whole files, by usefixtures."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_pictures(monkeypatch, request):
    """A picture takes longer than all the rest of a small run: only tests that are marked ``draws`` draw theirs."""
    if "draws" not in request.keywords:
        monkeypatch.setattr(Curves, "__call__", lambda *_: None)


@pytest.fixture
def registries(monkeypatch):
    """What a test registers is forgotten after it."""
    for registry in (DatasetRegistry, ModelRegistry):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
