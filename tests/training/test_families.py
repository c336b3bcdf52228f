"""One PerCE step of every head family, all weights and LoRA, against a float64 oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import TrainerCallback

from perce.errors import ModelError
from perce.modeling.attention import packed_inputs, use_packed_attention
from perce.modeling.head import find_head
from perce.modeling.unwrap import base_model
from perce.pairs import PairBatch, PairLoader
from perce.training.config import PerCEConfig
from perce.training.trainer import PerCETrainer
from tiny import reference_gradients, tiny_data, tiny_model, tiny_records, unpacked_logp

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*"),
    # PEFT's own rule for experts, on a model whose router and attention alone are linear.
    pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not match"),
]

FAMILIES = {
    "llama": (1.0, None),
    "smollm2": (1.0, None),
    "qwen3": (1.0, None),
    "gemma3": (1.0, 3.0),
    "gpt2": (1.0, None),
    "phi": (1.0, None),
    "granite": (0.25, None),
    "cohere": (0.25, None),
    "mistral": (1.0, None),
    "qwen3_moe": (1.0, None),
}
"""Family, and the scale and softcap of its logits."""

CLIP = 0.05
ACCUMULATION = 2
BIASED = {"phi"}
TIED = {"smollm2", "gemma3", "gpt2", "cohere"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory):
    return tiny_data(tmp_path_factory.mktemp("prepared"), tiny_records(8))


def with_lora(model: nn.Module, **options: Any) -> nn.Module:
    """Adapters far from zero, so that their gradients tell; the same each time."""
    torch.manual_seed(1)
    adapted: nn.Module = get_peft_model(
        model, LoraConfig(r=2, target_modules="all-linear", **options)
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return adapted


def build(family: str, how: str, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The same weights each time."""
    model = tiny_model(family, spread=6.0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if how == "lora":
        model = with_lora(model, fan_in_fan_out=family == "gpt2")
    if dtype == torch.float64 and family == "qwen3_moe":
        base_model(model).set_experts_implementation("eager")  # grouped_mm knows no float64
    adapted: nn.Module = model.to(dtype)
    return adapted


def batches(data: Any) -> list[PairBatch]:
    loader = PairLoader(data, packing=False, per_device_train_batch_size=4, seed=42)
    return list(loader)[:ACCUMULATION]


class Gradients(TrainerCallback):
    """The step's gradients, as the optimizer sees them."""

    def __init__(self) -> None:
        self.found: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, *, model, **kwargs) -> None:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                self.found[name] = parameter.grad.clone()


def trained(model: nn.Module, data: Any, folder: Path) -> tuple[PerCETrainer, Gradients]:
    trainer = PerCETrainer(
        model,
        PerCEConfig(
            output_dir=str(folder),
            perce_clip_min=CLIP,
            packing=False,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=ACCUMULATION,
            max_steps=1,
            learning_rate=0.0,
            max_grad_norm=0.0,
            save_strategy="no",
            logging_steps=1,
            ledger=False,
            disable_tqdm=True,
            use_cpu=True,
        ),
        data,
    )
    kept = Gradients()
    trainer.add_callback(kept)
    trainer.train()
    return trainer, kept


@pytest.mark.parametrize("how", ["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_equals_the_float64_oracle(family: str, how: str, data, tmp_path) -> None:
    model = build(family, how)
    head = find_head(model)
    assert (head.logit_scale, head.logit_softcap) == FAMILIES[family]
    assert head.linear is not None
    assert (head.linear.bias is not None) == (family in BIASED)
    inputs = base_model(model).get_input_embeddings().weight
    assert (head.linear.weight is inputs) == (family in TIED)

    trainer, kept = trained(model, data, tmp_path)
    assert trainer.model_check.path == "linear"

    double = build(family, how, dtype=torch.float64)
    used = batches(data)
    weights = []
    with torch.no_grad():
        for batch in used:
            with_profile, without = (
                unpacked_logp(double, stream)
                for stream in (batch.with_profile, batch.without_profile)
            )
            weights.append((with_profile - without).clamp(CLIP, 5.0))
    every = torch.cat(weights)
    assert every.std() > 0.1 * every.mean(), "the weights must differ"
    n = sum(batch.num_items for batch in used)
    expected = reference_gradients(double, used, weights, n)
    if family == "qwen3_moe":
        add_router_gradients(double, used, expected)
    assert kept.found.keys() == expected.keys()
    for name, gradient in kept.found.items():
        scale = float(expected[name].abs().max()) + 1e-3
        gap = float((gradient - expected[name]).abs().max()) / scale
        assert gap < 1e-3, f"{name}: {gap}"
    # What PerCE is not: CE of the same mean weight differs by far more than that.
    if how == "lora":
        return
    flat = reference_gradients(double, used, [torch.full_like(w, every.mean()) for w in weights], n)
    name = max(flat, key=lambda key: float(flat[key].abs().max()))
    assert float((flat[name] - expected[name]).abs().max() / flat[name].abs().max()) > 0.01


def add_router_gradients(
    model: nn.Module, used: list[PairBatch], expected: dict[str, torch.Tensor]
) -> None:
    """The router loss as transformers computes it, each micro-batch's by its share of the step."""
    coefficient = base_model(model).config.router_aux_loss_coef
    use_packed_attention(model)
    for batch in used:
        output = model(**packed_inputs(batch.with_profile), output_router_logits=True)
        (coefficient * output.aux_loss / len(used)).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            expected[name] = expected.get(name, torch.zeros(())) + parameter.grad
    model.zero_grad()


def test_attention_softcap_is_refused_by_name(data, tmp_path) -> None:
    config = transformers.Gemma2Config(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = transformers.Gemma2ForCausalLM(config)
    with pytest.raises(ModelError, match=r"Gemma2ForCausalLM caps its attention scores .*Gemma 2"):
        trained(model, data, tmp_path)


def test_a_quantised_base_trains_its_adapters(data, tmp_path) -> None:
    """QLoRA: the head stays linear and takes the op; gradients are those of unpacked rows."""
    pytest.importorskip("bitsandbytes", reason="QLoRA bases need bitsandbytes")
    tiny_model(spread=6.0).save_pretrained(tmp_path / "base")

    def quantised() -> nn.Module:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / "base",
            device_map="cpu",
            quantization_config=transformers.BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=torch.float32,
            ),
        )
        return with_lora(model)

    trainer, kept = trained(quantised(), data, tmp_path / "run")
    assert trainer.model_check.path == "linear"
    kinds = {type(module).__name__ for module in trainer.model.modules()}
    assert "Linear4bit" in kinds, "else nothing is quantised"
    model = quantised()
    used = batches(data)
    weights = []
    with torch.no_grad():
        for batch in used:
            pir = unpacked_logp(model, batch.with_profile) - unpacked_logp(
                model, batch.without_profile
            )
            weights.append(pir.clamp(CLIP, 5.0))
    assert torch.cat(weights).std() > 0.1 * torch.cat(weights).mean()
    expected = reference_gradients(model, used, weights, sum(batch.num_items for batch in used))
    assert kept.found.keys() == expected.keys()
    for name, gradient in kept.found.items():
        scale = float(expected[name].abs().max()) + 1e-3
        assert float((gradient - expected[name]).abs().max()) / scale < 1e-3, name
