"""Adapters as PEFT itself writes them, of models as transformers writes them."""

from __future__ import annotations

import json
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists

from perce_serving.errors import ValidationError
from perce_serving.store import LocalStore
from perce_serving.validate import BaseModel, Fault, Validator
from perce_serving.validate.config import parse_config
from validate.adapters import config

COMMON = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
FAMILIES = {
    "llama": transformers.LlamaConfig(**COMMON),
    "tied": transformers.LlamaConfig(**COMMON, tie_word_embeddings=True),
    "qwen3": transformers.Qwen3Config(**COMMON, head_dim=4),
    "gemma3": transformers.Gemma3TextConfig(**COMMON, head_dim=4),
    "phi": transformers.PhiConfig(**{**COMMON, "num_key_value_heads": 4}),
}
Saved = Callable[..., tuple[Path, Validator]]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Save a model and an adapter for it; the adapter's folder and a validator for the model."""

    def made(
        family: str = "llama", dtype: torch.dtype = torch.float32, **options: Any
    ) -> tuple[Path, Validator]:
        folder = tmp_path_factory.mktemp(family)
        with warnings.catch_warnings():
            # What PEFT says of some options is its own affair.
            warnings.simplefilter("ignore")
            fresh = transformers.AutoModelForCausalLM.from_config(FAMILIES[family])
            fresh.save_pretrained(folder / "Tiny")
            model = transformers.AutoModelForCausalLM.from_pretrained(folder / "Tiny")
            given = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **options}
            adapted = get_peft_model(model, LoraConfig(**given), autocast_adapter_dtype=False)
            adapted.to(dtype).save_pretrained(folder / "adapter")
        return folder / "adapter", Validator(BaseModel.read(folder / "Tiny"), max_rank=8)

    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_layers_of_a_family(saved: Saved, family: str) -> None:
    folder, validator = saved(family)
    validator.check(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": torch.bfloat16},
        {"dtype": torch.float16},
        {"r": 8, "use_rslora": True},
        {"init_lora_weights": False},
        {"init_lora_weights": "gaussian"},
        {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]},
        {"target_modules": r".*\.(q_proj|v_proj)"},
        {"target_modules": "all-linear", "exclude_modules": ["down_proj"]},
        {"lora_dropout": 0.1, "lora_alpha": 16.5},
    ],
    ids=str,
)
def test_options_that_are_served(saved: Saved, options: dict[str, Any]) -> None:
    folder, validator = saved(**options)
    validator.check(folder)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"r": 9}, Fault.RANK),
        ({"use_dora": True}, Fault.DORA),
        ({"modules_to_save": ["lm_head"]}, Fault.UNSUPPORTED),
        ({"rank_pattern": {"q_proj": 2}}, Fault.UNSUPPORTED),
        ({"alpha_pattern": {"q_proj": 2}}, Fault.UNSUPPORTED),
        ({"lora_bias": True}, Fault.UNSUPPORTED),
        ({"init_lora_weights": "pissa"}, Fault.UNSUPPORTED),
        ({"trainable_token_indices": [1, 2]}, Fault.UNSUPPORTED),
        ({"alora_invocation_tokens": [1]}, Fault.UNSUPPORTED),
        ({"target_modules": ["lm_head"]}, Fault.UNKNOWN_TENSOR),
        ({"target_modules": ["embed_tokens"]}, Fault.UNKNOWN_TENSOR),
        ({"dtype": torch.float64}, Fault.WRONG_DTYPE),
    ],
    ids=str,
)
def test_options_that_are_not_served(saved: Saved, options: dict[str, Any], fault: Fault) -> None:
    folder, validator = saved(**options)
    with pytest.raises(ValidationError) as error:
        validator.check(folder)
    assert error.value.code == fault


PARTS = ["model", "layers", "h", "experts", "q_proj", "v_proj", "0", "1", "2"]
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=7).map(".".join)
ENDS = st.lists(NAMES | st.sampled_from(["q_proj", "v_proj"]), min_size=1, max_size=3)
PATTERNS = st.sampled_from(
    [r".*\.q_proj", r"model\..*(q|v)_proj", r"(\w+\.)*[12]\.\w+", "q_proj", r".*\.(?:h|layers)\..*"]
)
CONFIGS = st.fixed_dictionaries({
    "target_modules": ENDS | PATTERNS,
    "exclude_modules": st.none() | ENDS | PATTERNS,
    "layers_to_transform": st.none() | st.integers(0, 2) | st.lists(st.integers(0, 2), max_size=2),
    "layers_pattern": st.none() | st.sampled_from(["h", "layers", ["layers", "h"], ["h"], []]),
})  # fmt: skip


@given(CONFIGS, st.lists(NAMES, min_size=1, max_size=10))
def test_which_modules_an_adapter_is_for(changes: dict[str, Any], modules: list[str]) -> None:
    parsed = parse_config(
        json.dumps(config(**changes)).encode(), BaseModel(name="tiny", layers={}), max_rank=8
    )
    theirs = types.SimpleNamespace(modules_to_save=None, target_parameters=None, **changes)
    for module in modules:
        found = check_target_module_exists(theirs, module)
        loaded = bool(found) and not isinstance(found, _ExcludedModule)
        assert parsed.is_for(module) == loaded, module


def test_another_family_s_adapter(saved: Saved) -> None:
    folder, _ = saved("phi")
    _, validator = saved("llama")
    with pytest.raises(ValidationError) as error:
        validator.check(folder)
    assert error.value.code == Fault.EXTRA_MODULE


def test_published_and_opened(saved: Saved, tmp_path: Path) -> None:
    folder, validator = saved("llama")
    store = LocalStore(tmp_path / "store")
    version = store.publish("alice", folder, check=validator.check)
    validator.check(store.open("alice", version.version))
    assert not any(finding.damage for finding in store.verify(validator.check))
