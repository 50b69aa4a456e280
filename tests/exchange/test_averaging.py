"""Losses are means over the samples of all ranks."""

import torch

from ignite_recipes.exchange.averaging import LossAverage


def test_averages_weigh_every_process_by_its_share(monkeypatch):
    def add_the_other(sums, async_op):
        sums += torch.tensor([0.75 * 4.0, 0.75 * 2.0], dtype=sums.dtype)  # its means, of three times as many samples
        return type("Work", (), {"wait": lambda self: None})()

    monkeypatch.setattr("torch.distributed.all_reduce", add_the_other)
    average = LossAverage({"loss": torch.tensor(8.0, requires_grad=True), "constant": 2.0}, 0.25).result()
    assert {name: value.item() for name, value in average.items()} == {"loss": 5.0, "constant": 2.0}
    assert average["loss"].dtype == torch.float32
    assert not average["loss"].requires_grad
