"""Training runs whose optimizer steps are timed, for the benchmarks of the trainer."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from perce.tokens import PreparedData
from perce.training import PerCEConfig, PerCETrainer


class Steps(TrainerCallback):
    """Seconds and logged loss of each optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self._begin = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._begin = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        self.seconds.append(time.perf_counter() - self._begin)

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        """Keep the loss: plain cross-entropy where the objective is another."""
        if "loss" in logs:
            self.losses.append(float(logs.get("ce", logs["loss"])))


def shared_options(folder: Path) -> dict[str, Any]:
    """What all trainers get alike: float32, no checkpointing, no saving, a log each step."""
    return {
        "output_dir": str(folder),
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "learning_rate": 3e-4,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
    }


def run(trainer: Any) -> Steps:
    """Train, quietly."""
    steps = Steps()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(steps)
    logging.disable(logging.WARNING)
    trainer.train()
    return steps


def train_perce(model: Any, data: PreparedData, folder: Path, **options: Any) -> Steps:
    """A run of ours."""
    config = PerCEConfig(**shared_options(folder), **options)
    return run(PerCETrainer(model=model, args=config, train_dataset=data))
