"""Trace a function of tensors into a graph that a compiler takes: every tensor an input, every draw with a key."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch._inductor import inductor_prims
from torch._inductor.decomposition import select_decomp_table
from torch.fx.experimental.proxy_tensor import make_fx

__all__ = ["TraceError", "TracedProgram", "trace"]

aten: Any = torch.ops.aten
prims: Any = torch.ops.prims

_SIMPLE = {
    aten.rand_like.default: "rand",
    aten.randn_like.default: "randn",
    aten.rand.default: "rand",
    aten.randn.default: "randn",
}


def _norms(tensors: list[Tensor], ord: float = 2, dtype: torch.dtype | None = None) -> list[Tensor]:
    return [torch.linalg.vector_norm(tensor, ord, dtype=dtype) for tensor in tensors]


# A compiler fuses them as it likes; as they are, it would call the eager kernels.
_ONE_BY_ONE: dict[Any, Callable[..., Any]] = {
    aten._foreach_norm.Scalar: _norms,
    aten._foreach_mul.Tensor: lambda tensors, factor: [tensor * factor for tensor in tensors],
    aten._foreach_sub.List: lambda these, others, alpha=1: [a - alpha * b for a, b in zip(these, others, strict=True)],
    aten._foreach_add.List: lambda these, others, alpha=1: [a + alpha * b for a, b in zip(these, others, strict=True)],
}


class TraceError(RuntimeError):
    """A function cannot be traced faithfully; the message says why."""


class TracedProgram:
    """A graph, and what it needs beside its arguments.

    Attributes:
        graph: its inputs are the arguments, then ``keys``, then ``constants``.
        num_keys: operations that draw random numbers.
        constants: tensors that the function has found elsewhere; they are inputs, so that changes of them count.
    """

    def __init__(self, graph: fx.GraphModule, num_keys: int, constants: list[Tensor]) -> None:
        self.graph, self.num_keys, self.constants = graph, num_keys, constants


def trace(function: Callable[..., list[Tensor]], arguments: Sequence[Tensor]) -> TracedProgram:
    """Trace ``function(*arguments)``.

    Args:
        function: of tensors; what it changes in place are arguments, or tensors that it finds elsewhere.
        arguments: examples.

    Raises:
        TraceError: if what it does depends on the values of tensors, or it draws random numbers that are not torch's.
    """
    before = random.getstate(), np.random.get_state()
    generator = torch.default_generator.get_state()
    try:
        graph = make_fx(
            function, decomposition_table=_decompositions(), tracing_mode="fake", _allow_non_fake_inputs=True
        )(*arguments)
    except Exception as error:
        raise TraceError(_first_line(error)) from error
    finally:
        torch.default_generator.set_state(generator)
    if random.getstate() != before[0] or not _same_state(np.random.get_state(), before[1]):
        random.setstate(before[0])
        np.random.set_state(before[1])
        raise TraceError("the step draws from Python's or NumPy's generator, whose numbers would be constants")
    num_keys = _give_keys(graph)
    constants = _lift_constants(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return TracedProgram(graph, num_keys, constants)


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Those of the compiler, so that dropout is a draw of uniform numbers and a comparison."""
    table = dict(select_decomp_table())
    for operation in _SIMPLE:
        table.pop(operation, None)
    return {**table, **_ONE_BY_ONE}


def _same_state(one: Any, other: Any) -> bool:
    return one[0] == other[0] and one[2:] == other[2:] and bool(np.array_equal(one[1], other[1]))


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


def _give_keys(graph: fx.GraphModule) -> int:
    """Let each draw take its seed from the input ``keys``; how many there are.

    Raises:
        TraceError: for a draw of another kind than uniform, normal, or whole numbers.
    """
    nodes = graph.graph
    inputs = [node for node in nodes.nodes if node.op == "placeholder"]
    with nodes.inserting_after(inputs[-1]):
        keys = nodes.placeholder("keys")
    number = 0
    for node in list(nodes.nodes):
        if node.op != "call_function" or torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
            continue
        with nodes.inserting_before(node):
            key = nodes.call_function(inductor_prims.lookup_seed, (keys, number))
            node.replace_all_uses_with(_keyed(nodes, node, key))
        nodes.erase_node(node)
        number += 1
    return number


def _keyed(nodes: fx.Graph, node: fx.Node, key: fx.Node) -> fx.Node:
    """What stands for ``node``: the same distribution, drawn with a key; in the same place if it is in place."""
    value: Tensor = node.meta["val"]
    if node.kwargs.get("generator") is not None:
        raise TraceError(f"{node.target} draws from a generator of its own")
    call, own = nodes.call_function, node.args[0]
    kwargs: Any = node.kwargs
    arguments: list[Any] = list(node.args[1:])

    def draw(mode: str) -> fx.Node:
        return call(inductor_prims.random, (list(value.shape), key, mode))

    target, is_in_place = node.target, str(node.target).split(".")[1].endswith("_")
    if target in _SIMPLE:
        drawn = draw(_SIMPLE[target])
    elif target in (aten.bernoulli.p, aten.bernoulli_.float):
        drawn = call(aten.lt.Scalar, (draw("rand"), arguments[0] if arguments else 0.5))
    elif target in (aten.bernoulli.default, aten.bernoulli_.Tensor):
        drawn = call(aten.lt.Tensor, (draw("rand"), arguments[0] if is_in_place else own))
    elif target in (aten.randint.default, aten.randint.low):
        low, high = (0, own) if target is aten.randint.default else (own, *arguments)[:2]
        drawn = call(inductor_prims.randint, (low, high, list(value.shape), key))
    elif target in (aten.uniform_.default, prims.uniform.default):
        low, high = (kwargs["low"], kwargs["high"]) if not is_in_place else arguments + [0.0, 1.0][len(arguments) :]
        drawn = call(aten.add.Scalar, (call(aten.mul.Scalar, (draw("rand"), high - low)), low))
    elif target in (aten.normal_.default, prims.normal.default):
        mean, std = (kwargs["mean"], kwargs["std"]) if not is_in_place else arguments + [0.0, 1.0][len(arguments) :]
        drawn = call(aten.add.Scalar, (call(aten.mul.Scalar, (draw("randn"), std)), mean))
    elif target is aten.exponential_.default:
        logs = call(aten.log1p.default, (call(aten.neg.default, (draw("rand"),)),))
        drawn = call(aten.mul.Scalar, (logs, -1.0 / (arguments[0] if arguments else 1.0)))
    else:
        raise TraceError(f"{target} draws random numbers in a way that a program does not know")
    drawn = call(prims.convert_element_type.default, (drawn, value.dtype))
    return call(aten.copy_.default, (own, drawn)) if is_in_place else drawn


def _lift_constants(graph: fx.GraphModule) -> list[Tensor]:
    """Make inputs of the tensors that the function has found elsewhere."""
    nodes, lifted = graph.graph, dict[str, fx.Node]()
    constants: list[Tensor] = []
    last = [node for node in nodes.nodes if node.op == "placeholder"][-1]
    for node in list(nodes.nodes):
        if node.op != "get_attr":
            continue
        value = getattr(graph, str(node.target))
        if not isinstance(value, Tensor):
            raise TraceError(f"the step computes with {type(value).__name__}, which is no tensor")
        if str(node.target) not in lifted:
            with nodes.inserting_after(last):
                last = lifted[str(node.target)] = nodes.placeholder(f"constant_{len(constants)}")
            constants.append(value)
        node.replace_all_uses_with(lifted[str(node.target)])
        nodes.erase_node(node)
    return constants
