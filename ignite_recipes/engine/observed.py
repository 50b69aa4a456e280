"""The steps of an optimizer that an update function calls itself, as an update whose events handlers can use."""

from typing import TYPE_CHECKING, Any

from ignite.engine import Engine
from torch.optim import Optimizer

if TYPE_CHECKING:
    from ignite_recipes.engine.update import Update

__all__ = ["ObservedSteps"]


class ObservedSteps:
    """Fire GRADIENTS_READY and OPTIMIZER_STEP_STARTED before ``optimizer.step()``, and what has come of it after it.

    A step that is vetoed is not taken: its gradients are freed, and torch's optimizers pass over what has none. Under a
    GradScaler, which unscales the gradients before it steps, handlers see their true size. An optimizer that needs a
    closure has no gradients yet when its step begins: only OPTIMIZER_STEP_COMPLETED is fired for it.

    Args:
        update: of the optimizer.
        fires: False only takes notice of the steps.
    """

    def __init__(self, update: "Update", *, fires: bool) -> None:
        self.update, self.fires = update, fires
        self.has_stepped = False  # with the current batch
        self._engine: Engine | None = None
        self._is_vetoed = False
        update.is_observed, update.veto_lag = True, 0
        self._listen()

    def _listen(self) -> None:
        self.update.optimizer.register_step_pre_hook(self._before)
        self.update.optimizer.register_step_post_hook(self._after)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._listen()  # torch copies an optimizer without its hooks

    def begin(self, engine: Engine) -> None:
        """The update function is called."""
        self._engine, self.has_stepped = engine, False

    def end(self) -> None:
        """It has returned: steps that come from elsewhere are none of the run's."""
        self._engine = None

    def _before(self, optimizer: Optimizer, *_: Any) -> None:
        self._is_vetoed = False
        if self._engine is None or not self.fires or self.update.needs_closure:
            return
        self._unscale(optimizer)
        self.update.ready_gradients(self._engine)
        if self.update.veto:  # asks an accelerator for the answer
            self._is_vetoed = True
            self.update.zero_gradients()

    def _unscale(self, optimizer: Any) -> None:
        """A GradScaler leaves it to fused optimizers to unscale; handlers are to see true gradients."""
        if (scale := getattr(optimizer, "grad_scale", None)) is not None:
            for gradient in self.update.gradients():
                gradient /= scale
            optimizer.grad_scale = None

    def _after(self, optimizer: Optimizer, *_: Any) -> None:
        if self._engine is None:
            return
        self.has_stepped = True
        if self.fires:
            self.update.note_step(self._engine, is_taken=not self._is_vetoed)
