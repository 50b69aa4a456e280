"""A traced step of one run as the same step of any number of runs, whose tensors are stacked."""

import copy
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ignite_recipes.programs.trace import TracedProgram, TraceError

__all__ = ["stack_program"]

aten = torch.ops.aten

_NOT_COMPILED = ("conv", "pool", "upsample", "grid_sampler")
"""Parts of the names of operations over images. Inductor keeps their sizes of the example, and reads other memory."""

_SIZES = (5, 7)  # numbers of runs with which it is traced: what differs between the two is a multiple of the number


def stack_program(traced: TracedProgram, arguments: Sequence[Tensor]) -> fx.GraphModule:
    """The graph of a step over stacked inputs: (N, ...) for each input (...), for any N from 2.

    ``torch.func.vmap`` would have the number of runs as a constant, so that each run that stops would need a program
    of its own. Here the graph is made for two numbers; where a size differs between the two, it is a multiple
    of the number of runs, which is read from the inputs then.

    Args:
        traced: of one run.
        arguments: examples of all inputs, of one run.

    Raises:
        TraceError: if an operation of the step cannot be stacked.

    >>> from ignite_recipes.programs.trace import trace
    >>> traced = trace(lambda x, w: [x @ w], [torch.ones(2, 3), torch.ones(3)])
    >>> graph = stack_program(traced, [torch.ones(2, 3), torch.ones(3)])
    >>> graph(torch.ones(4, 2, 3), torch.ones(4, 3))[0].shape
    torch.Size([4, 2])
    """
    names = [str(node.target) for node in traced.graph.graph.nodes if node.op == "call_function"]
    if (found := next((name for name in names if any(word in name for word in _NOT_COMPILED)), None)) is not None:
        raise TraceError(f"it has an operation over images, {found.removeprefix('aten.').partition('.')[0]}")
    graph = _out_of_place(traced.graph)
    first, second = (_stacked(graph, arguments, size) for size in _SIZES)
    nodes, others = list(first.graph.nodes), list(second.graph.nodes)
    if [(node.op, str(node.target)) for node in nodes] != [(node.op, str(node.target)) for node in others]:
        raise TraceError("it has an operation that depends on the number of runs")
    sizes = _Sizes(first.graph)
    for node, other in zip(nodes, others, strict=True):
        node.args = sizes.merge(node.args, other.args)
        node.kwargs = sizes.merge(node.kwargs, other.kwargs)
    first.graph.eliminate_dead_code()
    first.graph.lint()
    first.recompile()
    return first


def _out_of_place(graph: fx.GraphModule) -> fx.GraphModule:
    """The same, where ``clamp_`` is ``clamp`` and a copy: torch can stack more operations that change nothing."""
    made = copy.deepcopy(graph)
    for node in list(made.graph.nodes):
        packet, _, overload = str(node.target).removeprefix("aten.").partition(".")
        other = getattr(getattr(aten, packet.rstrip("_"), None), overload, None) if packet.endswith("_") else None
        if node.op != "call_function" or other is None or packet == "copy_":
            continue
        with made.graph.inserting_before(node):
            value = made.graph.call_function(other, node.args, node.kwargs)
            node.replace_all_uses_with(made.graph.call_function(aten.copy_.default, (node.args[0], value)))
        made.graph.erase_node(node)
    made.recompile()
    return made


def _stacked(graph: fx.GraphModule, arguments: Sequence[Tensor], size: int) -> fx.GraphModule:
    examples = [torch.stack([tensor.detach()] * size) for tensor in arguments]
    functorch: Any = torch._C._functorch
    before = functorch._is_vmap_fallback_enabled()
    functorch._set_vmap_fallback_enabled(False)  # which computes for one run after the other
    try:
        return make_fx(torch.func.vmap(graph), tracing_mode="fake", _allow_non_fake_inputs=True)(*examples)
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TraceError(f"it has an operation that cannot be stacked, {line[:200]}") from error
    finally:
        functorch._set_vmap_fallback_enabled(before)


class _Sizes:
    """Multiples of the number of runs, as nodes of a graph; each is there once.

    Args:
        graph: whose first input has the number as its first size.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        with graph.inserting_after(inputs[-1]):
            self.number = graph.call_function(torch.ops.aten.sym_size.int, (inputs[0], 0))
        self.nodes: dict[int, fx.Node] = {1: self.number}

    def merge(self, one: Any, other: Any) -> Any:
        """An argument that is right for any number of runs.

        Raises:
            TraceError: if the two differ in anything else.
        """
        if isinstance(one, (tuple, list)):
            merged = [self.merge(a, b) for a, b in zip(one, other, strict=True)]
            return tuple(merged) if isinstance(one, tuple) else merged
        if isinstance(one, dict):
            return {name: self.merge(value, other[name]) for name, value in one.items()}
        if type(one) is int and type(other) is int and one != other:
            factor, rest = divmod(one, _SIZES[0])
            if rest or factor * _SIZES[1] != other:
                raise TraceError("it has an operation whose sizes are no multiples of the number of runs")
            return self._multiple(factor)
        if str(one) != str(other):  # nodes are of two graphs, and have the same names there
            raise TraceError("it has an operation that depends on the number of runs")
        return one

    def _multiple(self, factor: int) -> fx.Node:
        if factor not in self.nodes:
            with self.graph.inserting_after(self.number):
                self.nodes[factor] = self.graph.call_function(operator.mul, (self.number, factor))
        return self.nodes[factor]
