"""What a KeyedLoader yields depends on seed, epoch and position only, whatever the loader is made of."""

import functools
import gc
import random
import weakref

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset

from ignite_recipes import create_trainer, restore_run, run_state, write_checkpoint
from ignite_recipes.loading.keyed_loader import KeyedLoader


class Augmented(Dataset):
    """Ten rows with noise from every global generator, and from one of its own."""

    def __init__(self):
        self.own = np.random.default_rng(5)
        self.python = random.Random(5)
        self.legacy = np.random.RandomState(5)

    def __len__(self):
        return 10

    def __getitem__(self, k):
        drawn = random.random() + np.random.rand() + self.own.random() + self.python.random() + self.legacy.rand()
        return torch.tensor([k, drawn]) + torch.tensor([0.0, torch.rand(()).item()])


class Plain:
    """A loader that is no DataLoader, with a generator of its own."""

    def __init__(self):
        self.generator = torch.Generator()
        self.epochs = []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __iter__(self):
        return (torch.rand(2, 2, generator=self.generator) for _ in range(5))


def generator():
    return torch.Generator().manual_seed(1)


LOADERS = {
    "shuffled": lambda: DataLoader(Augmented(), 2, shuffle=True),
    "workers": lambda: DataLoader(Augmented(), 2, shuffle=True, num_workers=2),
    "persistent workers": lambda: DataLoader(Augmented(), 2, shuffle=True, num_workers=2, persistent_workers=True),
    "generator of the loader": lambda: DataLoader(Augmented(), 2, shuffle=True, generator=generator()),
    "generator of the sampler": lambda: DataLoader(
        Augmented(), 2, sampler=RandomSampler(range(10), replacement=True, generator=generator())
    ),
    "own class": Plain,
    "list": lambda: [torch.full((2, 2), float(k)) for k in range(5)],
}


def _epoch(loader, epoch, start=0, seed=3):
    keyed = loader if isinstance(loader, KeyedLoader) else KeyedLoader(loader, seed)
    keyed.enter(epoch, start)
    return [batch.tolist() for batch in keyed]


@pytest.mark.parametrize("name", LOADERS)
def test_an_epoch_is_the_same_first_or_after_others_in_this_loader_or_a_new_one(name):
    loader = KeyedLoader(LOADERS[name](), seed=3)
    one, two = _epoch(loader, 1), _epoch(loader, 2)
    torch.rand(5), np.random.rand(5), random.random()
    assert _epoch(loader, 1) == one
    assert _epoch(LOADERS[name](), 2) == two
    if name != "list":
        assert one != two
        assert _epoch(LOADERS[name](), 1, seed=4) != one


@pytest.mark.parametrize("workers", [0, 2])
def test_every_batch_of_an_epoch_draws_numbers_of_its_own(workers):
    batches = _epoch(DataLoader(Augmented(), 2, num_workers=workers), 1)
    drawn = [row for batch in batches for _, row in batch]
    assert len(drawn) == len(set(drawn)) == 10


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("start", [1, 4, 5])
def test_starting_inside_an_epoch_yields_its_tail(name, start):
    assert _epoch(LOADERS[name](), 2, start) == _epoch(LOADERS[name](), 2)[start:]


def test_an_epoch_longer_than_the_loader_continues_in_another_order_and_resumes_inside():
    def passes(start):
        keyed = KeyedLoader(DataLoader(torch.arange(10.0), 2, shuffle=True), 3)
        keyed.enter(2, start)
        return [batch.tolist() for _ in range(3) for batch in keyed]

    whole = passes(0)
    assert len(whole) == 15
    assert whole[:5] != whole[5:10]
    assert passes(7) == whole[7:]


def test_generators_are_found_wherever_an_object_keeps_them():
    class Noise:
        def __init__(self):
            self.rng = np.random.default_rng()

        def __call__(self, x):
            return x + self.rng.random()

    class Slotted:
        __slots__ = ("rng",)

        def __init__(self):
            self.rng = random.Random()

        def __call__(self, x):
            return x + self.rng.random()

    class Data(Dataset):
        def __init__(self, *augment):
            self.augment = list(augment)

        def __len__(self):
            return 4

        def __getitem__(self, k):
            x = torch.tensor(float(k))
            for function in self.augment:
                x = function(x)
            return x

    def collate(noise, rows):
        return noise(torch.stack(rows))

    class Wrapper:
        def __init__(self, loader):
            self.inner = loader

        def __iter__(self):
            return iter(self.inner)

    def loaders():
        yield DataLoader(Data(Noise(), Slotted()), 2, shuffle=True)
        yield DataLoader(Data(), 2, collate_fn=functools.partial(collate, Noise()))
        yield DataLoader(Data(), 2, collate_fn=Collate(Noise()))
        yield Wrapper(DataLoader(Data(Noise()), 2, shuffle=True, generator=torch.Generator()))

    class Collate:
        def __init__(self, noise):
            self.noise = {"noise": noise}

        def __call__(self, rows):
            return self.noise["noise"](torch.stack(rows))

    for one, two in zip(loaders(), loaders(), strict=True):
        assert _epoch(one, 1) == _epoch(two, 1)


@pytest.mark.parametrize("loader", [iter([1, 2]), (k for k in range(3))], ids=["iterator", "generator"])
def test_what_can_be_gone_through_only_once_is_refused(loader):
    with pytest.raises(TypeError, match="again for every epoch"):
        KeyedLoader(loader, 0)


def test_an_epoch_without_a_batch_is_an_error():
    class Empty:
        def __iter__(self):
            return iter([])

    with pytest.raises(ValueError, match="at least one batch"):
        list(KeyedLoader(Empty(), 0))


def test_two_purposes_of_one_run_draw_differently():
    loader = DataLoader(Augmented(), 2)
    train, validation = ([b.tolist() for b in KeyedLoader(loader, 0, purpose)] for purpose in ("train", "validation"))
    assert train != validation


def test_set_epoch_is_called_where_there_is_one():
    loader = Plain()
    _epoch(loader, 4)
    assert loader.epochs == [4]


def test_each_row_is_still_seen_once():
    rows = [row for batch in _epoch(DataLoader(torch.arange(10.0), 3, shuffle=True), 1) for row in batch]
    assert sorted(rows) == list(range(10))


def test_generators_of_nested_data_sets_and_transforms_are_found():
    class Transformed(TensorDataset):
        transform = None

        def __getitem__(self, k):
            return super().__getitem__(k)[0] + self.transform.draw()

    class Draws:
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def draw(self):
            return self.rng.random()

    def loader():
        data = Transformed(torch.zeros(4, 1))
        data.transform = Draws()
        return DataLoader(torch.utils.data.ConcatDataset([torch.utils.data.Subset(data, [0, 1, 2])]), 1)

    first = loader()
    assert _epoch(first, 1) == _epoch(loader(), 1)
    assert _epoch(first, 2) == _epoch(loader(), 2)


def test_length_is_the_loaders():
    assert len(KeyedLoader([1, 2, 3], 0)) == 3
    with pytest.raises(TypeError):
        len(KeyedLoader(Plain(), 0))


OF_THE_MODULE = torch.Generator()


class Hidden:
    """Batches drawn by a generator that only a global variable holds: nothing can seed it."""

    def __init__(self):
        OF_THE_MODULE.manual_seed(torch.seed())
        self.draw = lambda: torch.rand(4, 1, generator=OF_THE_MODULE)

    def __len__(self):
        return 5

    def __iter__(self):
        return iter([self.draw() for _ in range(5)])


class Stateful(Hidden):
    """The same, with a state of its own."""

    def __init__(self):
        generator = torch.Generator().manual_seed(9)
        self.hidden = lambda: generator
        self.given = self.start = 0

    def __iter__(self):
        self.given, self.start = self.start, 0
        while self.given < 5:
            self.given += 1
            yield torch.rand(4, 1, generator=self.hidden())

    def state_dict(self):
        return {"generator": self.hidden().get_state(), "given": self.given}

    def load_state_dict(self, state):
        self.hidden().set_state(state["generator"])
        self.start = state["given"]


def trained(loader, folder, *, resume=False, stop=None):
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    loss = lambda m, x, batch: {"loss": m(x).square().mean()}  # noqa: E731
    trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss, seed=2)
    if resume:
        restore_run(trainer, folder / "run.pt")
    if stop is not None:

        @trainer.on(Events.ITERATION_COMPLETED(once=stop))
        def leave():
            write_checkpoint(run_state(trainer), folder / "run.pt")
            trainer.terminate()

    trainer.run(loader, max_epochs=2)
    return [parameter.tolist() for parameter in model.parameters()]


def test_a_loader_whose_generator_cannot_be_found_is_told_by_its_other_batches(tmp_path, caplog):
    trained(Hidden(), tmp_path, stop=3)
    trained(Hidden(), tmp_path, resume=True)
    assert "another batch 3 of epoch 1" in caplog.text
    assert "state_dict()" in caplog.text


@pytest.mark.parametrize(
    "loader", [lambda: DataLoader(torch.rand(20, 1), 4, shuffle=True), lambda: [torch.ones(4, 1)] * 5]
)
def test_a_loader_that_gives_the_same_batches_is_not_warned_of(tmp_path, caplog, loader):
    torch.manual_seed(1)
    loader = loader()
    trained(loader, tmp_path, stop=3)
    trained(loader, tmp_path, resume=True)
    assert caplog.text == ""


def test_a_loader_with_a_state_of_its_own_is_put_back_by_it(tmp_path, caplog):
    expected = trained(Stateful(), tmp_path)
    for stop in (1, 3, 8):
        trained(Stateful(), tmp_path, stop=stop)
        assert trained(Stateful(), tmp_path, resume=True) == expected
    assert caplog.text == ""


@pytest.mark.parametrize("epoch", [1, 2])
def test_the_order_of_the_data_is_the_same_with_and_without_workers(epoch):
    orders = []
    for num_workers in (0, 2):
        batches = KeyedLoader(DataLoader(range(12), 3, shuffle=True, num_workers=num_workers), seed=5)
        batches.enter(epoch)
        orders.append([batch.tolist() for batch in batches])
    assert orders[0] == orders[1]


def test_saved_after_a_failed_batch_a_run_loses_no_batch_of_a_loader_with_a_state(tmp_path):
    expected = trained(Stateful(), tmp_path)
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    loss = lambda m, x, batch: {"loss": m(x).square().mean()}  # noqa: E731
    trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss, seed=2)

    @trainer.on(Events.ITERATION_STARTED(once=3))
    def fail():
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        trainer.run(Stateful(), max_epochs=2)
    write_checkpoint(run_state(trainer), tmp_path / "run.pt")
    assert trained(Stateful(), tmp_path, resume=True) == expected


def test_an_epoch_of_more_batches_than_the_loader_has_continues_at_the_start_of_one_put_back(tmp_path):
    def whole(stop=None, resume=False):
        torch.manual_seed(0)
        model = torch.nn.Linear(1, 1)
        loss = lambda m, x, batch: {"loss": m(x).square().mean()}  # noqa: E731
        trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss, seed=2)
        if resume:
            restore_run(trainer, tmp_path / "run.pt")
        seen = []
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(trainer.state.batch.sum().item()))
        if stop:

            @trainer.on(Events.ITERATION_COMPLETED(once=stop))
            def leave():
                write_checkpoint(run_state(trainer), tmp_path / "run.pt")
                trainer.terminate()

        trainer.run(Stateful(), max_epochs=1, epoch_length=12)
        return seen

    expected = whole()
    for stop in (3, 5, 7):
        whole(stop=stop)
        assert whole(resume=True) == expected[stop:]


class TellsGarbage(Dataset):
    """Whether an object of the parent that nobody uses any more has come into the worker."""

    def __init__(self, garbage):
        self.garbage = garbage

    def __len__(self):
        return 2

    def __getitem__(self, k):
        return torch.tensor(float(self.garbage() is not None))


@pytest.mark.slow
@pytest.mark.parametrize("uses_cuda", [False, True])
def test_where_cuda_is_used_no_garbage_comes_into_workers(monkeypatch, uses_cuda):
    class Cycle:
        def __init__(self):
            self.me = self

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: uses_cuda)
    gc.collect()
    gc.disable()
    try:
        loader = DataLoader(TellsGarbage(weakref.ref(Cycle())), num_workers=1, multiprocessing_context="fork")
        found = {float(batch) for batch in KeyedLoader(loader, seed=0)}
    finally:
        gc.enable()
    assert found == {float(not uses_cuda)}
