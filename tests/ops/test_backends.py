"""Which back end runs, and what is said when it cannot be the one asked for."""

from __future__ import annotations

import subprocess
import sys
import warnings
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perce.errors import KernelError, OptionError
from perce.ops import backends, cuda_backend, linear_logp, linear_weighted_ce
from perce.ops.backends import get_backend, resolve_backend
from perce.ops.cuda_device import CudaDevice

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)


class Device(CudaDevice):
    """A device that loads, or says why it does not."""

    def __init__(self, reason: str | None = None, kind: str = "cuda") -> None:
        self.reason, self.type, self.loaded = reason, kind, []

    def load(self, index: int) -> None:
        self.loaded.append(index)
        if self.reason is not None:
            raise KernelError(self.reason)


@pytest.fixture(autouse=True)
def _warns_anew() -> None:
    backends._warn_once.cache_clear()


def test_cuda_tensors_take_the_kernels_once_they_are_loaded() -> None:
    with mock.patch.object(cuda_backend, "device", Device()) as device:
        assert resolve_backend("auto", CUDA) is get_backend("cuda")
        assert resolve_backend("cuda", CUDA) is get_backend("cuda")
        assert resolve_backend("torch", CUDA) is get_backend("torch")
    assert device.loaded == [1, 1]


def test_without_kernels_auto_is_torch_after_one_warning() -> None:
    reason = "this build of perce has no CUDA kernels: install a wheel that has them"
    with mock.patch.object(cuda_backend, "device", Device(reason)):
        with pytest.warns(RuntimeWarning, match=f"torch back end, .* cannot run: {reason}"):
            assert resolve_backend("auto", CUDA) is get_backend("torch")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert resolve_backend("auto", CUDA) is get_backend("torch")
        with pytest.raises(KernelError, match="install a wheel"):
            resolve_backend("cuda", CUDA)


def test_cpu_tensors_take_torch_and_refuse_cuda() -> None:
    with mock.patch.object(cuda_backend, "device", Device()) as device:
        assert resolve_backend("auto", CPU) is get_backend("torch")
        with pytest.raises(OptionError, match="backend: 'cuda' is for CUDA tensors, hidden is on"):
            resolve_backend("cuda", CPU)
    assert not device.loaded


def test_the_ops_import_no_compiler() -> None:
    """torch._dynamo takes as long to import as torch itself."""
    code = "import sys, perce.ops; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_columns_stay_on_one_device() -> None:
    hidden, weight, labels = torch.randn(3, 2), torch.randn(5, 2), torch.zeros(3).long()
    with pytest.raises(OptionError, match="labels: is on meta, hidden on cpu: move it there"):
        linear_logp(hidden, weight, labels.to("meta"))
    for name in ("bias", "logp_without", "segment", "weights"):
        column = torch.zeros(5 if name == "bias" else 3, device="meta")
        with pytest.raises(OptionError, match=f"{name}: is on meta"):
            linear_weighted_ce(hidden, weight, labels, **{name: column})


@given(vocab=st.integers(1, 10**9), name=st.sampled_from(["torch", "cuda"]))
def test_chunks_fit_their_budget(vocab: int, name: str) -> None:
    backend = get_backend(name)
    rows = backend.chunk_rows(vocab)
    assert rows >= 1
    if rows > 1:
        assert rows * vocab * 4 <= backend.chunk_bytes
    # No more than a tile's worth of the budget is left unused.
    assert (rows + backend.chunk_multiple) * vocab * 4 > backend.chunk_bytes


def test_chunks_of_common_vocabularies() -> None:
    rows = {v: get_backend("cuda").chunk_rows(v) for v in (50257, 128256, 151936, 262144)}
    assert rows == {50257: 6144, 128256: 2432, 151936: 2048, 262144: 1152}
    assert get_backend("torch").chunk_rows(151936) == 220
