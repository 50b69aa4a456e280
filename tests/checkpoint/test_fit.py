"""What torch can load is loaded, whoever wrote it; a state belongs to names; what does not fit is told by name."""

import pytest
import torch
from torch import nn
from torch.nn.utils import weight_norm

from ignite_recipes import (
    CheckpointError,
    CheckpointManager,
    create_trainer,
    load_checkpoint,
    restore_run,
    run_state,
    save_checkpoint,
    write_checkpoint,
)
from ignite_recipes.checkpoint.fit import in_order


class Renamed(nn.Module):
    """A module whose old files call its layer otherwise, as many models of torchvision's have it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name in [name for name in state_dict if name.startswith(f"{prefix}old.")]:
            state_dict[name.replace("old.", "layer.")] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)


def saved(weights, tmp_path):
    return write_checkpoint({"epoch": 1, "model_state_dict": weights}, tmp_path / "model.pt")


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_names_that_a_wrapper_has_left_in_a_file_do_no_harm(wrapper, tmp_path):
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    path = saved({wrapper + name: value for name, value in other.state_dict().items()}, tmp_path)
    load_checkpoint(path, model)
    assert torch.equal(model.weight, other.weight)
    info = CheckpointManager(tmp_path).load_checkpoint(path, nn.Linear(2, 1), strict=False)
    assert (info["loaded_layers"], info["total_layers"]) == (2, 2)


def test_a_name_in_the_middle_too(tmp_path):
    model, other = nn.Sequential(nn.Linear(2, 1)), nn.Linear(2, 1)
    path = saved({f"0._orig_mod.{name}": value for name, value in other.state_dict().items()}, tmp_path)
    load_checkpoint(path, model)
    assert torch.equal(model[0].weight, other.weight)


def test_a_model_with_a_part_called_module_keeps_its_names(tmp_path):
    model, other = nn.ModuleDict({"module": nn.Linear(2, 1)}), nn.ModuleDict({"module": nn.Linear(2, 1)})
    load_checkpoint(saved(other.state_dict(), tmp_path), model)
    assert torch.equal(model["module"].weight, other["module"].weight)


def test_a_module_that_renames_old_keys_is_let(tmp_path):
    model, other = Renamed(), nn.Linear(2, 1)
    load_checkpoint(saved({f"old.{name}": value for name, value in other.state_dict().items()}, tmp_path), model)
    assert torch.equal(model.layer.weight, other.weight)


def test_a_lazy_module_takes_its_shape_from_the_file(tmp_path):
    model, other = nn.LazyLinear(1), nn.Linear(2, 1)
    load_checkpoint(saved(other.state_dict(), tmp_path), model)
    assert torch.equal(model.weight, other.weight)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weight_norm_of_older_torch_is_loaded_by_itself(tmp_path):
    model, other = weight_norm(nn.Linear(2, 1)), weight_norm(nn.Linear(2, 1))
    load_checkpoint(saved(other.state_dict(), tmp_path), model)
    assert torch.equal(model.weight_g, other.weight_g)


def test_what_does_not_fit_is_still_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"weight is \(1, 3\), the model's is \(1, 2\)"):
        load_checkpoint(saved(nn.Linear(3, 1).state_dict(), tmp_path), nn.Linear(2, 1))


def test_where_nothing_fits_nothing_is_loaded_and_it_is_said(tmp_path, caplog):
    path, model = saved({"other": torch.zeros(1)}, tmp_path), nn.Linear(2, 1)
    before = model.weight.clone()
    info = CheckpointManager(tmp_path).load_checkpoint(path, model, strict=False)
    assert (info["fully_restored"], info["loaded_layers"]) == (False, 0)
    assert torch.equal(model.weight, before)
    assert "was not loaded whole" in caplog.text


def trainer_of(order, groups=1):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    parameters = [dict(model.named_parameters())[name] for name in order]
    cut = len(parameters) if groups == 1 else 2
    given = [{"params": part} for part in (parameters[:cut], parameters[cut:]) if part]
    optimizer = torch.optim.Adam(given, lr=0.1, fused=True)
    return create_trainer(model, optimizer, lambda m, x, b: {"loss": m(x).square().mean()}, seed=0)


NAMES = ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("order", [NAMES[::-1], [NAMES[2], NAMES[0], NAMES[3], NAMES[1]]])
def test_an_optimizer_whose_parameters_come_in_another_order_gets_its_state_by_name(order, tmp_path):
    data = [torch.ones(4, 2)] * 3
    whole, first, second = trainer_of(NAMES), trainer_of(NAMES), trainer_of(order)
    whole.run(data, max_epochs=4)
    first.run(data, max_epochs=2)
    restore_run(second, write_checkpoint(run_state(first), tmp_path / "run.pt"))
    second.run(data, max_epochs=4)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], value)


@pytest.mark.parametrize("other", [trainer_of(NAMES[:3]), trainer_of(NAMES, groups=2)], ids=["fewer", "groups"])
def test_an_optimizer_of_other_parameters_is_refused_and_left_as_it_was(other, tmp_path):
    first = trainer_of(NAMES)
    first.run([torch.ones(4, 2)], max_epochs=1)
    path = write_checkpoint(run_state(first), tmp_path / "run.pt")
    before = str(run_state(other))
    with pytest.raises(CheckpointError, match="optimizer: its parameter group 0 held other parameters"):
        restore_run(other, path)
    assert str(run_state(other)) == before


def test_the_order_is_that_of_the_names():
    state = {"state": {0: "a", 1: "b"}, "param_groups": []}
    assert in_order(state, [["x", "y"]], [["y", "x"]])["state"] == {0: "b", 1: "a"}
    assert in_order(state, [["x", "y"]], [["x", "y"]]) is state


def test_an_optimizer_is_saved_without_what_it_has_of_parameters_that_were_taken_out_of_it(tmp_path):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    before = model.weight
    model.weight = nn.Parameter(torch.zeros(1, 2))
    optimizer.param_groups[0]["params"][0] = model.weight
    save_checkpoint(model, optimizer, 1, 0.0, 0.0, tmp_path / "model.pt")
    assert before in optimizer.state  # it may be put back
    other = nn.Linear(2, 1)
    adam = torch.optim.Adam(other.parameters())
    load_checkpoint(tmp_path / "model.pt", other, adam)
    assert list(adam.state) == [other.bias]


def test_parameters_outside_the_model_keep_their_moments(tmp_path):
    def a_trainer():
        model, outside = nn.Linear(2, 1), [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))]
        optimizer = torch.optim.SGD([*model.parameters(), *outside], lr=0.1, momentum=0.9)

        def loss(m, x, batch):
            return {"loss": m(x).sum() + outside[0].sum() + 2 * outside[1].sum()}

        return create_trainer(model, optimizer, loss)

    first, second = a_trainer(), a_trainer()
    first.run([torch.ones(4, 2)], max_epochs=1)
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    second.optimizer.param_groups[0]["params"][:2] = second.optimizer.param_groups[0]["params"][1::-1]
    restore_run(second, tmp_path / "run.pt")
    outside = second.optimizer.param_groups[0]["params"][2:]
    assert [second.optimizer.state[p]["momentum_buffer"].tolist() for p in outside] == [[1.0] * 3, [2.0] * 3]
