"""A bar in a terminal or a notebook, nothing in a file, and never in the way of the training."""

import fcntl
import os
import struct
import sys
import termios
import types
from contextlib import nullcontext

import pytest
from ignite.engine import Engine, Events
from tqdm import tqdm

from ignite_recipes import EpochAverages, ProgressBar
from ignite_recipes.handlers import progress
from ignite_recipes.handlers.progress import print_line


class Terminal:
    """Standard error, while entered, is a terminal of 120 columns; ``shown()`` is what it got since the last time."""

    def __init__(self):
        self.screen, inside = os.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        self.stream = os.fdopen(inside, "w", encoding="utf-8")

    def shown(self):
        self.stream.write("<end>")
        self.stream.flush()
        shown = b""
        while not shown.endswith(b"<end>"):
            shown += os.read(self.screen, 1 << 16)
        return shown.decode().removesuffix("<end>")

    def __enter__(self):
        self.before, sys.stderr = sys.stderr, self.stream

    def __exit__(self, *error):
        sys.stderr = self.before

    def close(self):
        for bar in list(tqdm._instances):
            bar.close()
        self.stream.close()
        os.close(self.screen)


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


def watched(task):
    trainer = task.trainer()
    EpochAverages("train_").attach(trainer)
    bar = ProgressBar()
    assert bar.attach(trainer) is bar
    return trainer


def test_where_standard_error_is_no_terminal_it_shows_nothing(task, capfd):
    watched(task).run(task.batches, max_epochs=2)
    assert capfd.readouterr() == ("", "")


def test_in_a_terminal_it_shows_the_epoch_its_metrics_and_the_whole_runs_iterations(task, terminal):
    trainer = watched(task)
    with terminal:
        trainer.run(task.batches, max_epochs=2)
    shown = terminal.shown()
    assert "0/8" in shown
    assert "epoch 2/2" in shown
    assert f"train_loss={trainer.state.metrics['train_loss']:.4g}" in shown
    assert "val_loss" not in shown
    assert not tqdm._instances


def test_a_run_that_continues_begins_where_it_stands(task, terminal):
    trainer = watched(task)
    with terminal:
        trainer.run(task.batches, max_epochs=1)
    terminal.shown()
    with terminal:
        trainer.run(task.batches, max_epochs=3)
    shown = terminal.shown()
    assert "4/12" in shown
    assert "0/12" not in shown
    assert "epoch 3/3" in shown


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_closes_the_bar_and_reaches_the_caller(task, terminal, error):
    trainer = watched(task)

    @trainer.on(Events.ITERATION_COMPLETED(once=6))
    def fail(engine):
        assert tqdm._instances
        raise error("halfway")

    with terminal, pytest.raises(error, match="halfway"):
        trainer.run(task.batches, max_epochs=2)
    assert not tqdm._instances


@pytest.mark.parametrize("skip_event_completed", [False, True])
def test_terminating_closes_the_bar(task, terminal, skip_event_completed):
    trainer = watched(task)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: trainer.terminate(skip_event_completed))
    with terminal:
        trainer.run(task.batches, max_epochs=2)
    assert terminal.shown()
    assert not tqdm._instances


def test_a_run_that_has_ended_already_is_no_trouble(task, terminal):
    trainer = watched(task)
    for _ in range(2):
        with terminal:
            trainer.run(task.batches, max_epochs=1)
    assert not tqdm._instances


@pytest.fixture
def kernel(monkeypatch):
    """As in a notebook's own process."""
    module = types.ModuleType("ipykernel.kernelapp")
    module.IPKernelApp = types.SimpleNamespace(initialized=lambda: True)
    monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", module)
    return module


def test_in_a_notebook_it_is_a_notebooks_bar(task, monkeypatch, kernel):
    made = []
    notebook = types.ModuleType("tqdm.notebook")
    notebook.tqdm = lambda **settings: made.append(settings) or tqdm(disable=True)
    monkeypatch.setitem(sys.modules, "tqdm.notebook", notebook)
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: name == "ipywidgets" or None)
    watched(task).run(task.batches, max_epochs=2)
    assert [settings["total"] for settings in made] == [8]


def test_in_a_notebook_without_widgets_it_is_text_and_the_run_continues(task, monkeypatch, kernel, capsys):
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: None)
    trainer = watched(task)
    trainer.run(task.batches, max_epochs=2)
    assert "8/8" in capsys.readouterr().err


def test_where_ipykernel_is_loaded_and_no_notebook_runs_nothing_is_shown(task, monkeypatch, kernel, capsys):
    kernel.IPKernelApp.initialized = lambda: False
    watched(task).run(task.batches, max_epochs=2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("in_terminal", [True, False])
def test_it_changes_nothing_and_never_makes_the_host_wait(task, host_reads, terminal, in_terminal):
    trainer, plain = task.trainer(), task.trainer()
    ProgressBar().attach(trainer)
    with host_reads, terminal if in_terminal else nullcontext():
        trainer.run(task.batches, max_epochs=2)
    plain.run(task.batches, max_epochs=2)
    assert bool(terminal.shown()) == in_terminal
    assert host_reads.count == 0
    assert task.same(task.weights(trainer.model), task.weights(plain.model))


@pytest.mark.parametrize("limit", [{"max_epochs": 2}, {"max_iters": 3}])
def test_on_an_engine_of_ones_own_it_shows_too_and_leaves_errors_alone(terminal, limit):
    engine = Engine(lambda engine, batch: batch)
    ProgressBar(("loss",)).attach(engine)
    engine.state.metrics["loss"] = 0.5
    with terminal:
        engine.run([0, 1], **limit)
    assert "loss=0.5" in terminal.shown()
    assert not tqdm._instances
    failing = Engine(lambda engine, batch: 1 // batch)
    ProgressBar().attach(failing)
    with terminal, pytest.raises(ZeroDivisionError):
        failing.run([0])


def test_a_loader_that_does_not_know_its_length_is_shown_without_a_total(task, terminal):
    class Stream:
        def __iter__(self):
            return iter(task.batches)

    with terminal:
        watched(task).run(Stream(), max_epochs=2)
    shown = terminal.shown()
    assert "epoch 2/2" in shown
    assert "0batch [" in shown


@pytest.mark.parametrize("loaded", [True, False])
def test_a_line_is_printed_whole_to_standard_output(capsys, monkeypatch, loaded):
    if not loaded:
        monkeypatch.delitem(sys.modules, "tqdm")
    print_line("epoch 1: 0.5")
    assert capsys.readouterr() == ("epoch 1: 0.5\n", "")


def test_a_line_is_printed_beside_a_bar_that_is_shown(task, terminal, capsys):
    trainer = watched(task)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: print_line("epoch 1: 0.5"))
    with terminal:
        trainer.run(task.batches, max_epochs=1)
    assert capsys.readouterr().out == "epoch 1: 0.5\n"
    assert "epoch 1: 0.5" not in terminal.shown()
