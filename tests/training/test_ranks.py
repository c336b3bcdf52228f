"""Two processes on gloo against one: the same gradients, weights and figures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rank_run
import torch

from perce.errors import TrainingError
from perce.ledger import ScoreLedger
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
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.parametrize("case", rank_run.CASES)
def test_two_ranks_equal_one_process_that_accumulates(folder: Path, case: str) -> None:
    one = rank_run.run(case, folder, folder / f"{case}-alone", accumulation=2)
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


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    """The same by one process."""
    return rank_run.run("tokens", folder, folder / "alone", accumulation=2)


def ledger_of(run: Path) -> ScoreLedger:
    return ScoreLedger.open(run)


def assert_ledgers(got: ScoreLedger, expected: ScoreLedger) -> None:
    np.testing.assert_array_equal(got.visits(), expected.visits())
    np.testing.assert_array_equal(got.last_step(), expected.last_step())
    np.testing.assert_allclose(got.pir(), expected.pir(), atol=2e-4, rtol=0)
    assert got.visits().min() == 1, "a record was left out"
    assert float(np.abs(expected.pir()).max()) > 0.1


def test_two_ranks_keep_the_ledger_of_one(folder: Path, alone: dict[str, Any]) -> None:
    """Journals of both ranks, and the state that each checkpoint holds."""
    assert sorted(p.name for p in (folder / "tokens-run" / "ledger").glob("*.log")) == [
        "journal-0.log",
        "journal-1.log",
    ]
    for place in ("", "checkpoint-3"):
        assert_ledgers(
            ledger_of(folder / "tokens-run" / place), ledger_of(folder / "alone" / place)
        )


def test_one_process_goes_on_where_two_stopped(
    folder: Path, alone: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / "tokens-run", run)
    for later in (2, 3):
        shutil.rmtree(run / f"checkpoint-{later}")
    with pytest.raises(TrainingError, match=r"x ranks is 2 there and 1 here; set .* to 2"):
        rank_run.run("tokens", folder, run, accumulation=1, resume=run / "checkpoint-1")
    resumed = rank_run.run("tokens", folder, run, accumulation=2, resume=run / "checkpoint-1")
    assert "world_size is 2 there and 1 here; the run is no longer bit-equal" in caplog.text
    assert len(resumed["gradients"]) == rank_run.STEPS - 1
    for name, weight in resumed["weights"].items():
        torch.testing.assert_close(weight, alone["weights"][name], atol=1e-5, rtol=1e-5)
    assert_ledgers(ledger_of(run), ledger_of(folder / "alone"))


def test_a_loss_that_is_broken_on_one_rank_stops_both(folder: Path) -> None:
    told = [(folder / f"error-{rank}.txt").read_text() for rank in range(2)]
    assert told[0] == told[1]
    assert "the loss is not finite at step 1, in the micro-batch of records 'r" in told[0]
