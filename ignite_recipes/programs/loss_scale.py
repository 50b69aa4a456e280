"""A GradScaler's work as a part of a program: the scale is adapted on the device, and the host need not know it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ignite_recipes.programs.part import OVERFLOW, STOPPED, StepValues

__all__ = ["LossScale", "constants_of"]


class LossScale:
    """The scale of a loss in float16, whose state is that of torch's GradScaler.

    Its arithmetic is that of the scaler: the scale shrinks with each step whose gradients overflow, which is dropped,
    and grows after ``growth_interval`` others in a row.

    Args:
        scaler: an enabled one.
        device: the device of the losses.

    Attributes:
        carried: the scale, float32, and the steps since it was last adapted, int32; both 0-d, the scaler's own.

    >>> scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    >>> scale = LossScale(scaler, torch.device("cpu"))
    >>> scale.scaled(torch.tensor(0.5), scale.carried)
    tensor(4.)
    >>> values = StepValues(gradients=[torch.tensor([4.0, 16.0])])
    >>> scale.unscale(values, scale.carried)
    >>> values.gradients, values.drop
    ([tensor([0.5000, 2.0000])], tensor(0.))
    >>> scale.adapt(values, scale.carried)
    >>> scaler.get_scale()
    16.0
    """

    def __init__(self, scaler: torch.amp.GradScaler, device: torch.device) -> None:
        scaler.scale(torch.zeros((), device=device))  # the first call makes its tensors
        self.constants = constants_of(scaler)
        # Torch has no public way to them; get_scale() waits for the device.
        assert scaler._scale is not None
        assert scaler._growth_tracker is not None
        self.carried: list[Tensor] = [scaler._scale, scaler._growth_tracker]

    def scaled(self, loss: Tensor, carried: Sequence[Tensor]) -> Tensor:
        """The loss whose gradients are computed; of a loss that is not finite they are not finite either."""
        value = loss.detach()
        return loss * (1.0 + (value - value)) * carried[0]

    def unscale(self, values: StepValues, carried: Sequence[Tensor]) -> None:
        """Bring the gradients to their true size; a step whose gradients have overflown is to be dropped."""
        values.scale = carried[0]
        largest = torch.stack(torch._foreach_norm(values.gradients, math.inf)).max()
        values.drop = largest.isfinite().logical_not() * float(OVERFLOW)
        inverse = values.scale.double().reciprocal().float()
        values.gradients = [gradient * inverse.to(gradient.dtype) for gradient in values.gradients]

    def adapt(self, values: StepValues, carried: Sequence[Tensor]) -> None:
        """What the step has come to changes the scale of the next one; of a step that was stopped nothing is known."""
        growth, backoff, interval = self.constants
        scale, tracker = carried
        assert values.drop is not None
        is_stopped = values.drop >= STOPPED
        has_overflown = values.drop >= OVERFLOW
        count = tracker + 1
        larger = (scale.double() * growth).float()
        larger = torch.where((count == interval) & larger.isfinite(), larger, scale)
        smaller = (scale.double() * backoff).float()
        new_tracker = torch.where(has_overflown | (count == interval), torch.zeros_like(tracker), count)
        scale.copy_(torch.where(is_stopped, scale, torch.where(has_overflown, smaller, larger)))
        tracker.copy_(torch.where(is_stopped, tracker, new_tracker))


def constants_of(scaler: torch.amp.GradScaler) -> tuple[float, float, int]:
    """How a scale grows and shrinks, and after how many steps: constants of a program."""
    return scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()
