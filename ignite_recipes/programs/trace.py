"""Trace a function of tensors into a graph that a compiler takes: every tensor an input, every draw of numbers too."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch._inductor.decomposition import select_decomp_table
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx

__all__ = ["Draw", "TraceError", "TracedProgram", "draws_so_far", "trace"]

aten: Any = torch.ops.aten

_LOW_BITS = 2**53  # of a word, as many values as a double has between 0 and 1 at equal distances


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


@dataclass(frozen=True)
class Draw:
    """An operation that draws random numbers, to be called before the program, which gets what it returns.

    Torch's own kernels draw faster than a compiler's on a CPU; and called in the order of the function, after the same
    seed, they draw the same numbers.

    Attributes:
        operation: of torch.
        arguments, settings: of it; a tensor among them says shape, type and place only.
        shape, dtype: of what it gives.
    """

    operation: Any
    arguments: tuple[Any, ...]
    settings: dict[str, Any]
    shape: torch.Size
    dtype: torch.dtype

    def __call__(self) -> Tensor:
        """The numbers, drawn with torch's generator; some draws give the same tensor each time, with other numbers."""
        drawn: Tensor = self.operation(*self.arguments, **self.settings)
        return drawn

    def into(self, place: Tensor) -> None:
        """Draw the same numbers into a tensor of this shape and type."""
        first, *rest = self.arguments
        if isinstance(first, Tensor) and first.is_contiguous() and place.is_contiguous():
            if self.operation in (aten.random_.default, aten.bernoulli_.float):
                self.operation(place, *rest)
                return
            if self.operation is aten.randn_like.default:
                place.normal_()
                return
        place.copy_(self())


@dataclass(frozen=True)
class TracedProgram:
    """A graph, and what it needs in addition to its arguments.

    Attributes:
        graph: its inputs are the arguments, then what ``draws`` give, then ``constants``.
        draws: of random numbers, in the order of the function.
        constants: tensors that the function has found elsewhere; they are inputs, so that changes of them count.
    """

    graph: fx.GraphModule
    draws: list[Draw]
    constants: list[Tensor]


def trace(
    function: Callable[..., list[Tensor]], arguments: Sequence[Tensor], *, decompose: bool = True
) -> TracedProgram:
    """Trace ``function(*arguments)``.

    Args:
        function: of tensors; what it changes in place are arguments, or tensors that it finds elsewhere.
        arguments: examples.
        decompose: whether operations are taken apart as the compiler does it; without, they are those that torch can
            stack, and the compiler takes them apart later.

    Raises:
        TraceError: if what it does depends on the values of tensors, or it draws random numbers that are not torch's,
            or whose distribution is computed in the function.
    """
    before = random.getstate(), np.random.get_state()
    generator = torch.default_generator.get_state()
    table = _decompositions() if decompose else _ONE_BY_ONE
    try:
        with _unseeded():
            graph = make_fx(function, decomposition_table=table, tracing_mode="fake", _allow_non_fake_inputs=True)(
                *arguments
            )
    except TraceError:
        raise
    except Exception as error:
        raise TraceError(_first_line(error)) from error
    finally:
        torch.default_generator.set_state(generator)
    if random.getstate() != before[0] or not _same_state(np.random.get_state(), before[1]):
        random.setstate(before[0])
        np.random.set_state(before[1])
        raise TraceError("the step draws from Python's or NumPy's generator, whose numbers would be constants")
    draws = _lift_draws(graph)
    constants = _lift_constants(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return TracedProgram(graph, draws, constants)


@contextmanager
def _unseeded() -> Iterator[None]:
    """Refuse to seed torch's generator, or to put it back, e.g. to draw the same numbers again: no draw sees it."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise TraceError("the step sets torch's generator itself, as torch.utils.checkpoint does")

    names = ("manual_seed", "seed", "set_rng_state")
    before = {(module, name): getattr(module, name) for module in (torch, torch.random) for name in names}
    for module, name in before:
        setattr(module, name, refuse)
    try:
        yield
    finally:
        for (module, name), function in before.items():
            setattr(module, name, function)


def draws_so_far() -> int:
    """How many draws a function that is being traced has made; 0 where nothing is traced."""
    mode = get_proxy_mode()
    return 0 if mode is None else sum(map(_is_draw, mode.tracer.graph.nodes))


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Those of the compiler, but for draws, which are called as they are."""
    table = {operation: how for operation, how in select_decomp_table().items() if not _is_seeded(operation)}
    return {**table, **_ONE_BY_ONE}


def _is_seeded(operation: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(operation, "tags", ())


def _is_draw(node: fx.Node) -> bool:
    return node.op == "call_function" and _is_seeded(node.target)


def _same_state(one: Any, other: Any) -> bool:
    return one[0] == other[0] and one[2:] == other[2:] and bool(np.array_equal(one[1], other[1]))


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


def _lift_draws(graph: fx.GraphModule) -> list[Draw]:
    """Make inputs of what is drawn.

    Raises:
        TraceError: for a draw from a generator of the user's own, or one that depends on other tensors' values.
    """
    nodes, draws = graph.graph, list[Draw]()
    last = [node for node in nodes.nodes if node.op == "placeholder"][-1]
    for node in list(filter(_is_draw, nodes.nodes)):
        draw = _draw_of(node)
        words = _words_of(draw)
        draws.append(draw if words is None else words)
        with nodes.inserting_after(last):
            last = nodes.placeholder(f"drawn_{len(draws) - 1}")
            last.meta = dict(node.meta) if words is None else {}
        with nodes.inserting_before(node):
            copy = nodes.call_function(aten.clone.default, (last,)) if words is None else None  # it may be changed
            node.replace_all_uses_with(_add_coins(nodes, last, draw) if copy is None else copy)
        nodes.erase_node(node)
    return draws


def _words_of(draw: Draw) -> Draw | None:
    """The words of the generator that a draw of zeros and ones is made of; None for any other draw.

    For each number torch draws a word of 64 bits and compares 53 of them with the probability, all in one loop that a
    compiler cannot vectorize: most of the time of dropout. The words alone take half as long, and a program
    compares them at once.
    """
    if draw.operation is not aten.bernoulli_.float or not _coins_are_words():
        return None
    like: Tensor = draw.arguments[0]
    if like.device.type != "cpu":
        return None
    words = torch.empty_strided(like.shape, like.stride(), dtype=torch.int64)
    return Draw(aten.random_.default, (words,), {}, like.shape, torch.int64)


def _add_coins(nodes: fx.Graph, words: fx.Node, draw: Draw) -> fx.Node:
    """Nodes that make the zeros and ones of ``draw`` from their words."""
    _, *given = draw.arguments
    probability = given[0] if given else 0.5  # torch leaves a default out
    low = nodes.call_function(aten.bitwise_and.Scalar, (words, _LOW_BITS - 1))
    is_one = nodes.call_function(aten.lt.Scalar, (low, math.ceil(probability * _LOW_BITS)))
    return nodes.call_function(aten._to_copy.default, (is_one,), {"dtype": draw.dtype})


@cache
def _coins_are_words() -> bool:
    """Whether torch's generator draws zeros and ones as :func:`_add_coins` makes them, which is not documented."""
    with torch.random.fork_rng(devices=[]):
        coins, words = torch.empty(33), torch.empty(33, dtype=torch.int64)
        torch.default_generator.manual_seed(0)
        coins.bernoulli_(0.3)
        torch.default_generator.manual_seed(0)
        words.random_()
    return torch.equal(coins.bool(), (words & (_LOW_BITS - 1)) < math.ceil(0.3 * _LOW_BITS))


def _draw_of(node: fx.Node) -> Draw:
    operation: Any = node.target
    first, *rest = node.args if node.args else (None,)
    tensors = [part for part in (*rest, *node.kwargs.values()) if isinstance(part, fx.Node)]
    makes_new = str(operation).split(".")[1].endswith(("_like", "_"))  # the values of its argument do not matter
    if node.kwargs.get("generator") is not None:
        raise TraceError(f"{operation} draws from its own generator")
    if tensors or (isinstance(first, fx.Node) and not makes_new) or not isinstance(node.meta["val"], Tensor):
        raise TraceError(f"{operation} draws numbers whose distribution is computed in the step")
    if isinstance(first, fx.Node):
        like: Tensor = first.meta["val"]
        first = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device)
    made: Tensor = node.meta["val"]
    return Draw(operation, (first, *rest) if node.args else (), dict(node.kwargs), made.shape, made.dtype)


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
            raise TraceError(f"the step computes with {type(value).__name__}, which is not a tensor")
        if str(node.target) not in lifted:
            with nodes.inserting_after(last):
                last = lifted[str(node.target)] = nodes.placeholder(f"constant_{len(constants)}")
            constants.append(value)
        node.replace_all_uses_with(lifted[str(node.target)])
        nodes.erase_node(node)
    for name in lifted:
        delattr(graph, name)  # torch's export would look for its use
    return constants
