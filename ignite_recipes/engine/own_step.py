"""An update function of the user's own, as a step that a trainer of ours can run and resume."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.models import as_module
from ignite_recipes.engine.observed import ObservedSteps
from ignite_recipes.engine.optimizer_step import veto_lag_on
from ignite_recipes.engine.progress import Progress
from ignite_recipes.engine.statistics import RunningStatistics
from ignite_recipes.engine.unfired import FIRED_BY_STEP
from ignite_recipes.engine.update import Update
from ignite_recipes.engine.updates import Updates
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.exchange import exchange_of
from ignite_recipes.exchange.ranks import join_ranks
from ignite_recipes.loading.batches import count_samples
from ignite_recipes.loading.randomness import derive_seed, seed_torch

__all__ = ["OwnStep", "silent_events"]


class OwnStep:
    """Call an update function under the random numbers of its place in the run.

    If it returns a dict of 0-d tensors, several ranks average them over their samples.

    Args:
        function: ``function(engine, batch)``.
        models: that it trains, by name.
        optimizers: that it steps itself, by name.
        updates: that it calls.
        observes: whether the steps of ``optimizers`` fire the events of a step; False where the function fires them.
        device: the device of the first parameter of the first model.

    Attributes:
        model: the only model, or a ``ModuleDict`` of all; without the wrappers of torch.
        optimizers: by name, those of the updates too.
        updates, exchange, progress: as of :class:`~ignite_recipes.TrainingStep`.
    """

    def __init__(
        self,
        function: Callable[[Engine, Any], Any],
        models: Mapping[str, nn.Module],
        optimizers: Mapping[str, Optimizer],
        updates: Mapping[str, Update],
        device: torch.device,
        *,
        observes: bool,
    ) -> None:
        join_ranks(device)
        self.function, self.device, self.compile = function, device, False
        plain = {name: unwrap(model) for name, model in models.items()}
        self.model = as_module(next(iter(plain.values())) if len(plain) == 1 else plain)
        self.optimizers = {**optimizers, **{name: update.optimizer for name, update in updates.items()}}
        self.exchange = exchange_of(as_module(models), device, overlaps=False)
        if optimizers and self.exchange.gradients_are_local:
            raise ValueError(
                "several ranks must average their gradients; got models that do not: wrap them in torch's "
                "DistributedDataParallel (ignite.distributed.auto_model), or call Update in the update function"
            )
        self.observed = {
            name: ObservedSteps(Update(part, name=name), fires=observes) for name, part in optimizers.items()
        }
        own = [steps.update for steps in self.observed.values()] if observes else []
        self.updates = Updates([*updates.values(), *own], self.exchange)
        for update in updates.values():
            update.veto_lag = veto_lag_on(device)
        self.statistics = RunningStatistics(self.model)
        for update in self.updates.values():
            update.statistics, update.keeps_after_step = self.statistics, True

    @property
    def optimizer(self) -> Optimizer:
        """The first one."""
        return next(iter(self.optimizers.values()))

    @property
    def progress(self) -> Progress | None:
        """Where the run is; None before the step belongs to an engine."""
        return self.updates.progress

    def loss_functions(self) -> list[Any]:
        """The update function, which computes all losses."""
        return [self.function]

    def start_epoch(self, engine: Engine) -> None:
        """Begin an epoch with empty windows."""
        self.updates.start_epoch(engine, self.optimizers)
        self.statistics.find()

    def __call__(self, engine: Engine, batch: Any) -> Any:
        """What the function returns."""
        state: Any = engine.state
        state.num_samples = None  # unless the function says it, those who ask count them
        if not self.updates.is_open:
            self.statistics.keep()
        seed_torch(derive_seed(state.seed, "step", state.iteration, *self.exchange.key), self.device)
        with self.exchange.batch(is_last=True), self._observed(engine):
            output = self.function(engine, batch)
        self.updates.end_batch()
        return self._averaged(output, state) if self.exchange.world_size > 1 else output

    @contextmanager
    def _observed(self, engine: Engine) -> Iterator[None]:
        """Take notice of the optimizers' steps; if none has stepped before an error, the batch has left nothing."""
        progress = self.updates.progress
        assert progress is not None
        taken = progress.optimizer_steps
        for steps in self.observed.values():
            steps.begin(engine)
        try:
            yield
        except BaseException:
            stepped = any(steps.has_stepped for steps in self.observed.values())
            if not stepped and not self.updates.is_open and taken == progress.optimizer_steps:
                self.statistics.put_back()
            raise
        finally:
            for steps in self.observed.values():
                steps.end()

    def _averaged(self, output: Any, state: Any) -> Any:
        """An output that is a dict of losses as their means over the samples of all ranks; any other as it is."""
        is_dict = isinstance(output, Mapping) and bool(output)
        if not is_dict or not all(isinstance(loss, Tensor) and loss.dim() == 0 for loss in output.values()):
            return output
        own, part = state.num_samples, getattr(state.dataloader, "part", None)
        count = count_samples(state.batch) if own is None else own
        state.num_samples, share = self.exchange.count(count, part, by_length=own is None)
        return self.exchange.end_average(self.exchange.begin_average(output, share))

    def waiting_gradients(self) -> dict[str, list[Tensor | None]]:
        """Those that no step of their optimizer has used: more may be added to them."""
        waiting = {name: steps.waiting_gradients() for name, steps in self.observed.items()}
        return {name: gradients for name, gradients in waiting.items() if gradients}

    def put_back_gradients(self, gradients: Mapping[str, Any]) -> None:
        """Let the optimizers find the gradients that a checkpoint has kept."""
        for name, optimizer in self.optimizers.items():
            parameters = parameters_of(optimizer)
            kept = gradients.get(name) or [None] * len(parameters)
            for parameter, gradient in zip(parameters, kept, strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)


def silent_events(updates: Updates) -> set[TrainEvents]:
    """The events of a step that an update function with these updates does not fire by itself."""
    if not updates:
        return set(FIRED_BY_STEP)
    is_observed = any(update.is_observed for update in updates.values())
    return {TrainEvents.INPUTS_READY} | (
        {TrainEvents.LOSSES_READY, TrainEvents.BACKWARD_COMPLETED} if is_observed else set()
    )
