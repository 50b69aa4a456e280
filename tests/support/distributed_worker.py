"""What test_distributed.py runs on several processes: many small trainings, in one start of Python.

``python -m torch.distributed.run --nproc_per_node=2 tests/support/distributed_worker.py FOLDER CASE ...``

Each process writes what its cases returned to ``FOLDER/process_N.pt``. The tests call the same cases in a single
process, where they must come to the same numbers.
"""

import copy
import faulthandler
import random
import signal
import sys
import time
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torchmetrics
from ignite.engine import Engine, Events
from ignite.metrics import Average, EpochMetric, Fbeta
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, RandomSampler, TensorDataset

import ignite_recipes as ir
from ignite_recipes.cli import main as run_command
from ignite_recipes.engine.window import Window
from ignite_recipes.exchange.ranks import (
    LostRankError,
    on_rank_zero,
    rank,
    world_size,
)
from ignite_recipes.loading.keyed_loader import KeyedLoader
from support.examples import SMALL, make_small
from support.models import perceptron
from support.stops import CutError
from support.tables import mixed_table

LIMIT_SECONDS = 60.0


# Data and models.


def rows(samples=101):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(samples, 5, generator=draw)
    return TensorDataset(x, x.sin().sum(1, keepdim=True))


TRAIN, VAL = rows(), rows(33)


# What a model that learns TRAIN is good at for a few epochs, and then ever worse.
LIKE_SMALLER_ONES = TensorDataset(VAL.tensors[0], 0.3 * VAL.tensors[1])


def net(dropout=0.0):
    return perceptron(5, 16, activation=nn.Tanh, dropout=dropout)


def supervised(model=None, train=None, val=VAL, epochs=5, **settings):
    """The recipe's result and the model's weights; batches of 10, of which the last one has a single sample."""
    model = net() if model is None else model
    loader = DataLoader(TRAIN, 10, shuffle=True) if train is None else train
    val = DataLoader(val, 8) if isinstance(val, Dataset) else val
    settings = {"learning_rate": 1e-2, "seed": 3, "verbose": False, "device": "cpu", **settings}
    result = ir.train_model_advanced(model, loader, val, epochs=epochs, **settings)
    del result["training_time"]
    return {**result, "weights": weights(model)}


def weights(model):
    model = model.module if isinstance(model, DistributedDataParallel) else model
    return {name: whole(value).clone() for name, value in model.state_dict().items()}


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def losses_of(model, inputs, batch):
    return {"loss": mse_loss(model(inputs), batch[1])}


class At:
    """A handler: call a function of the trainer at an event."""

    def __init__(self, event, function):
        self.event, self.function = event, function

    def attach(self, trainer):
        trainer.add_event_handler(self.event, self.function)


def cut_at(iteration):
    def cut(trainer):
        if trainer.state.iteration == iteration:
            raise CutError

    return At(Events.ITERATION_STARTED, cut)


# As in one process.


def plain(folder):
    return supervised()


def in_float64(folder):
    data = TensorDataset(*(tensor.double() for tensor in TRAIN.tensors))
    return by_hand(sgd_trainer(net().double(), accumulation_steps=3), DataLoader(data, 10, shuffle=True), epochs=5)


def table(folder):
    """All that comes of a table but its predictor; weights of classes, and groups."""
    settings = {"epochs": 5, "seed": 3, "verbose": False, "device": "cpu", "hidden_dimension": 8, "dropout_rate": 0.0}
    data, options = mixed_table(300), {"class_weights": "balanced", "group": "city", "accumulation_steps": 2}
    result = ir.train_on_table(data, "kind", **options, **settings)
    del result["training_time"], result["val_predictions"]
    predictions = result.pop("predictor").predict(data)["p_small"].to_list()
    return {**result, "model": weights(result["model"]), "predictions": predictions}


def accumulation_clipping_average(folder):
    return supervised(accumulation_steps=3, gradient_clip=0.1, ema_decay=0.9)


def early_stopping(folder):
    return supervised(epochs=30, val=LIKE_SMALLER_ONES, early_stop_patience=8)


def metrics_of_every_kind(folder):
    """Of classes; the last batches to validate on are too small to be shared, and one metric fails on one process."""
    labels = TensorDataset(TRAIN.tensors[0], (TRAIN.tensors[1][:, 0] > 0).long())
    to_validate = TensorDataset(VAL.tensors[0], (VAL.tensors[1][:, 0] > 0).long())
    torch.manual_seed(0)
    metrics = {
        **{name: name for name in ("f1", "auroc", "balanced_accuracy")},
        "ignites": Fbeta(1.0, average=False),
        "whole": EpochMetric(lambda outputs, y: (outputs.softmax(1)[:, 1] * y).double().median()),
        "other": torchmetrics.AUROC(task="multiclass", num_classes=2),
        "per_sample": lambda outputs, y: outputs.logsumexp(1) * (1 + y),
        "per_batch": torch.nn.functional.cross_entropy,
        "bad_on_one": lambda outputs, y: 1 / (world_size() - 1 - rank()),
    }
    model = perceptron(5, 16, 2, activation=nn.Tanh)
    train = DataLoader(labels, 10, shuffle=True)
    result = supervised(model, train, DataLoader(to_validate, 5), 6, metrics=metrics, monitor="val_f1")
    return {**result, "kept_report": result.pop("report", None)}


def numbers_by_name(folder):
    return supervised(metrics="mae,r2", monitor="val_r2")


def without_validation(folder):
    return supervised(val=None)


def fewer_samples_than_processes(folder):
    return supervised(train=DataLoader(rows(1), 4), val=rows(1), metrics=["mae"])


def one_bad_sample(policy, model=None, **settings):
    x, y = (tensor.clone() for tensor in TRAIN.tensors)
    x[17] = float("nan")  # in the part of one process only
    loader = DataLoader(TensorDataset(x, y), 10, shuffle=True)
    return supervised(model, loader, non_finite=policy, **settings)


def skipped_step(folder):
    return one_bad_sample("skip")


def rollback(folder):
    return one_bad_batch()


def one_bad_batch(model=None, **settings):
    bad, attempts = TRAIN.tensors[1][17], []

    def criterion(outputs, targets):
        is_bad = attempts == [1, 2] and (targets == bad).any()  # in one process only, and only the first time
        return mse_loss(outputs, targets) * (float("nan") if is_bad else 1.0)

    note = At(Events.EPOCH_STARTED, lambda trainer: attempts.append(trainer.state.epoch))
    return supervised(model, criterion=criterion, non_finite="rollback", handlers=[note], **settings)


def mlp_trainer(folder):
    images, labels = class_images()
    experiment = ir.ExperimentManager(str(folder / "mlp"))
    model = small_classifier()
    trainer = ir.Trainer(
        model,
        DataLoader(TensorDataset(images, labels), 8, shuffle=True),
        DataLoader(TensorDataset(images, labels), 16),
        nn.CrossEntropyLoss(),
        torch.optim.AdamW(model.parameters(), lr=0.01),
        "cpu",
        experiment,
        ir.CheckpointManager(experiment.checkpoints_dir),
        seed=3,
        patience=3,
    )
    result = trainer.train(5)
    epoch_by_hand, validation_by_hand = trainer.train_epoch(7)[0], trainer.validate()[0]
    return {
        "history": result["history"],
        "best_epoch": result["best_epoch"],
        "weights": weights(model),
        "by_hand": [*epoch_by_hand.values(), *validation_by_hand.values()],
        "folder": experiment.experiment_dir,
    }


def class_images():
    images = torch.rand(52, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    return images, (images.mean((1, 2, 3)) > 0.5).long()


def small_classifier():
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2))


class WithoutSampling(ir.VariationalAutoencoder):
    """The mean instead of a sample around it."""

    def reparameterize(self, mean, log_variance):
        return mean


def vae(folder):
    vectors = torch.rand(75, 12, generator=torch.Generator().manual_seed(2)).round()
    torch.manual_seed(0)
    model = WithoutSampling(12, 3, 16)
    loader, val = DataLoader(vectors, 16, shuffle=True), DataLoader(vectors[:30], 16)
    settings = {"num_epochs": 5, "noise_std": 0, "seed": 3, "patience": 2, "print_every": 5}
    with redirect_stdout(StringIO()) as said:
        history = ir.train_variational_autoencoder(model, loader, val, **settings)
    return {"history": history, "weights": weights(model), "lines": len(said.getvalue().splitlines())}


class StatisticsOff:
    """Batch norm as in evaluation, also while training: each process sees its part of a batch only."""

    def attach(self, trainer):
        for module in trainer.model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
                module.train = lambda mode=True, module=module: module


def windows():
    draw = torch.Generator().manual_seed(1)
    walk = torch.randn(84, 2, generator=draw).cumsum(0)
    low, high = walk.min(0).values, walk.max(0).values
    scaled = (walk - low) / (high - low)
    context, flags = ir.send_on_delta(scaled, 0.1, limits=([0.0, 0.0], [1.0, 1.0]))
    return ir.make_traffic_windows(context, flags, 6, 3)


def traffic_with(handlers, epochs=5):
    data = windows()
    p = ir.getDefaultModelParams(6, 3, data, batch_size=16, dropout_rate=0.0)
    p |= {"hidden_size": 8, "num_layers": 1, "num_epochs": epochs, "save_checkpoints": False}
    model, history, info = ir.trainModel(p, data, data, verbose=False, device="cpu", handlers=handlers)
    return {"history": {**history.pop("loss_components"), **history}, "info": info, "weights": weights(model)}


def traffic_without_batch_statistics(folder):
    return traffic_with([StatisticsOff()])


class Dicts(Dataset):
    """A few vectors, with as many words as each happens to have."""

    def __len__(self):
        return 23

    def __getitem__(self, k):
        return {"x": torch.sin(k + torch.arange(4.0)), "words": torch.tensor(1 + k % 5)}


def own_way_of_counting(folder):
    """A loss that is a mean over words and not over samples."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)

    def loss(model, inputs, batch):
        words = batch["words"]
        off = ((model(batch["x"])[:, 0] - words) ** 2 * words).sum() / words.sum()
        return {"loss": off, "constant": 2.0}

    trainer = ir.create_trainer(
        model,
        torch.optim.SGD(model.parameters(), 0.01),
        loss,
        seed=3,
        accumulation_steps=2,
        batch_size=lambda batch: int(batch["words"].sum()),
    )
    return by_hand(trainer, DataLoader(Dicts(), 4, shuffle=True))


def by_hand(trainer, loader, epochs=3, handlers=()):
    """Its losses, epoch by epoch, and its weights."""
    averages = ir.EpochAverages("train_").attach(trainer)
    history = ir.History(["train_loss"]).attach(trainer)
    for handler in handlers:
        handler.attach(trainer)
    trainer.run(loader, max_epochs=epochs)
    counts = {"samples": averages.num_samples, "steps": trainer.progress.optimizer_steps}
    return {"history": history.epochs, "weights": weights(trainer.model), **counts}


def sgd_trainer(model=None, accumulation_steps=1, **settings):
    model = net() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    settings = {"seed": 3, "accumulation_steps": accumulation_steps, **settings}
    return ir.create_trainer(model, optimizer, losses_of, **settings)


class Unsized:
    """Batches of a loader that does not know how many there are."""

    def __iter__(self):
        return iter(zip(*(tensor.split(10) for tensor in TRAIN.tensors), strict=True))


class Streamed(IterableDataset):
    def __iter__(self):
        return zip(*TRAIN.tensors, strict=True)


def loader_without_length(folder):
    return by_hand(sgd_trainer(accumulation_steps=3), Unsized())


def stream(folder):
    return by_hand(sgd_trainer(accumulation_steps=3), DataLoader(Streamed(), 10))


def batches_of_the_data_set(folder):
    batches = [tuple(tensor[k : k + 10] for tensor in TRAIN.tensors) for k in range(0, 100, 10)]
    return by_hand(sgd_trainer(), DataLoader(batches, batch_size=None, shuffle=True))


def list_of_batches(folder):
    return by_hand(sgd_trainer(), list(Unsized()))


def epoch_ended_inside_a_window(folder):
    def end_early(trainer):
        if trainer.progress.position == 5:
            trainer.terminate_epoch()

    trainer = sgd_trainer(accumulation_steps=3)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, end_early)
    return by_hand(trainer, DataLoader(TRAIN, 10, shuffle=True))


def layer_thawed_in_the_second_epoch(folder):
    model = net()
    model[0].requires_grad_(False)
    trainer = sgd_trainer(model)
    thaw = At(Events.EPOCH_STARTED(once=2), lambda: model[0].requires_grad_(True))
    return by_hand(trainer, DataLoader(TRAIN, 10, shuffle=True), handlers=[thaw])


class HalfUsed(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = net(), nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x)


def wrapped_by_the_user(folder):
    model = HalfUsed()
    if world_size() > 1:
        model = DistributedDataParallel(model, find_unused_parameters=True)
    result = supervised(model, accumulation_steps=3)
    return {**result, "weights": {name: value for name, value in result["weights"].items() if "unused" not in name}}


def evaluator_alone(folder):
    evaluator = ir.create_evaluator(net(), losses_of)
    ir.EpochAverages().attach(evaluator)
    Average(output_transform=lambda output: output["loss"]).attach(evaluator, "ignites")
    metrics = evaluator.run(DataLoader(TRAIN, 10)).metrics
    batches = [mse_loss(net()(x), y).item() for x, y in DataLoader(TRAIN, 10)]
    return {
        "history": {
            "loss": [metrics["loss"]],
            "ignites": [metrics["ignites"]],
            "batches": [sum(batches) / len(batches)],
        }
    }


def pair_of(window=1, every=1):
    """An actor and a critic that have each other's outputs in their losses, and what updates them."""
    models = nn.ModuleDict({"actor": net(), "critic": nn.Linear(1, 1)})
    optimizers = {name: torch.optim.Adam(model.parameters(), 0.01) for name, model in models.items()}
    losses = {
        "critic": lambda m, x, batch: {"loss": mse_loss(m["critic"](m["actor"](x)), batch[1])},
        "actor": lambda m, x, batch: {"loss": -m["critic"](m["actor"](x)).tanh().mean()},
    }
    settings = {"critic": {"accumulation_steps": window}, "actor": {"every": every}}
    return models, optimizers, losses, settings


def several_updates(folder):
    models, optimizers, losses, settings = pair_of(window=2, every=2)
    updates = [ir.Update(optimizers[name], losses[name], name=name, **settings[name]) for name in losses]
    trainer = ir.create_trainer(models, updates=updates, seed=3)
    return by_hand(trainer, list(Unsized()), 2, handlers=[ir.GradientClipper(0.5), ir.NonFiniteGuard()])


def updates_of_ones_own(folder):
    models, optimizers, losses, _ = pair_of()
    critic = ir.Update(optimizers["critic"], name="critic", accumulation_steps=2)
    actor = ir.Update(optimizers["actor"], name="actor")

    def update(engine, batch):
        loss = critic(engine, losses["critic"](models, batch[0], batch)["loss"])
        actor(engine, losses["actor"](models, batch[0], batch)["loss"])
        return {"loss": loss}

    trainer = ir.make_resumable(Engine(update), {"models": models, "c": critic, "a": actor}, seed=3)
    return by_hand(trainer, list(Unsized()), 2, handlers=[ir.GradientClipper(0.5), ir.NonFiniteGuard()])


AS_IN_ONE_PROCESS = [
    several_updates,
    updates_of_ones_own,
    mlp_trainer,  # first: its experiment is made before anybody has joined the processes
    plain,
    table,
    in_float64,
    accumulation_clipping_average,
    early_stopping,
    metrics_of_every_kind,
    numbers_by_name,
    without_validation,
    fewer_samples_than_processes,
    skipped_step,
    rollback,
    vae,
    traffic_without_batch_statistics,
    own_way_of_counting,
    loader_without_length,
    stream,
    batches_of_the_data_set,
    list_of_batches,
    epoch_ended_inside_a_window,
    layer_thawed_in_the_second_epoch,
    wrapped_by_the_user,
    evaluator_alone,
]


# What only several processes have.


def batch_statistics(folder):
    """Batch norm over each process' part: equal on all, and it learns."""
    return traffic_with([], epochs=3)


def initial_weights_and_noise(folder):
    """A model that every process initialises otherwise, with noise on its inputs and dropout in it."""
    torch.manual_seed(rank())
    model, clean, found = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 1)), [], {}
    trainer = sgd_trainer(model)
    found["initial"] = weights(model)
    trainer.add_event_handler(Events.ITERATION_STARTED(once=1), lambda: clean.append(trainer.state.batch[0]))
    ir.NoiseAugmentation(0.1, None, None).attach(trainer)
    trainer.add_event_handler(
        ir.TrainEvents.INPUTS_READY(once=1), lambda: found.update(noise=trainer.state.inputs - clean[0])
    )
    model[1].register_forward_hook(lambda module, inputs, output: found.update(kept=output != 0))
    trainer.run(DataLoader(TRAIN, 10, shuffle=True), max_epochs=1)
    return {**found, "weights": weights(model)}


class Numbered(Dataset):
    """Each sample's number, and what is drawn for it from the global generators and from one of its own."""

    def __init__(self):
        self.own = np.random.default_rng(5)

    def __len__(self):
        return 22

    def __getitem__(self, k):
        return torch.tensor([k, torch.rand(()).item(), random.random(), np.random.rand(), self.own.random()])


class DrawsForEachBatch:
    """A batch sampler that draws from the global generator batch by batch."""

    def __iter__(self):
        left = list(range(22))
        while left:
            batch = [left.pop(torch.randint(len(left), ()).item()) for _ in range(min(6, len(left)))]
            yield batch

    def __len__(self):
        return 4


def augmentation(folder):
    found = {}
    for workers in (0, 2):
        loaders = {
            "shuffled": DataLoader(Numbered(), 6, shuffle=True, num_workers=workers),
            "own generator": DataLoader(
                Numbered(), 6, sampler=RandomSampler(Numbered(), generator=torch.Generator()), num_workers=workers
            ),
            "drawn for each batch": DataLoader(Numbered(), batch_sampler=DrawsForEachBatch(), num_workers=workers),
            "distributed": DataLoader(Numbered(), 3, sampler=DistributedSampler(Numbered()), num_workers=workers),
        }
        for name, loader in loaders.items():
            found[f"{name}, {workers} workers"] = list(KeyedLoader(loader, 3))
    return found


def distributed_sampler(folder):
    """Taken as it is: batches of 5 in each process are batches of 10."""
    data = rows(100)
    shared = by_hand(sgd_trainer(), DataLoader(data, 10))
    sampler = DistributedSampler(data, shuffle=False)
    return {"shared": shared, "distributed": by_hand(sgd_trainer(), DataLoader(data, 5, sampler=sampler))}


def exchanges(folder):
    """Of gradients, counted by a hook: each bucket's all-reduce, of which these models have one."""
    found = {}

    def count(name, bucket):
        found[name] = found.get(name, 0) + 1
        return dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda done: done.value()[0])

    def watched(name, loader, epochs, steps):
        trainer = sgd_trainer(accumulation_steps=steps)
        trainer.step.exchange._wrapper.register_comm_hook(name, count)
        trainer.run(loader, max_epochs=epochs)
        found[f"{name} steps"] = trainer.progress.optimizer_steps

    loader = DataLoader(TRAIN, 10)
    watched("each batch", loader, 1, 1)
    watched("windows", loader, 1, 3)
    watched("without length", Unsized(), 1, 3)
    watched("without length, two epochs", Unsized(), 2, 3)
    wrapped = DistributedDataParallel(net())
    wrapped.register_comm_hook("wrapped", count)
    sgd_trainer(wrapped, accumulation_steps=3).run(loader, max_epochs=1)
    return found


def resumed(folder):
    """Whole, cut at an epoch's end, and cut inside one."""
    settings = {"accumulation_steps": 2, "ema_decay": 0.9, "use_augmentation": True}
    place = {name: folder / name for name in ("whole", "end", "inside")}
    found = {"whole": supervised(net(0.3), checkpoint_dir=place["whole"], **settings)}
    supervised(net(0.3), epochs=2, checkpoint_dir=place["end"], **settings)
    with suppress(CutError):
        supervised(net(0.3), checkpoint_dir=place["inside"], save_every_iterations=4, handlers=[cut_at(30)], **settings)
    for name in ("end", "inside"):
        path = place[name] / "model_latest.pt"
        if name == "inside":
            on_rank_zero(lambda path=path: path.with_name("cut.pt").write_bytes(path.read_bytes()) and None)
        found[name] = supervised(net(0.3), checkpoint_dir=place[name], resume_from=path, **settings)
    return found


class Replayed:
    """A loader that says itself where it is."""

    def __init__(self):
        self.start = self.given = self.fetched = 0

    def __iter__(self):
        start, self.start = self.start, 0
        for k, batch in enumerate(Unsized()):
            if k >= start:
                self.fetched += 1
                self.given = k + 1
                yield batch

    def __len__(self):
        return 11

    def state_dict(self):
        return {"given": self.given}

    def load_state_dict(self, state):
        self.start = state["given"]


def resumed_loader_with_a_state(folder):
    whole_run = by_hand(sgd_trainer(), Replayed(), 2)
    path = folder / "replayed.pt"
    trainer = sgd_trainer()
    ir.SaveInside(6, lambda trainer: save(trainer, path)).attach(trainer)
    with suppress(CutError):
        by_hand(trainer, Replayed(), 2, [cut_at(9)])
    loader, again = Replayed(), sgd_trainer()
    averages, history = ir.EpochAverages("train_").attach(again), ir.History(["train_loss"]).attach(again)
    ir.restore_run(again, path)
    again.run(loader, max_epochs=2)
    second = {"history": history.epochs, "weights": weights(again.model), "samples": averages.num_samples}
    return {"whole": whole_run, "resumed": second, "fetched": loader.fetched}


def signal_to_one_process(folder):
    """Only the second one hears of it, and both stop after that step; then the run continues."""

    def run(handlers=(), **settings):
        return supervised(net(0.3), epochs=2, handlers=handlers, **settings)

    def ask(trainer):
        if rank() == 1:
            signal.raise_signal(signal.SIGTERM)

    path, found = folder / "signal" / "model_latest.pt", {"whole": run(), "stopped": []}
    try:
        run([At(Events.ITERATION_STARTED(once=7), ask)], checkpoint_dir=path.parent, save_every_iterations=100)
    except KeyboardInterrupt as stopped:
        saved = ir.read_checkpoint(path)
        found["stopped"] = [saved["run"]["progress"]["iteration"], int(stopped.signum)]
    return {**found, "resumed": run(checkpoint_dir=path.parent, resume_from=path)}


def save(trainer, path):
    state = ir.run_state(trainer)
    on_rank_zero(lambda: ir.write_checkpoint(state, path))


def files_by_hand(folder):
    """As in any script for several processes: one of them saves, and nobody else must come."""
    model = net()
    if rank() == 0:
        ir.save_checkpoint(model, None, 1, 0.5, 0.5, folder / "by_hand.pt")
    dist.barrier()
    return {"epoch": ir.load_checkpoint(folder / "by_hand.pt", model)["epoch"]}


def mistakes(folder):
    """What is said in every process."""
    said = {}

    def told(name, function):
        try:
            function()
        except Exception as error:
            said[name] = f"{type(error).__name__}: {error}"

    number = rank()
    told("precision", lambda: supervised(precision="float8"))
    told("seeds", lambda: sgd_trainer(seed=number))
    told("loaders", lambda: sgd_trainer().run([(torch.rand(4, 5) + number, torch.rand(4, 1))], max_epochs=1))
    told("lengths", lambda: sgd_trainer().run([(torch.rand(8, 5), torch.rand(4, 1))], max_epochs=1))
    told("own gradients", lambda: own_gradients(net()))
    told("averaged gradients", lambda: own_gradients(DistributedDataParallel(net())))
    told("cut window", lambda: cut_window_of_a_sharded_model())
    told("nan", lambda: one_bad_sample("raise"))
    told("file", lambda: on_rank_zero(lambda: Path(folder, "missing").read_text()))
    told("no pickle", lambda: on_rank_zero(raise_what_cannot_travel))
    return said


def own_gradients(model):
    """An update function that steps by itself."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def update(engine, batch):
        optimizer.zero_grad()
        mse_loss(model(batch[0]), batch[1]).backward()
        optimizer.step()

    trainer = ir.make_resumable(Engine(update), {"model": model, "optimizer": optimizer}, seed=3)
    trainer.run(list(Unsized())[:3], max_epochs=1)


class NeedyError(Exception):
    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def raise_what_cannot_travel():
    raise NeedyError("one", "other")


RECIPES = {
    "vae": ["--epochs", "10", "--hidden-dimension", "16", "--save-every-iterations", "3"],
    "supervised": ["--epochs", "2", "--hidden-dimension", "8", "--save-every", "1", "--progress", "false"][:-2],
    "traffic": ["--epochs", "2", "--hidden-size", "8"],
    "classify": ["--epochs", "2", "--model", "mlp", "--reapply-transforms"],
    "table": ["--epochs", "2", "TABLE", "--target", "kind"],
}
COMMON = ["--device", "cpu", "--seed", "3", "--batch-size", "256"]


def commands(folder):
    """Every command, what it printed, and which files this process opened to write."""
    written, watching = [], [True]

    def note(event, arguments):
        if watching[0] and event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
            written.append(str(arguments[0]))

    sys.addaudithook(note)
    found = {}
    for recipe, options in RECIPES.items():
        with redirect_stdout(StringIO()) as said:
            words = [str(folder / "table.csv") if word == "TABLE" else word for word in options]
            command = "supervised" if recipe == "table" else recipe
            code = run_command([command, *COMMON, *words, "--runs-dir", str(folder / recipe)])
        found[recipe] = {"code": code, "said": said.getvalue().splitlines()}
    watching[0] = False
    return {**found, "written": [path for path in written if str(folder) in path]}


def resumed_commands(folder):
    """Resume every experiment that a test has stopped."""
    found = {}
    for name in sorted(path.name for path in folder.iterdir() if (path / "exp1").is_dir()):
        with redirect_stdout(StringIO()):
            found[name] = run_command(["vae", "--resume", "exp1", "--runs-dir", str(folder / name)])
    return found


# Sharded models.


def sharded(model=None):
    model = net() if model is None else model
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def cut_window_of_a_sharded_model():
    trainer = sgd_trainer(sharded(), accumulation_steps=3)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: trainer.terminate_epoch())
    trainer.run(DataLoader(TRAIN, 10), max_epochs=1)


def sharded_models(folder):
    """Each run of a whole model, and of a sharded one."""
    few = {"epochs": 3}
    at_once = {**few, "gradient_clip": 0.1, "accumulation_steps": 3, "ema_decay": 0.9}
    best = {"epochs": 9, "val": LIKE_SMALLER_ONES, "early_stop_patience": 2}
    found = {
        "plain": [supervised(make(), **few) for make in (net, sharded)],
        "at once": [supervised(make(), **at_once) for make in (net, sharded)],
        "best weights": [supervised(make(), **best) for make in (net, sharded)],
        "skip": [one_bad_sample("skip", make(), epochs=2) for make in (net, sharded)],
        "rollback": [one_bad_batch(make(), epochs=2) for make in (net, sharded)],
    }
    model, place = sharded(), folder / "sharded"
    supervised(model, **{**at_once, "epochs": 2}, checkpoint_dir=place)
    resume = {"checkpoint_dir": place, "resume_from": place / "model_latest.pt"}
    found["resumed"] = supervised(sharded(), **at_once, **resume)
    found["stability"] = [ir.TrainingStability.check_weights(m) for m in (sharded(), net())]
    return found


def sharded_in_the_trainer(folder):
    images, labels = class_images()
    experiment = ir.ExperimentManager(str(folder / "sharded trainer"))
    found = []
    for _ in range(2):
        model = sharded(small_classifier())
        loader = DataLoader(TensorDataset(images, labels), 8, shuffle=True)
        trainer = ir.Trainer(
            model,
            loader,
            loader,
            nn.CrossEntropyLoss(),
            torch.optim.AdamW(model.parameters(), lr=0.01),
            "cpu",
            experiment,
            ir.CheckpointManager(experiment.checkpoints_dir),
            seed=3,
        )
        found.append(trainer.train(1 if not found else 2)["history"])
        experiment = ir.ExperimentManager(str(folder / "sharded trainer"), resume_exp="exp1")
    return {"histories": found, "folder": experiment.experiment_dir}


def examples(folder):
    """Those of the documents: whole, and cut inside an epoch; also in float16 and accumulated."""
    cases = [*((name, 1, None) for name in SMALL), *((name, 2, torch.float16) for name in ("wgan_gp", "actor_critic"))]
    return {case[:2]: [run_example(folder, *case, cut) for cut in (None, 2)] for case in cases}


def run_example(folder, name, window, precision, cut):
    path = folder / f"{name}.pt"
    trainer, loader = make_small_example(name, window, precision)
    if cut is not None:

        def leave(engine):
            if engine.state.iteration >= cut:
                state = ir.run_state(engine)
                on_rank_zero(lambda: ir.write_checkpoint(state, path))
                raise CutError

        trainer.add_event_handler(ir.TrainEvents.RESUME_POINT, leave)
        with suppress(CutError):
            trainer.run(loader, max_epochs=2)
        trainer, loader = make_small_example(name, window, precision)
        ir.restore_run(trainer, path)
    trainer.run(loader, max_epochs=2)
    return weights(trainer.model)


def make_small_example(name, window, precision):
    trainer, loader = make_small(name)
    for update in trainer.updates.values():
        update.window = Window(window)
    if precision is not None:
        ir.MixedPrecisionTrainer(device="cpu", dtype=precision).attach(trainer)
    return trainer, loader


SEVERAL = [
    examples,
    batch_statistics,
    initial_weights_and_noise,
    augmentation,
    distributed_sampler,
    exchanges,
    resumed,
    resumed_loader_with_a_state,
    signal_to_one_process,
    files_by_hand,
    mistakes,
    sharded_models,
    sharded_in_the_trainer,
    commands,
]


# Runs that end badly.


class BadInOneProcess(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, k):
        if k == 31 and rank() == 1:
            raise ValueError("row 31 cannot be read")
        return TRAIN[k]


def failing_in_one_process(folder):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, which may come before the message is written
    try:
        supervised(train=DataLoader(BadInOneProcess(), 10))
    except (LostRankError, ValueError) as error:
        (folder / f"failed_{rank()}.txt").write_text(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from None


CASES = {case.__name__: case for case in (*AS_IN_ONE_PROCESS, *SEVERAL, resumed_commands, failing_in_one_process)}


def main():
    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)  # it hangs: say where
    torch.set_num_threads(1)
    ir.Curves.__call__ = lambda *_: None  # a picture takes longer than all the rest
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    results, began = {}, time.monotonic()
    for name in names:
        if name == failing_in_one_process.__name__:  # which ends this process
            torch.save(results, folder / f"process_{rank()}.pt")
        print(f"{time.monotonic() - began:.1f} s, process {rank()}: {name}", flush=True)  # noqa: T201
        torch.manual_seed(0)
        results[name] = copy.deepcopy(CASES[name](folder))
    torch.save(results, folder / f"process_{rank()}.pt")


if __name__ == "__main__":
    main()
