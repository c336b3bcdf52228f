"""A tiny model, two random adapters for it, and prepared records."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from perce.tokens import PreparedData
from tiny import tiny_data, tiny_model, tiny_records


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("prepared"), tiny_records(20, seed=1), split="val")


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for seed, name in enumerate(["ce", "perce"]):
        folders[name] = tmp_path_factory.mktemp("adapters") / name
        model = tiny_model()
        torch.manual_seed(seed)
        config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(model, config).save_pretrained(folders[name])
    return folders
