"""The options that every recipe has for its run: each option is defined here, and nowhere else."""

import functools
import inspect
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, NamedTuple, Protocol, TypedDict, TypeVar, get_args, get_origin, get_type_hints

from ignite.handlers.base_logger import BaseLogger

from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.recipes.checks import AUTO, POLICIES, PRECISIONS, check_choice

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing_extensions import Unpack

__all__ = [
    "Attachable",
    "Option",
    "RunOptions",
    "Unpack",
    "command_options",
    "default_options",
    "run_settings",
    "takes_run_options",
]


class Attachable(Protocol):
    """A handler: anything with ``attach(trainer)``."""

    def attach(self, trainer: Any, /) -> Any: ...  # noqa: D102


class Option(NamedTuple):
    """What is known of an option.

    Attributes:
        default: what it is where it is left out.
        text: its sentence in ``help()``, in the reference and in the help of the commands.
        check: called with its name and a value; raises ValueError or TypeError for one that makes no sense.
        is_setting: whether a resumed run must have it as it was; such options are saved in checkpoints.
        on_command: whether every command has it too.
    """

    default: Any
    text: str
    check: Callable[[str, Any], None] | None = None
    is_setting: bool = False
    on_command: bool = False


def _among(*choices: str | None) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value not in choices:
            check_choice(**{name: (value, [choice for choice in choices if choice is not None])})

    return check


class RunOptions(TypedDict, total=False):
    """The options of every recipe's run, as keyword arguments; each recipe's ``help()`` says what they mean.

    Some recipes have an option under another name, e.g. ``gradient_clip``: pass that one.

    >>> options: RunOptions = {"seed": 0, "ema_decay": 0.999}  # to be passed as **options
    """

    seed: Annotated[
        int | None,
        Option(
            None,
            "the seed of everything random in the run; None draws one from torch's global generator, or takes that of "
            "the run that is resumed. Initial weights are not affected.",
        ),
    ]
    max_grad_norm: Annotated[
        float | None,
        Option(None, "bound of the gradients' total norm; None does not clip.", is_setting=True, on_command=True),
    ]
    accumulation_steps: Annotated[int, Option(1, "batches per optimizer step.", is_setting=True, on_command=True)]
    precision: Annotated[
        str | None,
        Option(
            None,
            '``"float32"``, ``"bfloat16"``, or ``"float16"`` with loss scaling; None is float32, unless the '
            'recipe\'s own setting for mixed precision says otherwise. ``"auto"`` measures some steps and chooses '
            "bfloat16 if they take less time than in float32 on this machine; the log says which is chosen. A resumed "
            "run keeps the precision of its start.",
            _among(None, *PRECISIONS, AUTO),
            is_setting=True,
            on_command=True,
        ),
    ]
    ema_decay: Annotated[
        float | None,
        Option(
            None,
            "keep a moving average of the weights with this decay, e.g. 0.999. The average is validated, the best "
            "weights are averages, and the model ends with one. None keeps no average.",
            is_setting=True,
            on_command=True,
        ),
    ]
    non_finite: Annotated[
        str,
        Option(
            "raise",
            '``"raise"`` ends a run at a loss or gradient that is not finite, before it reaches the weights; '
            '``"skip"`` drops the step; ``"rollback"`` returns to the end of the last epoch with half the learning '
            "rate, at most three times. The history then counts ``skipped_steps`` or ``rollbacks``.",
            _among(*POLICIES),
            is_setting=True,
            on_command=True,
        ),
    ]
    deterministic: Annotated[
        bool, Option(False, "use only algorithms that give the same bits in every process.", on_command=True)
    ]
    stretch_schedule: Annotated[
        bool,
        Option(
            False,
            "on a resume to another number of epochs, spread a cosine or one-cycle schedule over the new number. "
            "Otherwise it keeps its first length, and its last rate after that.",
            on_command=True,
        ),
    ]
    compile: Annotated[
        bool | str,
        Option(
            False,
            "compute the model and the loss through ``torch.compile``: True, or one of its modes. It is worth it for "
            "long runs, since the first steps take longer. Results differ slightly, by rounding. "
            '``"step"`` makes one program of the whole training step, which gains most for small models. It is '
            "compiled for the CPU and kept in the user's cache folder, or captured as a CUDA graph. If the step cannot "
            "be a program, one line in the log says why, and the steps are computed as without it.",
            is_setting=True,
            on_command=True,
        ),
    ]
    save_every_iterations: Annotated[
        int | None,
        Option(
            None,
            "write the latest checkpoint also inside epochs, after this number of iterations; None does so only when "
            "SIGINT or SIGTERM stops the run, which ends with :class:`Stopped`. It needs a folder to save to.",
        ),
    ]
    resume_from: Annotated[
        str | os.PathLike[str] | None,
        Option(
            None,
            "a checkpoint of this recipe: the run continues exactly where the checkpoint was written; the other "
            "settings must be those of that run.",
        ),
    ]
    experiment: Annotated[
        ExperimentManager | str | os.PathLike[str] | None,
        Option(
            None,
            "keep the run as an experiment, as the commands do: settings, provenance, log, TensorBoard events, curves, "
            'the best and the latest checkpoint, and the model file. With a folder, ``"runs"``, each run is a new '
            "experiment in it, exp1, exp2, ...; with ``resume_from``, a checkpoint of one of these, that experiment is "
            "continued. It may also be an ExperimentManager, or the path of an experiment. An experiment that holds "
            'results is refused, unless it is resumed: by ``ExperimentManager("runs", resume_exp="exp1")``, from its '
            "newest checkpoint. An experiment takes the place of a folder of checkpoints.",
        ),
    ]
    metrics: Annotated[
        str | Sequence[str] | Mapping[str, Any] | None,
        Option(
            None,
            "measured on the validation data, in addition to the losses; the history has each as ``val_{name}``. Give "
            'names, ``["f1", "accuracy"]`` or ``"f1,accuracy"`` (accuracy, balanced_accuracy, f1, auroc, mae, r2), or '
            "a dict of names and the metrics that ``MetricSet`` takes: objects of Ignite or torchmetrics, or functions "
            "of outputs and targets. A value that is not a number, e.g. a confusion matrix, is in the result's "
            "``report``.",
            on_command=True,
        ),
    ]
    monitor: Annotated[
        str | None,
        Option(
            None,
            "the number that decides on early stopping, the best weights and a plateau schedule: a name in the "
            'history, e.g. ``"val_f1"``. None is the choice of the recipe.',
            is_setting=True,
            on_command=True,
        ),
    ]
    mode: Annotated[
        str | None,
        Option(
            None,
            'whether a small or a large ``monitor`` is better, ``"min"`` or ``"max"``; None if it is known, as for '
            "losses and for metrics that are given by their names.",
            _among(None, "min", "max"),
            is_setting=True,
            on_command=True,
        ),
    ]
    metadata: Annotated[
        Mapping[str, Any] | None,
        Option(None, "plain values to store in the checkpoints, in addition to those of the recipe."),
    ]
    progress: Annotated[bool, Option(False, "show a progress bar on standard error.")]
    handlers: Annotated[
        Sequence[Attachable | functools.partial[Any] | BaseLogger],
        Option(
            (),
            "more handlers, attached to the trainer after the recipe's own: objects with ``attach(trainer)``; loggers "
            "of Ignite's, which log each epoch's numbers; a ``functools.partial``, which is called with the trainer, "
            "e.g. of a logger's ``attach_output_handler``. Loggers are closed when the run ends, or fails.",
        ),
    ]


_Recipe = TypeVar("_Recipe", bound=Callable[..., Any])


def definitions() -> dict[str, tuple[Any, Option]]:
    """The type and the definition of each option."""
    hints = get_type_hints(RunOptions, include_extras=True)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Annotated}


def takes_run_options(**instead: str) -> Callable[[_Recipe], _Recipe]:
    """Decorate a recipe, a function or a class, that has ``**options: Unpack[RunOptions]``.

    It is called with all options, those that were left out with their defaults, checked. Its signature and its
    docstring get them, in the place of the line ``**options: ...``.

    Args:
        instead: options that the recipe does not take, with the name of what it has in their place.
    """
    known = {name: known for name, known in definitions().items() if name not in instead}

    def decorate(recipe: _Recipe) -> _Recipe:
        function: Any = recipe
        if isinstance(recipe, type):
            function = vars(recipe)["__init__"]
        signature = inspect.signature(function)
        named = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]

        names = {parameter.name for parameter in named}

        @functools.wraps(function)
        def called(*args: Any, **arguments: Any) -> Any:
            given = {name: arguments.pop(name) for name in [*arguments] if name not in names}
            _check(given, known, instead, [p.name for p in named], recipe.__name__)
            defaults = {name: option.default for name, (_, option) in known.items()}
            return function(*args, **arguments, **{**defaults, **given})

        keyword = inspect.Parameter.KEYWORD_ONLY
        options = [
            inspect.Parameter(name, keyword, default=option.default, annotation=kind)
            for name, (kind, option) in known.items()
        ]
        called.__signature__ = signature.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
        if isinstance(recipe, type):
            type.__setattr__(recipe, "__init__", called)
            recipe.__doc__ = _with_options(recipe.__doc__, known)
            return recipe
        called.__doc__ = _with_options(recipe.__doc__, known)
        return called  # type: ignore[return-value]

    return decorate


def _initials(name: str) -> str:
    """``lr`` of ``learning_rate``."""
    return "".join(word[0] for word in name.split("_") if word)


def _check(
    given: Mapping[str, Any],
    known: Mapping[str, tuple[Any, Option]],
    instead: Mapping[str, str],
    others: Sequence[str],
    recipe: str,
) -> None:
    for name, value in given.items():
        if name in instead:
            raise TypeError(f"{recipe} has no option {name!r}: it has {instead[name]} in its place")
        if name not in known:
            names = [*others, *known]
            near = get_close_matches(name, names, n=1) or [one for one in names if _initials(one) == name]
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(names)}"
            raise TypeError(f"{recipe} has no option {name!r}: {hint}")
        check = known[name][1].check
        if check is not None:
            check(name, value)


def _with_options(doc: str | None, known: Mapping[str, tuple[Any, Option]]) -> str:
    lines = (doc or "").splitlines()
    (place,) = (k for k, line in enumerate(lines) if line.strip().startswith("**options:"))
    indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
    texts = []
    for name, (_, option) in known.items():
        text = textwrap.wrap(f"{name}: {option.text}", 110, break_on_hyphens=False)
        texts += [indent + line if k == 0 else f"{indent}    {line}" for k, line in enumerate(text)]
    return "\n".join([*lines[:place], *texts, *lines[place + 1 :]])


def default_options(**changes: Any) -> RunOptions:
    """All options with their defaults, except for ``changes``."""
    defaults = {name: option.default for name, (_, option) in definitions().items()}
    return {**defaults, **changes}  # type: ignore[typeddict-item]


def run_settings(options: RunOptions) -> dict[str, Any]:
    """The options that a resume must not change."""
    return {name: options[name] for name, (_, option) in definitions().items() if option.is_setting and name in options}  # type: ignore[literal-required]


def command_options(recipe: Callable[..., Any]) -> list[str]:
    """The options that the command of a recipe has too."""
    taken = inspect.signature(recipe).parameters
    return [name for name, (_, option) in definitions().items() if option.on_command and name in taken]
