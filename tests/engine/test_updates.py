"""Several updates in a step: the numbers of a loop by hand, and handlers that act on one of them or on all."""

import copy
import io

import pytest
import torch
from ignite.engine import Engine, Events
from support.equality import equal
from torch import nn
from torch.nn.functional import mse_loss
from torch.nn.utils import clip_grad_norm_

from ignite_recipes import (
    CheckpointError,
    EpochAverages,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NonFiniteError,
    NonFiniteGuard,
    TrainEvents,
    Update,
    Validation,
    check_resume,
    create_evaluator,
    create_trainer,
    describe,
    keep_state,
    make_resumable,
    preserve_run,
    restore_run,
    run_state,
    write_checkpoint,
)
from ignite_recipes.checkpoint.resume_check import first_difference

DRAW = torch.Generator().manual_seed(0)
BATCHES = [torch.randn(n, 3, generator=DRAW) for n in (4, 4, 4, 4, 4, 2)]
EPOCHS = 3


def pair():
    """An actor and a critic of it, whose losses need the other one."""
    torch.manual_seed(1)
    models = nn.ModuleDict({"actor": nn.Linear(3, 2), "critic": nn.Linear(2, 1)})
    optimizers = {name: torch.optim.Adam(model.parameters(), 0.05) for name, model in models.items()}
    return models, optimizers


def critic_loss(models, inputs, batch):
    return {"loss": mse_loss(models["critic"](models["actor"](inputs)), batch.sum(1, keepdim=True))}


def actor_loss(models, inputs, batch):
    return {"loss": -models["critic"](models["actor"](inputs)).tanh().mean(), "size": models["actor"](inputs).norm()}


def by_hand(models, optimizers, *, every=1, accumulation=1, bounds=(None, None)):
    """Both updates in a plain loop, with gradients of the mean over all samples of a window."""
    iteration = 0
    for _ in range(EPOCHS):
        windows = {"critic": [], "actor": []}
        for batch in BATCHES:
            iteration += 1
            is_last = batch is BATCHES[-1]
            for name, loss_fn, bound in (("critic", critic_loss, bounds[0]), ("actor", actor_loss, bounds[1])):
                window, length = windows[name], accumulation if name == "critic" else 1
                if name == "critic" or iteration % every == 0:
                    own = list(models[name].parameters())
                    loss = loss_fn(models, batch, batch)["loss"]
                    window.append((len(batch), torch.autograd.grad(loss, own)))
                if window and (len(window) == length or is_last):
                    first, total = window[0][0], sum(n for n, _ in window) / window[0][0]
                    for k, parameter in enumerate(own):
                        parameter.grad = sum(n / first * gradients[k] for n, gradients in window)
                        if len(window) > 1:
                            parameter.grad /= total
                    if bound is not None:
                        clip_grad_norm_(own, bound)
                    optimizers[name].step()
                    window.clear()
    return models.state_dict()


def ours(models, optimizers, *, every=1, accumulation=1, bounds=(None, None)):
    updates = [
        Update(optimizers["critic"], critic_loss, name="critic", accumulation_steps=accumulation),
        Update(optimizers["actor"], actor_loss, name="actor", every=every),
    ]
    trainer = create_trainer(dict(models.items()), updates=updates, seed=0)
    for name, bound in zip(("critic", "actor"), bounds, strict=True):
        if bound is not None:
            GradientClipper(bound).attach(trainer.updates[name])
    trainer.run(BATCHES, max_epochs=EPOCHS)
    return models.state_dict()


def called(models, optimizers, *, every=1, accumulation=1, bounds=(None, None), wrap=lambda engine, parts: engine):
    critic = Update(optimizers["critic"], name="critic", accumulation_steps=accumulation)
    actor = Update(optimizers["actor"], name="actor")

    def update(engine, batch):
        critic(engine, critic_loss(models, batch, batch)["loss"])
        if engine.state.iteration % every == 0:
            actor(engine, actor_loss(models, batch, batch)["loss"])

    engine = wrap(Engine(update), {"models": models, "critic": critic, "actor": actor})
    for part, bound in zip((critic, actor), bounds, strict=True):
        part.attach(engine) if "updates" not in vars(engine) or part.name not in engine.updates else None
        if bound is not None:
            GradientClipper(bound).attach(part)
    engine.run(BATCHES, max_epochs=EPOCHS)
    return models.state_dict()


def in_a_trainer(*args, **settings):
    return called(*args, **settings, wrap=lambda engine, parts: make_resumable(engine, parts, seed=0))


@pytest.mark.parametrize("bounds", [(None, None), (0.1, None), (0.1, 0.01)])
@pytest.mark.parametrize(
    ("way", "every", "accumulation"),
    [
        *((way, *numbers) for way in (ours, called, in_a_trainer) for numbers in ((1, 1), (3, 1), (1, 2), (2, 3))),
        (ours, 2, 4),  # an update function cannot know that a call is the last one of the epoch
    ],
)
def test_it_computes_what_a_loop_by_hand_does(way, every, accumulation, bounds):
    settings = {"every": every, "accumulation": accumulation, "bounds": bounds}
    expected, found = by_hand(*pair(), **settings), way(*pair(), **settings)
    assert all(torch.allclose(expected[name], found[name], rtol=1e-5, atol=1e-7) for name in expected)


@pytest.mark.parametrize(("every", "accumulation"), [(1, 1), (3, 1), (1, 2)])
def test_a_step_of_ours_and_an_update_function_come_to_the_same_bits(every, accumulation):
    settings = {"every": every, "accumulation": accumulation}
    expected = ours(*pair(), **settings)
    assert equal(expected, called(*pair(), **settings))
    assert equal(expected, in_a_trainer(*pair(), **settings))


def new_trainer(**settings):
    models, optimizers = pair()
    updates = [
        Update(optimizers["critic"], settings.get("critic_loss", critic_loss), name="critic"),
        Update(
            optimizers["actor"], settings.get("actor_loss", actor_loss), name="actor", every=settings.get("every", 1)
        ),
    ]
    return create_trainer(models, updates=updates, seed=0)


def test_the_output_has_each_loss_under_the_name_of_its_update():
    trainer = new_trainer(every=2)
    names = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: names.append(sorted(trainer.state.output)))
    EpochAverages().attach(trainer)
    trainer.run(BATCHES[:2], max_epochs=1)
    assert names == [["critic_loss"], ["actor_loss", "actor_size", "critic_loss"]]
    assert {"actor_loss", "actor_size", "critic_loss", "critic_learning_rate"} <= trainer.state.metrics.keys()


def test_each_update_draws_numbers_of_its_own_which_depend_on_the_place_only():
    def drawn():
        seen = {"critic": [], "actor": []}

        def drawing(name, loss_fn):
            def loss(models, inputs, batch):
                seen[name].append(torch.rand(()).item())
                return loss_fn(models, inputs, batch)

            return loss

        settings = {"critic_loss": drawing("critic", critic_loss), "actor_loss": drawing("actor", actor_loss)}
        new_trainer(**settings).run(BATCHES, max_epochs=2)
        return seen

    first = drawn()
    assert first == drawn()
    assert len({*first["critic"], *first["actor"]}) == 4 * len(BATCHES)


def test_the_other_half_gets_no_gradients():
    trainer = new_trainer()
    seen = []

    @trainer.on(TrainEvents.BACKWARD_COMPLETED)
    def look(engine):
        others = [
            p for name, part in engine.model.items() if name != engine.state.update.name for p in part.parameters()
        ]
        seen.append((engine.state.update.name, [p.grad for p in others]))

    trainer.run(BATCHES[:1], max_epochs=1)
    assert seen[0] == ("critic", [None, None])
    assert seen[1][0] == "actor"
    assert trainer.optimizers["critic"].state  # and yet it was stepped


def test_a_handler_acts_on_one_update_or_on_all():
    trainer = new_trainer(every=2)
    alone, both, said = GradientClipper(1.0), GradientClipper(2.0), []
    alone.attach(trainer.updates["actor"])
    both.attach(trainer)
    trainer.updates["critic"].add_event_handler(TrainEvents.OPTIMIZER_STEP_COMPLETED, lambda: said.append("critic"))
    trainer.run(BATCHES, max_epochs=1)
    assert (alone.num_steps, both.num_steps, len(said)) == (3, 9, 6)


def test_describe_draws_the_updates_in_their_order():
    trainer = new_trainer(every=5)
    GradientClipper(1.0).attach(trainer)
    GradientClipper(2.0).attach(trainer.updates["actor"])
    described = io.StringIO()
    describe(trainer, described)
    assert [line.strip() for line in described.getvalue().splitlines()] == [
        "EPOCH_STARTED                 start_epoch",
        "Update('critic', Adam)",
        "GRADIENTS_READY           GradientClipper(max_norm=1, norm_type=2)",
        "Update('actor', Adam, every=5)",
        "GRADIENTS_READY           GradientClipper(max_norm=1, norm_type=2)",
        "GradientClipper(max_norm=2, norm_type=2) of actor",
    ]


def of_a_function(kind, every=1):
    """An engine whose parts are named actor first, and whose function steps the critic first."""
    models, optimizers = pair()
    parts = {name: Update(optimizers[name], name=name) if kind == "called" else optimizers[name] for name in models}

    def update(engine, batch):
        for name, loss_fn in (("critic", critic_loss), ("actor", actor_loss)):
            if name == "critic" and engine.state.iteration % every:
                continue
            loss = loss_fn(models, batch, batch)["loss"]
            if kind == "called":
                parts[name](engine, loss)
                continue
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()

    return make_resumable(Engine(update), {"models": models, **parts}, seed=0)


def updates_in(engine):
    described = io.StringIO()
    describe(engine, described)
    return [line.strip() for line in described.getvalue().splitlines() if "Update(" in line or "(in the" in line]


@pytest.mark.parametrize("kind", ["called", "observed"])
def test_describe_draws_the_updates_of_a_function_in_the_order_of_their_steps_once_it_has_seen_it(kind):
    trainer = of_a_function(kind, every=2)
    named = ["Update('actor', Adam)", "Update('critic', Adam)"]
    before = "(in the order in which they were named; after the first batch in that of their steps)"
    assert updates_in(trainer) == [before, *named]
    trainer.run(BATCHES[:1], max_epochs=1)  # without the critic
    assert updates_in(trainer) == named
    trainer.run(BATCHES[:1], max_epochs=2)
    assert updates_in(trainer) == named[::-1]


def test_a_step_that_is_not_finite_is_dropped_alone():
    def bad(models, inputs, batch):
        return {
            "loss": actor_loss(models, inputs, batch)["loss"] * (float("nan") if trainer.state.iteration == 2 else 1)
        }

    trainer = new_trainer(actor_loss=bad)
    guard = NonFiniteGuard("skip").attach(trainer)
    trainer.run(BATCHES, max_epochs=1)
    assert guard.num_skipped == 1
    counts = {name: (update.count.taken, update.count.skipped) for name, update in trainer.updates.items()}
    assert counts == {"critic": (6, 0), "actor": (5, 1)}
    assert (trainer.progress.optimizer_steps, trainer.progress.skipped_steps) == (11, 1)


def test_a_dropped_window_leaves_what_the_other_updates_batches_have_changed():
    models = nn.ModuleDict({"actor": nn.BatchNorm1d(3), "critic": nn.BatchNorm1d(3)})
    optimizers = {name: torch.optim.SGD(model.parameters(), 0.1) for name, model in models.items()}

    def loss_of(name):
        def loss_fn(m, x, batch):
            bad = name == "critic" and trainer.state.iteration == 3
            return {"loss": m[name](x).square().mean() * (float("nan") if bad else 1.0)}

        return loss_fn

    updates = [
        Update(optimizers["critic"], loss_of("critic"), name="critic", accumulation_steps=2),
        Update(optimizers["actor"], loss_of("actor"), name="actor"),
    ]
    trainer = create_trainer(models, updates=updates, seed=0)
    NonFiniteGuard("skip").attach(trainer)
    trainer.run(BATCHES, max_epochs=1)
    assert (models["actor"].num_batches_tracked, models["critic"].num_batches_tracked) == (6, 4)
    assert trainer.updates["actor"].count.taken == 6


def test_an_error_names_the_update():
    trainer = new_trainer(critic_loss=lambda *args: {"loss": critic_loss(*args)["loss"] * float("inf")})
    NonFiniteGuard().attach(trainer)
    with pytest.raises(NonFiniteError, match="epoch 1, iteration 1, critic: the loss is inf"):
        trainer.run(BATCHES, max_epochs=1)


def test_an_update_none_of_whose_steps_can_be_taken_ends_the_run():
    trainer = new_trainer(actor_loss=lambda *args: {"loss": actor_loss(*args)["loss"] * float("nan")}, every=2)
    NonFiniteGuard("skip").attach(trainer)
    with pytest.raises(NonFiniteError, match="epoch 1, actor: none of its 3 steps"):
        trainer.run(BATCHES, max_epochs=1)


@pytest.mark.parametrize("way", ["ours", "called"])
def test_after_an_error_between_two_updates_none_is_trained_twice(way):
    def run(failing):
        models, optimizers = pair()
        fails = iter([True] if failing else [])

        def actor(models, inputs, batch):
            if trainer.state.iteration == 3 and next(fails, False):
                raise RuntimeError("between")
            return actor_loss(models, inputs, batch)

        if way == "ours":
            updates = [
                Update(optimizers["critic"], critic_loss, name="critic"),
                Update(optimizers["actor"], actor, name="actor"),
            ]
            trainer = create_trainer(models, updates=updates, seed=0)
        else:
            first, second = Update(optimizers["critic"], name="critic"), Update(optimizers["actor"], name="actor")

            def update(engine, batch):
                first(engine, critic_loss(models, batch, batch)["loss"])
                first(engine, critic_loss(models, batch, batch)["loss"])
                second(engine, actor(models, batch, batch)["loss"])

            trainer = make_resumable(Engine(update), {"models": models, "a": first, "b": second}, seed=0)
        if failing:
            with pytest.raises(RuntimeError, match="between"):
                trainer.run(BATCHES, max_epochs=2)
        trainer.run(BATCHES, max_epochs=2)
        return models.state_dict()

    assert equal(run(False), run(True))


def test_an_overflow_before_an_error_between_two_updates_still_lowers_the_scale():
    def run(fails):
        failing = iter([True] if fails else [])

        def large(models, inputs, batch):
            return {"loss": critic_loss(models, inputs, batch)["loss"] * (1e30 if trainer.state.iteration == 3 else 1)}

        def breaks(models, inputs, batch):
            if trainer.state.iteration == 3 and next(failing, False):
                raise RuntimeError("between")
            return actor_loss(models, inputs, batch)

        trainer = new_trainer(critic_loss=large, actor_loss=breaks)
        precision = MixedPrecisionTrainer(device="cpu", dtype=torch.float16)
        precision.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        precision.attach(trainer)
        if fails:
            with pytest.raises(RuntimeError, match="between"):
                trainer.run(BATCHES, max_epochs=1)
        trainer.run(BATCHES, max_epochs=1)
        counts = {name: (update.count.taken, update.count.skipped) for name, update in trainer.updates.items()}
        return precision.scaler.get_scale(), counts, list(trainer.model.state_dict().values())

    (scale, counts, whole), (scale_again, counts_again, repeated) = run(False), run(True)
    assert (scale, counts) == (scale_again, counts_again) == (32.0, {"critic": (5, 1), "actor": (6, 0)})
    assert equal(whole, repeated)


def scales_of(attach, **settings):
    trainer = new_trainer(**settings)
    precision = MixedPrecisionTrainer(device="cpu", dtype=torch.float16)
    precision.scaler = torch.amp.GradScaler("cpu", growth_interval=2, init_scale=4.0)
    attach(precision, trainer)
    scales = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: scales.append(precision.scaler.get_scale()))
    trainer.run(BATCHES, max_epochs=1)
    return scales


def test_one_scale_is_adapted_once_a_batch():
    assert scales_of(lambda precision, trainer: precision.attach(trainer)) == [4.0, 8.0, 8.0, 16.0, 16.0, 32.0]


def test_one_update_may_be_scaled_alone():
    scales = scales_of(lambda precision, trainer: precision.attach(trainer.updates["actor"]), every=2)
    assert scales == [4.0, 4.0, 4.0, 8.0, 8.0, 8.0]


def test_an_update_that_overflows_drops_its_own_step_and_lowers_the_scale():
    def large(models, inputs, batch):
        return {"loss": actor_loss(models, inputs, batch)["loss"] * (1e30 if trainer.state.iteration == 2 else 1)}

    trainer = new_trainer(actor_loss=large)
    precision = MixedPrecisionTrainer(device="cpu", dtype=torch.float16)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    precision.attach(trainer)
    trainer.run(BATCHES, max_epochs=1)
    counts = {name: (update.count.taken, update.count.skipped) for name, update in trainer.updates.items()}
    assert counts == {"critic": (6, 0), "actor": (5, 1)}
    assert precision.scaler.get_scale() == 32.0


def test_schedules_and_averages_follow_the_update_of_their_optimizer():
    trainer = new_trainer(every=3)
    schedules = {
        name: LearningRateScheduler(optimizer, "cosine", T_max=20, per="step").attach(trainer)
        for name, optimizer in trainer.optimizers.items()
    }
    ema = ExponentialMovingAverage(0.5).attach(trainer.updates["actor"])
    trainer.run(BATCHES, max_epochs=2)
    assert {name: schedule.scheduler.last_epoch for name, schedule in schedules.items()} == {"critic": 12, "actor": 4}
    assert ema.num_updates == 4
    with pytest.raises(RuntimeError, match="another one's"):
        LearningRateScheduler(torch.optim.SGD([torch.zeros(1)], 0.1), "cosine").attach(trainer)


def in_two_optimizers_of_a_function():
    models, optimizers = pair()

    def update(engine, batch):
        for name, loss_fn in (("critic", critic_loss), ("actor", actor_loss)):
            optimizers[name].zero_grad()
            loss_fn(models, batch, batch)["loss"].backward()
            optimizers[name].step()

    return make_resumable(Engine(update), {"models": models, **optimizers}, seed=0)


@pytest.mark.parametrize("make", [new_trainer, in_two_optimizers_of_a_function])
def test_an_average_of_several_updates_is_taken_once_a_batch_of_the_weights_after_it(make):
    trainer = make()
    ema = ExponentialMovingAverage(0.5, warmup=False).attach(trainer)
    expected = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    seen = []

    @trainer.on(TrainEvents.RESUME_POINT)
    def what_a_checkpoint_holds(engine):
        for name, value in run_state(engine)["model_state_dict"].items():
            expected[name] = torch.lerp(expected[name], value, 0.5)
        if engine.progress.is_inside_epoch:
            seen.append(equal(dict(run_state(engine)["ema_model_state_dict"]), expected))

    trainer.run(BATCHES[:5], max_epochs=1)
    assert seen == [True] * 4
    assert ema.num_updates == 5


def test_an_average_leaves_out_a_batch_none_of_whose_steps_is_taken_and_keeps_one_of_them():
    trainer = new_trainer()
    vetoed = {1: {"critic", "actor"}, 2: {"actor"}, 3: {"critic"}}

    @trainer.on(TrainEvents.OPTIMIZER_STEP_STARTED)
    def drop(engine):
        update = engine.state.update
        update.veto = update.name in vetoed.get(engine.state.iteration, ())

    ema = ExponentialMovingAverage(0.5, warmup=False).attach(trainer)
    counts = []
    trainer.add_event_handler(TrainEvents.RESUME_POINT, lambda: counts.append(ema.num_updates))
    trainer.run(BATCHES[:5], max_epochs=1)
    assert counts == [0, 1, 2, 3, 4]


class Unsized:
    """A loader of no known length."""

    def __iter__(self):
        return iter(BATCHES)


def test_an_average_of_several_updates_has_the_step_of_a_window_that_the_epochs_end_cuts_short():
    models, optimizers = pair()
    updates = [
        Update(optimizers[name], loss_fn, name=name, accumulation_steps=4)
        for name, loss_fn in (("critic", critic_loss), ("actor", actor_loss))
    ]
    trainer = create_trainer(models, updates=updates, seed=0)
    ema = ExponentialMovingAverage(0.0, warmup=False).attach(trainer)
    ends = []
    trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, lambda: ends.append(copy.deepcopy(run_state(trainer))))
    trainer.run(Unsized(), max_epochs=1)
    assert ema.num_updates == 2
    assert equal(dict(ends[0]["model_state_dict"]), dict(ends[0]["ema_model_state_dict"]))


@pytest.mark.parametrize("order", [1, -1])
def test_a_validation_inside_an_epoch_measures_the_average_after_its_batch(order):
    trainer, measured = new_trainer(), []
    evaluator = Engine(lambda engine, batch: measured.append(copy.deepcopy(trainer.model.state_dict())))
    ema = ExponentialMovingAverage(0.0, warmup=False)  # the average is the weights
    for handler in [ema, Validation(evaluator, [0], every_iterations=2)][::order]:
        handler.attach(trainer)
    trained = []
    trainer.add_event_handler(
        TrainEvents.RESUME_POINT, lambda: trained.append(copy.deepcopy(run_state(trainer)["model_state_dict"]))
    )
    trainer.run(BATCHES[:5], max_epochs=1)
    assert [equal(dict(found), dict(trained[k])) for found, k in zip(measured, (1, 3), strict=True)] == [True, True]


def test_an_average_may_be_of_one_model_only_and_is_handed_over_in_it(tmp_path):
    trainer = new_trainer()
    ema = ExponentialMovingAverage(0.5).attach(trainer.updates["actor"], trainer.model["actor"])
    seen = {}

    @trainer.on(Events.EPOCH_COMPLETED)
    def look(engine):  # validated with it
        seen.update(copy.deepcopy(engine.model.state_dict()))

    trainer.run(BATCHES, max_epochs=1)
    state = run_state(trainer)
    trained, averaged = state["model_state_dict"], state["ema_model_state_dict"]
    assert {name for name in trained if not torch.equal(trained[name], averaged[name])} == {
        "actor.weight",
        "actor.bias",
    }
    assert equal(dict(averaged), seen)
    assert equal(dict(averaged), dict(trainer.model.state_dict()))
    assert set(ema.state_dict()["weights"]) == {"weight", "bias"}
    path = write_checkpoint(state, tmp_path / "run.pt")
    resumed = new_trainer()
    again = ExponentialMovingAverage(0.5).attach(resumed.updates["actor"], resumed.model["actor"])
    restore_run(resumed, path)
    for one in (trainer, resumed):
        one.run(BATCHES, max_epochs=2)
    assert equal(dict(trainer.model.state_dict()), dict(resumed.model.state_dict()))
    assert again.num_updates == ema.num_updates == 12


def test_what_only_looks_changes_nothing():
    alone, watched = new_trainer(every=2), new_trainer(every=2)
    evaluator = create_evaluator(watched.model, lambda m, x, batch: {"loss": (m["actor"](x) + torch.randn(())).mean()})
    EpochAverages().attach(evaluator)
    Validation(evaluator, BATCHES).attach(watched)
    EpochAverages("train_").attach(watched)
    History(["train_critic_loss", "val_loss"]).attach(watched)
    NonFiniteGuard().attach(watched)
    for trainer in (alone, watched):
        trainer.run(BATCHES, max_epochs=2)
    assert equal(alone.model.state_dict(), watched.model.state_dict())


def test_a_first_try_is_taken_back():
    trainer = new_trainer()
    before = copy.deepcopy(trainer.model.state_dict())
    with preserve_run(trainer):
        trainer.run(BATCHES, max_epochs=1)
    assert equal(before, trainer.model.state_dict())
    assert trainer.progress.optimizer_steps == 0


def test_they_are_copied_with_their_trainer():
    trainer = new_trainer(every=2)
    GradientClipper(0.1).attach(trainer.updates["actor"])
    copied = copy.deepcopy(trainer)
    for one in (trainer, copied):
        one.run(BATCHES, max_epochs=2)
    assert equal(trainer.model.state_dict(), copied.model.state_dict())
    assert copied.updates["actor"].engine is copied


SETTINGS = {
    "an optimizer beside them": (
        lambda u, o: create_trainer(pair()[0], o["actor"], updates=u),
        ValueError,
        "one of these too",
    ),
    "a window beside them": (
        lambda u, o: create_trainer(pair()[0], updates=u, accumulation_steps=2),
        ValueError,
        "one of these too",
    ),
    "none": (lambda u, o: create_trainer(pair()[0], updates=[]), TypeError, "at least one Update"),
    "an optimizer": (lambda u, o: create_trainer(pair()[0], updates=[o["actor"]]), TypeError, "at least one Update"),
    "no loss function": (
        lambda u, o: create_trainer(pair()[0], updates=[Update(o["actor"])]),
        TypeError,
        "at least one Update",
    ),
    "another model's": (lambda u, o: create_trainer(pair()[0], updates=u), ValueError, "another model's"),
    "a name twice": (
        lambda u, o: create_trainer(u[0].models, updates=[u[0], Update(o["actor"], actor_loss, name="critic")]),
        ValueError,
        "a name of its own",
    ),
    "an optimizer twice": (
        lambda u, o: create_trainer(u[0].models, updates=[u[0], Update(o["critic"], actor_loss, name="actor")]),
        ValueError,
        "an optimizer of its own",
    ),
    "no module": (lambda u, o: create_trainer({"actor": 3}, updates=u), TypeError, "must be a torch.nn.Module"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_cannot_be_is_refused(name):
    make, error, said = SETTINGS[name]
    models, optimizers = pair()
    updates = [
        Update(optimizers["critic"], critic_loss, name="critic"),
        Update(optimizers["actor"], actor_loss, name="actor"),
    ]
    updates[0].models = models
    with pytest.raises(error, match=said):
        make(updates, optimizers)


def test_a_handler_needs_an_update_that_belongs_to_an_engine():
    with pytest.raises(RuntimeError, match="must belong to an engine"):
        GradientClipper(1.0).attach(Update(pair()[1]["actor"], name="actor"))


def test_updates_with_parameters_in_common_step_with_every_batch():
    models, _ = pair()
    shared = [torch.optim.SGD(models.parameters(), 0.1) for _ in range(2)]
    updates = [
        Update(shared[0], critic_loss, name="critic", accumulation_steps=2),
        Update(shared[1], actor_loss, name="actor"),
    ]
    with pytest.raises(ValueError, match="parameters in common"):
        create_trainer(models, updates=updates)


def test_a_guard_counts_the_steps_of_an_epoch_and_not_its_batches():
    def late(models, inputs, batch):
        return {
            "loss": actor_loss(models, inputs, batch)["loss"] * (float("nan") if trainer.state.iteration == 9 else 1)
        }

    trainer = new_trainer(actor_loss=late, every=3)
    guard = NonFiniteGuard("skip").attach(trainer)
    trainer.run(BATCHES[:5], max_epochs=3)
    assert guard.num_skipped == 1


def test_frozen_parameters_of_an_update_wait():
    trainer = new_trainer()
    trainer.model["actor"].requires_grad_(False)
    trainer.run(BATCHES, max_epochs=1)
    trainer.model["actor"].requires_grad_(True)
    before = copy.deepcopy(trainer.model["actor"].state_dict())
    trainer.run(BATCHES, max_epochs=2)
    assert not equal(before, trainer.model["actor"].state_dict())


def test_models_that_all_evaluate_are_trained_as_a_single_one_is():
    models, optimizers = pair()
    models.eval()
    updates = [Update(optimizers["critic"], critic_loss, name="critic")]
    trainer = create_trainer(dict(models.items()), updates=updates)
    trainer.run(BATCHES, max_epochs=1)
    assert models["critic"].training


def test_a_list_of_events_is_filtered_too():
    trainer, seen = new_trainer(), []
    both = TrainEvents.BACKWARD_COMPLETED | TrainEvents.OPTIMIZER_STEP_COMPLETED
    trainer.updates["actor"].add_event_handler(both, lambda: seen.append(trainer.state.update.name))
    trainer.run(BATCHES[:2], max_epochs=1)
    assert seen == ["actor"] * 4


def test_between_two_updates_of_a_batch_a_run_cannot_be_saved():
    trainer = new_trainer()
    trainer.updates["critic"].add_event_handler(TrainEvents.OPTIMIZER_STEP_COMPLETED, lambda: run_state(trainer))
    with pytest.raises(RuntimeError, match="after all updates of a batch"):
        trainer.run(BATCHES, max_epochs=1)


def test_a_run_with_another_rhythm_is_refused(tmp_path):
    trainer = new_trainer(every=2)
    trainer.run(BATCHES, max_epochs=1)
    path = write_checkpoint(run_state(trainer), tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="every how many batches"):
        restore_run(new_trainer(every=3), path)


def test_a_rhythm_counts_in_an_update_function_too():
    models, optimizers = pair()
    actor = Update(optimizers["actor"], name="actor", every=3)
    engine = Engine(lambda engine, batch: actor(engine, actor_loss(models, batch, batch)["loss"]))
    engine.run(BATCHES, max_epochs=2)
    assert actor.count.taken == 4


def test_a_closure_draws_the_same_dropout_each_time():
    model, data = regression()
    model.insert(1, nn.Dropout(0.5))
    update, seen = Update(lbfgs(model)), []

    def loss():
        with torch.random.fork_rng():
            seen.append(torch.rand(()).item())
        return fit(model, data, data)["loss"]

    Engine(lambda engine, batch: update(engine, loss)).run([data])
    assert len(seen) > 2
    assert len(set(seen)) == 1


# Closures.


class Sharpness(torch.optim.Optimizer):
    """Sharpness-aware minimisation (Foret et al., arXiv:2010.01412): steps by the gradient uphill."""

    def __init__(self, parameters, base, radius=0.05):
        super().__init__(parameters, {"radius": radius})
        self.base = base(self.param_groups)

    @torch.no_grad()
    def step(self, closure=None):
        parameters = [p for group in self.param_groups for p in group["params"]]
        norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in parameters]))
        uphill = [0.05 * p.grad / norm for p in parameters]
        torch._foreach_add_(parameters, uphill)
        with torch.enable_grad():
            closure()
        torch._foreach_sub_(parameters, uphill)
        self.base.step()


def regression():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return model, torch.cat(BATCHES)


def fit(model, inputs, batch):
    return {"loss": mse_loss(model(inputs), batch.sum(1, keepdim=True))}


def lbfgs(model):
    return torch.optim.LBFGS(model.parameters(), max_iter=6, line_search_fn="strong_wolfe")


def sharpness(model):
    return Sharpness(model.parameters(), lambda groups: torch.optim.SGD(groups, 0.1, momentum=0.9))


def closed(way, make, steps=3):
    model, data = regression()
    optimizer = make(model)
    if way == "by hand":
        for _ in range(steps):

            def closure():
                optimizer.zero_grad()
                loss = fit(model, data, data)["loss"]
                loss.backward()
                return loss

            closure()
            optimizer.step(closure)
    elif way == "ours":
        update = Update(optimizer, fit, closure=True)
        create_trainer(model, updates=[update], seed=0).run([data], max_epochs=steps)
    else:
        update = Update(optimizer, closure=True)
        engine = Engine(lambda engine, batch: update(engine, lambda: fit(model, batch, batch)["loss"]))
        engine.run([data], max_epochs=steps)
    return model.state_dict()


@pytest.mark.parametrize("make", [lbfgs, sharpness])
@pytest.mark.parametrize("way", ["ours", "called"])
def test_an_optimizer_with_a_closure_comes_to_what_it_does_by_hand(way, make):
    assert equal(closed("by hand", make), closed(way, make))


def test_lbfgs_needs_no_telling():
    model, _ = regression()
    assert Update(lbfgs(model)).needs_closure
    assert not Update(torch.optim.SGD(model.parameters(), 0.1)).needs_closure
    with pytest.raises(ValueError, match="accumulation_steps=2"):
        Update(lbfgs(model), accumulation_steps=2)
    engine = Engine(lambda engine, batch: Update(lbfgs(model))(engine, fit(model, batch, batch)["loss"]))
    with pytest.raises(RuntimeError, match="pass a function that computes it"):
        engine.run([BATCHES[0]])


@pytest.mark.parametrize("policy", ["skip", "raise"])
@pytest.mark.parametrize("make", [lbfgs, sharpness])
def test_a_closure_that_is_not_finite_leaves_weights_and_optimizer_as_they_were(make, policy):
    model, data = regression()
    calls = []

    def breaks(m, inputs, batch):
        calls.append(0)
        return {"loss": fit(m, inputs, batch)["loss"] * (float("nan") if len(calls) == 5 else 1)}

    update = Update(make(model), breaks, closure=True)
    trainer = create_trainer(model, updates=[update], seed=0)
    NonFiniteGuard(policy).attach(trainer)
    kept = []

    @trainer.on(Events.ITERATION_STARTED)
    def keep():
        kept.append(copy.deepcopy((model.state_dict(), update.optimizer.state_dict())))

    @trainer.on(TrainEvents.OPTIMIZER_STEP_SKIPPED)
    def compare():
        assert first_difference(kept[-1], (model.state_dict(), update.optimizer.state_dict()), "state") is None
        kept.append("compared")

    if policy == "skip":
        trainer.run([data] * 5, max_epochs=1)
        assert kept.count("compared") == 1
        assert (update.count.taken, update.count.skipped) == (4, 1)
    else:
        with pytest.raises(NonFiniteError):
            trainer.run([data] * 5, max_epochs=1)
        assert first_difference(kept[-1], (model.state_dict(), update.optimizer.state_dict()), "state") is None


def test_running_statistics_count_a_batch_once_however_often_it_is_computed():
    model, data = regression()
    model.insert(1, nn.BatchNorm1d(4))
    create_trainer(model, lbfgs(model), fit, seed=0).run([data], max_epochs=3)
    assert model[1].num_batches_tracked == 3


# Losses made of derivatives.


def slope(model, inputs, batch):
    inputs = inputs.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
    return {"loss": (gradient - 1).square().mean()}


def test_a_loss_of_derivatives_is_trained_and_evaluated():
    model, data = regression()
    trainer = create_trainer(model, torch.optim.Adam(model.parameters(), 0.05), slope, seed=0)
    evaluator = create_evaluator(model, slope, enable_grad=True)
    EpochAverages().attach(evaluator)
    before = evaluator.run([data]).metrics["loss"]
    trainer.run([data] * 20, max_epochs=3)
    assert evaluator.run([data]).metrics["loss"] < before / 5
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(RuntimeError, match="enable_grad=True"):
        create_evaluator(model, slope).run([data])


# Resume.


class Counter:
    count = 0

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("window", [1, 2])
def test_every_cut_is_exact(every, window):
    def make_run():
        models, optimizers = pair()
        updates = [
            Update(optimizers["critic"], critic_loss, name="critic", accumulation_steps=window),
            Update(optimizers["actor"], actor_loss, name="actor", every=every),
        ]
        trainer = create_trainer(models, updates=updates, seed=0)
        ExponentialMovingAverage(0.8).attach(trainer)
        keep_state(trainer, "counter", counter := Counter())
        trainer.updates["actor"].add_event_handler(
            TrainEvents.OPTIMIZER_STEP_COMPLETED, lambda: setattr(counter, "count", counter.count + 1)
        )
        return trainer, torch.utils.data.DataLoader(torch.cat(BATCHES), 4, shuffle=True)

    cuts = [(epoch, batch) for epoch in (1, 2) for batch in range(1, 7)][:-1]
    report = check_resume(make_run, cuts=cuts)
    assert report.is_exact, str(report)
