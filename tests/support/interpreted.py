"""Programs without a compiler: the traced graph, run one operation after the other."""

import torch
from torch._inductor import inductor_prims


class Interpreter(torch.fx.Interpreter):
    """Draws from the key of each draw, as a compiled program does; other numbers, of the same distributions."""

    def call_function(self, target, args, kwargs):
        if target not in (inductor_prims.random, inductor_prims.randint):
            return super().call_function(target, args, kwargs)
        draw = torch.Generator()
        if target is inductor_prims.random:
            size, key, mode = args
            draw.manual_seed(int(key))
            return getattr(torch, mode)(size, generator=draw)
        low, high, size, key = args
        draw.manual_seed(int(key))
        return torch.randint(low, high, size, generator=draw)


def interpreted(traced, arguments):
    """In the place of ``compile_for_host``."""

    def run(inputs):
        # A program works on memory, not on what torch remembers of tensors.
        return list(Interpreter(traced.graph).run(*[tensor.detach() for tensor in inputs]))

    return run
