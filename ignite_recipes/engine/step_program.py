"""One program of a training step: made for a batch of one layout, called with each of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.utils import _pytree

from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.losses import check_loss, modules_of
from ignite_recipes.engine.update import Update
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.programs.cuda_program import CapturedStep, FusedOptimizer
from ignite_recipes.programs.first_state import make_state
from ignite_recipes.programs.function import Modules, Places, StepFunction, StepsWeights, StepTensors
from ignite_recipes.programs.host_program import CompileError, compile_for_host
from ignite_recipes.programs.optimizers import OptimizerFunction
from ignite_recipes.programs.part import ProgramPart, StepValues, is_program_part
from ignite_recipes.programs.python_state import changed, python_state
from ignite_recipes.programs.trace import Draw, TraceError, trace

if TYPE_CHECKING:
    from ignite_recipes.engine.step import TrainingStep

__all__ = [
    "NotOneProgramError",
    "StepProgram",
    "end_window",
    "modules_of_step",
    "parts_of_step",
    "roots_of_step",
    "trained_parameters",
]

_PLACES = {
    TrainEvents.INPUTS_READY: "inputs",
    TrainEvents.GRADIENTS_READY: "gradients",
    TrainEvents.OPTIMIZER_STEP_STARTED: "gradients",
    TrainEvents.OPTIMIZER_STEP_COMPLETED: "after",
}
"""Events whose handlers can be parts of a program, and where in it."""


Seed = Callable[[str | None], None]
"""Seeds torch's generators for a place in the current step; None is that of the update."""


class NotOneProgramError(Exception):
    """Why steps cannot be programs; the message completes "compile='step': "."""


def parts_of_step(engine: Engine) -> dict[str, list[ProgramPart]]:
    """The handlers of a step that do their work in its program, in their order."""
    parts: dict[str, list[ProgramPart]] = {"inputs": [], "gradients": [], "after": []}
    for event, place in _PLACES.items():
        found = [entry[0] for entry in engine._event_handlers.get(event, ()) if is_program_part(entry[0])]
        parts[place] += [part for part in found if place != "after" or part.takes_notice_of_programs]
    return parts


def modules_of_step(step: "TrainingStep") -> list[nn.Module]:
    """The model, and the other modules that the loss function computes with."""
    model = unwrap(step.model)
    own = set(model.modules())
    return [model, *(module for module in modules_of(step.loss_fn) if module not in own)]


def roots_of_step(step: "TrainingStep", engine: Engine) -> list[Any]:
    """The objects whose Python values are constants of a program."""
    return [*modules_of_step(step), step.loss_fn, step.get_inputs, *parts_of_step(engine)["inputs"]]


def _drawn(draws: Sequence[Draw], seed: Seed, place: str | None) -> list[Tensor]:
    """Random numbers of a place in the step; where nothing is drawn, nothing is seeded."""
    if not draws:
        return []
    seed(place)
    return [draw() for draw in draws]


class StepProgram:
    """Calls a program with a batch, and tells update and handlers what has come of it.

    Args:
        step: whose work it does.
        engine: that runs it.
        batch: an example.
        takes_step: whether the batch is the last one of its window.
        waiting: where the gradients of a window's batches are added up, by the parameter; the programs of a window have
            it in common, and add what is missing.

    Raises:
        NotOneProgramError: if there can be none; everything is as it was before.
    """

    def __init__(
        self, step: "TrainingStep", engine: Engine, batch: Any, *, takes_step: bool, waiting: dict[Tensor, Tensor]
    ) -> None:
        update = step.updates.first
        self.takes_step, self.is_window = takes_step, update.window.length > 1
        parts = parts_of_step(engine)
        self.parts = parts if takes_step else {"inputs": parts["inputs"]}
        on_host = step.device.type == "cpu"
        modules = Modules(modules_of_step(step))
        trained = trained_parameters(update, modules)
        make = FusedOptimizer if step.device.type == "cuda" else OptimizerFunction
        settings: Any = {
            "modules": modules,
            "loss_fn": step.loss_fn,
            "model": unwrap(step.model),
            "get_inputs": step.get_inputs,
            "batch": batch,
            "autocast": update.autocast,
            "check_loss": check_loss,
            "is_window": self.is_window,
            "scale": None if update.precision is None else update.precision.scale_in_program(),
        }
        example = self._example(batch, modules)
        before = python_state(roots_of_step(step, engine))
        try:
            with preserve_generators(step.device):
                probe = StepFunction(parts={"inputs": parts["inputs"]}, optimizer=None, trained=trained, **settings)
                gets_gradient = probe.gets_gradient(example)
                trained = [weight for weight, has in zip(trained, gets_gradient, strict=True) if has]
                if on_host:
                    make_state(update.optimizer, trained)
                self.optimizer: StepsWeights = make(update.optimizer, trained)
                optimizer = self.optimizer if takes_step else None
                self.function = StepFunction(
                    parts=self.parts,
                    optimizer=optimizer,
                    trained=self.optimizer.weights,
                    keeps_buffers=takes_step and (on_host or settings["scale"] is not None),
                    **settings,
                )
                self.tensors = self._tensors(example, step.device, waiting)
                self._run = self._on_device() if step.device.type == "cuda" else self._on_host()
        except (TraceError, CompileError, ValueError) as error:
            raise NotOneProgramError(str(error)) from error
        after = python_state(roots_of_step(step, engine))
        if (name := changed(before, after)) is not None:
            raise NotOneProgramError(f"{name.lstrip('.')} changes in the forward pass, where a program cannot see it")

    def _example(self, batch: Any, modules: Modules) -> StepTensors:
        tensors = [leaf for leaf in _pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
        return StepTensors(held=modules.held(), batch=tensors)

    def _tensors(self, example: StepTensors, device: torch.device, waiting: dict[Tensor, Tensor]) -> StepTensors:
        """All tensors of a step: those of the run, and those that come with each batch."""
        function, weights = self.function, self.optimizer.weights if self.is_window else []
        waiting.update({weight: torch.zeros_like(weight).detach() for weight in weights if weight not in waiting})
        has_earlier = self.is_window and self.takes_step
        # torch's fused kernels take rates in float32; on the CPU roundings are those of torch's own double precision.
        precision = torch.float64 if device.type == "cpu" else torch.float32
        self._numbers = torch.tensor(function.numbers(1.0, 1.0), dtype=precision)
        return StepTensors(
            held=example.held,
            state=self.optimizer.state() if self.takes_step else [],
            waiting=[waiting[weight] for weight in weights],
            earlier=[torch.zeros((), dtype=torch.float64, device=device)] if has_earlier else [],
            carried=function.carried(),
            batch=example.batch,
            numbers=[self._numbers.to(device)] if len(self._numbers) else [],
        )

    # On the CPU: compiled.

    def _on_host(self) -> Callable[[Sequence[Tensor], Seed], list[Tensor]]:
        tensors, function = self.tensors, self.function

        def of_flat(*flat: Tensor) -> list[Tensor]:
            return function(tensors.like(flat))

        traced = trace(of_flat, tensors.flat())
        first, others = traced.draws[: function.num_input_draws], traced.draws[function.num_input_draws :]
        self._host_numbers = self._numbers.numpy()
        if tensors.numbers:
            tensors.numbers = [self._numbers]
        with preserve_generators():
            tensors.drawn, tensors.constants = [draw() for draw in traced.draws], traced.constants
        program = compile_for_host(traced.graph, tensors.flat())
        before = [*tensors.held, *tensors.state, *tensors.waiting, *tensors.earlier, *tensors.carried]

        def run(batch: Sequence[Tensor], seed: Seed) -> list[Tensor]:
            drawn = [*_drawn(first, seed, "inputs"), *_drawn(others, seed, None)]
            return program([*before, *batch, *tensors.numbers, *drawn, *tensors.constants])

        return run

    # On CUDA: captured.

    def _on_device(self) -> Callable[[Sequence[Tensor], Seed], list[Tensor]]:
        tensors, function = self.tensors, self.function
        tensors.batch = [tensor.clone() for tensor in tensors.batch]
        changed_in_place = [*tensors.held, *tensors.state, *tensors.waiting, *tensors.carried]
        try:
            captured = CapturedStep(lambda: function(tensors), tensors.batch, changed_in_place)
        except RuntimeError as error:  # e.g. a model that reads a number of a tensor
            raise TraceError(f"CUDA cannot capture it, {str(error).splitlines()[0][:200]}") from error
        self._sent = self._numbers.tolist()

        def run(batch: Sequence[Tensor], seed: Seed) -> list[Tensor]:
            seed(None)
            return captured(batch)

        return run

    def _send_numbers(self, numbers: list[float]) -> None:
        """Let the program read other numbers; a copy to a device only when one has changed."""
        if not self.tensors.numbers:
            return
        if self.tensors.numbers[0] is self._numbers:
            self._host_numbers[:] = numbers
        elif numbers != self._sent:
            pinned = torch.tensor(numbers, dtype=torch.float32, pin_memory=True)
            self.tensors.numbers[0].copy_(pinned, non_blocking=True)
            self._sent = numbers

    # One batch.

    def check(self) -> None:
        """Raise NotOneProgramError if something has changed that the program has as a constant."""
        if isinstance(self.optimizer, FusedOptimizer) and self.optimizer.has_changed():
            raise NotOneProgramError("a schedule changes momentum or betas inside an epoch: pass cycle_momentum=False")

    def __call__(self, step: "TrainingStep", engine: Engine, batch: Any, weight: float) -> dict[str, Tensor]:
        """The losses, detached."""
        state: Any = engine.state
        update, function = step.updates.first, self.function
        update.begin(state)
        if self.is_window:
            self.ready_gradients()
            self.ready_losses(update.window.losses)
        outputs = self.compute(batch, function.numbers(weight, update.window.weight), partial(step.seed, state))
        losses = dict(zip(function.places.names, outputs, strict=False))
        update.window.losses.append(losses["loss"])
        if self.takes_step:
            end_window(step, engine, self.optimizer, self.parts, function.places, outputs)
        return losses

    def compute(self, batch: Any, numbers: list[float], seed: Seed) -> list[Tensor]:
        """All that the program gives of a batch; update and handlers are told nothing."""
        self._send_numbers(numbers)
        return self._run(self.function.tensors_of(batch), seed)

    def ready_gradients(self) -> None:
        """Let the gradients of the window's earlier batches be where the program adds to them."""
        places, weights = self.tensors.waiting, self.optimizer.weights
        if new := [place for place, weight in zip(places, weights, strict=True) if weight.grad is None]:
            torch._foreach_zero_(new)
        for place, weight in zip(places, weights, strict=True):
            if weight.grad is place:
                continue
            if weight.grad is not None and weight.grad.data_ptr() != place.data_ptr():
                place.copy_(weight.grad)
            weight.grad = place

    def ready_losses(self, losses: Sequence[Tensor]) -> None:
        """Let a program that takes the step know the losses of the window's earlier batches, without reading them."""
        for place in self.tensors.earlier:
            place.copy_(torch.stack(list(losses)).sum() if losses else torch.zeros_like(place))


def end_window(
    step: "TrainingStep",
    engine: Engine,
    optimizer: StepsWeights,
    parts: Mapping[str, Sequence[ProgramPart]],
    places: Places,
    outputs: Sequence[Tensor],
) -> None:
    """What the eager step does where a window ends, of a step that a program has computed: judge, count, tell.

    Args:
        step, engine: whose step it is.
        optimizer: the optimizer of the program.
        parts, places, outputs: of its function.
    """
    state: Any = engine.state
    update, progress = step.updates.first, step.progress
    losses = update.window.losses
    assert progress is not None
    values = StepValues(loss=losses[0] if len(losses) == 1 else torch.stack(losses).sum())
    state.grad_norm, update.veto = None, False
    for part, (norm, drop) in zip(parts["gradients"], places.found, strict=True):
        values.norm = state.grad_norm = None if norm is None else outputs[norm]
        values.drop = None if drop is None else outputs[drop]
        part.after_program(engine, values)
    if update.precision is not None and places.drop is not None:
        update.precision.after_program(engine, update, outputs[places.drop])
    is_taken = update.veto is not True  # a device has dropped it, or not; the host will know
    if is_taken:
        optimizer.note_step()
    update.window.clear()
    update.done = state.iteration
    progress.note_update()
    for part in parts["after"]:
        part.after_program(engine, values)
    update.note_step(engine, is_taken=is_taken)


def trained_parameters(update: Update, modules: Modules) -> list[Tensor]:
    """The parameters of the optimizer that can be trained.

    Raises:
        NotOneProgramError: if one is in no module that the loss function computes with.
    """
    held = {id(tensor) for tensor in modules.held()}
    own = [parameter for parameter in parameters_of(update.optimizer) if parameter.requires_grad]
    if any(id(parameter) not in held for parameter in own):
        raise NotOneProgramError("the optimizer has parameters of no module that is in the loss function's attributes")
    if any(parameter.is_sparse or parameter.is_complex() for parameter in own):
        raise NotOneProgramError("the model has parameters that are not real and dense")
    return own
