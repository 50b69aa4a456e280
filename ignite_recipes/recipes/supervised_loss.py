"""The loss of inputs and targets, with their checks, and the accuracy where targets are classes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ignite_recipes.arguments import kind_of, shown
from ignite_recipes.devices import without_autocast
from ignite_recipes.engine.blocks import looks_at_batch
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.losses import modules_of
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.parts import keep_state
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.exchange.ranks import world_size
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.metrics import accuracy
from ignite_recipes.models import ArrayPredictor
from ignite_recipes.recipes.as_meant import AsMeant
from ignite_recipes.turns import current_run

__all__ = ["SupervisedLoss"]

IGNORED_CLASS = -100  # torch's label for "does not count"


class SupervisedLoss:
    """The criterion, checked, and the accuracy where targets are classes."""

    def __init__(self, criterion: Callable[[Any, Any], Tensor] | None) -> None:
        if criterion is not None and (isinstance(criterion, type) or not callable(criterion)):
            raise TypeError(
                f"criterion must be called with outputs and labels; got {shown(criterion)}: make it, e.g. nn.MSELoss()"
            )
        self.criterion = criterion
        self._num_classes: int | None = None
        self._of_samples = False  # whether there is one label for a sample
        self._input_shape: tuple[int, ...] | None = ()  # of a sample; () before there is one, None if they differ
        self._was_tried = False
        self._as_meant = AsMeant(criterion)

    def __call__(self, model: nn.Module, inputs: Any, batch: Any, *, give_outputs: bool = False) -> dict[str, Any]:
        """``loss``, and for classes ``accuracy`` in percent; ``outputs`` and ``targets`` if metrics need them."""
        outputs = model(self._as_meant.inputs(model, inputs))
        outputs, targets = self._as_meant.outputs_and_targets(outputs, batch[1])
        is_classes = isinstance(targets, Tensor) and not targets.is_floating_point()
        if is_classes and isinstance(outputs, Tensor) and outputs.dim() > 1 and self._num_classes is None:
            self._num_classes, self._of_samples = outputs.shape[1], outputs.dim() == 2
            self._check_labels(targets)  # later batches are checked before they go to the device
        with without_autocast(targets.device):
            loss = self._loss(_in_full_precision(outputs), targets, is_classes)
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"criterion must give a single number, a mean over the samples; got {got}")
        found = {"outputs": outputs, "targets": targets} if give_outputs else {}
        if self._num_classes is None or targets.dim() != outputs.dim() - 1:
            return {"loss": loss, **found}
        return {"loss": loss, "accuracy": accuracy(outputs, targets, self.ignore_index), **found}

    def predictor(self, model: nn.Module, class_names: Sequence[Any] | None = None) -> ArrayPredictor:
        """What predicts with a trained model: classes by their names, or their numbers; otherwise numbers."""
        names = class_names if class_names is not None else range(self._num_classes or 0)
        is_classes = self._of_samples and len(names) == self._num_classes
        return ArrayPredictor(
            unwrap(model), class_names=[*names] if is_classes else None, input_shape=self._input_shape or None
        )

    @property
    def threshold(self) -> float:
        """Above which one output, or one of several labels, is a yes: outputs are logits, unless the loss says else."""
        return 0.5 if isinstance(self.criterion, nn.BCELoss) else 0.0

    @property
    def ignore_index(self) -> int:
        """The label that does not count."""
        return int(getattr(self.criterion, "ignore_index", IGNORED_CLASS))

    def _loss(self, outputs: Any, targets: Tensor, is_classes: bool) -> Tensor:
        if self.criterion is not None:
            return self.criterion(outputs, targets)
        if not isinstance(outputs, Tensor):
            raise TypeError(f"the model must give a tensor, or pass a criterion; got {type(outputs).__name__}")
        if is_classes:
            if outputs.dim() < 2 or targets.shape != outputs.shape[:1] + outputs.shape[2:]:
                raise ValueError(
                    "outputs must be (N, C, ...) scores of C classes and labels (N, ...); got "
                    f"{tuple(outputs.shape)} and {tuple(targets.shape)}: targets that are not classes must be floats"
                )
            return cross_entropy(outputs, targets.long())
        if outputs.shape != targets.shape:
            raise ValueError(
                f"outputs and float targets must have one shape, or their differences mean nothing; got "
                f"{tuple(outputs.shape)} and {tuple(targets.shape)}: reshape one, or pass a criterion"
            )
        return mse_loss(outputs, targets.to(outputs.dtype))

    def belong_to(self, trainer: TrainingEngine, *, add: bool) -> None:
        """Let the criterion's own parameters be trained, and its state be a part of the run.

        Args:
            trainer: whose optimizer is to train them.
            add: enter them into the optimizer; otherwise they must be there.

        Raises:
            ValueError: if they are not trained by the optimizer, or there are several ranks, which do not average them.
        """
        criterion = self.criterion
        if not isinstance(criterion, nn.Module) or not criterion.state_dict():
            return
        known = {id(parameter) for parameter in parameters_of(trainer.optimizer)}
        own = [p for p in criterion.parameters() if p.requires_grad and (add or id(p) not in known)]
        if own and world_size() > 1:
            raise ValueError("a criterion with parameters is trained by one process only; got several ranks")
        if own and not add:
            raise ValueError(
                f"the optimizer must train the criterion's parameters too; got {len(own)} it does not: make it for "
                "[*model.parameters(), *criterion.parameters()], or freeze them with criterion.requires_grad_(False)"
            )
        if own:
            trainer.optimizer.add_param_group({"params": own})
        keep_state(trainer, "criterion", criterion)

    def require_classes(self, loader: Iterable[Any]) -> None:
        """Look at a first batch before anything is trained: raise ValueError unless its targets are classes."""
        with preserve_generators():
            batch = next(iter(KeyedLoader(loader, 0, "validation")), None)
        targets = batch[1] if isinstance(batch, (list, tuple)) and len(batch) > 1 else None
        if isinstance(targets, Tensor) and targets.is_floating_point():
            raise ValueError(
                "monitor='val_accuracy' is measured where targets are classes, integers; got floats: if they are 0 and "
                "1, measure it by metrics=['accuracy']"
            )

    def see_batch(self, trainer: TrainingEngine, loader: Iterable[Any]) -> None:
        """Look at a first batch if none was trained, as where a run had ended already: what predicts must know it."""
        if self._input_shape != () or trainer.step is None:
            return
        with preserve_generators(trainer.device):
            batch = next(iter(KeyedLoader(loader, 0, "validation")), None)
        if isinstance(batch, (list, tuple)) and len(batch) > 1 and isinstance(batch[1], Tensor):
            self._note_shape(batch[0])
            self._try(trainer.step, trainer.step.prepare_batch(batch, trainer.device, True))  # type: ignore[union-attr]

    def check_batches_of(self, engine: Engine) -> None:
        """Refuse a batch that is not a pair, or has labels that the model has no output for."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._check_batch)

    @looks_at_batch
    def _check_batch(self, engine: Engine) -> None:
        trainer: Any = engine
        batch = trainer.state.batch
        if not isinstance(batch, (list, tuple)) or len(batch) < 2 or not isinstance(batch[1], Tensor):
            raise ValueError(f"a batch must be (inputs, targets), targets a tensor; got {_kind_of_batch(batch)}")
        self._note_shape(batch[0])
        if self._num_classes is not None and not batch[1].is_floating_point() and batch[1].device.type == "cpu":
            self._check_labels(batch[1])
        if (trainer.step.compile or current_run() is not None) and not self._was_tried:
            self._try(trainer.step, trainer.step.prepare_batch(batch, trainer.device, True))

    def _note_shape(self, inputs: Any) -> None:
        shape = tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) else None
        if shape != self._input_shape:
            self._input_shape = shape if self._input_shape == () else None

    @torch.no_grad()
    def _try(self, step: Any, batch: Any) -> None:
        """Compute a first loss as it stands: mistakes are told as usual, and the labels, once checked, not compiled."""
        model = unwrap(step.model)
        with preserve_generators(step.device), in_evaluation_mode(model, *modules_of(self)):
            self(model, step.get_inputs(batch), batch)
        self._was_tried = True

    def _check_labels(self, labels: Tensor) -> None:
        known = labels[labels != self.ignore_index]
        step = "renumber the classes or widen the last layer"
        if self._num_classes == 1:
            step = "targets that are not classes must be floats, or pass a criterion, e.g. nn.MSELoss()"
        if len(known) and not (known.min() >= 0 and known.max() < (self._num_classes or 0)):
            raise ValueError(
                f"class labels must be from 0 to {(self._num_classes or 0) - 1}, the model's outputs less one; got "
                f"{known.min().item()} to {known.max().item()}: {step}"
            )

    def __repr__(self) -> str:
        return "check of batches and labels"


def _kind_of_batch(batch: Any) -> str:
    """What it is, and what to do about it."""
    if not isinstance(batch, (list, tuple)) or len(batch) < 2:
        return f"{kind_of(batch)}: pass a tuple (inputs, targets) of arrays, or batches that are such"
    targets = batch[1]
    if isinstance(targets, (list, tuple)) and targets and isinstance(targets[0], str):
        return (
            f"names like {shown(targets[0])}: give numbers, names.index(label) with names = sorted(set(labels)), or "
            "pass (inputs, labels) as a tuple of arrays, whose labels are numbered so"
        )
    return f"{kind_of(targets)} as targets: torch.as_tensor makes one"


def _in_full_precision(outputs: Any) -> Any:
    """Outputs in float32; those of a float64 model stay as they are."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32)) if isinstance(outputs, Tensor) else outputs
