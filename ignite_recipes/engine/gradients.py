"""An optimizer's parameters, and their gradients, dense and sparse, to be measured and scaled in place."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from ignite_recipes.exchange.sharded import full_value

__all__ = ["are_alike", "gradients_of", "parameters_of", "scale_in_place", "total_norm", "zero_gradients"]

_HALF = (torch.float16, torch.bfloat16)


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """All parameters of an optimizer, as they are now."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def gradients_of(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The gradients of those that have one; of a sparse gradient the values, each row once.

    What is done in place to the tensors of the list is done to the gradients.

    >>> embedding = torch.nn.Embedding(10, 2, sparse=True)
    >>> embedding(torch.tensor([1, 1, 7])).sum().backward()
    >>> gradients_of(embedding.parameters())
    [tensor([[2., 2.],
            [1., 1.]])]
    """
    found = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        if gradient.layout != torch.strided:
            parameter.grad = gradient = gradient.coalesce()
            gradient = gradient._values()
        found.append(gradient)
    return found


def zero_gradients(optimizer: Optimizer) -> None:
    """Free the gradients of an optimizer's parameters."""
    if type(optimizer).zero_grad is not Optimizer.zero_grad:  # an optimizer that has its own
        optimizer.zero_grad(set_to_none=True)
        return
    for group in optimizer.param_groups:  # torch's own does this and tells its profiler: 20 times the cost
        for parameter in group["params"]:
            parameter.grad = None


def total_norm(gradients: Iterable[Tensor], norm_type: float = 2.0) -> Tensor:
    """The norm of all gradients taken as one vector, a 0-d tensor on the first one's device.

    Of half precision it is computed in float32, whose range it needs: finite gradients have a finite norm.
    """
    gradients = list(gradients)
    if are_alike(gradients):
        dtype = torch.float32 if gradients[0].dtype in _HALF else None
        norms = torch._foreach_norm(gradients, norm_type, dtype=dtype)
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms), norm_type)
        return norm
    if not any(gradient.dtype in _HALF for gradient in gradients):
        # Of a sharded model each rank knows a part of the norm.
        return full_value(torch.nn.utils.get_total_norm(gradients, norm_type))  # type: ignore[no-any-return]
    return total_norm([gradient.float() for gradient in gradients], norm_type)


def scale_in_place(gradients: Sequence[Tensor], factor: Tensor) -> None:
    """Multiply them all by a 0-d tensor."""
    for device in {gradient.device for gradient in gradients}:
        torch._foreach_mul_([gradient for gradient in gradients if gradient.device == device], factor.to(device))


def are_alike(gradients: Sequence[Tensor]) -> bool:
    """Whether one kernel can take them all; torch's own functions sort them first, at the cost of as much again."""
    kinds = {(gradient.device, gradient.dtype) for gradient in gradients}
    return len(kinds) == 1 and not hasattr(gradients[0], "device_mesh")
