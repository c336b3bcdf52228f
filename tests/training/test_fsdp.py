"""FSDP2 on two gloo processes against one process without it: gradients, log-probs, weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsdp_run
import pytest
import torch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each of two ranks made of every case."""
    out = tmp_path_factory.mktemp("fsdp")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += [f"--nproc_per_node={fsdp_run.RANKS}", fsdp_run.__file__, str(out)]
    done = subprocess.run(
        launch,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # FSDP2 would say so if it could not hang its hooks on what the head returns.
    assert "view tensor" not in done.stderr
    return out


def gap(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).abs().max()) / (float(expected.abs().max()) + 1e-3)


@pytest.mark.parametrize("case", fsdp_run.CASES)
def test_two_ranks_under_fsdp2_equal_one_process(folder: Path, case: str) -> None:
    one = fsdp_run.run(case)
    two: list[dict[str, Any]] = [torch.load(folder / f"{case}-{rank}.pt") for rank in range(2)]
    assert {run["head"] for run in (one, *two)} == {"linear"}
    assert one["sharded"] == []
    for run in two:
        # Else this compares DDP, or nothing at all.
        assert run["sharded"] == run["parameters"] == one["parameters"]

    for step, expected in enumerate(one["gradients"]):
        for run in two:
            got = run["gradients"][step]
            assert got.keys() == expected.keys()
            for name, gradient in got.items():
                assert gap(gradient, expected[name]) < 1e-4, (step, name)
    tokens = [
        {**two[0]["tokens"][step], **two[1]["tokens"][step]} for step in range(fsdp_run.STEPS)
    ]
    for ours, theirs in zip(tokens, one["tokens"], strict=True):
        assert ours.keys() == theirs.keys()
        got, expected = (torch.tensor([run[i] for i in sorted(theirs)]) for run in (ours, theirs))
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
        pir = expected[:, 1] - expected[:, 0]
        assert pir.std() > 0.1, "the profile must matter"
    for name, weight in one["weights"].items():
        for run in two:
            torch.testing.assert_close(run["weights"][name], weight, atol=1e-5, rtol=1e-5)
    moved = gap(
        one["gradients"][0][name := next(iter(one["gradients"][0]))], one["gradients"][1][name]
    )
    assert moved > 1e-2, "the steps must change the model"
