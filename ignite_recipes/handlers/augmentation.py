"""Vary what the model is fed with, so that it learns what stays the same."""

from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ignite_recipes.arguments import shown
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.handlers._host import training_host_of
from ignite_recipes.programs.part import ProgramPart, StepValues
from ignite_recipes.programs.python_state import python_state

__all__ = ["DataAugmentation", "InputAugmentation", "NoiseAugmentation", "add_noise"]

_MAX_MASK = 0.1  # of an axis: the widest mask; SpecAugment's policies lie between 0.05 and 0.35


def add_noise(
    data: Tensor, noise_std: float = 0.1, clamp_min: float | None = 0.0, clamp_max: float | None = 1.0
) -> Tensor:
    """``clamp(data + noise_std * N(0, 1), clamp_min, clamp_max)``, a new tensor.

    Args:
        data: any shape, floating point.
        noise_std: standard deviation of the noise, in the units of the data; 0 gives a copy.
        clamp_min, clamp_max: the data's range; None leaves a side open.

    Raises:
        ValueError: for a negative ``noise_std``.
        TypeError: for data that is not floating point.

    >>> add_noise(torch.tensor([0.0, 1.0]), noise_std=0.0)
    tensor([0., 1.])
    >>> bool((add_noise(torch.zeros(100)) >= 0).all())
    True
    """
    _check_level("noise_std", noise_std)
    _check_float(data)
    if noise_std == 0:
        return data.clone()
    noisy = data + noise_std * torch.randn_like(data)
    if clamp_min is None and clamp_max is None:
        return noisy
    return noisy.clamp_(clamp_min, clamp_max)


def _check_level(name: str, value: float) -> None:
    if not isinstance(value, (float, Real)) or not 0 <= value < float("inf"):
        raise ValueError(f"{name} must not be negative or infinite, it is a standard deviation; got {shown(value)}")


def _check_float(data: Tensor) -> None:
    if not isinstance(data, Tensor):
        raise TypeError(f"data must be a tensor; got {type(data).__name__}: torch.as_tensor makes one")
    if not data.is_floating_point():
        raise TypeError(f"noise needs floating point data; got {data.dtype}: convert it with data.float()")


class InputAugmentation(ProgramPart):
    """Feed the model with ``augment(inputs)`` instead of the inputs; the batch itself stays clean.

    Runs:   trainer, INPUTS_READY (another Engine: ITERATION_STARTED, on the batch's first item).
    Writes: ``state.inputs`` (another Engine: ``state.batch``).
    Keeps:  nothing; our trainer seeds the generators for every step.

    Args:
        augment: a function of the inputs.
        name: what ``describe`` shows; by default the name of the function.

    >>> trainer = Engine(lambda engine, batch: batch)
    >>> _ = InputAugmentation(lambda x: 2 * x).attach(trainer)
    >>> trainer.run([torch.tensor([1.0])]).output
    tensor([2.])
    """

    def __init__(self, augment: Callable[[Any], Any], *, name: str | None = None) -> None:
        if not callable(augment):
            raise TypeError(f"augment must be a function of the inputs; got {shown(augment)}")
        self.augment, self.name = augment, name

    def __repr__(self) -> str:
        if self.name is not None:
            return self.name
        function = getattr(self.augment, "func", self.augment)
        return f"InputAugmentation({getattr(function, '__name__', function)})"

    def attach(self, trainer: Engine) -> "InputAugmentation":
        """Augment in every step of ``trainer``."""
        if training_host_of(trainer, self).fires(TrainEvents.INPUTS_READY):
            trainer.add_event_handler(TrainEvents.INPUTS_READY, self)
        else:
            trainer.add_event_handler(Events.ITERATION_STARTED, self._augment_batch)
        return self

    def __call__(self, trainer: Engine) -> None:
        """Augment the inputs of the current step."""
        state: Any = trainer.state
        state.inputs = self.augment(state.inputs)

    def in_program(self, values: StepValues, carried: Sequence[Tensor], numbers: Sequence[Tensor]) -> None:
        """The same, of a program's inputs."""
        values.inputs = self.augment(values.inputs)

    def constants_in_program(self) -> Any:
        """The function with all that it computes with."""
        return getattr(self.augment, "func", self.augment), sorted(python_state([self.augment]).items(), key=str)

    def _augment_batch(self, trainer: Engine) -> None:
        state: Any = trainer.state
        if isinstance(state.batch, (list, tuple)):
            items = [self.augment(state.batch[0]), *state.batch[1:]]
            state.batch = type(state.batch)(*items) if hasattr(state.batch, "_fields") else type(state.batch)(items)
        else:
            state.batch = self.augment(state.batch)


class NoiseAugmentation:
    """Feed the model with :func:`add_noise` of its inputs.

    Runs:   trainer, INPUTS_READY (another Engine: ITERATION_STARTED, on the batch's first item).
    Writes: ``state.inputs`` (another Engine: ``state.batch``).
    Keeps:  nothing.

    Args:
        noise_std, clamp_min, clamp_max: as for :func:`add_noise`.

    >>> trainer = Engine(lambda engine, batch: batch)
    >>> _ = NoiseAugmentation(0.2).attach(trainer)
    >>> noisy = trainer.run([torch.full((100,), 0.5)]).output
    >>> 0.1 < noisy.std() < 0.3
    tensor(True)
    """

    def __init__(self, noise_std: float = 0.1, clamp_min: float | None = 0.0, clamp_max: float | None = 1.0) -> None:
        _check_level("noise_std", noise_std)
        self.noise_std = noise_std
        self._augment = partial(add_noise, noise_std=noise_std, clamp_min=clamp_min, clamp_max=clamp_max)

    def __repr__(self) -> str:
        return f"NoiseAugmentation(noise_std={self.noise_std:g})"

    def attach(self, trainer: Engine) -> "NoiseAugmentation":
        """Add noise in every step of ``trainer``."""
        training_host_of(trainer, self)
        InputAugmentation(self._augment, name=repr(self)).attach(trainer)
        return self


class DataAugmentation:
    """Augmentation of three kinds of data. Every method returns a new tensor of its input's shape.

    Runs:   by hand; attached, one method of it at INPUTS_READY as an :class:`InputAugmentation`.
    Writes: ``state.inputs`` (another Engine: ``state.batch``).
    Keeps:  nothing.

    >>> augmenter = DataAugmentation()
    >>> mel = torch.ones(2, 8, 20)
    >>> augmenter.augment_audio_features(mel, noise_level=0.0).shape
    torch.Size([2, 8, 20])
    """

    def __repr__(self) -> str:
        return "DataAugmentation()"

    def augment_audio_features(
        self, features: Tensor, noise_level: float = 0.01, time_mask: bool = True, freq_mask: bool = True
    ) -> Tensor:
        """Noise on a spectrogram, a block of its time columns and a block of its frequency rows set to 0.

        Every sample of a batch gets its own masks, each at least one wide and at most a tenth of its axis
        (rounded up).

        Args:
            features: (..., frequency, time), floating point.
            noise_level: standard deviation of the noise, in the units of the features.
            time_mask, freq_mask: which masks to apply.

        Raises:
            ValueError: for a negative ``noise_level``, or a mask on fewer than two axes.

        Reference: D. Park et al., SpecAugment, arXiv:1904.08779.
        """
        augmented = add_noise(features, noise_level, None, None)
        if (time_mask or freq_mask) and features.dim() < 2:
            raise ValueError(
                f"masks need features of shape (..., frequency, time); got {tuple(features.shape)}: "
                "pass time_mask=False, freq_mask=False for vectors"
            )
        if time_mask:
            augmented = augmented.masked_fill(_mask(features, -1)[..., None, :], 0)
        if freq_mask:
            augmented = augmented.masked_fill(_mask(features, -2)[..., :, None], 0)
        return augmented

    def augment_emotion_embedding(self, embedding: Tensor, noise_level: float = 0.05) -> Tensor:
        """Noise on an embedding of any shape; ``noise_level`` is its standard deviation."""
        return add_noise(embedding, noise_level, None, None)

    def augment_note_probabilities(self, notes: Tensor, dropout_prob: float = 0.1, noise_level: float = 0.05) -> Tensor:
        """Noise on probabilities, which stay in [0, 1], and some of them set to 0.

        Args:
            notes: any shape, floating point, in [0, 1].
            dropout_prob: the share of entries set to 0, from 0 to 1.
            noise_level: standard deviation of the noise.

        Raises:
            ValueError: for a ``dropout_prob`` outside [0, 1] or a negative ``noise_level``.
        """
        if not 0 <= dropout_prob <= 1:
            raise ValueError(f"dropout_prob must be from 0 to 1; got {dropout_prob}")
        noisy = add_noise(notes, noise_level, 0.0, 1.0)
        return noisy.masked_fill(torch.rand_like(noisy) < dropout_prob, 0)

    def attach(self, trainer: Engine, kind: str = "audio_features", **settings: Any) -> "DataAugmentation":
        """Augment every step's inputs: ``attach(trainer, "note_probabilities", dropout_prob=0.2)``.

        Args:
            trainer: ours, or any other Engine.
            kind: ``"audio_features"``, ``"emotion_embedding"`` or ``"note_probabilities"``.
            settings: the settings of the method ``augment_<kind>``.

        Raises:
            ValueError: for another kind.
        """
        kinds = ("audio_features", "emotion_embedding", "note_probabilities")
        if kind not in kinds:
            raise ValueError(f"kind must be one of {', '.join(kinds)}; got {shown(kind)}")
        training_host_of(trainer, self)
        InputAugmentation(partial(getattr(self, f"augment_{kind}"), **settings)).attach(trainer)
        return self


def _mask(features: Tensor, axis: int) -> Tensor:
    """True inside one random block of an axis, for each sample: (..., F, T) -> (..., size of the axis)."""
    size, batch = features.shape[axis], features.shape[:-2]
    widest = max(1, -(-size // round(1 / _MAX_MASK)))
    device = features.device
    width = torch.randint(1, widest + 1, batch, device=device)[..., None]
    start = (torch.rand(batch, device=device)[..., None] * (size - width + 1)).floor()
    position = torch.arange(size, device=device)
    return (position >= start) & (position < start + width)
