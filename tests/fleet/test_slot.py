"""What a fleet's adapters depend on is told apart."""

from __future__ import annotations

import torch
from peft import LoraConfig

from perce.fleet.slot import AdapterSlot
from tiny import tiny_model


def identity(*, seed: int = 0, change: bool = False) -> dict[str, str]:
    model = tiny_model()
    if change:
        with torch.no_grad():
            model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    return AdapterSlot.fresh(model, config, seed=seed).identity()


def test_the_same_base_and_start_have_the_same_identity() -> None:
    assert identity() == identity()


def test_a_base_of_other_matrices_is_another() -> None:
    differing = {name for name, value in identity().items() if identity(change=True)[name] != value}
    assert differing == {"base model"}


def test_another_start_is_another() -> None:
    assert identity(seed=1)["start"] != identity()["start"]
    assert identity(seed=1)["base model"] == identity()["base model"]
