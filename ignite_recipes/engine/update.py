"""One training update: what is done with the gradients of a window of batches."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor
from torch.optim import Optimizer

from ignite_recipes.engine.events import TrainEvents, fire
from ignite_recipes.engine.gradients import gradients_of, parameters_of
from ignite_recipes.engine.progress import Progress
from ignite_recipes.engine.window import Window

__all__ = ["Update"]


class Update:
    """Unscale, average over the window, let handlers clip and check, and step the optimizer unless one has vetoed.

    Args:
        optimizer: of the parameters that are updated.
        accumulation_steps: batches per update.
        device: of the parameters.

    Attributes:
        window: the batches since the last update.
        precision: set by ``MixedPrecisionTrainer.attach``; None is float32.
        veto: what a handler of OPTIMIZER_STEP_STARTED sets to drop the step: True, or a 0-d tensor on the device
            that is nonzero where the step must be dropped.
        veto_lag: updates until the host asks an accelerator whether one was finite; 0 is at once.
    """

    def __init__(self, optimizer: Optimizer, accumulation_steps: int, device: torch.device) -> None:
        self.optimizer = optimizer
        self.window = Window(accumulation_steps)
        self.precision: Any = None
        self.veto: bool | Tensor = False
        self.veto_lag = 0 if device.type == "cpu" else 4

    def autocast(self) -> AbstractContextManager[Any]:
        """A context for the forward pass and the loss."""
        return nullcontext() if self.precision is None else self.precision.autocast()

    def backward(self, loss: Tensor, weight: float) -> None:
        """Add the gradients of ``weight`` times the loss to those of the window."""
        if weight != 1:
            loss = loss * weight
        (loss if self.precision is None else self.precision.scale_loss(loss)).backward()

    def take(self, engine: Engine, progress: Progress) -> None:
        """Update the parameters with the gradients of the window, and begin the next one."""
        state: Any = engine.state
        if self.precision is not None:
            self.precision.unscale_gradients(self.optimizer)
        if self.window.is_weighted:
            torch._foreach_div_(self.gradients(), self.window.weight)

        state.grad_norm = None
        self.veto = False
        fire(engine, TrainEvents.GRADIENTS_READY)
        fire(engine, TrainEvents.OPTIMIZER_STEP_STARTED)
        is_taken = self._step_optimizer()

        self.window.clear()
        progress.note_update()
        if not is_taken:
            progress.skipped_steps += 1
            fire(engine, TrainEvents.OPTIMIZER_STEP_SKIPPED)
            return
        progress.optimizer_steps += 1
        if progress.steps_owed:
            progress.steps_owed -= 1
        else:
            fire(engine, TrainEvents.OPTIMIZER_STEP_COMPLETED)

    def _step_optimizer(self) -> bool:
        """Take the step unless it is vetoed or has overflown; whether it was taken, as far as is known."""
        veto, optimizer = self.veto, self.optimizer
        if isinstance(veto, Tensor):
            if self.can_defer_veto:
                return self._step_unless(veto)
            veto = bool(veto)  # waits for the device: the price of an optimizer that is not fused
        if self.precision is not None:
            return bool(self.precision.step_optimizer(optimizer, drop=veto))
        if not veto:
            optimizer.step()
        return not veto

    def _step_unless(self, flag: Tensor) -> bool:
        """Let a fused optimizer read ``flag`` on the device, as ``GradScaler`` does; nobody waits."""
        optimizer: Any = self.optimizer
        optimizer.grad_scale, optimizer.found_inf = None, flag.to(torch.float32)
        try:
            optimizer.step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf
        return True

    @property
    def can_defer_veto(self) -> bool:
        """Whether a step can be dropped on the device, without the host having to know at once."""
        if self.precision is not None and self.precision.scaler is not None:
            return False  # the scaler itself decides
        fused = all(group.get("fused") for group in self.optimizer.param_groups)
        return self.veto_lag > 0 and fused and getattr(self.optimizer, "_step_supports_amp_scaling", False)

    def report_late_skip(self, engine: Engine, progress: Progress) -> None:
        """Correct the counts: a step that was counted as taken turns out to have been dropped.

        OPTIMIZER_STEP_COMPLETED was fired for it, so the next one is withheld: schedules advance exactly as
        often as the optimizer did.
        """
        progress.optimizer_steps -= 1
        progress.skipped_steps += 1
        progress.steps_owed += 1
        fire(engine, TrainEvents.OPTIMIZER_STEP_SKIPPED)

    def abandon(self) -> None:
        """Forget an update that an error has cut short, and its window."""
        self.window.clear()
        if self.precision is not None:
            self.precision.abandon_step()

    def zero_gradients(self) -> None:
        """Free the gradients of the optimizer's parameters."""
        if type(self.optimizer).zero_grad is not Optimizer.zero_grad:  # an optimizer that has its own
            self.optimizer.zero_grad(set_to_none=True)
            return
        for group in self.optimizer.param_groups:  # torch's own does this and tells its profiler: 20 times the cost
            for parameter in group["params"]:
                parameter.grad = None

    def gradients(self) -> list[Tensor]:
        """The gradients of the optimizer's parameters that have one, as ``gradients_of`` gives them."""
        return gradients_of(parameters_of(self.optimizer))
