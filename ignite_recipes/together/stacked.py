"""The steps of several runs as one program, over stacked tensors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree

from ignite_recipes.engine.blocks import MOST_STEPS, Outcome
from ignite_recipes.engine.losses import check_loss
from ignite_recipes.engine.step_program import NotOneProgramError
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.loading.same_rows import KnownPairs, same_rows
from ignite_recipes.programs.function import StepFunction, StepTensors
from ignite_recipes.programs.host_program import CompileError, compile_for_host
from ignite_recipes.programs.optimizers import NoStateError
from ignite_recipes.programs.stacking import stack_program
from ignite_recipes.programs.trace import Draw, TraceError, trace
from ignite_recipes.together.member import Member
from ignite_recipes.together.portions import Portions

__all__ = ["StackedSteps"]

_EXAMPLES = 4  # runs of which the program is made; it takes any number from two


class StackedSteps:
    """A program that computes a step of any number of runs that are alike.

    It works on copies: stacked tensors, to and from which those of the runs are copied before and after a block.
    What a run comes to does not depend on the others: a run that is alone is computed twice. Of many runs as many are
    computed by one call as it is fastest with: tensors of all of them may be too large for the processor's cache.

    Args:
        member: the first of the runs.

    Raises:
        NotOneProgramError: if there can be no such program.
    """

    def __init__(self, member: Member) -> None:
        try:
            with preserve_generators(member.step.device):
                self._make(member)
        except (TraceError, CompileError, NoStateError, ValueError) as error:
            raise NotOneProgramError(str(error)) from error

    def _make(self, member: Member) -> None:
        step, update = member.step, member.update
        settings: Any = {
            "modules": member.modules,
            "loss_fn": step.loss_fn,
            "model": unwrap(step.model),
            "get_inputs": step.get_inputs,
            "batch": member.example,
            "autocast": update.autocast,
            "check_loss": check_loss,
            "is_window": False,
            "scale": member.scale,
        }
        example = StepTensors(held=member.modules.held(), batch=_tensors_of(member.example))
        inputs = {"inputs": member.parts["inputs"]}
        probe = StepFunction(parts=inputs, optimizer=None, trained=member.trained, **settings)
        self._gets_gradient = probe.gets_gradient(example)
        optimizer = self._join(member)
        self._sets = _sets_of(member)
        function = StepFunction(
            parts=member.parts, optimizer=optimizer, trained=optimizer.weights, keeps_buffers=True, **settings
        )
        example.state, example.carried = optimizer.state(), member.carried()
        numbers = torch.tensor(member.numbers(1)[0], dtype=torch.float64)
        example.numbers = [numbers] if len(numbers) else []
        traced = trace(lambda *flat: function(example.like(flat)), example.flat(), decompose=False)
        self._places = function.places  # the runs themselves are not kept
        self._sources = [_path_of(constant, member) for constant in traced.constants]
        has_others = not all(isinstance(place, str) for place in self._sources)
        self._first = {path: tensor.clone() for path, tensor in member.constants.items()} if has_others else None
        arguments = [*example.flat(), *(draw() for draw in traced.draws), *traced.constants]
        first = function.num_input_draws
        self._draws: list[tuple[str | None, Sequence[Draw]]]
        self._draws = [("inputs", traced.draws[:first]), (None, traced.draws[first:])]
        graph = stack_program(traced, arguments)
        self._run: Callable[[list[Tensor]], list[Tensor]]
        self._run = compile_for_host(graph, _stacks_of(arguments, _EXAMPLES), stacked=True)
        kept = [tensor.detach().clone() for tensor in arguments]
        self._portions = Portions(partial(self._step_of, kept))

    def _step_of(self, example: Sequence[Tensor], count: int) -> Callable[[], object]:
        """A step of so many runs that nobody uses."""
        stacks = _stacks_of(example, count)
        return lambda: self._run([*stacks])

    def _join(self, member: Member) -> Any:
        """A run's optimizer's step as a function."""
        own = [weight for weight, has in zip(member.trained, self._gets_gradient, strict=True) if has]
        return member.optimizer_function(own)

    def compute(self, members: Sequence[Member], pairs: KnownPairs) -> None:
        """Compute the next block of steps of each; what came of them is in their ``outcome``.

        Args:
            members: the runs.
            pairs: which of their data sets hold the same rows.
        """
        members = [member for member in members if self._takes(member)]
        for portion in self._portions.of(members):
            self._compute(portion, pairs)

    def _compute(self, members: Sequence[Member], pairs: KnownPairs) -> None:
        count = min(MOST_STEPS, *(member.num_left for member in members))
        rows = members if len(members) > 1 else [members[0], members[0]]
        with torch.no_grad(), preserve_generators():
            for member in members:
                member.stop.flag.zero_()
            own = [member.tensors() for member in members]
            stacks = [torch.stack(tensors) for tensors in zip(*(own if len(own) > 1 else own * 2), strict=True)]
            constants = [
                torch.stack(tensors) for tensors in zip(*(self._constants(member) for member in rows), strict=True)
            ]
            known: dict[Any, list[list[float]]] = {}
            numbers = (
                torch.tensor([member.numbers(count, known) for member in rows], dtype=torch.float64)
                .transpose(0, 1)
                .contiguous()
            )
            fetch = self._fetcher(members, rows, count, pairs)
            outputs = []
            for k in range(count):
                drawn = self._drawn(rows, k)
                step_numbers = [numbers[k]] if numbers.shape[2] else []
                outputs.append(self._run([*stacks, *fetch(k), *step_numbers, *drawn, *constants]))
            results = [[stack[i] for stack in stacks] for i in range(len(members))]
            for tensors, values in zip(own, results, strict=True):
                torch._foreach_copy_(tensors, values)
            self._tell(members, outputs)

    def _takes(self, member: Member) -> bool:
        self._join(member)
        reason = None
        if _sets_of(member) != self._sets:
            reason = "parameters of one run have taken other numbers of steps"
        elif self._first is not None and not same_rows(self._first, member.constants):
            reason = "the loss computes with a tensor that is made of others, which are not the same in all runs"
        member.outcome = Outcome(refused=reason)
        return reason is None

    def _constants(self, member: Member) -> list[Tensor]:
        return [member.constants[place] if isinstance(place, str) else place for place in self._sources]

    def _fetcher(
        self, members: Sequence[Member], rows: Sequence[Member], count: int, pairs: KnownPairs
    ) -> Callable[[int], list[Tensor]]:
        """What gives the stacked batches of a step."""
        first = members[0]
        if all(member.shares_rows and pairs.are_same(first.dataset, member.dataset) for member in members):
            table = np.array([member.batches[:count] for member in rows], dtype=np.int64).swapaxes(0, 1)
            at_once, fetched = first.batches_at_once(len(rows)), dict[int, list[Tensor]]()

            def fetch_at_once(k: int) -> list[Tensor]:
                if k % at_once == 0:
                    steps = table[k : k + at_once]
                    batch = first.prepared(first.fetch_rows(steps.ravel()))
                    leaves = [leaf.reshape(*steps.shape, *leaf.shape[1:]) for leaf in _tensors_of(batch)]
                    fetched.update({k + i: [leaf[i] for leaf in leaves] for i in range(len(steps))})
                return fetched.pop(k)

            return fetch_at_once

        def fetch(k: int) -> list[Tensor]:
            batches = [_tensors_of(member.prepared(member.fetch(k))) for member in rows]
            return [torch.stack(leaves) for leaves in zip(*batches, strict=True)]

        return fetch

    def _drawn(self, rows: Sequence[Member], k: int) -> list[Tensor]:
        """Random numbers of a step, of each run those that it draws alone."""
        found: list[Tensor] = []
        for place, draws in self._draws:
            stacks = [torch.empty(len(rows), *draw.shape, dtype=draw.dtype) for draw in draws]
            for i, member in enumerate(rows if draws else ()):
                member.seed(k, place)
                for draw, stack in zip(draws, stacks, strict=True):
                    draw.into(stack[i])
            found += stacks
        return found

    def _tell(self, members: Sequence[Member], outputs: Sequence[Sequence[Tensor]]) -> None:
        """Give each run what its steps have come to, up to the first one that was dropped."""
        table = [torch.stack(each, dim=1) for each in zip(*outputs, strict=True)]  # (runs, steps) of each output
        for i, member in enumerate(members):
            member.outcome = Outcome.of([each[i] for each in table], self._places)


def _stacks_of(tensors: Sequence[Tensor], count: int) -> list[Tensor]:
    return [torch.stack([tensor.detach()] * count) for tensor in tensors]


def _tensors_of(batch: Any) -> list[Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]


def _sets_of(member: Member) -> list[int]:
    return [len(parameters) for _, parameters in member.optimizer._sets]


def _path_of(constant: Tensor, member: Member) -> str | Tensor:
    """Where a run has a tensor that the program computes with; the tensor itself if it stands in the code."""
    for path, tensor in member.constants.items():
        if tensor.data_ptr() == constant.data_ptr() and tensor.shape == constant.shape:
            return path
    return constant
