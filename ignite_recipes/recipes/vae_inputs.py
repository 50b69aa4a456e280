"""What a variational autoencoder is trained on, checked batch by batch."""

import logging
from collections.abc import Iterable
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor, nn

from ignite_recipes.engine.blocks import looks_at_batch
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.batches import first_item
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.models.likelihoods import Likelihood
from ignite_recipes.models.vae import features_of, row_width

__all__ = ["InputCheck", "VariationCheck", "check_first_batch"]
logger = logging.getLogger(__name__)


class InputCheck:
    """Refuse a batch that is not (N, D), or has no probability by the likelihood, before anything is computed with it.

    Runs:   trainer or evaluator, ITERATION_STARTED; for batches that lie on an accelerator already, whose
            values the host must not wait for, EPOCH_COMPLETED.
    """

    def __init__(self, model: nn.Module, likelihood: Likelihood) -> None:
        self._model, self._width = unwrap(model), row_width(model)
        self._likelihood = likelihood
        self._outside: Tensor | None = None

    def __repr__(self) -> str:
        return f"check that inputs are {self._likelihood.support}"

    def attach(self, engine: Engine) -> None:
        """Check each batch of ``engine``."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._read)

    @looks_at_batch
    def __call__(self, engine: Engine) -> None:
        """Check the current batch."""
        state = engine.state
        self.check(state.batch, f"batch {state.iteration}")

    def check(self, batch: Any, where: str) -> None:
        """Raise ValueError unless the batch, which an error calls ``where``, can be trained on."""
        x = first_item(batch)
        if not isinstance(x, Tensor) or x.dim() != 2 or len(x) == 0:
            got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(
                f"{where} must be a tensor of shape (N, D), or a tuple that begins with one; got {got}: "
                "create_dataloaders(train, val) makes batches of a data set's vectors"
            )
        count = getattr(self._model, "covariates", 0)
        if self._width is not None and self._width != x.shape[1]:
            also = f" and {count} covariates" if count else ""
            raise ValueError(
                f"{where} must have the model's {self._width - count} "
                f"features{also}; got {x.shape[1]}: make the model with input_dimension=len(species)"
            )
        vectors = features_of(self._model, x)
        infinite = x[:, x.shape[1] - count :].isinf().any() if count else None
        if x.device.type == "cpu":
            if infinite is not None and infinite:
                raise ValueError(f"{where} must have covariates that are finite, or NaN where one is not known")
            self._check_range(vectors, where)
        else:
            for outside in (self._likelihood.outside(vectors).any(), infinite):
                if outside is not None:
                    self._outside = outside if self._outside is None else self._outside | outside

    def _check_range(self, x: Tensor, where: str) -> None:
        if self._likelihood.covers(x):
            return
        row, feature = self._likelihood.outside(x).nonzero()[0].tolist()
        low, high = x.float().aminmax()
        raise ValueError(
            f"{where} must be {self._likelihood.support}; got {x[row, feature].item():g} at row {row}, "
            f"feature {feature} (its values go from {low:g} to {high:g}): {self._next_step}"
        )

    @property
    def _next_step(self) -> str:
        name = self._likelihood.name
        if name == "bernoulli":
            return "scale the data, and fill or drop NaN"
        return f"these are what the likelihood {name!r} is of, choose another one or other data"

    def _read(self, engine: Engine) -> None:
        if self._outside is not None and self._outside.item():
            raise ValueError(
                f"the data must be {self._likelihood.support}; an epoch held other values or NaN: {self._next_step}"
            )


class VariationCheck:
    """Warn if all clean vectors of the first epoch are equal: there is nothing to learn from them.

    Runs:   trainer, ITERATION_STARTED until two vectors differ; EPOCH_COMPLETED of the first epoch, where the host
            waits for vectors that lie on an accelerator.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = unwrap(model)
        self._first: Tensor | None = None
        self._differ: Tensor | None = None
        self._is_done = False

    def __repr__(self) -> str:
        return "check that vectors differ"

    def attach(self, engine: Engine) -> None:
        """Check each batch of ``engine``."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._read)

    @looks_at_batch
    def __call__(self, engine: Engine) -> None:
        """Check the current batch."""
        if self._is_done:
            return
        x = features_of(self._model, first_item(engine.state.batch))  # covariates differ, and are not learned from
        if self._first is None:
            self._first = x[0].clone()
        differ = (x != self._first).any()
        self._differ = differ if self._differ is None else self._differ | differ
        self._is_done = x.device.type == "cpu" and bool(differ)

    def _read(self, engine: Engine) -> None:
        if self._is_done or self._first is None or self._differ is None:
            return
        self._is_done = True
        if not self._differ.item():
            low, high = (value.item() for value in self._first.float().aminmax())
            logger.warning(
                "the training vectors should differ; all of epoch %d are the same, with values from %g to %g, so a low "
                "loss says nothing: check the filters that made them (a matrix of checklists needs absences too)",
                engine.state.epoch, low, high,
            )  # fmt: skip


def check_first_batch(loader: Iterable[Any], check: InputCheck) -> None:
    """Find a wrong validation set before an epoch of training is spent."""
    with preserve_generators():
        for batch in KeyedLoader(loader, 0, "validation"):
            check.check(batch, "the first validation batch")
            return
    raise ValueError("val_loader must yield at least one batch; got an empty one: pass None to do without")
