"""Compute the forward pass in half precision, and keep small gradients from vanishing."""

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor
from torch.optim import Optimizer

from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.update import Update
from ignite_recipes.handlers._host import host_of, training_host_of
from ignite_recipes.handlers._late_flags import LateFlags
from ignite_recipes.programs.loss_scale import LossScale, constants_of
from ignite_recipes.programs.part import OVERFLOW

__all__ = ["MixedPrecisionTrainer"]


class MixedPrecisionTrainer:
    """Autocast and loss scaling, for a step of your own or, attached, for ours.

    float16 needs its loss scaled up so that small gradients do not vanish, and steps whose gradients
    overflow dropped; bfloat16 has float32's range and needs neither. Validation stays in float32.

    Runs:   in the step itself (forward, backward, unscaling, optimizer step), as drawn in ``events``.
    Keeps:  the scale.

    Args:
        enabled: False makes everything here do nothing.
        device: the device of the training. ``"cuda"`` without CUDA, or ``"cpu"``, does nothing, and says so once,
            unless ``dtype`` asks for it.
        dtype: ``torch.float16`` (the default on an accelerator) or ``torch.bfloat16``; given, it is used on
            the CPU too.

    Attributes:
        active: whether it does anything.
        scaler: torch's GradScaler, or None.

    Raises:
        ValueError: for another dtype.

    >>> precision = MixedPrecisionTrainer(device="cpu", dtype=torch.bfloat16)
    >>> with precision.autocast():
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16

    Reference: P. Micikevicius et al., Mixed Precision Training, arXiv:1710.03740.
    """

    def __init__(
        self, enabled: bool = True, device: str | torch.device = "cuda", *, dtype: torch.dtype | None = None
    ) -> None:
        if dtype not in (None, torch.float16, torch.bfloat16):
            raise ValueError(f"dtype must be torch.float16 or torch.bfloat16; got {dtype}")
        self.device = torch.device(device)
        usable = self.device.type != "cpu" and torch.get_device_module(self.device).is_available()
        self.active = enabled and (usable or (dtype is not None and self.device.type == "cpu"))
        self.dtype = dtype or torch.float16
        if enabled and not self.active:
            warnings.warn(
                f"mixed precision does nothing on {self.device.type!r} here: training stays in float32. "
                "On a CPU, dtype=torch.bfloat16 asks for it",
                stacklevel=2,
            )
        self.scaler: torch.amp.GradScaler | None = None
        if self.active and self.dtype == torch.float16:
            self.scaler = torch.amp.GradScaler(self.device.type)
        self._known_scale: float | None = None  # on the host; None until it is asked for
        self._scale_of_losses = self._scale
        self._late = LateFlags()  # whether steps of programs were dropped
        self._unscaled: set[int] = set()  # optimizers whose step is still to come, by id
        self._others_stepped = False  # since the scale was last adapted
        self._is_adapted_late = False  # where several updates of a step share it: once, after the batch

    def __repr__(self) -> str:
        return f"MixedPrecisionTrainer({self.dtype if self.active else 'float32'})"

    @property
    def _scale(self) -> float:
        if self._known_scale is None:
            self._known_scale = self.scaler.get_scale() if self.scaler else 1.0
        return self._known_scale

    @property
    def overflow_is_normal(self) -> bool:
        """Whether non-finite gradients mean no more than a scale that is still too large."""
        return self.scaler is not None and self._scale >= 1

    def autocast(self) -> AbstractContextManager[Any]:
        """A context for the forward pass and the loss."""
        return torch.autocast(self.device.type, self.dtype) if self.active else nullcontext()

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss to call ``backward()`` on."""
        if self.scaler is None:
            return loss
        if self._others_stepped and not self._is_adapted_late:
            # An optimizer whose gradients were unscaled was not stepped: the step is over.
            self._adapt_scale()
            self._unscaled.clear()
            self._others_stepped = False
        self._scale_of_losses = self._scale
        # An infinite loss can have finite gradients, and the scaler looks at gradients only. Multiplied by NaN they are
        # not finite either, so that the scaler drops the step, and nobody has to wait for the loss.
        return self.scaler.scale(loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan))

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        """Bring the gradients to their true size; before clipping or looking at them."""
        if self.scaler is None or not _has_gradients(optimizer):
            return
        if self._scale == self._scale_of_losses:
            self.scaler.unscale_(optimizer)
        else:  # another optimizer's step has changed the scale since the backward passes of both
            state = self.scaler.state_dict()
            self.scaler.load_state_dict({**state, "scale": self._scale_of_losses})
            self.scaler.unscale_(optimizer)
            self.scaler.load_state_dict(state)
        self._unscaled.add(id(optimizer))

    def abandon_step(self) -> None:
        """Forget a step that an error has cut short between unscaling and stepping; the scale stays as it is."""
        if self.scaler and self._is_adapted_late:  # the updates that have stepped are not repeated: they count
            for optimizer in self._unscaled:
                self.scaler._per_optimizer_states.pop(optimizer, None)
            self._unscaled.clear()
            return
        if self.scaler and (self._unscaled or self._others_stepped):
            self._make_ready()
        self._unscaled.clear()
        self._others_stepped = False

    def _make_ready(self) -> None:
        """Let gradients be unscaled again; the scale stays as it is."""
        assert self.scaler is not None
        state = self.scaler.state_dict()
        self.scaler.update()  # the only public way
        self.scaler.load_state_dict(state)

    def step_optimizer(self, optimizer: Optimizer, *, drop: bool = False) -> bool:
        """Step, unless a gradient overflowed, and adapt the scale.

        Several optimizers may share the scale: unscale the gradients of all of them first, then let each step; the
        scale is adapted once, after the last one. Where each is unscaled and stepped in its turn, it is adapted after
        each.

        Args:
            optimizer: whose gradients ``backward()`` has just filled; one without any gradient does what it does then.
            drop: do not step in any case.

        Returns:
            Whether the step was taken: per-step schedules advance only then. With float16 on an accelerator
            this waits for the device.
        """
        has_gradients = _has_gradients(optimizer)
        if self.scaler is None or not (has_gradients or id(optimizer) in self._unscaled):
            if not drop:
                optimizer.step()
            return not drop
        if id(optimizer) not in self._unscaled:
            if drop:
                return False
            self.unscale_gradients(optimizer)
        drop = drop or not has_gradients  # somebody has freed them since they were unscaled
        if not drop:
            self.scaler.step(optimizer)
        self._unscaled.remove(id(optimizer))
        is_shared = self._is_adapted_late or self._others_stepped or bool(self._unscaled)
        # Torch has no public way to ask whether this optimizer's gradients overflowed; of one that has the scale to
        # itself the new scale says so, and costs no wait of its own.
        found = self.scaler._found_inf_per_device(optimizer).values() if is_shared else ()
        overflowed = any(bool(flag) for flag in found)
        self._others_stepped = self._is_adapted_late or bool(self._unscaled)
        if not self._others_stepped:
            has_shrunk = self._adapt_scale()
            overflowed = overflowed if is_shared else has_shrunk
        return not drop and not overflowed

    def end_round(self, *, adapt: bool) -> None:
        """After the last of several updates, which share the scale: adapt it, once.

        Args:
            adapt: False inside an accumulation window, whose gradients all have the same scale.
        """
        if self._others_stepped and adapt:
            self._adapt_scale()
            self._others_stepped = False
        elif self._others_stepped and self.scaler is not None:
            self._make_ready()
            self._others_stepped = False

    def _adapt_scale(self) -> bool:
        """Adapt the scale; whether it has shrunk."""
        assert self.scaler is not None
        before = self._scale
        self.scaler.update()
        self._known_scale = None
        return self._scale < before

    # In a program of the whole step.

    def constants(self) -> tuple[Any, ...]:
        """What of it is a constant of a program.

        :meta private:
        """
        return self.dtype, *(() if self.scaler is None else constants_of(self.scaler))

    def scale_in_program(self) -> LossScale | None:
        """The scale of the loss, as a part of a program; None where it is not scaled.

        :meta private:
        """
        return None if self.scaler is None else LossScale(self.scaler, self.device)

    def after_program(self, engine: Engine, update: Update, drop: Tensor) -> None:
        """Take notice of a step that a program has computed, where the loss is scaled.

        On an accelerator the host learns later, without waiting, that the step was dropped, and corrects the counts.

        Args:
            engine: that runs the step.
            update: that has been computed.
            drop: 0-d, nonzero if the step was dropped; from OVERFLOW on because its gradients overflowed.

        :meta private:
        """
        if self.scaler is None:
            return
        self._known_scale = None
        if update.veto_lag:
            self._late.send((update.name,), drop > 0)
            if len(self._late) > update.veto_lag:
                self._read_oldest(engine)
        elif drop >= OVERFLOW:
            update.veto = True
            if update.statistics is not None:
                update.statistics.put_back()

    def _read_oldest(self, engine: Engine) -> None:
        (name,), is_dropped = self._late.receive()
        if is_dropped:
            next(update for update in host_of(engine).updates if update.name == name).report_late_skip(engine)

    def after_block(self) -> None:
        """Take notice of steps that were computed at once, all of them taken.

        :meta private:
        """
        self._known_scale = None

    def _finish_epoch(self, engine: Engine) -> None:
        while self._late:
            self._read_oldest(engine)

    def attach(self, trainer: Engine | Update) -> "MixedPrecisionTrainer":
        """Give the updates of the trainer's step this precision; they share the scale, which is adapted once a batch.

        Args:
            trainer: ours, or an Engine of your own with :class:`~ignite_recipes.Update`; or one of its updates.

        Raises:
            RuntimeError: if the engine has no updates (its update function calls the methods itself), or a precision
                already.
            ValueError: in float16, for an optimizer that needs a closure.
        """
        host = training_host_of(trainer, self)
        if not host.updates or any(update.is_observed for update in host.updates):
            raise RuntimeError(
                "only a trainer of create_trainer can be given a precision; in an update function of your own use "
                "Update, or call autocast(), scale_loss(loss), unscale_gradients(optimizer) and "
                "step_optimizer(optimizer)"
            )
        given = next((update.precision for update in host.updates if update.precision is not None), None)
        if given is not None:
            raise RuntimeError(f"the trainer has {given!r} already; a step has one precision")
        if self.scaler and (closures := [update for update in host.updates if update.needs_closure]):
            raise ValueError(
                f"a loss that is computed again and again has no one scale; got float16 for {closures[0]!r}: use "
                "bfloat16"
            )
        if self.active:
            for update in host.updates:
                update.precision = self
            self._is_adapted_late = len(host.all_updates) > 1
            host.keep("mixed_precision", self)
        if self.scaler:
            host.when_epoch_is_trained(self._finish_epoch)
        return self

    def state_dict(self) -> dict[str, Any]:
        """The scaler's state, and what is still on its way to the host."""
        return {"scaler": self.scaler.state_dict() if self.scaler else None, "outstanding": self._late.values()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the scale that was saved."""
        self._unscaled.clear()
        self._others_stepped = False
        if self.scaler and state["scaler"]:
            self.scaler._per_optimizer_states.clear()
            self.scaler.load_state_dict(state["scaler"])
            self._known_scale = None
            self._scale_of_losses = self._scale
            self._late = LateFlags(state.get("outstanding", ()))  # earlier files have none


def _has_gradients(optimizer: Optimizer) -> bool:
    return any(parameter.grad is not None for parameter in parameters_of(optimizer))
