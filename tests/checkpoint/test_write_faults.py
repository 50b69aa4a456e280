"""A disk that is full or gone ends a run with an OSError, harms nothing, and the run continues when it is back."""

import builtins
import errno
import itertools
import os
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from tensorboardX.proto.event_pb2 import Event
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    BestCheckpoint,
    Checkpointing,
    CheckpointManager,
    EpochAverages,
    ExperimentManager,
    TensorBoardLog,
    Trainer,
    TrainingLog,
    create_trainer,
    files,
    read_checkpoint,
    read_training_log,
    restore_run,
)
from ignite_recipes.handlers import training_log
from ignite_recipes.handlers.tensorboard import _records
from ignite_recipes.handlers.training_log import CLOCK_COLUMNS

pytestmark = pytest.mark.usefixtures("no_pictures")

resource = pytest.importorskip("resource", reason="limits a file's size, as a full disk does")

EPOCHS, FAULTY_EPOCH = 4, 3
DRAW = torch.Generator().manual_seed(1)
INPUTS = torch.rand(40, 6, generator=DRAW)
LABELS = (INPUTS.sum(1) > 3).long()
DATA = TensorDataset(INPUTS, LABELS)


class Run:
    """A small training in a folder, with one of the writers; as a new process would make it."""

    def __init__(self, writer, folder, resume=False):
        torch.manual_seed(5)
        self.writer, self.folder = writer, folder
        self.model = nn.Sequential(nn.Linear(6, 600), nn.Dropout(0.1), nn.Linear(600, 2))  # larger than buffers
        optimizer = torch.optim.Adam(self.model.parameters(), lr=0.05)
        self.loader = DataLoader(DATA, 10, shuffle=True)
        if writer == "CheckpointManager":
            experiment = ExperimentManager(str(folder), "exp1" if resume else None, settings=None)
            self.trainer = Trainer(
                self.model,
                self.loader,
                DataLoader(DATA, 20),
                nn.CrossEntropyLoss(),
                optimizer,
                "cpu",
                experiment,
                CheckpointManager(experiment.checkpoints_dir, 1),
                seed=3,
            )
            self.engine, self.checkpoints = self.trainer.engine, Path(experiment.checkpoints_dir)
            return
        self.engine = create_trainer(self.model, optimizer, self._loss, seed=3)
        self.checkpoints = folder / "checkpoints"
        EpochAverages("train_").attach(self.engine)
        if writer == "config.yaml":
            experiment = ExperimentManager(str(folder), "exp1" if resume else None, settings={"epochs": EPOCHS})
            self.engine.add_event_handler(Events.EPOCH_STARTED, experiment.write_settings, {"epochs": EPOCHS})
        for handler in self._handlers():
            handler.attach(self.engine)

    def _handlers(self):
        kept = Checkpointing(self.checkpoints, "latest.pt")
        return {
            "Checkpointing": [kept],
            "Checkpointing inside epochs": [Checkpointing(self.checkpoints, "latest.pt", every_iterations=1)],
            "BestCheckpoint": [BestCheckpoint(self.checkpoints / "best.pt", lambda trainer: -trainer.state.epoch)],
            "TrainingLog": [TrainingLog(self.folder / "logs" / "training_log.csv"), kept],
            "TensorBoardLog": [TensorBoardLog(self.folder / "logs"), kept],
            "config.yaml": [kept],
        }[self.writer]

    def _loss(self, model, inputs, batch):
        return {"loss": nn.functional.cross_entropy(model(inputs), batch[1])}

    def train(self):
        if self.writer == "CheckpointManager":
            self.trainer.train(EPOCHS)
        else:
            self.engine.run(self.loader, max_epochs=EPOCHS)

    def weights(self):
        return torch.cat([value.flatten() for value in self.engine.weights.own_weights().values()])

    def written_folder(self):
        """Where this writer writes."""
        logs, experiment = self.folder / "logs", self.folder / "exp1"
        return {"TrainingLog": logs, "TensorBoardLog": logs, "config.yaml": experiment}.get(
            self.writer, self.checkpoints
        )

    def size_to_break_at(self):
        """Of a file, in bytes: in the middle of what this writer writes next, and not before."""
        if self.writer == "config.yaml":
            return 3
        logs = [path.stat().st_size for path in self.folder.rglob("*") if path.suffix == ".csv" or "tfe" in path.name]
        if self.writer in ("TrainingLog", "TensorBoardLog"):
            return max(logs) + 10
        half = min(path.stat().st_size for path in self.checkpoints.glob("*.pt")) // 2
        assert half > max(logs, default=0) + 1000
        return half

    def close(self):
        """What the end of its process would do."""
        self.engine.fire_event(Events.COMPLETED)


# Faults, each as long as its block runs.


@contextmanager
def full_in_the_middle_of_a_write(run):
    """The kernel itself refuses, after the first bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (run.size_to_break_at(), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def full_at_the_flush(run):
    """Some file systems take the bytes and find no place for them later."""

    class Full:
        def __getattr__(self, name):
            return getattr(os, name)

        def fsync(self, handle):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_log if run.writer == "TrainingLog" else files, "os", Full())
        yield


@contextmanager
def read_only(run):
    folder, real = run.written_folder(), builtins.open

    def open_to_read(path, mode="r", *args, **kwargs):
        if isinstance(path, (str, os.PathLike)) and set(mode) & set("wax+") and folder in Path(path).parents:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, mode, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", open_to_read)
        yield


@contextmanager
def gone(run):
    """Something else is in the folder's place."""
    folder = run.written_folder()
    aside = folder.with_name(f"{folder.name} aside")
    folder.rename(aside)
    folder.write_bytes(b"")
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


FAULTS = [full_in_the_middle_of_a_write, full_at_the_flush, read_only, gone]
WRITERS = [
    "Checkpointing",
    "Checkpointing inside epochs",
    "BestCheckpoint",
    "CheckpointManager",
    "TrainingLog",
    "TensorBoardLog",
    "config.yaml",
]


# TensorBoardLog keeps its file open, and tensorboardX flushes it.
CASES = [
    pytest.param(writer, fault, id=f"{writer}, {fault.__name__}")
    for writer, fault in itertools.product(WRITERS, FAULTS)
    if writer != "TensorBoardLog" or fault is full_in_the_middle_of_a_write
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights and the logs that an untouched run of a writer ends with."""
    known = {}

    def run_whole(writer):
        if writer not in known:
            torch.set_num_threads(1)
            run = Run(writer, tmp_path_factory.mktemp("whole") / "run")
            run.train()
            known[writer] = run.weights().clone(), logs(run.folder)
        return known[writer]

    return run_whole


def logs(folder):
    """All that the logs hold, except for the time, and in order, so that nothing is there twice."""
    rows = [read_training_log(path) for path in folder.rglob("training_log.csv")]
    for log in rows:
        for name in CLOCK_COLUMNS:
            log.pop(name, None)
    scalars = []
    for path in folder.rglob("*tfevents*"):
        for step, record in _records(path.read_bytes()):
            values = Event.FromString(record[12:-4]).summary.value
            scalars += [(value.tag, step, value.simple_value) for value in values]
    return rows, sorted(scalars)


def assert_same(run, whole):
    weights, written = whole
    assert torch.equal(run.weights(), weights)
    assert logs(run.folder) == written


def run_into(fault, run):
    """Train until the fault, which comes at the start of an epoch; the error, and a copy of all files."""
    with ExitStack() as until_the_error:

        def begin():
            until_the_error.enter_context(fault(run))

        handle = run.engine.add_event_handler(Events.EPOCH_STARTED(once=FAULTY_EPOCH), begin)
        with handle, pytest.raises(OSError, match=r"\[Errno") as error:
            run.train()
    return error.value, Path(shutil.copytree(run.folder, run.folder.with_name("copy")))


@pytest.mark.parametrize(("writer", "fault"), CASES)
def test_the_error_is_the_systems_and_the_last_sound_checkpoint_and_the_weights_are_whole(tmp_path, writer, fault):
    run = Run(writer, tmp_path / "run")
    error, _ = run_into(fault, run)
    run.close()
    assert error.errno in (errno.EFBIG, errno.ENOSPC, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
    checkpoints = sorted(run.checkpoints.glob("*.pt"))
    assert checkpoints
    assert max(read_checkpoint(path)["epoch"] for path in checkpoints) in (FAULTY_EPOCH - 1, FAULTY_EPOCH)
    assert not list(run.checkpoints.glob(".*"))
    assert run.weights().isfinite().all()
    assert run.model(INPUTS).isfinite().all()


@pytest.mark.parametrize(("writer", "fault"), CASES)
def test_the_same_trainer_continues_when_the_fault_is_gone_and_ends_with_the_same_bits(tmp_path, whole, writer, fault):
    run = Run(writer, tmp_path / "run")
    run_into(fault, run)
    run.train()
    assert_same(run, whole(writer))


@pytest.mark.parametrize(("writer", "fault"), CASES)
def test_a_new_trainer_resumes_from_the_last_sound_file_and_ends_with_the_same_bits(tmp_path, whole, writer, fault):
    run = Run(writer, tmp_path / "run")
    _, copy = run_into(fault, run)
    run.close()
    resumed = Run(writer, copy, resume=True)
    if writer != "CheckpointManager":  # it finds its file itself
        restore_run(resumed.engine, next(resumed.checkpoints.glob("*.pt")))
    resumed.train()
    assert_same(resumed, whole(writer))
