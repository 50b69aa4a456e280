"""Epochs that are not passes over the loader: no batch is lost or repeated, and a resume finds its place again."""

import itertools

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ignite_recipes import check_resume, create_trainer, restore_run, run_state, write_checkpoint


class Endless(IterableDataset):
    def __iter__(self):
        return (torch.tensor([float(k)]) for k in itertools.count())


class Unsized:
    """Passes of 4, 5, 6, ... batches; it knows no length."""

    def __init__(self):
        self.passes = 0

    def set_epoch(self, epoch):
        self.passes = epoch

    def __iter__(self):
        return iter([torch.tensor([[10.0 * self.passes + k]]) for k in range(3 + self.passes)])


class Sized(Unsized):
    def __len__(self):
        return 3 + max(1, self.passes)


class Cut(Sized):
    """It says 6 and gives 4, 5, ..."""

    def __len__(self):
        return 6


def a_trainer(**settings):
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    loss = lambda m, x, batch: {"loss": m(x.reshape(-1, 1)).square().mean()}  # noqa: E731
    return create_trainer(model, optimizer, loss, seed=1, **settings)


def numbers_of(trainer):
    seen = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(trainer.state.batch.mean().item()))
    return seen


def ignites(loader, **limits):
    seen = []
    Engine(lambda engine, batch: seen.append(batch.mean().item())).run(loader, **limits)
    return seen


@pytest.mark.parametrize("epoch_length", [1, 4, 6, 7, 15])
@pytest.mark.parametrize("make", [lambda: DataLoader(Endless(), 1), lambda: DataLoader(torch.arange(6.0), 1)])
def test_epochs_of_a_length_that_is_given_continue_the_stream_as_ignite_does(make, epoch_length):
    trainer = a_trainer()
    seen = numbers_of(trainer)
    trainer.run(make(), max_epochs=3, epoch_length=epoch_length)
    assert seen == ignites(make(), max_epochs=3, epoch_length=epoch_length)
    assert trainer.state.epoch == 3


def test_a_second_run_continues_the_stream_and_knows_the_length():
    trainer = a_trainer()
    seen = numbers_of(trainer)
    trainer.run(DataLoader(Endless(), 1), max_epochs=2, epoch_length=4)
    trainer.run(DataLoader(Endless(), 1), max_epochs=3)
    assert seen == list(map(float, range(12)))


def test_an_epoch_that_is_terminated_leaves_no_gap_in_the_stream():
    trainer = a_trainer()
    seen = numbers_of(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: trainer.terminate_epoch())
    trainer.run(DataLoader(Endless(), 1), max_epochs=3, epoch_length=4)
    assert seen == list(map(float, range(10)))


@pytest.mark.parametrize("epoch_length", [3, 5, 9])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_of_shuffled_passes_is_resumed_to_the_bit(epoch_length, num_workers):
    def make_run():
        data = TensorDataset(torch.arange(12.0).reshape(-1, 1))
        return a_trainer(), Batches(DataLoader(data, 2, shuffle=True, num_workers=num_workers))

    class Batches:
        def __init__(self, loader):
            self.loader = loader

        def __len__(self):
            return len(self.loader)

        def __iter__(self):
            return (batch[0] for batch in self.loader)

    def run_to(trainer, loader, epochs):
        trainer.run(loader, max_epochs=epochs, epoch_length=epoch_length)

    whole, loader = make_run()
    seen = numbers_of(whole)
    run_to(whole, loader, 4)
    first, loader = make_run()
    run_to(first, loader, 2)
    state = run_state(first)
    second, loader = make_run()
    after = numbers_of(second)
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        write_checkpoint(state, f"{folder}/run.pt")
        restore_run(second, f"{folder}/run.pt")
    run_to(second, loader, 4)
    assert after == seen[2 * epoch_length :]
    assert len(set(map(tuple, [seen[k : k + 6] for k in range(0, 4 * epoch_length - 5, 6)]))) > 1 or epoch_length == 3
    assert torch.equal(whole.model.weight, second.model.weight)


def test_an_endless_stream_is_resumed_inside_an_epoch_and_between_epochs(tmp_path):
    whole = a_trainer()
    expected = numbers_of(whole)
    whole.run(DataLoader(Endless(), 1), max_epochs=3, epoch_length=4)
    for stop in range(1, 12):
        cut = a_trainer()

        @cut.on(Events.ITERATION_COMPLETED(once=stop))
        def leave(cut=cut):
            write_checkpoint(run_state(cut), tmp_path / "run.pt")
            cut.terminate()

        cut.run(DataLoader(Endless(), 1), max_epochs=3, epoch_length=4)
        resumed = a_trainer()
        seen = numbers_of(resumed)
        restore_run(resumed, tmp_path / "run.pt")
        resumed.run(DataLoader(Endless(), 1), max_epochs=3)
        assert seen == expected[stop:]
        assert torch.equal(whole.model.weight, resumed.model.weight)


@pytest.mark.parametrize("accumulation_steps", [1, 2])
@pytest.mark.parametrize("kind", [Unsized, Sized, Cut])
def test_epochs_of_changing_length_lose_and_repeat_no_batch(kind, accumulation_steps, caplog):
    trainer = a_trainer(accumulation_steps=accumulation_steps)
    seen, lengths = numbers_of(trainer), []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: lengths.append(trainer.state.epoch_length))
    trainer.run(kind(), max_epochs=3)
    assert seen == [10, 11, 12, 13, 20, 21, 22, 23, 24, 30, 31, 32, 33, 34, 35]
    assert lengths == [4, 5, 6]
    assert ("the loader says that it has 6 batches and gave 4" in caplog.text) == (kind is Cut)


@pytest.mark.parametrize("kind", [Unsized, Sized])
def test_a_run_of_epochs_of_changing_length_is_resumed_exactly(kind):
    report = check_resume(lambda: (a_trainer(), kind()), max_epochs=3, cuts=[(1, 2), (1, 4), (2, 1), (2, 5), (3, 2)])
    assert report.is_exact, str(report)
