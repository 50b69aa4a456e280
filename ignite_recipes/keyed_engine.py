"""An Ignite Engine whose randomness depends on its seed and position only, and that can always run again."""

import logging
import os
import shutil
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events, State
from torch import Tensor, nn

from ignite_recipes.batches import count_samples
from ignite_recipes.distributed import process_number, processes, total
from ignite_recipes.events import TrainEvents
from ignite_recipes.loading import KeyedLoader
from ignite_recipes.randomness import preserve_generators

__all__ = ["KeyedEngine", "LossFunction", "TrainingState", "check_loss", "compiled"]

# Ignite logs each exception twice on its way to the caller, who gets it anyway and says what it means; and the end
# of every epoch, validation's too, which is the business of those who report on a run.
_ignite_logger = logging.getLogger(f"{__name__}.ignite")
_ignite_logger.addFilter(lambda record: record.levelno == logging.WARNING)

# What torch calls the compiler of each platform, if CXX does not say; elsewhere g++.
_COMPILERS = {"darwin": "clang++", "win32": "cl"}

LossFunction = Callable[[nn.Module, Any, Any], Mapping[str, Tensor]]
"""``loss_fn(model, inputs, batch)`` gives a dict of 0-d tensors; the one named ``"loss"`` is minimised."""


class TrainingState(State):
    """Ignite's State and what our step adds to it.

    Attributes:
        inputs: what the model is about to be fed with; handlers of INPUTS_READY rewrite it.
        losses: what ``loss_fn`` returned, attached to the graph, until the step ends.
        num_samples: of the batch at hand.
        grad_norm: the total gradient norm before clipping, once a handler has measured it in this step.
        optimizer_steps, skipped_steps: since the run began.
        steps_owed: OPTIMIZER_STEP_COMPLETED events still to be withheld, for steps that were dropped after
            theirs was fired.
        learning_rate: of the first parameter group in the first step of the epoch at hand; also a metric.
        opened_epochs, closed_epochs: epochs that have begun, and whose end, with all its decisions, is behind us.
        epoch_start: the iteration before the first one of the epoch that was opened last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inputs: Any = None
        self.losses: Mapping[str, Tensor] | None = None
        self.num_samples = 0
        self.grad_norm: Tensor | None = None
        self.learning_rate = 0.0
        self.opened_epochs = self.closed_epochs = self.epoch_start = 0
        self.optimizer_steps = 0
        self.skipped_steps = 0
        self.steps_owed = 0


class KeyedEngine(Engine):
    """An Engine whose randomness depends on its seed and its position only, and that can always run again."""

    purpose: str
    state: TrainingState

    def __init__(
        self,
        step: Callable[[Any, Any], Any],
        device: torch.device,
        seed: int,
        loss_fn: LossFunction,
        batch_size: Callable[[Any], int],
        compile: bool | str = False,
    ) -> None:
        # A function and not a bound method: an engine in a reference cycle would keep its loaders until the
        # garbage collector comes, and torch then takes 5 seconds to end each of their worker processes.
        super().__init__(step)
        self.logger = _ignite_logger
        self.device = device
        self.state = TrainingState()
        self.state.seed = seed
        self._reported: BaseException | None = None
        self.compile = compile
        self.loss_fn = loss_fn
        self.batch_size = batch_size
        # What the keys of random numbers differ by between processes; the first one's are those of a single process.
        self.processes, self.key = processes(), (process_number(),) if process_number() else ()

    @property
    def loss_fn(self) -> LossFunction:
        """What computes the losses; a handler may put another one in its place."""
        return self._loss_fn

    @loss_fn.setter
    def loss_fn(self, loss_fn: LossFunction) -> None:
        self._loss_fn, self._losses = loss_fn, compiled(loss_fn, self.compile, self.device)

    def count(self, batch: Any) -> float:
        """Note the samples of a batch, and say which part of them is in this process, as a fraction."""
        n = self.batch_size(batch)
        loader: Any = self.state.dataloader
        part = loader.part if isinstance(loader, KeyedLoader) else None
        if part is None:
            self.state.num_samples = n
            return 1.0
        if self.batch_size is count_samples:
            self.state.num_samples = part.whole
            return part.share
        n_all = total(n / part.copies)  # only the processes together know what theirs come to
        self.state.num_samples = round(n_all)
        return n / part.copies / n_all if n_all else 1 / self.processes

    def fire(self, event: TrainEvents) -> None:
        """Fire ``event`` if somebody listens: 0.2 microseconds for nobody, where ``fire_event`` takes 11."""
        if self._event_handlers[event]:
            self._fire_event(event)

    def _fire_event(self, event_name: Any, *event_args: Any, **event_kwargs: Any) -> None:
        # As Ignite's, without the text that it makes of each event for a log that nobody reads: 8 of 9 microseconds,
        # five times a step.
        self.last_event_name = event_name
        for handler, args, kwargs in self._event_handlers[event_name]:
            takes_engine = args and isinstance(args[0], weakref.ref)
            first, others = ((self,), args[1:]) if takes_engine else ((), args)
            handler(*first, *event_args, *others, **kwargs, **event_kwargs)

    def run(
        self,
        data: Iterable[Any] | None = None,
        max_epochs: int | None = None,
        max_iters: int | None = None,
        epoch_length: int | None = None,
    ) -> State:
        """Run over ``data``, leaving the global random generators as they were found."""
        if max_epochs is not None and max_epochs < 1:
            raise ValueError(f"max_epochs must be at least 1; got {max_epochs}")
        if data is None:
            with preserve_generators(self.device):
                return super().run(data, max_epochs, max_iters, epoch_length)
        if not isinstance(data, Iterable):
            raise TypeError(f"data must be a loader or another iterable of batches; got {type(data).__name__}")
        if self._get_data_length(data) == 0:
            raise ValueError("the loader must yield at least one batch; got an empty one: check its data set")
        # What an exception, an interrupt or terminate() left of an earlier run would end this one at once.
        self._internal_run_generator = self._dataloader_iter = self._reported = None
        self.should_terminate = False
        with preserve_generators(self.device):
            assert self.state.seed is not None
            loader = KeyedLoader(data, self.state.seed, self.purpose, self.device)
            return super().run(loader, max_epochs, max_iters, epoch_length)

    def _handle_exception(self, error: BaseException) -> None:
        # Ignite swallows the exception when a handler returns, and calls handlers twice when one raises.
        if self._reported is not error:
            self._reported = error
            self._fire_event(Events.EXCEPTION_RAISED, error)
        raise error


def compiled(loss_fn: LossFunction, compile: bool | str, device: torch.device) -> LossFunction:
    """The loss function, model included, through ``torch.compile``; as it is where ``compile`` is False.

    Each shape of a batch has a program of its own. One for all shapes, which torch would make at the second, rounds
    differently from that of the first, and a resumed run can meet the shapes in another order.

    Raises:
        ValueError: if torch has no such mode, or there is no compiler on this machine.
    """
    if compile is False:
        return loss_fn
    modes = list(torch._inductor.list_mode_options())
    if compile is not True and compile not in modes:
        raise ValueError(f"compile must be True, False or one of torch.compile's modes, {modes}; got {compile!r}")
    compiler = os.environ.get("CXX", _COMPILERS.get(sys.platform, "g++"))
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise ValueError(
            f"compile must have a C++ compiler; got none that is called {compiler!r}: install it, name yours in the "
            "environment variable CXX, or leave compile out"
        )

    def losses(model: nn.Module, inputs: Any, batch: Any) -> Mapping[str, Tensor]:
        return loss_fn(model, inputs, batch)

    # torch keeps programs with the code that they are made of, and of one code no more than 8: all runs of a process
    # would share them, and the third would no longer be compiled.
    losses.__code__ = losses.__code__.replace()
    fast = torch.compile(losses, mode=None if compile is True else compile, dynamic=False)
    if device.type == "cpu":
        return fast

    def copied(model: nn.Module, inputs: Any, batch: Any) -> Mapping[str, Tensor]:
        # CUDA graphs, which a mode may use, write each step's results to the same place.
        found = fast(model, inputs, batch)
        if not isinstance(found, Mapping):  # which check_loss refuses
            return found
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in found.items()}

    return copied


def check_loss(losses: Any) -> Tensor:
    """The loss among what a loss function returned; TypeError if there is none, or it is not a single number."""
    loss = losses.get("loss") if isinstance(losses, Mapping) else None
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(losses).__name__
        raise TypeError(
            f"loss_fn must return a dict whose 'loss' is a tensor with a single number; got {got}: "
            "average over the samples, and name the result 'loss'"
        )
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise TypeError("the loss must depend on the model's weights; got one without a gradient: do not detach it")
    return loss
