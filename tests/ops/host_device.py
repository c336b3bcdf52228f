"""The CUDA back end on CPU tensors: the host build of its kernels in the place of a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from host_kernels import host_kernels
from torch import Tensor

from perce.ops import cuda_backend
from perce.ops.cuda_device import CudaDevice

NOWHERE = torch.device("meta")
"""Within it, a tensor made without a device is on none; in a check that also runs on a GPU it would
be on the wrong one, and no CPU would tell."""


class HostDevice(CudaDevice):
    """All that a device does, on the CPU; "auto" then means this one for CPU tensors."""

    type = "cpu"

    def __init__(self) -> None:
        self.kernels = host_kernels()

    def load(self, index: int) -> None:
        """Nothing is left to load."""

    def stream(self, tensor: Tensor) -> int:
        return 0

    def multiply(self, left: Tensor, right: Tensor, out: Tensor, *, add: bool = False) -> None:
        # torch has no product of half precision with a float32 result on the CPU.
        super().multiply(left.float(), right.float(), out, add=add)


@contextmanager
def on_host() -> Iterator[None]:
    """Within it, CPU tensors are the CUDA back end's."""
    with mock.patch.object(cuda_backend, "device", HostDevice()):
        yield
