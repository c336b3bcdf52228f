"""However a step's records are split into micro-batches: one loss, one gradient, one ledger."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perce.ledger import ScoreLedger
from perce.training.config import PerCEConfig
from perce.training.trainer import PerCETrainer
from tiny import tiny_data, tiny_model, tiny_records

RECORDS = 32
SPLITS = ((16, 2), (11, 3), (8, 4), (4, 8), (1, 32))
"""Records a micro-batch, and micro-batches a step; one step holds all records."""

ARMS: dict[str, dict[str, Any]] = {
    "perce": {"perce_clip_min": 0.05},
    "by weight": {"perce_clip_min": 0.05, "normalize": "weight"},
    "nextquill": {"objective": "nextquill"},
    "longce, refreshed": {"objective": "longce", "refresh_every": 2},
}


class Run(NamedTuple):
    losses: list[float]
    gradients: list[torch.Tensor]
    ledger: ScoreLedger


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory):
    """Three epochs of one step each; every run once."""
    data = tiny_data(tmp_path_factory.mktemp("prepared"), tiny_records(RECORDS))

    @cache
    def run(arm: str, size: int, accumulation: int) -> Run:
        output: Path = tmp_path_factory.mktemp("run")
        trainer = PerCETrainer(
            tiny_model(spread=6.0),
            PerCEConfig(
                output_dir=str(output),
                num_train_epochs=3,
                packing=False,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=accumulation,
                learning_rate=1e-3,
                optim="sgd",
                lr_scheduler_type="constant",
                logging_steps=1,
                save_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
                **ARMS[arm],
            ),
            data,
        )
        gradients: list[torch.Tensor] = []
        original = trainer._get_grad_norm

        def norm_of(model: Any, grad_norm: Any = None) -> Any:
            gradients.append(torch.cat([p.grad.flatten().clone() for p in model.parameters()]))
            return original(model, grad_norm)

        trainer._get_grad_norm = norm_of
        trainer.train()
        losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
        return Run(losses, gradients, ScoreLedger.open(output, data))

    return run


def assert_equal(got: Run, expected: Run, scale: float = 1.0) -> None:
    assert len(got.losses) == 3
    np.testing.assert_allclose(np.multiply(got.losses, scale), expected.losses, rtol=1e-4)
    for mine, theirs in zip(got.gradients, expected.gradients, strict=True):
        gap = (mine * scale - theirs).norm() / theirs.norm()
        assert float(gap) < 1e-3
    np.testing.assert_array_equal(got.ledger.visits(), np.full(RECORDS, 3))
    np.testing.assert_array_equal(got.ledger.last_step(), np.full(RECORDS, 3))
    # Float32 logits of about 6: PIR, a difference of two log-probabilities, is good to 1e-4 or so.
    np.testing.assert_allclose(
        got.ledger.pir() * scale, expected.ledger.pir(), atol=5e-4, rtol=1e-4
    )


@given(arm=st.sampled_from(sorted(ARMS)), split=st.sampled_from(SPLITS))
@settings(max_examples=5)
def test_a_split_changes_nothing(run_of, arm: str, split: tuple[int, int]) -> None:
    assert_equal(run_of(arm, *split), run_of(arm, RECORDS, 1))


def test_half_a_percent_would_be_seen(run_of) -> None:
    whole = run_of("perce", RECORDS, 1)
    with pytest.raises(AssertionError):
        assert_equal(whole, whole, scale=1.005)
