"""A tiny model, a shared adapter, and records of four users on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from perce.modeling.loading import load_model
from perce.tokens import PreparedData
from tiny import tiny_data, tiny_model, tiny_records, tiny_tokenizer


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model``, ``shared`` (an adapter) and ``prepared/{train,val}``."""
    folder = tmp_path_factory.mktemp("fleet")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    model = load_model(folder / "model", device="cpu")
    torch.manual_seed(3)
    config = LoraConfig(
        r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    get_peft_model(model, config).save_pretrained(folder / "shared")
    tiny_data(folder / "prepared", tiny_records(24))
    tiny_data(folder / "prepared", tiny_records(8, seed=1), split="val")
    return folder


@pytest.fixture(scope="session")
def data(place: Path) -> PreparedData:
    return PreparedData.open(place / "prepared")


@pytest.fixture(scope="session")
def val(place: Path) -> PreparedData:
    return PreparedData.open(place / "prepared", split="val")
