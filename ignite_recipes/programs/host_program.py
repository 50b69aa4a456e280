"""A traced step as a program for the CPU, compiled ahead of time by torch's Inductor and kept in the cache."""

import contextlib
import hashlib
import io
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from ignite_recipes.programs.cache import ProgramCache

__all__ = ["CompileError", "compile_for_host", "compiler"]

logger = logging.getLogger(__name__)

_FORMAT = 1  # of the programs: a change of what is compiled, or how, makes all cached ones foreign

# What torch calls the compiler of each platform, if CXX does not say; elsewhere g++.
_COMPILERS = {"darwin": "clang++", "win32": "cl"}

_TOLERANCE = 0.05  # roundings, also of bfloat16; a wrong size gives other numbers altogether

Program = Callable[[list[Tensor]], list[Tensor]]


class CompileError(RuntimeError):
    """A program cannot be compiled here; the message says why."""


def compiler() -> str:
    """What torch calls to compile C++ on this machine; ``CXX`` says another one."""
    return os.environ.get("CXX", _COMPILERS.get(sys.platform, "g++"))


def compile_for_host(
    graph: fx.GraphModule, arguments: Sequence[Tensor], store: ProgramCache | None = None, *, stacked: bool = False
) -> Program:
    """A function that runs a traced one on the CPU, compiled, or as it was compiled before.

    Args:
        graph: the graph of :func:`~ignite_recipes.programs.trace.trace`, or of
            :func:`~ignite_recipes.programs.stacking.stack_program`.
        arguments: examples of all inputs; shapes, strides and types of later ones are the same.
        store: where programs are kept.
        stacked: whether the inputs are those of any number of runs, at least 2: their first size may be another.

    Returns:
        ``program(list of all inputs) -> outputs``; the list is emptied. Inputs that the function changes are changed
        in place.

    Raises:
        CompileError: if there is no compiler, or it fails.
    """
    store = ProgramCache() if store is None else store
    arguments = [tensor.detach() for tensor in arguments]
    key = _key(graph, arguments, stacked=stacked)
    if store.find(key) is None:
        if shutil.which(compiler()) is None:
            raise CompileError(
                f"there is no C++ compiler that is called {compiler()!r}: install it, or name yours in CXX"
            )
        logger.info("compiling the training step into one program: this takes some seconds, once")
    began = time.perf_counter()
    try:
        path = store.get(key, lambda path: _compile(graph, arguments, path, stacked=stacked))
        with _quietly():
            program: Any = torch._inductor.aoti_load_package(str(path))
    except CompileError:
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or ["no message"])[0]
        raise CompileError(f"the compiler has failed, {type(error).__name__}: {line[:200]}") from error
    logger.info("the training step is one program, ready after %.1f seconds", time.perf_counter() - began)
    run: Program = program.loader.boxed_run  # without the search through nested inputs of the object's own call
    if stacked:
        _check_numbers(run, graph, arguments)
    return run


def _check_numbers(run: Program, graph: fx.GraphModule, arguments: Sequence[Tensor]) -> None:
    """Refuse a program that computes other outputs than its graph for other numbers of runs than it was made with.

    Inductor has kept sizes of the example in the program of some operations. Two steps are computed, so that the second
    one shows what the first has changed.
    """
    for count in (2, 3):
        first, second = ([tensor[:count].clone() for tensor in arguments] for _ in range(2))
        for _ in range(2):
            outputs, expected = run([*first]), graph(*second)
            for one, other in zip(outputs, expected, strict=True):
                if not torch.allclose(one.double(), other.double(), rtol=_TOLERANCE, atol=1e-3, equal_nan=True):
                    raise CompileError("the compiled program of several runs computes wrong numbers")


def _compile(graph: fx.GraphModule, arguments: Sequence[Tensor], path: Path, *, stacked: bool) -> None:
    from torch._inductor import config

    settings = {
        "cpp.enable_floating_point_contract_flag": "off",  # a product and a sum round as they do one by one
        "aot_inductor.compile_wrapper_opt_level": "O1",
    }
    runs = torch.export.Dim("runs", min=2)
    shapes = (tuple({0: runs} for _ in arguments),) if stacked else None
    with _quietly(), config.patch(settings):
        exported = torch.export.export(_Holder(graph), tuple(arguments), strict=False, dynamic_shapes=shapes)
        made = torch._inductor.aoti_compile_and_package(exported, package_path=str(path))
    if Path(made) != path:
        shutil.move(made, path)


class _Holder(nn.Module):
    """A graph as a module, which is what torch exports."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *arguments: Tensor) -> Any:
        return self.graph(*arguments)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch's compiler prints and warns of, which is about itself."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _key(graph: fx.GraphModule, arguments: Sequence[Tensor], *, stacked: bool) -> str:
    """A digest of all that a program depends on."""
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        for part in parts:
            digest.update(f"{part}\n".encode())

    add(_FORMAT, sys.version, platform.machine(), *_toolchain())
    add(torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), torch.get_float32_matmul_precision())
    add(torch.are_deterministic_algorithms_enabled(), torch.backends.mkldnn.enabled)
    for tensor in arguments:
        add(tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device.type)
    add(*(["stacked"] if stacked else []))
    for node in graph.graph.nodes:
        add(node.op, node.name, node.target, node.args, sorted(node.kwargs.items(), key=str))
    return digest.hexdigest()


@cache
def _toolchain() -> tuple[str, ...]:
    """torch, the processor, the compiler."""
    name = compiler()
    version = ""
    if (path := shutil.which(name)) is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
            version = answer.stdout.splitlines()[0] if answer.stdout else ""
    return str(torch.__version__), str(torch.version.git_version), _processor(), f"{path} {version}"


def _processor() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        wanted = ("model name", "flags", "Features")
        return "\n".join(next((line for line in lines if line.startswith(name)), "") for name in wanted)
    return platform.processor()
