"""Devices are found, or refused with a reason."""

import pytest
import torch

from ignite_recipes.devices import as_device, get_device

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "prefer_cuda", "expected"),
    [
        (True, True, True, "cuda"),
        (True, True, False, "mps"),
        (False, True, True, "mps"),
        (True, False, False, "cuda"),  # not the CPU: preferring MPS does not forbid CUDA
        (False, False, True, "cpu"),
        (False, False, False, "cpu"),
    ],
)
def test_the_best_device_of_a_machine(monkeypatch, cuda, mps, prefer_cuda, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert get_device(prefer_cuda).type == expected


@pytest.mark.parametrize("device", ["gpu", "cuda:x", 3.5])
def test_a_device_that_torch_does_not_know_is_refused(device):
    with pytest.raises(ValueError, match="device must be"):
        as_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for CUDA where there is none")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda", 0), "mps", "xpu"])
def test_a_device_that_the_machine_lacks_is_refused_and_the_best_one_named(device):
    with pytest.raises(ValueError, match=r"this machine has no device .*'cpu'"):
        as_device(device)


@pytest.mark.parametrize("device", ["cpu", CPU, None, "auto"])
def test_devices_that_are_there(device):
    assert as_device(device).type in ("cpu", get_device().type)
