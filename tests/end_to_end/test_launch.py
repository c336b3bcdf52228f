"""``perce train`` on two ranks, as the guide tells people to start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from perce.cli import main

pytestmark = pytest.mark.slow

OPTIONS = [
    *("--use_peft", "--lora_r", "4", "--learning_rate", "5e-3", "--max_tokens", "512"),
    *("--max_steps", "3", "--report_to", "none", "--use_cpu", "--save_strategy", "no"),
]


def test_two_ranks_train_the_adapter_that_one_trains(
    model_folder: Path, records_folder: Path, tmp_path: Path
) -> None:
    prepared = str(tmp_path / "prepared")
    source = ["--source", "tabular", "--path", str(records_folder), "--retrieval", "none"]
    assert main(["prepare", *source, "--model", str(model_folder), "--out", prepared]) == 0
    options = ["train", "--model", str(model_folder), "--data", prepared, *OPTIONS]
    one, two = tmp_path / "one", tmp_path / "two"
    accumulate = ["--gradient_accumulation_steps", "2"]
    assert main([*options, *accumulate, "--output_dir", str(one)]) == 0
    # By its name for GPUs: on CPUs accelerate starts one process unless there is an mpirun.
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, "-m", "perce", *options, "--output_dir", str(two)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone, together = (load_file(run / "adapter_model.safetensors") for run in (one, two))
    assert alone.keys() == together.keys()
    assert any(weight.any() for name, weight in alone.items() if "lora_B" in name)
    for name, weight in alone.items():
        torch.testing.assert_close(together[name], weight, atol=1e-5, rtol=1e-4)
