"""Bound the total norm of the gradients, and know how often that was necessary."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from ignite_recipes.arguments import shown
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.gradients import are_alike, gradients_of, scale_in_place, total_norm
from ignite_recipes.engine.update import Update
from ignite_recipes.handlers._host import of_current_update, training_host_of
from ignite_recipes.metrics import StepBuffer
from ignite_recipes.programs.part import ProgramPart, StepValues

__all__ = ["GradientClipCallback", "GradientClipper", "clip_grad_norm"]

logger = logging.getLogger(__name__)

_EPSILON = 1e-6  # what torch adds to the norm that it divides by
_OF_HOST: dict[torch.dtype, type[np.floating[Any]]] = {torch.float32: np.float32, torch.float64: np.float64}


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float = 5.0,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale the gradients down, in place, so that their total norm is at most ``max_norm``.

    As :func:`torch.nn.utils.clip_grad_norm_`, but gradients with a non-finite norm stay as they are: scaling
    by NaN would spread it from one element to every parameter. The host never waits for the norm.

    Args:
        parameters: a tensor or an iterable of tensors; those without a gradient are passed over.
        max_norm: the bound, positive.
        norm_type: the order of the norm: 1, 2, ``float("inf")`` or any other positive number.
        error_if_nonfinite: raise instead if the norm is not finite, which makes the host wait for it.

    Returns:
        The norm before clipping, a 0-d tensor.

    Raises:
        ValueError: if ``max_norm`` or ``norm_type`` is not positive.
        RuntimeError: for a non-finite norm, if asked for.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_grad_norm([weight], max_norm=1.0)
    tensor(5.)
    >>> weight.grad
    tensor([0.6000, 0.8000])

    Reference: R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks, 2013.
    """
    _check_norms(max_norm, norm_type)
    return _clip(parameters, max_norm, norm_type, error_if_nonfinite)


def _clip(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float, error_if_nonfinite: bool) -> Tensor:
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    gradients = gradients_of(parameters)
    norm = total_norm(gradients, norm_type)
    if error_if_nonfinite and not norm.isfinite():
        raise RuntimeError(
            f"the total norm of the gradients must be finite; it is non-finite, {norm.item():g}: look for NaN in the "
            "data, lower the learning rate, or pass error_if_nonfinite=False to leave such gradients as they are"
        )
    if norm.device.type == "cpu":  # only of the host's own memory it can be known without a wait
        measured = norm.item()
        if not max_norm < measured + _EPSILON < math.inf:
            return norm  # nothing to scale
        if norm.dtype in _OF_HOST and gradients[0].dtype == norm.dtype and are_alike(gradients):
            torch._foreach_mul_(gradients, _factor_on_host(measured, max_norm, _OF_HOST[norm.dtype]))
            return norm
    scale_in_place(gradients, _factor(norm, max_norm))
    return norm


def _factor(norm: Tensor, max_norm: float | Tensor) -> Tensor:
    """What gradients of this norm are multiplied by; 1 if it is not finite."""
    # Half the bound makes torch's factor 1: such gradients pass unchanged, NaN included.
    half = max_norm / 2 - _EPSILON
    if isinstance(half, Tensor):
        finite_norm = norm.where(norm.isfinite(), half)
    else:
        finite_norm = norm.nan_to_num(nan=half, posinf=half)  # one kernel
    return torch.clamp(max_norm / (finite_norm + _EPSILON), max=1.0)


def _factor_on_host(norm: float, max_norm: float, number: type[np.floating[Any]]) -> float:
    """The same to the last bit of a finite norm, without four kernels, which took 15 microseconds of a tiny step."""
    reciprocal = number(1.0) / (number(norm) + number(_EPSILON))  # so torch divides by a tensor
    return min(float(reciprocal * number(max_norm)), 1.0)


def _check_norms(max_norm: float, norm_type: float) -> None:
    norm_type = float(norm_type)  # torch takes "inf" too
    if not isinstance(max_norm, (float, Real)) or not max_norm > 0:
        raise ValueError(f"max_norm must be positive, in the units of the gradient norm; got {shown(max_norm)}")
    if not norm_type > 0:
        raise ValueError(f"norm_type must be positive, e.g. 1, 2 or inf; got {norm_type}")


class GradientClipper(ProgramPart):
    """Clip the gradients of a model to a total norm of ``max_norm``, keeping statistics.

    Runs:   trainer, GRADIENTS_READY: after unscaling, before the guard and the optimizer step.
    Writes: ``state.grad_norm``, the norm before clipping, which the guard then need not compute again.
    Keeps:  the statistics.

    Args:
        max_norm: the bound, positive.
        norm_type: the order of the norm: 1, 2, infinity or any other positive number.
        error_if_nonfinite: raise RuntimeError for a non-finite norm (one host sync a step).

    >>> model = nn.Linear(1, 1, bias=False)
    >>> clipper = GradientClipper(max_norm=1.0)
    >>> for scale in (0.5, 4.0):
    ...     model.weight.grad = torch.full((1, 1), scale)
    ...     _ = clipper.clip(model)
    >>> clipper.get_stats()["clip_ratio"], clipper.get_stats()["mean_norm"]
    (0.5, 2.25)
    """

    def __init__(self, max_norm: float = 1.0, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> None:
        _check_norms(max_norm, norm_type)
        self.max_norm, self.norm_type, self.error_if_nonfinite = max_norm, float(norm_type), error_if_nonfinite
        self._buffer = StepBuffer(self._fold)
        self._last: Tensor | None = None
        self._parameters: Callable[[Engine], Iterable[Tensor]] | None = None
        self.num_steps = 0
        # Clipped, finite norms, their sum, the largest: on the device until they are asked for.
        self._totals: Tensor | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_norm={self.max_norm:g}, norm_type={self.norm_type:g})"

    def clip(self, model: nn.Module | Iterable[Tensor]) -> Tensor:
        """Clip the gradients of a model or of some parameters, and return the norm before it, a 0-d tensor."""
        parameters = model.parameters() if isinstance(model, nn.Module) else model
        norm = _clip(parameters, self.max_norm, self.norm_type, self.error_if_nonfinite)
        self._note(norm)
        return norm

    def _note(self, norm: Tensor) -> None:
        self.num_steps += 1
        self._last = norm.detach()
        self._buffer.add([self._last])

    def get_stats(self) -> dict[str, float]:
        """The statistics so far; reading them waits for the device.

        ``num_steps``, ``num_clipped``, ``clip_ratio`` (clipped steps per step; under 10% is healthy), and
        ``mean_norm``, ``max_norm``, ``last_norm``, before clipping. Mean and maximum are over the steps
        with a finite norm.
        """
        self._buffer.flush()
        clipped, finite, total, largest = [0.0] * 4 if self._totals is None else self._totals.tolist()
        return {
            "num_steps": self.num_steps,
            "num_clipped": int(clipped),
            "clip_ratio": clipped / self.num_steps if self.num_steps else 0.0,
            "mean_norm": total / finite if finite else 0.0,
            "max_norm": largest,
            "last_norm": 0.0 if self._last is None else self._last.item(),
        }

    def attach(self, trainer: Engine | Update, model: nn.Module | Iterable[Tensor] | None = None) -> "GradientClipper":
        """Clip in every step of ``trainer``: all parameters of its optimizer, or those of ``model``.

        Each of several updates is clipped by itself; if one of them is given, ``trainer.updates[name]``, only that one.

        Raises:
            RuntimeError: if the engine does not fire GRADIENTS_READY, or is not ours and no model is given.
        """
        host = training_host_of(trainer, self)
        host.require(TrainEvents.GRADIENTS_READY, self, "call clip(model) between backward() and step().")
        self._parameters = host.parameters(model, "whose gradients to clip")
        host.keep("gradient_clipping", self)
        trainer.add_event_handler(TrainEvents.GRADIENTS_READY, self)
        return self

    def __call__(self, trainer: Engine) -> None:
        """Clip the gradients of the current step."""
        assert self._parameters is not None
        trainer.state.grad_norm = self.clip(self._parameters(trainer))  # type: ignore[attr-defined]

    def in_program(self, values: StepValues, carried: Sequence[Tensor], numbers: Sequence[Tensor]) -> None:
        """The same, of a program's gradients."""
        values.norm = total_norm(values.gradients, self.norm_type)
        bound = numbers[0].to(values.norm.dtype)
        values.gradients = list(torch._foreach_mul(values.gradients, _factor(values.norm, bound)))

    def numbers_in_program(self) -> list[float]:
        """The bound."""
        return [self.max_norm]

    def numbers_ahead(self, count: int) -> list[list[float]]:
        """The same for all steps."""
        return [self.numbers_in_program()] * count

    def constants_in_program(self) -> Any:
        """The kind of norm."""
        return self.norm_type

    def after_program(self, engine: Engine, values: StepValues) -> None:
        """Count the step."""
        assert values.norm is not None
        self._note(values.norm)

    def after_block(self, engine: Engine, values: StepValues, count: int) -> None:
        """Count the steps."""
        assert values.norm is not None
        self.num_steps += count
        self._last = values.norm[-1].detach()
        self._buffer.add_block(values.norm.detach()[:, None])

    def obstacle_in_program(self) -> str | None:
        """It must clip what the optimizer steps, and not raise."""
        if self.error_if_nonfinite:
            return "raises for a norm that is not finite, which the host must read inside the step"
        return None if self._parameters is of_current_update else "clips other parameters than the optimizer's"

    def _fold(self, values: Tensor, weights: Tensor) -> None:
        norms = values[:, 0]
        finite = norms.isfinite()
        kept = norms.where(finite, 0)
        block = torch.stack(
            [
                ((norms > self.max_norm) & finite).sum().to(norms.dtype),
                finite.sum().to(norms.dtype),
                kept.sum(),
                kept.max(),
            ]
        )
        if self._totals is not None:
            before = self._totals.to(block.device)
            block[:3] += before[:3]
            block[3] = torch.maximum(block[3], before[3])
        self._totals = block

    def state_dict(self) -> dict[str, Any]:
        """The statistics."""
        buffer = self._buffer.state_dict()
        return {"num_steps": self.num_steps, "totals": self._totals, "last": self._last, "buffer": buffer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue to count from there."""
        self.num_steps, self._totals, self._last = state["num_steps"], state["totals"], state["last"]
        self._buffer.load_state_dict(state["buffer"])


class GradientClipCallback:
    """:class:`GradientClipper` for a loop that names its model once.

    Runs:   trainer, GRADIENTS_READY; EPOCH_COMPLETED to log the statistics.
    Writes: ``state.grad_norm``.
    Keeps:  the statistics.

    Args:
        max_norm: the bound, positive.
        norm_type: the order of the norm: 1, 2, infinity or any other positive number.
        error_if_nonfinite: raise RuntimeError for NaN or infinite gradients.
        verbose: log the statistics, at level INFO: once an epoch when attached; by hand at the first, the 10th and the
            100th call and at every 1000th.

    >>> model = nn.Linear(2, 1)
    >>> model(torch.ones(1, 2)).sum().backward()
    >>> grad_clip = GradientClipCallback(max_norm=1.0)
    >>> grad_clip.set_model(model)
    >>> grad_clip.on_after_backward()
    tensor(1.7321)
    """

    LOG_EVERY = 1000  # calls, when used by hand; an epoch's length is not known then
    LOG_FIRST = (1, 10, 100)

    def __init__(
        self,
        max_norm: float = 5.0,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
        verbose: bool = True,
    ) -> None:
        self.clipper = GradientClipper(max_norm, norm_type, error_if_nonfinite)
        self.verbose = verbose
        self._model: nn.Module | None = None

    def __repr__(self) -> str:
        return f"GradientClipCallback(max_norm={self.clipper.max_norm:g}, norm_type={self.clipper.norm_type:g})"

    @property
    def max_norm(self) -> float:
        """The bound."""
        return self.clipper.max_norm

    @property
    def norm_type(self) -> float:
        """The order of the norm."""
        return self.clipper.norm_type

    @property
    def error_if_nonfinite(self) -> bool:
        """Whether a non-finite norm is an error."""
        return self.clipper.error_if_nonfinite

    def set_model(self, model: nn.Module) -> None:
        """Name the model whose gradients are clipped."""
        self._model = model

    def on_after_backward(self) -> Tensor:
        """Clip, between ``loss.backward()`` and ``optimizer.step()``, and return the norm before it, a 0-d tensor.

        Raises:
            RuntimeError: if :meth:`set_model` was not called, or for a non-finite norm, if asked for.
        """
        if self._model is None:
            raise RuntimeError("GradientClipCallback must know its model: call set_model(model) first")
        norm = self.clipper.clip(self._model)
        steps = self.clipper.num_steps
        if self.verbose and (steps in self.LOG_FIRST or steps % self.LOG_EVERY == 0):
            self._log()
        return norm

    def get_stats(self) -> dict[str, float]:
        """As :meth:`GradientClipper.get_stats`."""
        return self.clipper.get_stats()

    def attach(self, trainer: Engine | Update, model: nn.Module | None = None) -> "GradientClipCallback":
        """Clip in every step of ``trainer``; arguments and errors as for :meth:`GradientClipper.attach`."""
        training_host_of(trainer, self)
        self.clipper.attach(trainer, model if model is not None else self._model)
        if self.verbose:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, self._log)
        return self

    def _log(self) -> None:
        stats = self.get_stats()
        logger.info(
            "clipped %d of %d gradients (%.1f%%) to norm %g; norm before: mean %.3g, largest %.3g",
            stats["num_clipped"],
            stats["num_steps"],
            100 * stats["clip_ratio"],
            self.clipper.max_norm,
            stats["mean_norm"],
            stats["max_norm"],
        )

    def state_dict(self) -> dict[str, Any]:
        """The statistics."""
        return self.clipper.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue to count from there."""
        self.clipper.load_state_dict(state)
