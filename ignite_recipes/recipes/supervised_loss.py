"""The loss of inputs and targets, with their checks, and the accuracy where targets are classes."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ignite_recipes.devices import without_autocast
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

__all__ = ["SupervisedLoss"]

logger = logging.getLogger(__name__)

IGNORED_CLASS = -100  # torch's label for "does not count"


class SupervisedLoss:
    """The criterion, checked, and the accuracy where targets are classes."""

    def __init__(self, criterion: Callable[[Any, Any], Tensor] | None) -> None:
        if criterion is not None and (isinstance(criterion, type) or not callable(criterion)):
            raise TypeError(
                f"criterion must be called with outputs and labels; got {criterion!r}: make it, e.g. nn.MSELoss()"
            )
        self.criterion = criterion
        self._num_classes: int | None = None
        self._was_tried = False
        self._said: set[str] = set()

    def __call__(self, model: nn.Module, inputs: Any, batch: Any, *, give_outputs: bool = False) -> dict[str, Any]:
        """``loss``, and for classes ``accuracy`` in percent; ``outputs`` and ``targets`` if metrics need them."""
        outputs = model(self._as_the_weights(model, inputs))
        targets = self._as_the_outputs(outputs, batch[1])
        is_classes = isinstance(targets, Tensor) and not targets.is_floating_point()
        if is_classes and isinstance(outputs, Tensor) and outputs.dim() > 1 and self._num_classes is None:
            self._num_classes = outputs.shape[1]
            self._check_labels(targets)  # later batches are checked before they go to the device
        with without_autocast(targets.device):
            loss = self._loss(outputs.float() if isinstance(outputs, Tensor) else outputs, targets, is_classes)
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"criterion must give a single number, a mean over the samples; got {got}")
        found = {"outputs": outputs, "targets": targets} if give_outputs else {}
        if self._num_classes is None or targets.dim() != outputs.dim() - 1:
            return {"loss": loss, **found}
        return {"loss": loss, "accuracy": accuracy(outputs, targets, self.ignore_index), **found}

    def _as_the_weights(self, model: nn.Module, inputs: Any) -> Any:
        """float64 vectors, as NumPy and pandas have them, in the precision of a float32 model."""
        if not isinstance(inputs, Tensor) or inputs.dtype != torch.float64:
            return inputs
        weight = next(model.parameters(), None)
        if weight is None or weight.dtype != torch.float32:
            return inputs
        self._say("the inputs are float64 and the model is float32: they are converted in each step")
        return inputs.float()

    def _as_the_outputs(self, outputs: Any, targets: Any) -> Any:
        """Targets (N, 1) where the outputs are (N,), and the reverse; labels (N, 1) of outputs (N, C)."""
        if self.criterion is not None or not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            return targets
        shape, wanted = targets.shape, outputs.shape
        if not targets.is_floating_point():
            if len(wanted) == 2 and wanted[1] > 1 and shape == (wanted[0], 1):
                self._say("the labels are a column (N, 1): they are taken as (N,)")
                return targets[:, 0]
        elif len(shape) + len(wanted) == 3 and shape[0] == wanted[0] and (*shape[1:], *wanted[1:]) == (1,):
            self._say(
                f"the targets are {_letters(shape)} and the outputs {_letters(wanted)}: they are compared row by row"
            )
            return targets.reshape(wanted)
        return targets

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            logger.warning(text)

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
                    f"{tuple(outputs.shape)} and {tuple(targets.shape)}: targets that are no classes must be floats"
                )
            return cross_entropy(outputs, targets.long())
        if outputs.shape != targets.shape:
            raise ValueError(
                f"outputs and float targets must have one shape, or their differences mean nothing; got "
                f"{tuple(outputs.shape)} and {tuple(targets.shape)}: reshape one, or pass a criterion"
            )
        return mse_loss(outputs, targets.float())

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

    def check_batches_of(self, engine: Engine) -> None:
        """Refuse a batch that is no pair, or has labels that the model has no output for."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._check_batch)

    def _check_batch(self, engine: Engine) -> None:
        trainer: Any = engine
        batch = trainer.state.batch
        if not isinstance(batch, (list, tuple)) or len(batch) < 2 or not isinstance(batch[1], Tensor):
            raise ValueError(f"a batch must be (inputs, targets), targets a tensor; got {type(batch).__name__}")
        if self._num_classes is not None and not batch[1].is_floating_point() and batch[1].device.type == "cpu":
            self._check_labels(batch[1])
        if trainer.step.compile and not self._was_tried:
            self._try(trainer.step, trainer.step.prepare_batch(batch, trainer.device, True))

    @torch.no_grad()
    def _try(self, step: Any, batch: Any) -> None:
        """Compute a first loss as it stands: mistakes are told as ever, and the labels, once checked, not compiled."""
        model = unwrap(step.model)
        with preserve_generators(step.device), in_evaluation_mode(model, *modules_of(self)):
            self(model, step.get_inputs(batch), batch)
        self._was_tried = True

    def _check_labels(self, labels: Tensor) -> None:
        known = labels[labels != self.ignore_index]
        if len(known) and not (known.min() >= 0 and known.max() < (self._num_classes or 0)):
            raise ValueError(
                f"class labels must be from 0 to {(self._num_classes or 0) - 1}, the model's outputs less one; got "
                f"{known.min().item()} to {known.max().item()}: renumber the classes or widen the last layer"
            )

    def __repr__(self) -> str:
        return "check of batches and labels"


def _letters(shape: torch.Size) -> str:
    return "(N,)" if len(shape) == 1 else "(N, 1)"
