"""Two processes on gloo against one: the same gradients, weights and figures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rank_run
import torch

from tiny import tiny_data, tiny_records

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*pin_memory.*")]

FIGURES = ("loss", "ce", "weight_mean", "pir_p50", "eval_loss", "eval_nll_personal")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and what each of two ranks made of it."""
    out = tmp_path_factory.mktemp("ranks")
    tiny_data(out / "data", tiny_records(10))
    tiny_data(out / "held_out", tiny_records(7, seed=7))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, rank_run.__file__, str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.parametrize("case", rank_run.CASES)
def test_two_ranks_equal_one_process_that_accumulates(folder: Path, case: str) -> None:
    one = rank_run.run(case, folder, accumulation=2)
    two: list[dict[str, Any]] = [torch.load(folder / f"{case}-{rank}.pt") for rank in range(2)]
    assert [run["ranks"] for run in (one, *two)] == [1, 2, 2]
    for name, weight in two[0]["weights"].items():
        assert torch.equal(weight, two[1]["weights"][name]), name
        torch.testing.assert_close(weight, one["weights"][name], atol=1e-5, rtol=1e-5)
    assert len(one["gradients"]) == rank_run.STEPS
    for step, expected in enumerate(one["gradients"]):
        got = two[0]["gradients"][step]
        assert got.keys() == expected.keys()
        for name, gradient in got.items():
            scale = float(expected[name].abs().max()) + 1e-3
            assert float((gradient - expected[name]).abs().max()) / scale < 1e-4, (step, name)
    for theirs, ours in zip(one["logs"], two[0]["logs"], strict=True):
        for figure in theirs.keys() & set(FIGURES):
            assert ours[figure] == pytest.approx(theirs[figure], rel=1e-5), figure
    assert {figure for log in one["logs"] for figure in log} >= set(FIGURES)
