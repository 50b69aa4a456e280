"""With ``compile`` a run is the same run, except for roundings: same random numbers, files, errors and exact resumes.

Most tests run what torch.compile traces as it stands (``traced``); its own compiler comes at the end.
"""

import gc
import math
import random
import shutil
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from ignite.engine import Events
from support.equality import equal
from support.handlers_table import HANDLERS
from support.small_recipes import (
    INPUTS,
    LABELS,
    classifier,
    every_recipe,
    new_mlp,
    new_vae,
    supervised,
    takes_a_model,
    traffic,
    vae,
)
from torch import nn
from torch._dynamo.backends.debugging import aot_eager
from torch._inductor.codecache import cache_dir
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    EarlyStopping,
    EpochAverages,
    ExperimentManager,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NoiseAugmentation,
    NonFiniteError,
    NonFiniteGuard,
    Rollback,
    TrainEvents,
    Validation,
    VariationalAutoencoder,
    create_evaluator,
    create_trainer,
    handlers,
    multilayer_perceptron,
    read_checkpoint,
    restore_run,
    run_state,
    save_for_inference,
    train_model_advanced,
    train_variational_autoencoder,
    write_checkpoint,
)
from ignite_recipes.checkpoint.resume_check import first_difference
from ignite_recipes.cli import main
from ignite_recipes.engine.compiling import compiled

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")

TORCH_COMPILE = torch.compile
MODES = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")


class Traced:
    """torch.compile without a compiler: it runs what was traced, and keeps count.

    Attributes:
        also_backward: trace the backward pass too, as a compiler does; it sums in another order, and takes longer.
        functions: what was given to torch.compile, with the mode it was given with.
        programs: the sizes of the inputs of each program made.
    """

    def __init__(self):
        self.functions, self.programs, self.also_backward = [], [], False

    def compile(self, function, *, mode=None, dynamic=None):
        self.functions.append((function, mode))
        return TORCH_COMPILE(function, backend=self, dynamic=dynamic)

    def __call__(self, graph, inputs):
        self.programs.append([tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)])
        return aot_eager(graph, inputs) if self.also_backward else graph

    @property
    def modes(self):
        return [mode for _, mode in self.functions]


@pytest.fixture
def traced(monkeypatch):
    backend = Traced()
    monkeypatch.setattr(torch, "compile", backend.compile)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return backend


def flat(history):
    return {name: flat(value) if isinstance(value, dict) else pytest.approx(value) for name, value in history.items()}


@pytest.mark.slow
@every_recipe
def test_a_recipe_trains_to_the_same_history(traced, recipe):
    """pytest's 1e-6 is float32's rounding, ten times: what is traced is computed operation by operation, as without."""
    traced.also_backward = True
    plain, expected, _ = recipe(3)
    assert not traced.functions
    model, history, _ = recipe(3, compile=True)
    assert flat(history) == expected
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name])
    assert traced.modes == [None, None]  # training and validation


@pytest.mark.slow
@every_recipe
def test_a_recipes_policies_find_a_compiled_run_as_they_find_another(traced, recipe):
    settings = {"non_finite": "skip", "ema_decay": 0.9, "handlers": [Spoil({4})]}
    plain, expected, _ = recipe(2, **settings)
    model, history, _ = recipe(2, compile=True, **settings)
    assert flat(history) == expected
    assert history["skipped_steps"] == [0, 1]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name])


def test_the_supervised_recipe_takes_a_first_look_that_changes_nothing(traced):
    """It computes a loss before any is compiled, to find mistakes."""
    results = []
    for compile in (False, True):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))
        _, history, _ = supervised(2, model, targets=LABELS, compile=compile)
        results.append((model.state_dict(), history))
    (plain, expected), (weights, history) = results
    assert equal(weights, plain)
    assert history == expected


class Spoil:
    """Makes the loss of some iterations infinite, by another loss function in the place of the trainer's."""

    def __init__(self, iterations):
        self.iterations = iterations

    def attach(self, trainer):
        loss_fn, state = trainer.step.loss_fn, trainer.state

        def spoilt(model, inputs, batch):
            losses = loss_fn(model, inputs, batch)
            return {**losses, "loss": losses["loss"] * (math.inf if state.iteration in self.iterations else 1.0)}

        trainer.step.loss_fn = spoilt


# The handlers, each alone and all together.

BATCHES = DataLoader(TensorDataset(INPUTS[:15, :3], INPUTS[:15, 3:4]), 4, shuffle=True)  # the last one has three rows
VALIDATION = [(INPUTS[15:19, :3], INPUTS[15:19, 3:4])]
CUT = 3  # after this iteration; the run that is resumed meets the short batch first


def loss_fn(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


def new_run(attach, *, compile, validates_compiled=False, **settings):
    """A trainer of a model with dropout and batch statistics, with validation and what ``attach`` adds."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    trainer = create_trainer(model, optimizer, loss_fn, seed=1, compile=compile, **settings)
    evaluator = create_evaluator(model, loss_fn, compile=compile and validates_compiled)
    EpochAverages().attach(evaluator)
    Validation(evaluator, VALIDATION).attach(trainer)
    EpochAverages("train_", skip_nonfinite=True).attach(trainer)
    History(["train_loss", "val_loss"]).attach(trainer)
    attach(trainer)
    return trainer


class Save:
    """Writes the run down as a kill would find it, after an iteration."""

    def attach(self, trainer):
        trainer.add_event_handler(TrainEvents.RESUME_POINT(once=CUT), self)

    def __call__(self, trainer):
        write_checkpoint(run_state(trainer), "cut.pt")


def check(attach, **settings):
    """A compiled run is as one that is not, and a run that is cut as one that is whole."""
    plain, whole, resumed = (new_run(attach, compile=compile, **settings) for compile in (False, True, True))
    plain.run(BATCHES, max_epochs=2)
    Save().attach(whole)
    whole.run(BATCHES, max_epochs=2)
    assert first_difference(run_state(plain), run_state(whole)) is None
    restore_run(resumed, "cut.pt")
    resumed.run(BATCHES, max_epochs=2)
    assert first_difference(run_state(whole), run_state(resumed)) is None
    return whole


def parts_of(trainer):
    """What the table's functions take."""
    folder = Path(str(trainer.state.seed), str(id(trainer)))  # as in a new run, which finds no files
    folder.mkdir(parents=True)
    task = SimpleNamespace(batches=VALIDATION, loss_fn=loss_fn)
    return SimpleNamespace(task=task, model=trainer.model, optimizer=trainer.optimizer, folder=folder)


@pytest.mark.parametrize("name", [name for name in HANDLERS if name != "History"])  # which every run here has
def test_with_each_handler_alone(traced, monkeypatch, name):
    monkeypatch.setattr(handlers.ProgressBar, "_open", lambda *_: None)
    monkeypatch.setattr(handlers.ProgressBar, "_advance", lambda *_: None)

    def attach(trainer):
        if HANDLERS[name].bad_batch:
            spoil(trainer, lambda iteration: iteration == 2)
        HANDLERS[name].build(parts_of(trainer)).attach(trainer)

    check(attach)


def spoil(trainer, is_bad):
    """Make the inputs of some iterations NaN."""

    @trainer.on(TrainEvents.INPUTS_READY)
    def _():
        if is_bad(trainer.state.iteration):
            trainer.state.inputs = trainer.state.inputs * math.nan


def test_with_all_handlers_together(traced, monkeypatch):
    monkeypatch.setattr(handlers.ProgressBar, "_open", lambda *_: None)
    monkeypatch.setattr(handlers.ProgressBar, "_advance", lambda *_: None)

    def attach(trainer):
        spoil(trainer, lambda iteration: iteration == 2)
        parts = parts_of(trainer)
        for name in HANDLERS:
            if name != "History":
                HANDLERS[name].build(parts).attach(trainer)

    check(attach, validates_compiled=True)


def as_recipes_do(non_finite, precision=None):
    """All that changes a step or an epoch, in the order of the recipes."""

    def attach(trainer):
        if precision is not None:
            MixedPrecisionTrainer(device="cpu", dtype=precision).attach(trainer)
        NoiseAugmentation(0.1, None, None).attach(trainer)
        GradientClipper(0.5).attach(trainer)
        ExponentialMovingAverage(0.8).attach(trainer)
        if non_finite == "rollback":
            Rollback().attach(trainer)
        NonFiniteGuard("raise" if non_finite == "rollback" else non_finite).attach(trainer)
        LearningRateScheduler(trainer.optimizer, "exp").attach(trainer)
        EarlyStopping(2, 0.0, True, verbose=False).attach(trainer)
        groups = trainer.optimizer.state_dict  # a rollback makes other groups
        is_fast = {"skip": lambda: True, "rollback": lambda: groups()["param_groups"][0]["lr"] > 0.01}
        spoil(trainer, lambda iteration: iteration == 6 and is_fast[non_finite]())

    return attach


@pytest.mark.parametrize(
    ("non_finite", "precision", "accumulation_steps"),
    [
        ("skip", None, 1),
        ("rollback", None, 1),
        ("skip", torch.bfloat16, 1),
        ("skip", torch.float16, 3),
        ("rollback", torch.bfloat16, 3),
    ],
)
def test_with_everything_and_every_policy(traced, non_finite, precision, accumulation_steps):
    trainer = check(
        as_recipes_do(non_finite, precision), accumulation_steps=accumulation_steps, validates_compiled=True
    )
    assert trainer.state.epoch == 2
    if non_finite == "skip":
        assert trainer.progress.skipped_steps > 0
    if non_finite == "rollback":
        assert trainer.parts["rollback"].num_rollbacks == 1


# What is saved.


@takes_a_model
@pytest.mark.parametrize(
    ("is_wrapped", "compile"),
    [(False, True), (True, False), (True, True)],
    ids=["compiled recipe", "compiled model", "both compiled"],
)
def test_no_file_holds_names_of_the_compiler(traced, recipe, is_wrapped, compile):
    def model():
        plain = new_vae() if recipe is vae else new_mlp()
        return torch.compile(plain) if is_wrapped else plain

    _, expected, path = recipe(1, None, ema_decay=0.9)
    keys = list(names_in(read_checkpoint(path)))
    trained, history, path = recipe(1, model(), ema_decay=0.9, compile=compile)
    contents = read_checkpoint(path)
    assert list(names_in(contents)) == keys
    assert not [name for name in keys if "_orig_mod" in name]
    assert flat(history) == expected
    if recipe is vae:
        program = torch.export.load(save_for_inference(trained, "vae.pt2")).module()
        assert not [name for name in program.state_dict() if "_orig_mod" in name]


def names_in(value):
    """Every name in a checkpoint, however deep; that of the setting differs in what it says only."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield str(name)
            yield from names_in(item)


# How often it compiles.


@pytest.mark.slow
@every_recipe
def test_each_shape_is_compiled_once_in_training_and_once_in_validation(traced, recipe):
    counts = []
    recipe(3, compile=True, handlers=[SimpleNamespace(attach=lambda t: counts_of(t, traced, counts))])
    assert counts == [4, 4, 4]  # two shapes, of the short last batch too


def counts_of(trainer, traced, counts):
    trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, lambda: counts.append(len(traced.programs)))


def test_no_program_is_for_more_than_one_shape(traced):
    """Another program would round otherwise, and which one is made depends on which shape comes first."""
    vae(2, compile=True)
    assert len(traced.programs) == 4
    assert all(isinstance(size, int) for program in traced.programs for shape in program for size in shape)


def test_the_ninth_run_of_a_process_is_compiled_too(traced, caplog):
    for number in range(1, 10):  # torch gives up on a function after eight versions
        on_a_trainer(lambda model, inputs, batch: {"loss": model(inputs).mean()}, width=number, compile=True)
        assert len(traced.programs) == number
    assert "recompile_limit" not in caplog.text


def test_a_loop_of_ones_own_compiles_once(traced):
    trainer = classifier(compile=True)
    trainer.train_epoch(1)
    trainer.validate()
    count = len(traced.programs)
    trainer.train_epoch(2)
    trainer.validate()
    assert len(traced.programs) == count == 4


def test_a_run_that_is_over_leaves_nothing_behind(traced):
    gone = []
    model, *_ = supervised(1, compile=True, handlers=[SimpleNamespace(attach=lambda t: gone.append(weakref.ref(t)))])
    gone.append(weakref.ref(model))
    del model
    gc.collect()
    assert [one() for one in gone] == [None, None]


# Loss functions that are not like ours.


def test_a_loss_that_changes_with_the_epoch_is_followed(traced):
    def run(compile):
        model = new_mlp()

        def annealed(model, inputs, batch):
            weight = min(1.0, trainer.state.epoch / 4)
            return {"loss": weight * model(inputs).square().mean(), "weight": weight}

        trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), annealed, seed=1, compile=compile)
        seen = []
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda t: seen.append(t.state.output))
        trainer.run([INPUTS[:8]], max_epochs=5)
        return [[float(output[name]) for output in seen] for name in ("loss", "weight")]

    assert run(True) == [pytest.approx(values) for values in run(False)]
    assert run(True)[1] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_losses_that_a_graph_writes_to_one_place_are_kept_apart(traced, monkeypatch):
    """CUDA graphs do; here a buffer stands in for their memory."""
    place = torch.zeros(())

    def as_cuda_graphs_do(function, **_):
        return lambda model, inputs, batch: {"loss": place.fill_(float(batch)), "kind": "a constant"}

    monkeypatch.setattr(torch, "compile", as_cuda_graphs_do)
    fast = compiled(loss_fn, "reduce-overhead", torch.device("cuda"))
    first, second = fast(None, None, 1.0), fast(None, None, 2.0)
    assert (first["loss"].item(), second["loss"].item()) == (1.0, 2.0)
    assert first["kind"] == "a constant"


# What goes wrong.


class Breaks(nn.Module):
    """Divides by zero."""

    def forward(self, x):
        return x / (x - x)


@pytest.mark.parametrize("compile", [False, True])
def test_the_report_of_a_loss_that_is_not_finite_names_the_module(traced, compile):
    model = nn.Sequential(nn.Linear(6, 4), nn.Sequential(nn.ReLU(), Breaks()), nn.Linear(4, 2))
    with pytest.raises(NonFiniteError, match=r"loss is nan; it began in the output of 1\.1 \(Breaks\)"):
        supervised(1, model, compile=compile)
    assert len(traced.programs) == compile  # what looks for it is not compiled


LABELLED = LABELS.clone()
LABELLED[3] = 5
MISTAKES = {
    "values": lambda **k: train_variational_autoencoder(new_vae(), [INPUTS * 2], None, 1, **k),
    "nan": lambda **k: train_variational_autoencoder(new_vae(), [INPUTS / 0.0], None, 1, **k),
    "features": lambda **k: train_variational_autoencoder(new_vae(), [INPUTS[:, :5]], None, 1, **k),
    "validation": lambda **k: train_variational_autoencoder(new_vae(), [INPUTS], [INPUTS * 2], 1, **k),
    "outputs": lambda **k: train_variational_autoencoder(Outputs(), [INPUTS], None, 1, **k),
    "targets' shape": lambda **k: supervised(1, targets=INPUTS[:, :3], **k),
    "labels' shape": lambda **k: supervised(1, targets=INPUTS.long(), **k),
    "labels": lambda **k: supervised(1, targets=LABELLED, **k),
    "later labels": lambda **k: on_batches([(INPUTS, LABELS), (INPUTS, LABELLED)], **k),
    "validation's labels": lambda **k: on_batches([(INPUTS, LABELS)], [(INPUTS, LABELLED)], **k),
    "validation's targets": lambda **k: on_batches([(INPUTS, INPUTS[:, :2])], [(INPUTS, INPUTS)], **k),
    "later targets": lambda **k: on_batches([(INPUTS, INPUTS[:, :2]), (INPUTS, INPUTS)], **k),
    "no pair": lambda **k: on_batches([INPUTS], **k),
    "inputs": lambda **k: on_batches([(INPUTS[:, :5], LABELS)], **k),
    "criterion": lambda **k: supervised(1, criterion=nn.MSELoss(reduction="none"), **k),
    "no loss": lambda **k: on_a_trainer(lambda model, inputs, batch: {"los": model(inputs).mean()}, **k),
    "no dict": lambda **k: on_a_trainer(lambda model, inputs, batch: model(inputs).mean(), **k),
    "no graph": lambda **k: on_a_trainer(lambda model, inputs, batch: {"loss": model(inputs).mean().detach()}, **k),
    "an error of one's own": lambda **k: on_a_trainer(own_error, **k),
}


def on_batches(batches, validation=None, **settings):
    train_model_advanced(new_mlp(), batches, validation, epochs=1, verbose=False, device="cpu", seed=1, **settings)


def on_a_trainer(loss_fn, width=8, **settings):
    model = multilayer_perceptron(6, 2, width)
    create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, seed=1, **settings).run([INPUTS])


def own_error(model, inputs, batch):
    raise LookupError(f"no weight for {len(inputs)} inputs")


class Outputs(nn.Module):
    """Gives two things where three are asked for."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(x).sigmoid(), x


# torch's tracer itself looks at .grad, and says so once a process.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_the_same_answer(traced, name):
    with pytest.raises(Exception) as plain:  # noqa: PT011  # whichever it is
        MISTAKES[name]()
    with pytest.raises(plain.type) as found:
        MISTAKES[name](compile=True)
    assert type(found.value) is plain.type
    assert str(found.value) == str(plain.value)


@pytest.mark.parametrize("make", [create_evaluator, create_trainer])
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_of_torchs_is_passed_on(traced, make, mode):
    make_engine(make, mode)
    assert traced.modes == [mode]


def make_engine(make, compile):
    model = new_mlp()
    optimizer = [torch.optim.SGD(model.parameters(), lr=0.1)] if make is create_trainer else []
    return make(model, *optimizer, loss_fn, compile=compile)


@pytest.mark.parametrize("make", [create_evaluator, create_trainer])
@pytest.mark.parametrize("compile", ["fast", "", "True", None, 3, 0, 1.0, []])
def test_another_setting_is_refused_and_the_modes_are_named(make, compile):
    with pytest.raises(ValueError, match="must be True, False, 'step' or one of") as found:
        make_engine(make, compile)
    assert str(found.value).endswith(f"got {compile!r}")
    assert all(repr(mode) in str(found.value) for mode in MODES)


@every_recipe
def test_a_recipe_passes_its_mode_on_and_refuses_another(traced, recipe):
    recipe(1, compile="max-autotune")
    assert traced.modes == ["max-autotune"] * 2
    with pytest.raises(ValueError, match=r"torch\.compile's modes"):
        recipe(1, compile="fastest")


@pytest.mark.parametrize(
    ("platform", "cxx", "missing"),
    [
        ("linux", None, "g++"),
        ("darwin", None, "clang++"),
        ("win32", None, "cl"),
        ("linux", "/opt/no/such/g++", "/opt/no/such/g++"),
        ("linux", "", ""),
    ],
)
def test_without_a_compiler_it_is_said_what_to_install(monkeypatch, platform, cxx, missing):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    if cxx is not None:
        monkeypatch.setenv("CXX", cxx)
    with pytest.raises(ValueError, match="must have a C\\+\\+ compiler; got none") as found:
        make_engine(create_trainer, True)
    assert f"{missing!r}: install it" in str(found.value)
    assert make_engine(create_trainer, False).step.loss_fn is loss_fn  # which needs none


def test_a_compiler_that_cxx_names_will_do(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "mine" else None)
    monkeypatch.setenv("CXX", "mine")
    make_engine(create_trainer, True)


@pytest.mark.parametrize("recipe", [vae, supervised, traffic])
@pytest.mark.parametrize(("before", "after"), [(False, True), (True, "default")])
def test_a_resume_with_another_setting_is_refused(traced, recipe, before, after):
    *_, path = recipe(1, compile=before)
    with pytest.raises(ValueError, match=f"compile is {after!r}, the run's is {before!r}"):
        recipe(2, compile=after, resume_from=path)


def test_an_experiment_that_continues_with_another_setting_is_refused(traced):
    folder = classifier().train(1)["experiment_dir"]
    experiment = ExperimentManager(resume_exp=Path(folder).name)
    with pytest.raises(ValueError, match="compile is True, the run's is False"):
        classifier(experiment=experiment, compile=True).train(2)


@pytest.mark.slow
@every_recipe
def test_the_global_generators_are_as_they_were_found(traced, recipe):
    def draws():
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    seed_all()
    expected = draws()
    seed_all()
    model = [] if recipe is traffic else [new_vae() if recipe is vae else new_mlp()]
    seed_all()
    recipe(1, *model, compile=True)
    assert draws() == expected


def seed_all():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


# The command.

SMALL = ["--epochs", "1", "--device", "cpu", "--seed", "1"]
TINY_VAE = ["vae", *SMALL, "--hidden-dimension", "4", "--latent-dimension", "2"]


@pytest.mark.parametrize(("given", "modes"), [("true", [None] * 2), ("false", []), ("default", ["default"] * 2)])
def test_the_command_takes_it_and_notes_it(traced, capsys, given, modes):
    assert main([*TINY_VAE, "--compile", given]) == 0
    assert traced.modes == modes
    noted = yaml.safe_load(Path("runs/exp1/config.yaml").read_text())["compile"]
    assert noted == {"true": True, "false": False}.get(given, given)


def test_the_command_answers_a_mode_that_there_is_not(capsys):
    assert main([*TINY_VAE, "--compile", "fast"]) == 2
    assert "torch.compile's modes" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["supervised"], ["traffic", "--num-layers", "1"], ["classify"]])
def test_every_command_has_it(traced, capsys, command):
    assert main([*command, *SMALL, "--batch-size", "1024", "--compile", "true"]) == 0
    assert traced.modes == [None] * 2


# torch's own compiler.


@pytest.fixture
def _the_compiler_itself(monkeypatch):
    """With a folder of programs for each ATEN_CPU_CAPABILITY.

    torch does not look at it when it takes a program from the folder, and one of another capability does not build.
    """
    if shutil.which("g++") is None:
        pytest.skip("this machine has no C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", f"{cache_dir()}_{torch.backends.cpu.get_cpu_capability()}")


@pytest.mark.slow
@pytest.mark.usefixtures("_the_compiler_itself")
def test_the_compiler_itself_takes_a_step_as_it_is_taken_without():
    weights = []
    for compile in (False, True):
        model = nn.Linear(6, 2)
        nn.init.constant_(model.weight, 0.5)
        nn.init.zeros_(model.bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        create_trainer(model, optimizer, mean_square, seed=1, compile=compile).run([INPUTS])
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value)


def mean_square(model, inputs, batch):
    return {"loss": model(inputs).square().mean()}


@pytest.mark.slow
@pytest.mark.usefixtures("_the_compiler_itself")
def test_the_compiler_itself_rounds_a_little_differently_and_nothing_more():
    """A sum of eight products is right to 1e-6 in float32; eight steps at this rate make no more than 1e-4 of it."""

    def classes_loss(model, inputs, batch):
        return {"loss": nn.functional.cross_entropy(model(inputs), batch[1])}

    weights = []
    for compile in (False, True):
        model = new_mlp()
        trainer = create_trainer(
            model, torch.optim.SGD(model.parameters(), lr=0.1), classes_loss, seed=1, compile=compile
        )
        trainer.run([(INPUTS, LABELS)], max_epochs=8)
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("_the_compiler_itself")
def test_the_compiler_itself_learns_and_resumes_exactly():
    """In training only, for the time it takes; the cut lies before the short batch."""
    rows = torch.rand(37, 33, generator=torch.Generator().manual_seed(0)).round()

    def run(epochs, folder, **settings):
        torch.manual_seed(1)
        model = VariationalAutoencoder(33, 3, 16)
        batches = DataLoader(rows, 16, shuffle=True)
        history = train_variational_autoencoder(
            model, batches, None, epochs, 1e-2, checkpoint_dir=folder, seed=2, compile=True, print_every=99, **settings
        )
        return model.state_dict(), history["train_loss"]

    weights, losses = run(4, "whole", save_every_iterations=5)  # the last save is after iteration 10
    assert losses[-1] < losses[0] - 1
    resumed, history = run(4, "resumed", resume_from="whole/latest_checkpoint.pt")
    assert history == losses
    assert equal(resumed, weights)
