"""A user's program, annotated as narrowly as its author can: ``mypy --strict`` accepts what it passes to the library.

It is checked and not run.
"""

from pathlib import Path

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ignite_recipes as ir

Batch = tuple[Tensor, Tensor]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


def loss_fn(model: Net, inputs: Tensor, batch: Batch) -> dict[str, Tensor]:
    return {"loss": (model(inputs) - batch[1]).square().mean()}


class WeightedLoss:
    def __call__(self, model: Net, inputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"loss": 2 * loss_fn(model, inputs, batch)["loss"]}


def get_inputs(batch: Batch) -> Tensor:
    return batch[0]


def batch_size(batch: Batch) -> int:
    return len(batch[0])


def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def augment(inputs: Tensor) -> Tensor:
    return inputs + 1


def metric_of_engine(engine: Engine) -> float:
    return float(engine.state.metrics["val_loss"])


def metric_of_trainer(trainer: ir.TrainingEngine) -> Tensor:
    return torch.tensor(trainer.state.metrics["val_loss"])


def save(engine: Engine) -> Path:
    return Path("saved.pt")


class OwnHandler:
    def attach(self, trainer: ir.TrainingEngine) -> "OwnHandler":
        return self


class OtherHandler:
    def attach(self, engine: Engine, metric: str = "val_loss") -> None: ...


class Counter:
    def state_dict(self) -> dict[str, int]:
        return {"count": 0}

    def load_state_dict(self, state: dict[str, int]) -> None: ...


class Images:
    def reapply_transforms(self, epoch: int) -> None: ...


model = Net()
optimizer = torch.optim.Adam(model.parameters())
x = torch.rand(8, 2)
batches: list[Batch] = [(x, x[:, :1])]
bars = [ir.ProgressBar()]
own: list[OwnHandler] = [OwnHandler()]
metadata: dict[str, int] = {"number": 1}


def engines() -> None:
    trainer = ir.create_trainer(model, optimizer, loss_fn, get_inputs=get_inputs, batch_size=batch_size)
    ir.create_trainer(model, optimizer, WeightedLoss())
    evaluator = ir.create_evaluator(model, loss_fn, get_inputs=get_inputs, batch_size=batch_size)
    step = ir.TrainingStep(model, optimizer, loss_fn, get_inputs=get_inputs, batch_size=batch_size)
    step.loss_fn = loss_fn
    engine = Engine(step)

    ir.EarlyStopping().attach(trainer, metric_of_engine)
    ir.EarlyStopping().attach(trainer, metric_of_trainer)
    ir.LearningRateScheduler(optimizer).attach(trainer, metric_of_trainer)
    ir.BestCheckpoint(Path("best.pt"), metric_of_trainer).attach(trainer)
    ir.ProgressBar(["train_loss"]).attach(trainer)
    ir.History(["train_loss"], optional=["rollbacks"]).attach(trainer)
    ir.InputAugmentation(augment).attach(engine)
    ir.SaveInside(2, save).attach(trainer)
    ir.StopOnSignal(save).attach(trainer)
    ir.GradientClipper().attach(engine, list(model.parameters()))
    ir.Validation(evaluator, batches).attach(trainer)
    ir.keep_state(trainer, "counter", Counter())
    trainer.run(batches, max_epochs=2)
    ir.restore_run(trainer, Path("run.pt"), settings=metadata)

    def make_run() -> tuple[ir.TrainingEngine, list[Batch]]:
        return trainer, batches

    ir.check_resume(make_run, cuts=[(1, 1)])


def recipes() -> None:
    options: ir.RunOptions = {"seed": 0, "handlers": own, "metadata": metadata}
    ir.train_model_advanced(model, batches, batches, criterion, handlers=bars, metadata=metadata)
    ir.train_model_advanced(model, batches, None, nn.MSELoss(), handlers=own, use_augmentation=augment)
    ir.train_model_advanced(model, batches, handlers=[OtherHandler(), *own, *bars], checkpoint_dir=Path("saved"))
    ir.train_model_advanced(model, batches, criterion=nn.functional.mse_loss, **options)

    experiment = ir.ExperimentManager(Path("runs"), settings=metadata)
    manager = ir.CheckpointManager(Path(experiment.checkpoints_dir))
    loader = DataLoader(TensorDataset(x, x))
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    ir.Trainer(
        model, loader, loader, nn.CrossEntropyLoss(), optimizer, torch.device("cpu"), experiment, manager, schedule
    )
    ir.Trainer(model, batches, batches, criterion, optimizer, "cpu", experiment, dataset=Images(), handlers=bars)

    arrays: list[Tensor] = [x] * 8
    parameters = ir.getDefaultModelParams(3, 2, arrays)
    ir.trainModel(parameters, arrays, tuple(arrays), handlers=own)
    ir.trainModel({**parameters}, arrays, arrays)

    vae = ir.VariationalAutoencoder(2, 1, 4)
    history: dict[str, list[float]] = ir.train_variational_autoencoder(
        vae, [x], None, device=torch.device("cpu"), checkpoint_dir=Path("saved"), handlers=bars
    )
    ir.save_checkpoint(vae, optimizer, 1, 0.1, 0.2, Path("vae.pt"), history=history, metadata=metadata)
    ir.plot_history(history)
    names: list[str] = ["exp1"]
    managers: dict[str, ir.ExperimentManager] = {"one": experiment}
    ir.compare_experiments(names)
    ir.compare_experiments(managers)
    ir.compare_experiments({"one": history})
