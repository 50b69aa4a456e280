"""Inputs and targets as people have them, converted to what they mean for the model and the criterion."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["AsMeant"]

logger = logging.getLogger(__name__)

_OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss, functional.cross_entropy, functional.nll_loss)
_OF_NUMBERS = (
    *(nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss, nn.BCELoss),
    *(functional.mse_loss, functional.l1_loss, functional.smooth_l1_loss, functional.huber_loss),
    *(functional.binary_cross_entropy_with_logits, functional.binary_cross_entropy),
)
_TAKE_FLOATS = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.LayerNorm)


class AsMeant:
    """Converts a batch where there is only one thing that it can mean, and says so once in the log.

    Nothing is read from the device: what is converted follows from types, shapes and the criterion. A criterion that is
    not torch's own gets the targets as they are, but in float32.

    Args:
        criterion: of outputs and targets; None is the mean squared error of float targets, the cross-entropy of others.

    >>> as_meant = AsMeant(None)
    >>> as_meant.outputs_and_targets(torch.zeros(3, 1), torch.zeros(3, dtype=torch.float64))[1].shape
    torch.Size([3, 1])
    """

    def __init__(self, criterion: Callable[[Any, Any], Tensor] | None) -> None:
        self.criterion = criterion
        self._said: set[str] = set()

    def inputs(self, model: nn.Module, inputs: Any) -> Any:
        """float64 vectors, as NumPy and pandas have them, halves and whole numbers, as a float32 model takes them."""
        if not isinstance(inputs, Tensor) or inputs.is_complex():
            return inputs
        is_half = inputs.dtype in (torch.float16, torch.bfloat16)
        if inputs.dtype == torch.float32 or (is_half and torch.is_autocast_enabled(inputs.device.type)):
            return inputs
        weight = next(model.parameters(), None)
        if weight is None or weight.dtype != torch.float32:
            return inputs
        if not inputs.is_floating_point() and not isinstance(_first_layer(model), _TAKE_FLOATS):
            return inputs  # an embedding's, say
        kind = str(inputs.dtype).removeprefix("torch.")
        self._say(f"the inputs are {kind} and the model is float32: they are converted in each step")
        return inputs.float()

    def outputs_and_targets(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """Outputs and targets that the criterion can compare."""
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            return outputs, targets
        if targets.dtype == torch.float64 != outputs.dtype and self.criterion is not None:
            self._say("the targets are float64: they are converted to float32 in each step")
            targets = targets.float()
        takes = self._takes(targets)
        if takes == "numbers":
            return outputs, self._numbers(outputs, targets)
        if takes == "classes" and not targets.is_floating_point():
            return self._classes(outputs, targets)
        return outputs, targets

    def _takes(self, targets: Tensor) -> str | None:
        """The kind of the targets that the criterion compares with outputs: numbers, classes, or unknown."""
        if self.criterion is None:
            return "numbers" if targets.is_floating_point() else "classes"
        kind: Any = type(self.criterion) if isinstance(self.criterion, nn.Module) else self.criterion
        return "numbers" if kind in _OF_NUMBERS else "classes" if kind in _OF_CLASSES else None

    def _numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Targets (N, 1) where the outputs are (N,), and the reverse; whole numbers and booleans as floats."""
        if not targets.is_floating_point():
            self._say(f"the targets are {str(targets.dtype).removeprefix('torch.')}: they are compared as numbers")
            targets = targets.float()
        shape, wanted = targets.shape, outputs.shape
        if len(shape) + len(wanted) == 3 and shape[0] == wanted[0] and (*shape[1:], *wanted[1:]) == (1,):
            self._say(
                f"the targets are {_letters(shape)} and the outputs {_letters(wanted)}: they are compared row by row"
            )
            return targets.reshape(wanted)
        return targets

    def _classes(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Labels (N, 1) as (N,); booleans as classes 0 and 1, of which a single output is the second's logit."""
        if targets.dtype == torch.bool:
            if outputs.numel() == targets.numel() == len(outputs) and self.criterion is None:
                self._say("the targets are booleans and the model has one output: it is the logit of True")
                logit = outputs.reshape(-1, 1)
                return torch.cat([torch.zeros_like(logit), logit], 1), targets.reshape(-1).long()
            self._say("the targets are booleans: False is class 0, True is class 1")
        if outputs.dim() == 2 and outputs.shape[1] > 1 and targets.shape == (len(outputs), 1):
            self._say("the labels are a column (N, 1): they are taken as (N,)")
            targets = targets[:, 0]
        return outputs, targets.long()

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            logger.warning(text)


def _first_layer(model: nn.Module) -> nn.Module | None:
    """The first module that has parameters of its own."""
    own = (module for module in model.modules() if next(module.parameters(recurse=False), None) is not None)
    return next(own, None)


def _letters(shape: torch.Size) -> str:
    return "(N,)" if len(shape) == 1 else "(N, 1)"
