"""Copies of weights, and whether two of them are equal to the last bit."""

import torch


def weights(model):
    """A copy of everything in a model, buffers included, in its order."""
    return [value.clone() for value in model.state_dict().values()]


def equal(first, second):
    """Whether tensors are equal to the last bit: two lists of them, or two dicts with the same names in order."""
    if isinstance(first, dict):
        return list(first) == list(second) and equal(first.values(), second.values())
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
