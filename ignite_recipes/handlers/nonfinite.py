"""Keep non-finite numbers out of the weights, and say where they came from."""

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.gradients import gradients_of, total_norm
from ignite_recipes.engine.optimizer_step import can_defer_veto
from ignite_recipes.engine.step import TrainingStep
from ignite_recipes.engine.update import Update
from ignite_recipes.handlers._host import host_of, training_host_of
from ignite_recipes.handlers._late_flags import LateFlags
from ignite_recipes.handlers.mixed_precision import MixedPrecisionTrainer
from ignite_recipes.handlers.nonfinite_origin import first_nonfinite_gradient, origin_of_nonfinite
from ignite_recipes.programs.part import OVERFLOW, ProgramPart, StepValues

__all__ = ["NonFiniteError", "NonFiniteGuard"]

logger = logging.getLogger(__name__)

_ADVICE = (
    "The step was not taken, the weights are unharmed. Try a lower learning rate or gradient clipping, "
    "and look for NaN in the data"
)


class NonFiniteError(FloatingPointError):
    """A loss or a gradient was NaN or infinite; the message says where and what to try.

    >>> try:
    ...     NonFiniteGuard().check(torch.tensor(math.inf), where="epoch 3, iteration 40")
    ... except NonFiniteError as error:
    ...     print(error)
    epoch 3, iteration 40: the loss is inf. The step was not taken, the weights are unharmed. ...
    """


def _kinds(loss: Tensor, norm: Tensor) -> Tensor:
    """What is not finite, on the device: 2 for the loss, 1 for the norm of the gradients, 3 for both, 0 for none."""
    precision = torch.promote_types(torch.promote_types(loss.dtype, norm.dtype), torch.float32)
    both = torch.stack([loss.to(precision), norm.to(precision)])
    is_bad = (both - both).ne(0)  # a value that is not finite minus itself is NaN: two kernels for isfinite()'s four
    return is_bad[0] * 2.0 + is_bad[1]


def _where(state: Any) -> str:
    return f"epoch {state.epoch}, iteration {state.iteration}"


class NonFiniteGuard(ProgramPart):
    """Drop every step whose loss or gradients are not finite, before the optimizer sees it.

    On the CPU it knows at once. On an accelerator with a fused optimizer the step is dropped on the device,
    and the host learns of it eight steps later, without ever waiting; the error names the iteration that it
    belongs to. float16 gradients that overflow under a GradScaler are normal and left to the scaler, until
    its scale has fallen below 1.

    Runs:   trainer, OPTIMIZER_STEP_STARTED, after everything that changes gradients (another Engine:
            GRADIENTS_READY, attach it last; it frees the gradients, and torch's optimizers pass over what has
            none, but a schedule of each step advances unless the update function asks for ``finite``);
            EPOCH_TRAINED to read what is outstanding. A dropped step gets running statistics back as they were.
    Reads:  the losses of the accumulation window; ``state.grad_norm``, or the gradients' norm if no clipping
            has measured it.
    Stops:  with :class:`NonFiniteError` under policy ``"raise"``; under ``"skip"`` only when a whole epoch of
            steps had to be dropped.
    Keeps:  how many steps were dropped.

    Args:
        policy: ``"raise"`` or ``"skip"`` (drop the step and count it).

    Attributes:
        num_skipped: steps dropped so far.
        finite: whether the last step checked was finite, for an update function of your own, e.g. to fire
            OPTIMIZER_STEP_COMPLETED only then.

    >>> guard = NonFiniteGuard("skip")
    >>> guard.check(torch.tensor(1.0), [torch.tensor([1.0, float("nan")])])
    False
    >>> guard.num_skipped
    1
    """

    def __init__(self, policy: str = "raise") -> None:
        if policy not in ("raise", "skip"):
            raise ValueError(f"policy must be 'raise' or 'skip'; got {policy!r}")
        self.policy = policy
        self.num_skipped = 0
        self.finite = True
        self._consecutive: dict[str, int] = {}  # steps dropped in a row, by the update's name
        self._counted: dict[str, int] = {}  # all steps until the last epoch's end
        self._model: nn.Module | None = None
        self._precision: MixedPrecisionTrainer | None = None  # of an update function without Update
        self._updates: dict[str, Update] = {}  # those that it guards
        self._late = LateFlags()

    def __repr__(self) -> str:
        return f"NonFiniteGuard({self.policy!r})"

    def check(
        self, loss: Tensor | None, gradients: Iterable[Tensor] = (), *, norm: Tensor | None = None, where: str = ""
    ) -> bool:
        """Whether loss and gradients are finite; by hand, between ``backward()`` and ``step()``.

        Args:
            loss: a 0-d tensor, or None.
            gradients: tensors; looked at only if ``norm`` is not given.
            norm: the gradients' total norm, if it is known already.
            where: what an error names, e.g. ``"epoch 3, iteration 40"``.

        Raises:
            NonFiniteError: under policy ``"raise"``, if something is not finite.
        """
        norm = total_norm(gradients) if norm is None else norm
        self._judge(*self._is_finite(loss, norm), where, "" if loss is None else f"{loss.item():g}")
        return self.finite

    @staticmethod
    def _is_finite(loss: Tensor | None, norm: Tensor) -> tuple[bool, bool]:
        return loss is None or math.isfinite(loss.item()), math.isfinite(norm.item())

    def attach(
        self,
        trainer: Engine | Update,
        model: nn.Module | None = None,
        *,
        precision: MixedPrecisionTrainer | None = None,
    ) -> "NonFiniteGuard":
        """Guard every step of ``trainer``; an engine that is not ours must name the ``model``.

        Each of several updates is checked, and dropped, by itself.

        Args:
            trainer: ours, or any Engine that fires GRADIENTS_READY; or one update of it.
            model: the model whose gradients are checked, on your own Engine.
            precision: what scales the losses in its update function, if something does: gradients that overflow
                because the scale is still too large are then no fault.

        Raises:
            RuntimeError: if such an engine does not fire GRADIENTS_READY, or names no model.
        """
        host = training_host_of(trainer, self)
        remedy = "call check(loss, gradients) before optimizer.step()."
        host.require(TrainEvents.GRADIENTS_READY, self, remedy)
        self._updates = {update.name: update for update in host.updates}
        self._precision = precision
        self._model = host.model(model if host.step is None else None, "what to guard")
        host.keep("nonfinite_guard", self)
        if not self._updates:
            trainer.add_event_handler(TrainEvents.GRADIENTS_READY, self._check_gradients)
            return self
        trainer.add_event_handler(TrainEvents.OPTIMIZER_STEP_STARTED, self)
        host.when_epoch_is_trained(self._finish_epoch)
        return self

    def _check_gradients(self, trainer: Engine) -> None:
        """Judge the gradients of an update function that is not ours."""
        assert self._model is not None
        state: Any = trainer.state
        norm, state.grad_norm = getattr(state, "grad_norm", None), None
        parameters = list(self._model.parameters())
        gradients = gradients_of(parameters)
        if self._precision is not None and self._precision.overflow_is_normal:
            return  # the scaler itself drops the step, and lowers the scale
        if not self.check(None, gradients, norm=norm, where=_where(state)):
            for parameter in parameters:
                parameter.grad = None  # torch's optimizers pass over it, whether or not anybody asks us

    def __call__(self, trainer: Engine) -> None:
        """Judge the current step."""
        state: Any = trainer.state
        update: Update = state.update
        if update.name not in self._updates:
            raise RuntimeError("NonFiniteGuard must be attached to what it judges: call attach(trainer) first")
        norm = total_norm(update.gradients()) if state.grad_norm is None else state.grad_norm
        state.grad_norm = norm
        losses = update.window.losses
        if not losses:  # an update function of the user's own has the loss, and steps the optimizer itself
            losses = [torch.zeros_like(norm)]
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if update.precision is not None and update.precision.overflow_is_normal:
            norm = torch.zeros_like(norm)  # the scaler itself drops the step
        if update.veto_lag:
            flag = _kinds(loss, norm)
            if update.precision is None or update.precision.scaler is None:
                update.veto = flag > 0  # a scaler drops such a step itself, for its gradients are not finite either
            self._defer(trainer, update, flag)
        else:
            self._decide(trainer, update, loss, *self._is_finite(loss, norm))

    def in_program(self, values: StepValues, carried: Sequence[Tensor], numbers: Sequence[Tensor]) -> None:
        """Let the program drop the step itself."""
        assert values.loss is not None
        norm = values.norm = total_norm(values.gradients) if values.norm is None else values.norm
        if values.scale is not None:  # while it is large, gradients that overflow are normal
            norm = torch.where(values.scale >= 1, torch.zeros_like(norm), norm)
        kinds = _kinds(values.loss, norm)
        values.drop = kinds if values.drop is None else values.drop + kinds

    def constants_in_program(self) -> Any:
        """None: what follows from a drop is decided on the host."""
        return ()

    def after_program(self, engine: Engine, values: StepValues) -> None:
        """Judge what the program has found."""
        update: Update = engine.state.update  # type: ignore[attr-defined]
        assert values.drop is not None
        assert values.loss is not None
        if update.veto_lag:
            self._defer(engine, update, values.drop)
        else:
            kinds = int(values.drop) % OVERFLOW
            self._decide(engine, update, values.loss, kinds < 2, kinds % 2 == 0)

    def after_block(self, engine: Engine, values: StepValues, count: int) -> None:
        """All were finite."""
        self.finite = True
        self._consecutive[engine.state.update.name] = 0  # type: ignore[attr-defined]

    def _decide(
        self, trainer: Engine, update: Update, loss: Tensor, loss_is_finite: bool, norm_is_finite: bool
    ) -> None:
        """Judge a step whose numbers are on the host."""
        if loss_is_finite and norm_is_finite:
            self.finite, self._consecutive[update.name] = True, 0
            return
        said = f"{loss.item():g}{self._origin(trainer, update)}"
        if update.statistics is not None:
            update.statistics.put_back()
        update.veto = True
        where = self._where(trainer.state, update.name)
        self._judge(loss_is_finite, norm_is_finite, where, said, update.name)

    def _origin(self, trainer: Engine, update: Update) -> str:
        step = host_of(trainer).step
        if self.num_skipped or not isinstance(step, TrainingStep):
            return ""
        return origin_of_nonfinite(trainer, step, update)

    def _where(self, state: Any, name: str) -> str:
        return _where(state) if len(self._updates) == 1 else f"{_where(state)}, {name}"

    def _defer(self, trainer: Engine, update: Update, flag: Tensor) -> None:
        """Let the device decide; ask for the answers of ``veto_lag`` steps ago, which have long arrived."""
        if update.statistics is not None and update.statistics.is_kept:
            update.statistics.put_back(flag > 0)
        self._late.send((update.name, trainer.state.epoch, trainer.state.iteration), flag)
        if len(self._late) > update.veto_lag * len(self._updates):
            self._read_oldest(trainer)

    def _read_oldest(self, trainer: Engine) -> None:
        (name, epoch, iteration), kinds = self._late.receive()
        kinds %= OVERFLOW
        where = f"epoch {epoch}, iteration {iteration}" + ("" if len(self._updates) == 1 else f", {name}")
        self._judge(kinds < 2, kinds % 2 == 0, where, "not finite", name)
        if not self.finite and can_defer_veto(update := self._updates[name]):
            update.report_late_skip(trainer)

    def _judge(self, loss_is_finite: bool, norm_is_finite: bool, where: str, loss: str, update: str = "") -> None:
        self.finite = loss_is_finite and norm_is_finite
        if self.finite:
            self._consecutive[update] = 0
            return
        self.num_skipped += 1
        self._consecutive[update] = self._consecutive.get(update, 0) + 1
        what = f"the loss is {loss}" if not loss_is_finite else f"{self._culprit()} is not finite"
        message = f"{where + ': ' if where else ''}{what}. {_ADVICE}"
        if self.policy == "raise":
            raise NonFiniteError(f"{message}; policy 'skip' drops such steps and continues")
        dropped = "1 step" if self.num_skipped == 1 else f"{self.num_skipped} steps"
        logger.warning("%s (%s dropped so far)", message, dropped)

    def _culprit(self) -> str:
        """The first parameter whose gradient is not finite, where it still is there to be seen."""
        name = None if self._model is None else first_nonfinite_gradient(self._model)
        return "the norm of the gradients" if name is None else f"the gradient of {name}"

    def _finish_epoch(self, trainer: Engine) -> None:
        while self._late:
            self._read_oldest(trainer)
        state = trainer.state
        for name, update in self._updates.items():
            total, before = update.count.taken + update.count.skipped, self._counted.get(name, 0)
            steps = total - before if total >= before else total  # a run that starts again counts from 0
            self._counted[name] = total
            if steps and self._consecutive.get(name, 0) >= steps:
                raise NonFiniteError(
                    f"{self._where(state, name).replace(f', iteration {state.iteration}', '')}: none of its {steps} "
                    f"steps could be taken, each had a non-finite loss or gradient. {_ADVICE}"
                )

    def state_dict(self) -> dict[str, Any]:
        """How many steps were dropped, how many of them last in a row, and what is still on its way to the host."""
        consecutive, outstanding = dict(self._consecutive), self._late.values()
        counts = {"num_skipped": self.num_skipped, "consecutive": consecutive, "counted": dict(self._counted)}
        return {**counts, "outstanding": outstanding}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue to count from there."""
        self.num_skipped, self._consecutive = state["num_skipped"], dict(state["consecutive"])
        self._counted = dict(state["counted"])
        self._late = LateFlags(state["outstanding"])
