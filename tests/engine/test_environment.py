"""A run can ask for the same bits in every process, and a checkpoint says where it was made."""

import os

import pytest
import torch
from torch import nn

from ignite_recipes import create_trainer, read_checkpoint, restore_run, run_state, write_checkpoint
from ignite_recipes.engine.environment import deterministic_algorithms, environment, environment_changes


def trainer(loss_fn=None, **settings):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    loss_fn = loss_fn or (lambda m, x, batch: {"loss": m(x).square().mean()})
    return create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, seed=1, **settings)


def settings_of_torch():
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark


@pytest.mark.parametrize("wanted", [True, False])
def test_a_run_has_deterministic_algorithms_if_it_asked_for_them_and_leaves_none_behind(wanted):
    before, seen = settings_of_torch(), []
    t = trainer(deterministic=wanted)
    t.step.loss_fn = lambda m, x, batch: (seen.append(settings_of_torch()), {"loss": m(x).square().mean()})[1]
    t.run([torch.ones(3, 2)], max_epochs=1)
    assert seen[0] == ((True, True, False) if wanted else before)
    assert settings_of_torch() == before
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") or not wanted


def test_an_operation_that_has_no_deterministic_algorithm_is_an_error_and_the_settings_come_back():
    def loss_fn(m, x, batch):
        return {
            "loss": m(x).square().mean() + torch.zeros(2).put_(torch.zeros(2, dtype=torch.int64), torch.ones(2)).sum()
        }

    before = settings_of_torch()
    with pytest.raises(RuntimeError, match="deterministic"):
        trainer(loss_fn, deterministic=True).run([torch.ones(3, 2)], max_epochs=1)
    assert settings_of_torch() == before


def test_what_was_set_before_is_set_again():
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with deterministic_algorithms():
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_resume_elsewhere_says_what_differs_and_continues(tmp_path, caplog):
    t = trainer()
    t.run([torch.ones(3, 2)], max_epochs=1)
    write_checkpoint(run_state(t), tmp_path / "run.pt")
    restore_run(trainer(), tmp_path / "run.pt")
    assert caplog.text == ""
    contents = read_checkpoint(tmp_path / "run.pt")
    assert contents["environment"] == environment(torch.device("cpu"))
    contents["environment"] |= {"torch": "2.9.1", "threads": 64}
    write_checkpoint(contents, tmp_path / "elsewhere.pt")
    restore_run(trainer(deterministic=True), tmp_path / "elsewhere.pt")
    assert "its last bits may differ: torch was 2.9.1" in caplog.text
    assert "threads was 64, here it is 1" in caplog.text
    assert "deterministic was False, here it is True" in caplog.text


def test_a_file_that_does_not_say_is_not_compared():
    assert environment_changes({}, environment(torch.device("cpu"))) == []
