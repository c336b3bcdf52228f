"""A short run of the trainer, by one process or by each rank of several: see test_ranks.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from perce.errors import TrainingError
from perce.tokens import PreparedData
from perce.training.config import PerCEConfig
from perce.training.trainer import PerCETrainer
from tiny import tiny_model

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tokens": ("llama", {}),
    "weight": ("llama", {"normalize": "weight"}),
    "experts": ("qwen3_moe", {}),
}
"""Model family and options."""

STEPS = 3


class _Gradients(TrainerCallback):
    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, *, model, **kwargs) -> None:
        self.steps.append(
            {
                name.removeprefix("module."): parameter.grad.clone()
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
        )


def run(
    case: str, folder: Path, output: Path, *, accumulation: int, resume: Path | None = None
) -> dict[str, Any]:
    """Three steps over five batches, so that two ranks need a repeat in the last."""
    family, options = CASES[case]
    trainer = PerCETrainer(
        tiny_model(family, spread=6.0),
        PerCEConfig(
            output_dir=str(output),
            max_steps=STEPS,
            packing=False,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=accumulation,
            perce_clip_min=0.05,
            learning_rate=0.01,
            save_steps=1,
            eval_strategy="steps",
            eval_steps=1,
            logging_steps=1,
            max_tokens=150,
            personal_threshold=0.2,
            max_grad_norm=0.0,
            disable_tqdm=True,
            use_cpu=True,
            **options,
        ),
        PreparedData.open(folder / "data"),
        PreparedData.open(folder / "held_out"),
    )
    kept = _Gradients()
    trainer.add_callback(kept)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return {
        "ranks": trainer.args.world_size,
        "rank": trainer.args.process_index,
        "gradients": kept.steps,
        "weights": {name: p.detach() for name, p in trainer.model.named_parameters()},
        "logs": trainer.state.log_history,
    }


def broken_on_one_rank(folder: Path) -> str:
    """What a rank says when the loss is NaN on rank 1 alone; ranks that hang would say nothing."""
    model = tiny_model(spread=6.0)
    trainer = PerCETrainer(
        model,
        PerCEConfig(
            output_dir=str(folder / "broken"),
            max_steps=STEPS,
            packing=False,
            per_device_train_batch_size=2,
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
        PreparedData.open(folder / "data"),
    )
    if trainer.args.process_index == 1:
        inner = model.model.norm
        forward = inner.forward
        inner.forward = lambda hidden: forward(hidden) * torch.nan
    try:
        trainer.train()
    except TrainingError as error:
        return str(error)
    return "trained on"


if __name__ == "__main__":
    where = Path(sys.argv[1])
    for name in CASES:
        found = run(name, where, where / f"{name}-run", accumulation=1)
        torch.save(found, where / f"{name}-{found['rank']}.pt")
    told = broken_on_one_rank(where)
    (where / f"error-{found['rank']}.txt").write_text(told)
