"""Look at gradients and weights for numbers that announce trouble."""

import logging
from collections.abc import Iterable
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from ignite_recipes.arguments import whole_number
from ignite_recipes.engine.gradients import gradients_of
from ignite_recipes.exchange.sharded import full_value
from ignite_recipes.handlers._host import training_host_of

__all__ = ["TrainingStability"]

logger = logging.getLogger(__name__)


class TrainingStability:
    """Report the size of gradients and weights, and how many of them are NaN or infinite.

    The two checks are used by hand, without an instance, or every few epochs when attached. They only report;
    ``NonFiniteGuard`` keeps non-finite numbers out of the weights.

    Runs:   trainer, EPOCH_COMPLETED, on the gradients of the epoch's last step.
    Reads:  the model's parameters and their gradients.
    Writes: the log: a warning if something is not finite.
    Keeps:  ``gradients`` and ``weights``, the last reports.

    Args:
        every: epochs between two checks.

    Raises:
        ValueError: if ``every`` is below 1.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> model.weight.grad = torch.tensor([[float("nan"), -3.0]])
    >>> TrainingStability.check_gradients(model)
    {'max_grad': 3.0, 'mean_grad': 3.0, 'nan_grads': 1, 'inf_grads': 0}
    """

    def __init__(self, every: int = 10) -> None:
        self.every = whole_number(every, "every", "epochs")
        self.gradients: dict[str, float] = {}
        self.weights: dict[str, float] = {}
        self._model: nn.Module | None = None

    def __repr__(self) -> str:
        return f"TrainingStability(every={self.every})"

    @staticmethod
    def check_gradients(model: nn.Module, verbose: bool = False) -> dict[str, float]:
        """Largest and mean absolute gradient (over the finite ones), and counts of NaN and infinite elements.

        Args:
            model: after ``backward()``; parameters without a gradient are passed over.
            verbose: print the report.

        Returns:
            ``max_grad``, ``mean_grad``, ``nan_grads``, ``inf_grads``; all 0 if there is no gradient.
        """
        report = _report(gradients_of(model.parameters()), "grad")
        if verbose:
            print(f"Gradients: {_sentence(report)}")  # noqa: T201  # the documented meaning of verbose
        return report

    @staticmethod
    def check_weights(model: nn.Module, verbose: bool = False) -> dict[str, float]:
        """As :meth:`check_gradients`, for the parameters: ``max_weight``, ``mean_weight`` and so on."""
        report = _report((p.detach() for p in model.parameters()), "weight")
        if verbose:
            print(f"Weights: {_sentence(report)}")  # noqa: T201  # the documented meaning of verbose
        return report

    def attach(self, trainer: Engine, model: nn.Module | None = None) -> "TrainingStability":
        """Check every few epochs; an engine that is not ours must name the ``model``.

        Raises:
            RuntimeError: if it does not.
        """
        host = training_host_of(trainer, self)
        self._model = host.model(model, "what to check")
        host.keep("stability", self)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._check_if_due)
        return self

    def _check_if_due(self, trainer: Engine) -> None:
        if trainer.state.epoch % self.every == 0:
            self(trainer)

    def __call__(self, trainer: Engine) -> None:
        """Check now, and log."""
        assert self._model is not None
        self.gradients, self.weights = self.check_gradients(self._model), self.check_weights(self._model)
        for name, report in (("gradients", self.gradients), ("weights", self.weights)):
            bad = sum(count for key, count in report.items() if key.startswith(("nan", "inf")))
            level = logging.WARNING if bad else logging.INFO
            logger.log(level, "epoch %d, %s: %s", trainer.state.epoch, name, _sentence(report))

    def state_dict(self) -> dict[str, Any]:
        """The last reports."""
        return {"gradients": dict(self.gradients), "weights": dict(self.weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the reports of an earlier part of the run."""
        self.gradients, self.weights = dict(state["gradients"]), dict(state["weights"])


def _report(tensors: Iterable[Tensor], what: str) -> dict[str, float]:
    rows = []
    for tensor in map(full_value, tensors):
        exact = torch.float32 if tensor.device.type == "mps" else torch.float64
        finite = tensor.isfinite()
        kept = tensor.abs().where(finite, 0).to(exact)
        largest = kept.max() if kept.numel() else kept.sum()
        counts = (finite.sum(), tensor.isnan().sum(), tensor.isinf().sum())
        rows.append(torch.stack([largest, kept.sum(), *(count.to(exact) for count in counts)]).double().cpu())
    table = torch.stack(rows) if rows else torch.zeros(1, 5, dtype=torch.float64)
    total, finite_count, nans, infinities = table[:, 1:].sum(0).tolist()
    return {
        f"max_{what}": table[:, 0].max().item(),
        f"mean_{what}": total / finite_count if finite_count else 0.0,
        f"nan_{what}s": int(nans),
        f"inf_{what}s": int(infinities),
    }


def _sentence(report: dict[str, float]) -> str:
    largest, mean, nans, infinities = report.values()
    return f"largest {largest:.3g}, mean {mean:.3g}, {nans} NaN, {infinities} infinite"
