"""The training step itself, once for every recipe, in the order of the drawing in :mod:`ignite_recipes.events`."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.batches import to_device
from ignite_recipes.distributed import Averaging, average_gradients, data_parallel, without_exchange
from ignite_recipes.events import TrainEvents
from ignite_recipes.keyed_engine import KeyedEngine, LossFunction, check_loss
from ignite_recipes.randomness import derive_seed, seed_torch
from ignite_recipes.weights import unwrap

__all__ = ["SteppingEngine"]


class SteppingEngine(KeyedEngine):
    """An Engine whose process function is our training step; around it, ``TrainingEngine`` makes the run.

    An optimizer step is taken once in a window of ``accumulation_steps`` batches. The attributes are those of
    ``TrainingEngine``.
    """

    purpose = "train"

    window_losses: list[Tensor]
    _window_weight: float
    _first_size: int

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss_fn: LossFunction,
        device: torch.device,
        seed: int,
        accumulation_steps: int,
        get_inputs: Callable[[Any], Any],
        batch_size: Callable[[Any], int],
        compile: bool | str = False,
    ) -> None:
        super().__init__(type(self)._step, device, seed, loss_fn, batch_size, compile)
        self.register_events(*TrainEvents)
        self.model, self.optimizer = model, optimizer
        self.accumulation_steps = accumulation_steps
        self.get_inputs = get_inputs
        self.precision: Any = None
        self.veto: bool | Tensor = False
        # Steps until the host asks an accelerator whether a step was finite; 0 is at once.
        self.veto_lag = 0 if device.type == "cpu" else 4
        self._parallel, self._trained = data_parallel(model, device), _trained(model)
        self._is_exchanged = True  # the gradients of the window at hand, so far
        self._updated_at = 0  # the iteration behind which the window at hand began
        self.begin_window()

    @property
    def position(self) -> int:
        """Batches of the epoch at hand that are done."""
        return self.state.iteration - self.state.epoch_start

    def _step(self, batch: Any) -> dict[str, Tensor]:
        state, model, precision = self.state, self.model, self.precision
        if not model.training:
            model.train()
        if not self.window_losses:
            self.zero_gradients()

        batch = to_device(batch, self.device)
        share = self.count(batch)
        state.inputs = self.get_inputs(batch)
        if self._event_handlers[TrainEvents.INPUTS_READY]:
            self._seed("inputs")
            self._fire_event(TrainEvents.INPUTS_READY)

        self._seed("step")  # whatever torch has drawn so far, dropout draws the same
        alone = self.processes == 1
        if not alone:
            self._prepare_exchange()
        with nullcontext() if alone else without_exchange(model, self._parallel, not self._is_exchanged):
            losses = state.losses = self._forward(batch)
            loss = check_loss(losses)
            self.fire(TrainEvents.LOSSES_READY)

            averaged = None if alone else Averaging(losses, share)
            loss = self._weigh(loss, share)
            (loss if precision is None else precision.scale_loss(loss)).backward()
        if averaged is None:
            output = {name: torch.as_tensor(value).detach() for name, value in losses.items()}
        else:
            output = averaged()
        self.window_losses.append(output["loss"])
        self.fire(TrainEvents.BACKWARD_COMPLETED)

        if self._ends_window(len(self.window_losses)):
            self._update()
        state.inputs = state.losses = None  # frees the activations before the next forward
        return output

    def _forward(self, batch: Any) -> Mapping[str, Tensor]:
        with nullcontext() if self.precision is None else self.precision.autocast():
            if self._parallel is not None:
                return self._parallel(self._losses, self.state.inputs, batch)  # type: ignore[no-any-return]
            return self._losses(self.model, self.state.inputs, batch)

    def _prepare_exchange(self) -> None:
        """Whether the processes exchange the gradients of the batch at hand: those of a window's last one."""
        self._is_exchanged = self._ends_window(len(self.window_losses) + 1) or self.state.epoch_length is None
        if self._trained != _trained(self.model):  # frozen or thawed since
            self._parallel, self._trained = data_parallel(self.model, self.device), _trained(self.model)

    def zero_gradients(self) -> None:
        """Free the gradients of the optimizer's parameters."""
        if type(self.optimizer).zero_grad is not Optimizer.zero_grad:  # an optimizer that has its own
            self.optimizer.zero_grad(set_to_none=True)
            return
        for group in self.optimizer.param_groups:  # torch's own does this and tells its profiler: 20 times the cost
            for parameter in group["params"]:
                parameter.grad = None

    def repeat_forward(self) -> Mapping[str, Tensor]:
        """The losses of the batch at hand once more, from the same inputs and the same random numbers."""
        self._seed("step")
        with nullcontext() if self.precision is None else self.precision.autocast():
            return self.loss_fn(unwrap(self.model), self.state.inputs, to_device(self.state.batch, self.device))

    def _seed(self, place: str) -> None:
        # Python's and NumPy's generators go on from the fetch, which has seeded them for this iteration.
        assert self.state.seed is not None
        seed_torch(derive_seed(self.state.seed, place, self.state.iteration, *self.key), self.device)

    def _weigh(self, loss: Tensor, share: float) -> Tensor:
        """The batch's share of its accumulation window: its samples, in units of the window's first batch.

        Times this process' share of the batch, in units of an equal one: gradients are averaged over the processes.

        Units, because float16 gradients of a loss times 128 samples would overflow. Divided by the window's
        sum of weights before clipping, this is the gradient of the mean over all of the window's samples.
        """
        if share * self.processes != 1:
            loss = loss * (share * self.processes)
        if self.accumulation_steps == 1:
            return loss
        self._first_size = self._first_size or self.state.num_samples
        weight = self.state.num_samples / self._first_size
        self._window_weight += weight
        return loss * weight

    def _ends_window(self, batches: int) -> bool:
        """Whether an optimizer step is due behind so many batches of the window at hand."""
        at_end = self.position == self.state.epoch_length
        return at_end or batches == self.accumulation_steps

    def _update(self) -> None:
        if self.precision is not None:
            self.precision.unscale_gradients(self.optimizer)
        if self._window_weight not in (0.0, 1.0):
            torch._foreach_div_(self.gradients(), self._window_weight)
        self.state.grad_norm = None
        self.veto = False
        self.fire(TrainEvents.GRADIENTS_READY)
        self.fire(TrainEvents.OPTIMIZER_STEP_STARTED)
        stepped = self._step_optimizer()
        self.begin_window()

        if not stepped:
            self.state.skipped_steps += 1
            self.fire(TrainEvents.OPTIMIZER_STEP_SKIPPED)
            return
        self.state.optimizer_steps += 1
        if self.state.steps_owed:
            self.state.steps_owed -= 1
        else:
            self.fire(TrainEvents.OPTIMIZER_STEP_COMPLETED)

    def finish_window(self) -> None:
        """Take the step of a window that the epoch has ended inside: no length was known, or terminate_epoch() came."""
        if not self.window_losses:
            return
        if self.processes > 1 and not self._is_exchanged:
            average_gradients(self.model, self.gradients())
        self._update()

    def begin_window(self) -> None:
        """Forget what the window at hand has come to."""
        self.window_losses = []
        self._window_weight, self._first_size = 0.0, 0
        self._updated_at = self.state.iteration

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

    def gradients(self) -> list[Tensor]:
        """The gradients of the optimizer's parameters that have one."""
        groups = self.optimizer.param_groups
        return [p.grad for group in groups for p in group["params"] if p.grad is not None]

    @property
    def can_defer_veto(self) -> bool:
        """Whether a step can be dropped on the device, without the host having to know at once."""
        if self.precision is not None and self.precision.scaler is not None:
            return False  # the scaler itself decides
        fused = all(group.get("fused") for group in self.optimizer.param_groups)
        return self.veto_lag > 0 and fused and getattr(self.optimizer, "_step_supports_amp_scaling", False)

    def report_late_skip(self) -> None:
        """Correct the counts: a step that was counted as taken turns out to have been dropped.

        OPTIMIZER_STEP_COMPLETED was fired for it, so the next one is withheld: schedules advance exactly as
        often as the optimizer did.
        """
        self.state.optimizer_steps -= 1
        self.state.skipped_steps += 1
        self.state.steps_owed += 1
        self.fire(TrainEvents.OPTIMIZER_STEP_SKIPPED)


def _trained(model: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in model.parameters()]
