"""Alone a process exchanges nothing and waits for nobody; the loss of another rank is told from other errors."""

import pytest
import torch

from ignite_recipes.exchange.ranks import (
    LostRankError,
    all_equal,
    all_reduce_max,
    all_reduce_sum,
    join_ranks,
    lost_rank,
    on_rank_zero,
    rank,
    world_size,
)


def test_alone_everything_is_for_nothing():
    assert (world_size(), rank()) == (1, 0)
    assert (all_reduce_max(3), all_reduce_sum(2.5), all_equal(7), on_rank_zero(lambda: "done")) == (
        3,
        2.5,
        True,
        "done",
    )
    assert lost_rank(RuntimeError("gloo: connection closed by peer")) is None


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": "2"}])
def test_nobody_is_waited_for_without_torchrun(environment, monkeypatch):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    join_ranks(torch.device("cpu"))
    assert world_size() == 1


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer"), True),
        (torch.distributed.DistBackendError(""), True),
        (RuntimeError("mat1 and mat2 must have the same dtype"), False),
        (ConnectionError("connection to the data refused"), False),
        (LostRankError("gloo: told already"), False),
    ],
)
def test_errors_between_processes_are_known(error, is_lost, monkeypatch):
    monkeypatch.setattr("ignite_recipes.exchange.ranks.world_size", lambda: 2)
    found = lost_rank(error)
    assert (found is not None) == is_lost
    assert not is_lost or "resume from the last checkpoint" in str(found)
