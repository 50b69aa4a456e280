"""A model and an optimizer that change during a run: states stay with what stayed, and begin with what is new.

The laws: a group that is added has the rates that it would have had from the start; a run that is cut anywhere and
resumed with the model as it is there ends as the uninterrupted one, to the last bit; and saving changes nothing.
"""

import copy
import logging
import pickle

import pytest
import torch
from ignite.engine import Events
from support.timm_like import TimmLike, TimmPlateau
from torch import nn
from torch.optim import lr_scheduler as torchs

from ignite_recipes import (
    BestCheckpoint,
    CheckpointError,
    EarlyStopping,
    ExponentialMovingAverage,
    LearningRateScheduler,
    NonFiniteError,
    NonFiniteGuard,
    Rollback,
    TrainEvents,
    create_trainer,
    load_checkpoint,
    restore_run,
    run_state,
    write_checkpoint,
)

INPUTS = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
BATCHES = list(zip(INPUTS.split(8), INPUTS.sum(1, keepdim=True).split(8), strict=True))
METRICS = [3.0, 2.0, 2.5, 2.0, 2.2, 1.0]  # of the epochs
EPOCHS = len(METRICS)


def warmed_up(optimizer):
    parts = [torchs.LinearLR(optimizer, 0.1, total_iters=5), torchs.CosineAnnealingLR(optimizer, 30, eta_min=0.002)]
    return torchs.SequentialLR(optimizer, parts, [5])


def chained(optimizer):
    parts = [torchs.LinearLR(optimizer, 0.1, total_iters=4), torchs.ExponentialLR(optimizer, 0.9)]
    return torchs.ChainedScheduler(parts, optimizer)


MADE = {  # a schedule of each kind
    "plateau": lambda o: LearningRateScheduler(o, "plateau", patience=0, factor=0.3),
    "cosine": lambda o: LearningRateScheduler(o, "cosine", T_max=9, eta_min=0.002),
    "step": lambda o: LearningRateScheduler(o, "step", step_size=2),
    "exp": lambda o: LearningRateScheduler(o, "exp", gamma=0.9),
    "onecycle": lambda o: LearningRateScheduler(o, "onecycle", total_steps=30),
    "a warm-up, then a cosine": lambda o: LearningRateScheduler(o, warmed_up(o), per="step"),
    "two at once": lambda o: LearningRateScheduler(o, chained(o)),
    "LambdaLR": lambda o: LearningRateScheduler(o, torchs.LambdaLR(o, lambda epoch: 1 / (1 + epoch))),
    "MultiplicativeLR": lambda o: LearningRateScheduler(o, torchs.MultiplicativeLR(o, lambda epoch: 0.9)),
    "warm restarts": lambda o: LearningRateScheduler(o, torchs.CosineAnnealingWarmRestarts(o, 2, eta_min=0.001)),
    "PolynomialLR": lambda o: LearningRateScheduler(o, torchs.PolynomialLR(o, 10)),
    "CyclicLR": lambda o: LearningRateScheduler(o, torchs.CyclicLR(o, 0.005, _rates(o), step_size_up=3)),
    "of timm's kind": lambda o: LearningRateScheduler(o, TimmLike(o, 9, 2)),
    "a plateau of timm's kind": lambda o: LearningRateScheduler(o, TimmPlateau(o, 0, 0.5)),
}
every_schedule = pytest.mark.parametrize("kind", MADE)


def _rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def by_hand(kind, groups, added_at=None, steps=14):
    """The rates of each group before every step, where those behind the first are there from a step on."""
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": groups[0]}], momentum=0.9)
    for lr in groups[1:] if added_at is None else ():
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": lr})
    schedule, seen = MADE[kind](optimizer), []
    for step in range(steps):
        if step == added_at:
            for lr in groups[1:]:
                optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": lr})
        seen.append(_rates(optimizer))
        optimizer.step()
        schedule.step(METRICS[step % EPOCHS])
    return seen


@pytest.mark.parametrize("kind", [kind for kind in MADE if kind != "CyclicLR"])  # whose lower bound is the same for all
@pytest.mark.parametrize("added_at", [0, 1, 3, 7])
def test_a_group_that_is_added_has_the_rates_that_it_would_have_had_from_the_start(kind, added_at):
    seen = by_hand(kind, [0.05, 0.02, 0.05], added_at)
    expected = by_hand(kind, [0.05, 0.02, 0.05])
    for rates, from_start in zip(seen[added_at + 1 :], expected[added_at + 1 :], strict=True):
        assert rates == pytest.approx(from_start, rel=1e-9)


@every_schedule
def test_a_group_that_is_added_changes_nothing_for_the_others(kind):
    assert [rates[0] for rates in by_hand(kind, [0.05, 0.02], 3)] == [rates[0] for rates in by_hand(kind, [0.05])]


def test_the_rate_a_group_is_added_with_is_the_peak_of_a_cyclic_schedule():
    seen = [rates[1] for rates in by_hand("CyclicLR", [0.05, 0.02], 2) if len(rates) == 2]
    assert max(seen) == pytest.approx(0.02)
    assert min(seen) == pytest.approx(0.005 * 0.02 / 0.05)


def test_several_schedules_of_one_optimizer_give_a_new_group_its_rate_once():
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(parameters[:1], lr=1.0)
    first = LearningRateScheduler(optimizer, torchs.LinearLR(optimizer, 0.1, total_iters=4), per="step")
    second = LearningRateScheduler(optimizer, "plateau", patience=0, factor=0.5)
    for step in range(6):
        if step == 3:
            optimizer.add_param_group({"params": parameters[1:], "lr": 0.2})
        optimizer.step()
        first.step()
        second.step(1.0)
        if step >= 3:
            assert optimizer.param_groups[1]["lr"] == pytest.approx(0.2 * optimizer.param_groups[0]["lr"])


def test_entries_of_a_schedule_stay_with_their_groups():
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizer = torch.optim.SGD([{"params": [p], "lr": lr} for p, lr in zip(parameters, (0.1, 0.2, 0.4), strict=True)])
    shapes = [lambda epoch: 0.5**epoch, lambda epoch: 1.0, lambda epoch: 1 / (1 + epoch)]
    schedule = LearningRateScheduler(optimizer, torchs.LambdaLR(optimizer, shapes))
    optimizer.step()
    schedule.step()
    del optimizer.param_groups[1]
    optimizer.param_groups.reverse()
    schedule.step()
    assert _rates(optimizer) == pytest.approx([0.4 / 3, 0.1 / 4])
    assert schedule.scheduler.base_lrs == [0.4, 0.1]


def test_a_plateau_with_a_lowest_rate_for_each_group_takes_that_of_the_first_for_a_new_one():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = LearningRateScheduler(optimizer, torchs.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.25]))
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.5})
    for _ in range(4):
        schedule.step(1.0)
    assert _rates(optimizer) == [0.25, 0.25]


def test_a_new_group_has_a_rate_where_the_first_group_has_none():
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizer = torch.optim.SGD([{"params": parameters[:1], "lr": 0.0}, {"params": parameters[1:2], "lr": 0.4}])
    schedule = LearningRateScheduler(optimizer, "exp", gamma=0.5)
    optimizer.step()
    schedule.step()
    optimizer.add_param_group({"params": parameters[2:], "lr": 0.2})
    schedule.step()
    assert _rates(optimizer) == [0.0, 0.1, 0.05]
    alone = torch.optim.SGD([{"params": parameters[:1], "lr": 0.0}])
    schedule = LearningRateScheduler(alone, "exp", gamma=0.5)
    alone.add_param_group({"params": parameters[2:], "lr": 0.2})
    alone.step()
    schedule.step()
    assert _rates(alone) == [0.0, 0.1]


def test_a_learning_rate_in_a_tensor_is_followed_too():
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.Adam(parameters[:1], lr=torch.tensor(0.5))
    schedule = LearningRateScheduler(optimizer, "exp", gamma=0.5)
    schedule.optimizer._opt_called = True
    schedule.step()
    optimizer.add_param_group({"params": parameters[1:], "lr": torch.tensor(0.25)})
    schedule.step()
    assert [float(rate) for rate in _rates(optimizer)] == [0.125, 0.0625]


def test_a_state_of_more_groups_than_there_are_is_refused():
    def schedule_of(count):
        parameters = [nn.Parameter(torch.zeros(1)) for _ in range(count)]
        return LearningRateScheduler(torch.optim.SGD([{"params": [p]} for p in parameters], lr=0.1), "step")

    with pytest.raises(ValueError, match="of 3 parameter groups, this optimizer has 2: make it with the groups"):
        schedule_of(2).load_state_dict(schedule_of(3).state_dict())


# Inside a run, and resumed.


def thaw(model, optimizer):
    model[0].requires_grad_(True)
    optimizer.add_param_group({"params": list(model[0].parameters()), "lr": 0.02})


def new_layers(*layers):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(*(nn.Linear(*sizes) for sizes in layers))


def deeper_head(model, optimizer):
    model[2] = new_layers((8, 3), (3, 1))
    optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 0.02})


def head_in_its_group(model, optimizer):
    model[2] = new_layers((8, 1))
    optimizer.param_groups[1]["params"] = list(model[2].parameters())


def head_of_the_same_name(model, optimizer):
    model[2] = new_layers((8, 1))[0]
    optimizer.param_groups[1]["params"] = list(model[2].parameters())


def head_in_a_new_group(model, optimizer):
    model[2] = new_layers((8, 1))
    del optimizer.param_groups[1]
    optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 0.02})


def moved(model, optimizer):
    optimizer.param_groups.reverse()


CHANGES = {
    change.__name__: change
    for change in (thaw, deeper_head, head_in_its_group, head_of_the_same_name, head_in_a_new_group, moved)
}
MOMENTS = {
    "when an epoch starts": (Events.EPOCH_STARTED(once=3), 9),
    "inside an epoch": (Events.ITERATION_COMPLETED(once=10), 10),
    "when an epoch is saved": (TrainEvents.CHECKPOINT_READY(once=3), 12),
}


class Run:
    """A trainer whose first layer is frozen, all that may be attached, and a change; or made as it is after it."""

    def __init__(self, kind, change, moment=None, is_changed=False, averaged=True, validate=False):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 1))
        self.model[0].requires_grad_(False)
        groups = [{"params": list(layer.parameters())} for layer in self.model[1:]]
        self.optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
        if is_changed:
            CHANGES[change](self.model, self.optimizer)
        self.trainer = create_trainer(self.model, self.optimizer, loss_fn, seed=0)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self.measure)
        MADE[kind](self.optimizer).attach(self.trainer)
        if averaged:
            self.average = ExponentialMovingAverage(0.5, validate=validate).attach(self.trainer)
        self.stopping = EarlyStopping(9, 0.0, verbose=False).attach(self.trainer)
        if moment is not None and not is_changed:
            self.trainer.add_event_handler(moment, lambda: CHANGES[change](self.model, self.optimizer))

    def measure(self, trainer):
        trainer.state.metrics["val_loss"] = METRICS[trainer.state.epoch - 1]

    def save_at(self, iteration, path):
        def save(trainer):
            if trainer.state.iteration == iteration:
                write_checkpoint(run_state(trainer), path)

        self.trainer.add_event_handler(TrainEvents.RESUME_POINT, save)

    def finish(self):
        """All that it ends with."""
        self.trainer.run(BATCHES, max_epochs=EPOCHS)
        return run_state(self.trainer), self.model.state_dict()


def loss_fn(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


CASES = [
    *((kind, "thaw", "when an epoch starts") for kind in MADE),
    *((kind, "head_in_a_new_group", "inside an epoch") for kind in MADE),
    *((kind, change, moment) for kind in ("cosine", "onecycle") for change in CHANGES for moment in MOMENTS),
]


@pytest.mark.parametrize(("kind", "change", "moment"), CASES)
def test_a_run_is_cut_around_the_change_and_resumed_as_it_is_there_to_the_last_bit(
    task, tmp_path, kind, change, moment
):
    event, iteration = MOMENTS[moment]
    expected = Run(kind, change, event).finish()
    for cut in (iteration - 1, iteration, iteration + 1, 16, 23):
        first = Run(kind, change, event)
        first.save_at(cut, tmp_path / "run.pt")
        assert task.same(plain(first.finish()), plain(expected)), "saving has changed the run"
        second = Run(kind, change, event, is_changed=cut >= iteration)
        restore_run(second.trainer, tmp_path / "run.pt")
        assert task.same(plain(second.finish()), plain(expected)), f"cut at {cut}"


def plain(end):
    """Without what differs by itself: where the loader's batches are, and the environment."""
    state, weights = end
    return {"weights": dict(weights), **{name: state[name] for name in ("optimizer_state_dict", "run")}}


@every_schedule
def test_a_new_group_has_its_rate_and_momentum_already_in_the_next_batch(kind):
    run, seen = Run(kind, "thaw", Events.EPOCH_STARTED(once=3)), []

    @run.trainer.on(TrainEvents.OPTIMIZER_STEP_STARTED)
    def look():
        if len(run.optimizer.param_groups) == 3:
            seen.append([(group["lr"], group["momentum"]) for group in run.optimizer.param_groups])

    run.finish()
    assert len(seen) == 16
    for first, _, (rate, momentum) in seen:
        shape = first[0] / 0.05
        if kind in ("cosine", "a warm-up, then a cosine", "warm restarts"):
            assert 0.02 * shape <= rate or rate == pytest.approx(0.02 * shape)  # it ends at the same lowest rate
        else:
            assert rate == pytest.approx(0.02 * shape)
        assert momentum == first[1]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_copy_of_a_schedule_knows_the_groups_of_the_copied_optimizer(copied):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.8)
    schedule = LearningRateScheduler(optimizer, "exp", gamma=0.5)
    optimizer.step()
    schedule.step()
    optimizer, schedule = copied((optimizer, schedule))
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.4})
    schedule.step()
    assert _rates(optimizer) == [0.2, 0.1]
    assert schedule.state_dict()["groups"] == [0, 1]


@every_schedule
def test_a_resume_with_groups_in_another_order_is_that_of_the_run(task, tmp_path, kind):
    expected = Run(kind, "thaw", Events.EPOCH_STARTED(once=3)).finish()
    first = Run(kind, "thaw", Events.EPOCH_STARTED(once=3))
    first.save_at(16, tmp_path / "run.pt")
    first.finish()
    second = Run(kind, "thaw", is_changed=True)
    second.optimizer.param_groups.reverse()
    restore_run(second.trainer, tmp_path / "run.pt")
    assert task.same(plain(second.finish()), plain(expected))


def test_shapes_of_a_schedule_stay_with_the_parameters_of_their_group_in_a_resume(tmp_path):
    def a_run(order):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
        optimizer = torch.optim.SGD([{"params": list(model[i].parameters()), "lr": (0.01, 0.04)[i]} for i in order])
        shapes = [[lambda epoch: 0.5**epoch, lambda epoch: 1.0][i] for i in order]
        trainer = create_trainer(model, optimizer, loss_fn, seed=0)
        LearningRateScheduler(optimizer, torchs.LambdaLR(optimizer, shapes)).attach(trainer)
        return trainer

    whole, first, second = a_run([0, 1]), a_run([0, 1]), a_run([1, 0])
    whole.run(BATCHES, max_epochs=4)
    first.run(BATCHES, max_epochs=2)
    restore_run(second, write_checkpoint(run_state(first), tmp_path / "run.pt"))
    second.run(BATCHES, max_epochs=4)
    assert _rates(second.optimizer) == _rates(whole.optimizer) == [0.01 / 16, 0.04]
    for one, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_layer_that_was_thawed_is_trained_in_a_resume_that_has_made_it_frozen(task, tmp_path, caplog):
    def a_run():
        run = Run("exp", "moved")  # its change is not made
        run.optimizer.add_param_group({"params": list(run.model[0].parameters()), "lr": 0.02})
        run.trainer.add_event_handler(Events.EPOCH_STARTED(once=3), lambda: run.model[0].requires_grad_(True))
        return run

    expected = a_run().finish()
    first, second = a_run(), a_run()
    first.save_at(16, tmp_path / "run.pt")
    first.finish()
    with caplog.at_level(logging.INFO):
        restore_run(second.trainer, tmp_path / "run.pt")
    assert "0.bias, 0.weight will be trained, as where the run was saved" in caplog.text
    assert task.same(plain(second.finish()), plain(expected))


def saved_at(cut, path, change):
    run = Run("cosine", change, Events.EPOCH_STARTED(once=3))
    run.save_at(cut, path)
    run.finish()
    return path


MISFITS = [  # where it was saved, the change, whether the new one is made as after it, and what is said
    (
        16,
        "thaw",
        False,
        "it had 3 parameter groups, this one has 2: the difference is 0.bias, 0.weight.*as they were when",
    ),
    (4, "thaw", True, "it had 2 parameter groups, this one has 3: the difference is 0.bias, 0.weight.*load_checkpoint"),
    (16, "deeper_head", False, "of another architecture.*2.0.weight is unknown to the model.*layers and sizes it was"),
    (4, "deeper_head", True, "of another architecture.*2.0.weight is missing.*layers and sizes it was"),
]


@pytest.mark.parametrize(("cut", "change", "is_changed", "message"), MISFITS)
def test_what_does_not_fit_the_file_is_said_and_nothing_is_changed(task, tmp_path, cut, change, is_changed, message):
    path = saved_at(cut, tmp_path / "run.pt", change)
    run = Run("cosine", change, is_changed=is_changed)
    run.optimizer.param_groups.reverse()
    before = task.filed(run_state(run.trainer)["run"]), task.weights(run.model)
    with pytest.raises(CheckpointError, match=message):
        restore_run(run.trainer, path)
    assert task.same((task.filed(run_state(run.trainer)["run"]), task.weights(run.model)), before)


def test_what_fails_behind_the_optimizer_puts_its_groups_back_too(task, tmp_path):
    path = saved_at(16, tmp_path / "run.pt", "thaw")
    run = Run("exp", "thaw", is_changed=True)  # another schedule
    run.model[0].requires_grad_(False)
    run.optimizer.param_groups.reverse()
    before = task.filed(run_state(run.trainer)["run"])
    with pytest.raises(CheckpointError, match="the saved schedule is 'cosine', this one is 'exp'"):
        restore_run(run.trainer, path)
    assert task.same(task.filed(run_state(run.trainer)["run"]), before)


def test_a_new_run_begins_with_the_weights_of_one_before_its_layer_was_thawed(tmp_path):
    path = saved_at(4, tmp_path / "run.pt", "thaw")
    run = Run("cosine", "thaw", is_changed=True)
    contents = load_checkpoint(path, run.model)
    assert torch.equal(run.model[2].weight, contents["model_state_dict"]["2.weight"])
    run.finish()


GONE = {"thaw": "it had 2 parameter groups, this one has 3", "deeper_head": "2.0.weight is missing"}


@pytest.mark.parametrize("change", GONE)
def test_a_rollback_to_before_a_change_is_refused_and_nothing_is_loaded(task, change):
    run = Run("cosine", change, Events.EPOCH_STARTED(once=3))
    NonFiniteGuard("raise").attach(run.trainer)
    Rollback().attach(run.trainer)
    before = {}

    @run.trainer.on(TrainEvents.GRADIENTS_READY)
    def spoil():
        if run.trainer.state.iteration == 11:
            before.update(task.weights(run.model))
            run.model[1].weight.grad.fill_(float("nan"))

    with pytest.raises(NonFiniteError, match=rf"is not finite.*it cannot go back.*changed since .*{GONE[change]}"):
        run.finish()
    assert task.same(task.weights(run.model), before)


# The average, early stopping, and the best file.


def test_a_save_between_a_change_and_the_next_step_does_not_change_the_average():
    averages = []
    for is_saved in (False, True):
        run = Run("exp", "deeper_head")
        for step in range(6):
            if step == 3:
                deeper_head(run.model, run.optimizer)
            if is_saved:
                run.average.state_dict()
            run.model(INPUTS).square().mean().backward()
            run.optimizer.step()
            run.average.update()
        averages.append(run.average.state_dict()["weights"])
    for one, other in zip(averages[0].values(), averages[1].values(), strict=True):
        assert torch.equal(one, other)


def test_an_average_is_loaded_into_a_model_that_has_changed_since_it_was_attached(task):
    first, second = Run("exp", "deeper_head", is_changed=True), Run("exp", "deeper_head")
    first.model[2].requires_grad_(False)
    first.average.update()
    deeper_head(second.model, second.optimizer)
    second.average.load_state_dict(task.filed(first.average.state_dict()))
    assert task.same(dict(second.average.state_dict()["weights"]), dict(first.average.state_dict()["weights"]))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_while_an_epoch_is_measured_with_the_average_is_that_of_the_trained_model(change):
    ends = []
    for event in (Events.EPOCH_COMPLETED(once=3), TrainEvents.CHECKPOINT_READY(once=3)):
        state, _ = Run("exp", change, event, validate=True).finish()
        ends.append(state["model_state_dict"])
    for one, other in zip(ends[0].values(), ends[1].values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("is_resumed", [False, True])
def test_best_weights_of_before_another_head_are_left_out_whole_also_after_a_resume(tmp_path, caplog, is_resumed):
    run = Run("exp", "deeper_head", Events.EPOCH_STARTED(once=6), averaged=False)
    run.measure = lambda trainer: None
    run.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: run.trainer.state.metrics.update(val_loss=float(run.trainer.state.epoch))
    )
    run.save_at(21, tmp_path / "run.pt")
    run.finish()
    if is_resumed:
        caplog.clear()
        run = Run("exp", "deeper_head", is_changed=True, averaged=False)
        restore_run(run.trainer, tmp_path / "run.pt")
        assert run.stopping.best_epoch == 1
        run.stopping.best_loss = 0.0  # the last epoch is not the best either
        run.finish()
    assert "the model was changed after epoch 1, the best one" in caplog.text
    assert not run.trainer.weights.is_in  # it has its last weights


@pytest.mark.parametrize("is_resumed", [False, True])
def test_best_weights_of_before_a_layer_was_thawed_come_back(tmp_path, is_resumed):
    best = {}
    run = Run("exp", "thaw", Events.EPOCH_STARTED(once=6), averaged=False)
    run.stopping.best_loss = 1.5  # only epoch 6 is better
    run.trainer.add_event_handler(
        TrainEvents.METRICS_READY(once=6), lambda: best.update(weights=run.model[2].weight.clone())
    )
    run.save_at(21, tmp_path / "run.pt")
    run.finish()
    if is_resumed:
        run = Run("exp", "thaw", is_changed=True, averaged=False)
        restore_run(run.trainer, tmp_path / "run.pt")
        run.finish()
    assert run.stopping.best_epoch == 6
    assert torch.equal(run.model[2].weight, best["weights"])


def test_the_best_file_of_a_run_that_has_changed_is_resumed(task, tmp_path):
    def a_run(**settings):
        run = Run("onecycle", "head_in_a_new_group", **settings)
        BestCheckpoint(tmp_path / "best.pt").attach(run.trainer)
        return run

    expected = a_run(moment=Events.EPOCH_STARTED(once=3)).finish()
    resumed = a_run(is_changed=True)
    contents = restore_run(resumed.trainer, tmp_path / "best.pt")
    assert contents["epoch"] == 6
    assert task.same(plain(resumed.finish()), plain(expected))
