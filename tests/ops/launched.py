"""The back end through perce._core and a driver whose device is the CPU: test_cuda_launch.py."""

from __future__ import annotations

from unittest import mock

import peer_bugs
import torch
from host_device import HostDevice
from large_head import check_accuracy, check_influence, large_head

from perce import _core
from perce.objectives import objective_names
from perce.ops import cuda_backend


class Launched(HostDevice):
    """Loads and launches as on a device, on CPU tensors."""

    def __init__(self) -> None:
        self.kernels = _core

    def load(self, index: int) -> None:
        self.kernels.cuda_load(index)


def main() -> None:
    with mock.patch.object(cuda_backend, "device", Launched()):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            for name in objective_names():
                head = large_head(1031, n=20, width=32, dtype=dtype, device="cpu")
                check_accuracy(head, name, chunk_rows=8)
            check_influence(large_head(1031, n=20, width=32, dtype=dtype, device="cpu"))
            peer_bugs.check_scale_and_softcap_are_in_the_gradient("cpu", dtype)


if __name__ == "__main__":
    main()
