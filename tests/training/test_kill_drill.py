"""The drill of benchmarks/kill_drill.py: it finds killed runs equal, and would find them not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "kill_drill.py"


@pytest.mark.slow
def test_killed_runs_come_out_equal() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, timeout=580
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    verdicts = [line for line in done.stdout.splitlines() if "| checkpoint-" in line]
    assert len(verdicts) == 3
    assert all("equal: weights, optimizer, scheduler, RNG, ledger" in line for line in verdicts)


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("weights", "adapter_model.safetensors"),
        ("weights", "checkpoint-2/adapter_model.safetensors"),
        ("optimizer", "checkpoint-2/optimizer.pt"),
        ("scheduler", "checkpoint-2/scheduler.pt"),
        ("RNG", "checkpoint-2/rng_state.pth"),
        ("ledger", "checkpoint-2/ledger.bin"),
        ("ledger", "ledger/journal-0.log"),
    ],
)
def test_a_difference_in_one_part_is_found(tmp_path, monkeypatch, part: str, file: str) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import kill_drill

    one, other = tmp_path / "one", tmp_path / "other"
    (one / "checkpoint-2").mkdir(parents=True)
    (one / "ledger").mkdir()
    state = {"state": {0: {"exp_avg": torch.arange(3.0)}}, "names": ("a", 1.5)}
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save(state, one / "checkpoint-2" / name)
    for name in ("adapter_model.safetensors", "checkpoint-2/adapter_model.safetensors"):
        (one / name).write_bytes(b"weights")
    for name in ("checkpoint-2/ledger.bin", "ledger/journal-0.log"):
        (one / name).write_bytes(b"ledger")
    shutil.copytree(one, other)
    assert all(kill_drill.compare(one, other).values())
    if file.endswith((".pt", ".pth")):
        state["state"][0]["exp_avg"][1] += 1e-7
        torch.save(state, other / file)
    else:
        (other / file).write_bytes(b"changed")
    found = kill_drill.compare(one, other)
    assert [name for name, equal in found.items() if not equal] == [part]
