"""An accelerator that is emulated on the CPU, and a watch that sees where the host would have to wait for one.

Its tensors say that they lie on a device of another type than "cpu" and compute on a CPU tensor inside, so code takes
the ways that it takes on an accelerator. What would make the host wait there is noted with its place: a value that is
read, a copy that blocks, a shape that depends on values, an event that is waited for too early.
"""

import linecache
import sys
from contextlib import ExitStack
from pathlib import Path

import torch
from ignite.engine import Events
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from ignite_recipes import TrainEvents, Validation
from ignite_recipes.engine.trainer import TrainingEngine

NAME = "emulated"
DEVICE = torch.device("cpu")  # until the first Accelerator is made
LAG = 4  # steps: an event that is this old has long come, as the device is never so far behind

aten = torch.ops.aten
_INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
_CHECKED = {aten._linalg_check_errors, aten.linalg_eig, aten.linalg_eigvals}  # they look at their own results
_VALUE_DEPENDENT = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}

_current = None  # the Accelerator in use: torch can be given one kind of device in a process, and never lose it


class DeviceTensor(Tensor):
    """A tensor on the emulated device; ``inner`` holds its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner):
        return Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {})

    def __repr__(self):
        return f"{self.detach().cpu()!r} on {NAME}"

    def __format__(self, spec):
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    def tolist(self):
        return self.detach().cpu().tolist()

    def __deepcopy__(self, memo):
        copied = DeviceTensor(self.inner.clone()).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return memo.setdefault(id(self), copied)

    def __reduce_ex__(self, protocol):  # in a file it is what a machine without the device reads
        return self.detach().cpu().__reduce_ex__(protocol)


class _Everywhere(TorchDispatchMode):
    """Sees operations that no tensor of the device takes part in: those that make one, or read what came from one."""

    @classmethod
    def _should_skip_dynamo(cls):  # which would import it, for five seconds
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {})


def _compute(func, args, kwargs):
    """Do what is asked for on the tensors inside, and note what it would cost."""
    tensors = list(_tensors((*args, *kwargs.values())))
    known = {id(_inside(tensor)): tensor for tensor in tensors}
    goes_to_device = any(isinstance(tensor, DeviceTensor) for tensor in tensors)
    inner_kwargs = dict(kwargs)
    if kwargs.get("device") is not None:
        goes_to_device = torch.device(kwargs["device"]).type == NAME
        inner_kwargs["device"] = torch.device("cpu")
    pinned = inner_kwargs.pop("pin_memory", None)

    is_transfer = func.overloadpacket in (aten._to_copy, aten.copy_)
    if _current is not None:
        _current.look_at(func, args, kwargs, tensors, goes_to_device, is_transfer)
    inner_kwargs = {name: _each(_inside, value) for name, value in inner_kwargs.items()}
    result = func(*_each(_inside, args), **inner_kwargs)
    if is_transfer and isinstance(args[0], DeviceTensor) and not goes_to_device and kwargs.get("non_blocking"):
        pinned = True  # torch makes it so
        _current.pin(result)
        _current.send(result)
    if pinned or func.overloadpacket is aten._pin_memory:
        _current.pin(result)

    def wrap(tensor):
        if id(tensor) in known:  # changed in place
            return known[id(tensor)]
        return DeviceTensor(tensor) if goes_to_device else tensor

    return _each(wrap, result)


def _tensors(values):
    """Those in the arguments of an operation."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _each(function, value):
    """The value with ``function`` of each tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (list, tuple)):
        return type(value)([_each(function, item) for item in value])
    return value


def _inside(tensor):
    return tensor.inner if isinstance(tensor, DeviceTensor) else tensor


class Accelerator:
    """The emulated device, there for the time of a ``with`` block, and what the host waited for in watched steps.

    Attributes:
        waits: a line for each, with iteration, event, handler, operation and place.
        outside: how often it waited outside of steps, which is fine.
    """

    def __init__(self):
        self.waits = []
        self.outside = 0
        self.device = _device()
        self._engine = None  # whose step is being done
        self._clock = 0  # training steps begun
        self._pinned, self._on_the_way = {}, {}  # of host memory, by address; kept, so that none is used again
        self._sent = self._arrived = 0
        self._stack = ExitStack()

    def __enter__(self):
        global _current
        _current = self
        event, torch.Event = torch.Event, _Event
        self._stack.callback(setattr, torch, "Event", event)
        kinds = torch.utils._foreach_utils._foreach_supported_types
        kinds.append(DeviceTensor)  # what torch does for all tensors of a parameter list at once, it does here too
        self._stack.callback(kinds.remove, DeviceTensor)
        self._stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) makes it here and copies it there
        self._stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        self._stack.enter_context(_Everywhere())
        return self

    def __exit__(self, *error):
        global _current
        self._stack.close()
        _current = None

    # What a step is: from the moment a batch is asked for until the epoch is over, or the next batch is asked for.

    def attach(self, engine):
        """Watch the steps of a trainer, and of the evaluators by which it validates."""
        engine.add_event_handler(Events.STARTED, self._watch_evaluators)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._begin_step)
        ours = (TrainEvents.EPOCH_TRAINED, TrainEvents.RUN_TRAINED) if isinstance(engine, TrainingEngine) else ()
        for event in (*ours, Events.EPOCH_COMPLETED, Events.TERMINATE, Events.EXCEPTION_RAISED, Events.COMPLETED):
            engine.add_event_handler(event, self._end_steps)
            handlers = engine._event_handlers[event]
            handlers.sort(key=lambda entry: entry[0] != self._end_steps)
        return self

    def _watch_evaluators(self, engine):
        for handler, *_ in engine._event_handlers[Events.EPOCH_COMPLETED]:
            if isinstance(handler, Validation):
                self.attach(handler.evaluator)

    def _begin_step(self, engine):
        self._engine = engine
        self._clock += isinstance(engine, TrainingEngine)

    def _end_steps(self, *_):
        self._engine = None

    # What makes the host wait.

    def look_at(self, func, args, kwargs, tensors, goes_to_device, is_transfer):
        """Note an operation that needs a value of the device, or a copy that blocks."""
        self._check_has_arrived(func, args if not is_transfer else args[1:] or args)
        from_device = any(isinstance(tensor, DeviceTensor) for tensor in tensors)
        name = str(func.overloadpacket)
        if is_transfer:
            source = args[1] if func.overloadpacket is aten.copy_ else args[0]
            goes = isinstance(args[0], DeviceTensor) if func.overloadpacket is aten.copy_ else goes_to_device
            self._look_at_copy(func, args, kwargs, isinstance(source, DeviceTensor), goes)
        elif from_device and (reason := _why_it_waits(func, args, kwargs)) is not None:
            self.note(f"{name}{reason}")

    def _look_at_copy(self, func, args, kwargs, comes_from_device, goes_to_device):
        if comes_from_device == goes_to_device:
            return
        positional = args[2:3] if func.overloadpacket is aten.copy_ else ()
        free = bool(kwargs.get("non_blocking", *positional))
        if func.overloadpacket is aten.copy_ and not goes_to_device:
            free = free and self._is_pinned(args[0])
            if free:
                self.send(args[0])
        if not free:
            self.note(f"a blocking copy {'to' if goes_to_device else 'from'} the device")

    def note(self, operation):
        """The host waits now, for this."""
        if self._engine is None:
            self.outside += 1
            return
        event, handler, line = _blame()
        self.waits.append(f"iteration {self._engine.state.iteration}, {event}, {handler}: {operation} at {line}")

    # Memory of the host that the device writes to when it comes to it.

    def pin(self, tensor):
        """Let copies to this memory continue by themselves."""
        self._pinned[tensor.untyped_storage().data_ptr()] = tensor

    def _is_pinned(self, tensor):
        return tensor.untyped_storage().data_ptr() in self._pinned

    def send(self, tensor):
        """The device will write here."""
        self._sent += 1
        self._on_the_way[tensor.data_ptr()] = self._sent, tensor

    def _check_has_arrived(self, func, args):
        if not self._on_the_way:
            return
        for tensor in _tensors(args):
            if not isinstance(tensor, DeviceTensor):
                number, _ = self._on_the_way.get(tensor.data_ptr(), (0, None))
                assert number <= self._arrived, f"{func} reads what the device has not written yet, at {_blame()[-1]}"


class _Event:
    """torch.Event on the emulated device: everything that was begun before its recording is done when it has come."""

    def __init__(self, device=None, **settings):
        if device is not None and torch.device(device).type == "cpu":
            raise RuntimeError("cpu backend doesn't support events.")  # torch's words, when it is recorded
        self._number, self._recorded = 0, -LAG

    def record(self, stream=None):
        self._number, self._recorded = _current._sent, _current._clock

    def query(self):
        has_come = _current._clock - self._recorded >= LAG
        return has_come and self._come()

    def synchronize(self):
        age = _current._clock - self._recorded
        if age < LAG:
            _current.note(f"synchronize() on an event of {age} steps ago")
        self._come()

    def _come(self):
        _current._arrived = max(_current._arrived, self._number)
        return True


def _why_it_waits(func, args, kwargs):
    """What an operation on the device needs the host to know, in words; None if it is nothing."""
    kind = func.overloadpacket
    if kind in _INDEXING:
        indices = [index for index in args[1] if index is not None]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            # One number that is set by a mask is a masked_fill.
            return None if kind is not aten.index and args[2].numel() == 1 else " by a mask"
        if not all(isinstance(index, DeviceTensor) for index in indices):
            return " by indices of the host"
        is_unsafe = kind is aten._index_put_impl_ and any(args[4:5])
        return " that adds, hence looks for wrong indices" if any(args[3:4]) and not is_unsafe else None
    if kind in (aten.masked_fill, aten.masked_fill_, aten.index_fill, aten.index_fill_):
        return " with a number of the device" if isinstance(args[-1], DeviceTensor) else None
    if kind is aten.where:  # other operations take a single number of the host as it is
        return None if all(isinstance(tensor, DeviceTensor) for tensor in args) else " with a number of the host"
    if _VALUE_DEPENDENT & set(func.tags) or kind in _CHECKED:
        return "" if kwargs.get("output_size") is None else None
    return None


_ROOTS = tuple(str(Path(module.__file__).parent) for module in (torch, linecache))


def _blame():
    """The event, the handler, and the line of code outside of torch that is being done."""
    frame, line, event, handler = sys._getframe(1), None, "the step itself", "no handler"
    while frame is not None:
        code = frame.f_code
        if line is None and not code.co_filename.startswith((*_ROOTS, "<")) and code.co_filename != __file__:
            path = Path(code.co_filename)
            source = linecache.getline(code.co_filename, frame.f_lineno).strip()
            line = f"{path.parent.name}/{path.name}:{frame.f_lineno} ({source})"
        if code.co_name == "_call":
            local = frame.f_locals
            function = local["handler"]
            fired = frame.f_back.f_locals
            event = getattr(fired.get("event", fired.get("event_name")), "name", event)
            owner = getattr(function, "__self__", None)
            handler = repr(owner) if owner is not None else getattr(function, "__name__", repr(function))
            break
        frame = frame.f_back
    return event, handler, line


class _DeviceModule:
    """What torch asks of ``torch.emulated``."""

    def is_available(self):
        return _current is not None

    def is_initialized(self):
        return True

    def device_count(self):
        return int(_current is not None)

    def current_device(self):
        return 0

    def _is_in_bad_fork(self):
        return False

    def manual_seed(self, seed):
        """Nothing: its numbers are drawn by the CPU's generator, which everybody seeds beside it."""

    manual_seed_all = manual_seed

    def get_rng_state(self, device=None):
        return torch.zeros(())

    def set_rng_state(self, state, device=None):
        pass

    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]

    def synchronize(self, device=None):
        if _current is not None:
            _current.note("synchronize()")


class _Hooks(torch._C._acc.PrivateUse1Hooks):
    def is_available(self):
        return _current is not None

    def has_primary_context(self, index):
        return True

    def is_built(self):
        return True


_autocast = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
_autocast_of_others = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")


def _device():
    """The device, of which torch hears when it is asked for first; for everybody else it is never available."""
    global DEVICE
    if DEVICE.type == "cpu":
        _setup_privateuseone_for_python_backend(NAME, _DeviceModule(), _Hooks())
        DEVICE = torch.device(NAME, 0)
        _autocast_of_others.fallback(torch.library.fallthrough_kernel)
        for name in ("linear", "matmul", "mm", "addmm", "conv2d"):
            _autocast.impl(name, _in_half(getattr(aten, name)))
    return torch.device(NAME)


def _in_half(operation):
    """What autocast makes of an operation of this kind of device."""

    def call(*args):
        dtype = torch.get_autocast_dtype(NAME)
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)):
            return operation(*_each(lambda tensor: tensor.to(dtype), args))

    return call
