"""A whole training step as one program: traced, compiled, kept on disk, or captured as a CUDA graph.

Nothing here knows an Engine. :mod:`ignite_recipes.engine.whole_step` decides which steps run as a program, and what
handlers are told afterwards.
"""

from ignite_recipes.programs.part import ProgramPart, StepValues

__all__ = ["ProgramPart", "StepValues"]
