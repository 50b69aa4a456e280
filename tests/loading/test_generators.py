"""Generators are found wherever a loader holds them, also where its data set holds thousands of entries."""

import functools
import logging
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ignite_recipes import check_resume, create_trainer
from ignite_recipes.loading.generators import is_generator, preserved, reachable, seed_generator

KINDS = [torch.Generator, np.random.default_rng, lambda: np.random.RandomState(0), random.Random]


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, x):
        for transform in self.transforms:
            x = transform(x)
        return x


class Noise:
    def __init__(self):
        self.generator = torch.Generator().manual_seed(torch.seed())

    def __call__(self, x):
        return x + torch.rand((), generator=self.generator)


class Entry:
    """An object of its own for each sample, as many data sets have them."""

    def __init__(self, k):
        self.path, self.label = f"{k}.png", k


class Files(Dataset):
    def __init__(self, entries, transform):
        self.entries, self.transform = entries, transform

    def __len__(self):
        return 12

    def __getitem__(self, k):
        return self.transform(torch.tensor([float(k)]))


def draw(generator):
    if isinstance(generator, torch.Generator):
        return torch.rand((), generator=generator).item()
    return generator.random()


@pytest.mark.parametrize("make", KINDS)
def test_a_generator_that_is_held_draws_after_the_block_what_it_would_have_drawn_without_it(make):
    held, other = make(), make()
    for generator in (held, other):
        seed_generator(generator, 7)
    with preserved([Files([], Compose([held]))]):
        seed_generator(held, 8)
        draw(held)
    assert [draw(held) for _ in range(3)] == [draw(other) for _ in range(3)]


ENTRIES = {
    "pairs": [(f"{k}.png", k) for k in range(5000)],
    "dicts": [{"path": f"{k}.png", "label": k} for k in range(5000)],
    "by name": {f"{k}.png": k for k in range(5000)},
    "objects": [Entry(k) for k in range(5000)],
}


def noise_in_a_closure():
    noise = Noise()
    return lambda x: noise(x)


def noise_in_a_default():
    def transform(x, noise=None):
        return noise(x)

    transform.__defaults__ = (Noise(),)
    return transform


HOLDERS = {
    "compose": lambda: Compose([Compose([Noise()])]),
    "closure": noise_in_a_closure,
    "partial": lambda: functools.partial(torch.add, other=0.0, alpha=Noise()),
    "method": lambda: Noise().__call__,
    "default": noise_in_a_default,
    "dict": lambda: {"train": [Noise()]},
}


def found_in(part):
    return [one for one in reachable([part]) if is_generator(one)]


@pytest.mark.parametrize("entries", ENTRIES.values(), ids=ENTRIES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_generator_is_found_whatever_holds_it_and_however_many_entries_stand_before_it(holder, entries):
    assert len(found_in(DataLoader(Files(entries, HOLDERS[holder]())))) == 1


@pytest.mark.parametrize("make", KINDS)
def test_every_kind_is_known(make):
    assert len(found_in([make()])) == 1


def test_where_too_much_is_to_be_looked_at_it_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        assert not found_in(DataLoader(Files(ENTRIES["pairs"], None)))
        assert not caplog.text
        found_in(DataLoader(Files(ENTRIES["objects"], None)))
    assert "hold more than 1000 objects, in which random generators were looked for" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("holder", ["compose", "closure"])
def test_what_a_found_generator_draws_is_resumed_inside_an_epoch(holder, num_workers):
    def make_run():
        torch.manual_seed(0)
        model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        trainer = create_trainer(model, optimizer, lambda m, x, batch: {"loss": m(x).square().mean()}, seed=1)
        data = Files(ENTRIES["pairs"], Compose([Noise()]) if holder == "compose" else noise_in_a_closure())
        context = "fork" if num_workers else None  # a closure cannot be sent to a new process
        loader = DataLoader(data, 4, shuffle=True, num_workers=num_workers, multiprocessing_context=context)
        return trainer, loader

    report = check_resume(make_run, max_epochs=2, cuts=[(1, 1), (2, 2)])
    assert report.is_exact, str(report)
