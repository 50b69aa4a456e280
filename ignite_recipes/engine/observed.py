"""The steps of an optimizer that an update function calls itself, as an update whose events handlers can use."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine
from torch import Tensor
from torch.optim import Optimizer

from ignite_recipes.engine.closures import kept_state
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.updates import updates_of

if TYPE_CHECKING:
    from ignite_recipes.engine.update import Update

__all__ = ["ObservedSteps"]


class ObservedSteps:
    """Fire GRADIENTS_READY and OPTIMIZER_STEP_STARTED before ``optimizer.step()``, and what has come of it after it.

    A step that is vetoed is not taken: its gradients are freed, and torch's optimizers pass over what has none. Under a
    GradScaler, which unscales the gradients before it steps, handlers see their true size, and nothing of a step that
    it drops. With a closure the events come each time that it has computed the gradients; if one of these is vetoed, or
    raises, parameters and optimizer are as they were before the step.

    Args:
        update: of the optimizer.
        fires: False only takes notice of the steps.
    """

    def __init__(self, update: "Update", *, fires: bool) -> None:
        self.update, self.fires = update, fires
        self.has_stepped = False  # with the current batch
        self._engine: Engine | None = None
        self._is_vetoed = False
        self._put_back: Callable[[], None] | None = None
        self._sound_loss: Any = None  # of a closure, the last one that was not vetoed
        self._used: list[tuple[Any, int]] = []  # the gradients of the last step (weak references), and their versions
        update.is_observed, update.veto_lag = True, 0
        self._listen()

    def _listen(self) -> None:
        self.update.optimizer.register_step_pre_hook(self._before)
        self.update.optimizer.register_step_post_hook(self._after)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_engine": None, "_put_back": None, "_sound_loss": None, "_used": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._listen()  # torch copies an optimizer without its hooks

    def begin(self, engine: Engine) -> None:
        """The update function is called."""
        self._engine, self.has_stepped = engine, False

    def end(self) -> None:
        """It has returned: steps that come from elsewhere are none of the run's."""
        self._engine = None

    def _before(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._is_vetoed, self._put_back, self._sound_loss = False, None, None
        if self._engine is None or not self.fires:
            return None
        found = getattr(optimizer, "found_inf", None)
        if found is not None and bool(found):  # of a fused optimizer: the scaler drops this step
            self._is_vetoed = True
            return None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is not None:
            if not self._is_listened_to(self._engine):  # nothing is to be put back
                return None
            self._put_back = kept_state(optimizer)
            return args[:1], {**kwargs, "closure": partial(self._judged, closure)}
        self._unscale(optimizer)
        self._judge()
        return None

    @staticmethod
    def _is_listened_to(engine: Engine) -> bool:
        handlers = engine._event_handlers
        return bool(handlers[TrainEvents.GRADIENTS_READY] or handlers[TrainEvents.OPTIMIZER_STEP_STARTED])

    def _judge(self) -> None:
        assert self._engine is not None
        self.update.ready_gradients(self._engine)
        if self.update.veto:  # asks an accelerator for the answer
            self._is_vetoed = True
            self.update.zero_gradients()

    def _judged(self, closure: Callable[[], Any]) -> Any:
        """What the closure gives, with its gradients clipped and judged.

        After a veto the optimizer is given the last loss that was sound, and no gradients, so that it ends its search.
        """
        try:
            with torch.enable_grad():
                loss = closure()
            self._judge()
        except BaseException:
            if self._put_back is not None:
                self._put_back()
            raise
        if self._is_vetoed:
            self.update.zero_gradients()
            return loss if self._sound_loss is None else self._sound_loss
        self._sound_loss = loss
        return loss

    def _unscale(self, optimizer: Any) -> None:
        """A GradScaler leaves it to fused optimizers to unscale; handlers are to see true gradients."""
        if (scale := getattr(optimizer, "grad_scale", None)) is not None:
            for gradient in self.update.gradients():
                gradient /= scale
            optimizer.grad_scale = None

    def _after(self, optimizer: Optimizer, *_: Any) -> None:
        if self._engine is None:
            return
        if self._is_vetoed and self._put_back is not None:
            self._put_back()
        self._put_back = None
        self.has_stepped = True
        self._used = [(_nothing, 0) if g is None else (weakref.ref(g), g._version) for g in self._gradients()]
        if self.fires:
            updates_of(self._engine).note_turn(self.update)
            self.update.note_step(self._engine, is_taken=not self._is_vetoed)

    def _gradients(self) -> list[Tensor | None]:
        return [parameter.grad for parameter in parameters_of(self.update.optimizer)]

    def waiting_gradients(self) -> list[Tensor | None]:
        """Gradients that no step has used yet; none where there are none."""
        now = self._gradients()
        used = self._used if len(self._used) == len(now) else [(_nothing, 0)] * len(now)
        waiting = [
            None if g is None or (ref() is g and version == g._version) else g
            for g, (ref, version) in zip(now, used, strict=True)
        ]
        return waiting if any(gradient is not None for gradient in waiting) else []


def _nothing() -> None:
    """As a reference to what is gone."""
