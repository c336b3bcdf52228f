"""A random Llama and random LoRA adapters for it, as folders that servers read; needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RANK = 8
_ALPHA = 16
_SIZE = 0.02
"""Standard deviation of random weights: that of a fresh Llama."""


def write_model(folder: Path, *, layers: int, quick: bool) -> Path:
    """Write a random Llama with a tokenizer of whole words; the same at every call.

    Args:
        folder: is made.
        layers: of the model; 2 where ``quick``.
        quick: a tiny model, and not one of SmolLM2-135M's shape.
    """
    hidden, inner, heads, key_heads, words = (
        (128, 256, 4, 2, 1024) if quick else (576, 1536, 9, 3, 49152)
    )
    layers = 2 if quick else layers
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": words,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    keys = hidden // heads * key_heads
    shapes = {"model.embed_tokens": (words, hidden)}
    for layer in range(layers):
        attention, mlp = (f"model.layers.{layer}.{part}" for part in ("self_attn", "mlp"))
        shapes |= {
            f"{attention}.q_proj": (hidden, hidden),
            f"{attention}.k_proj": (keys, hidden),
            f"{attention}.v_proj": (keys, hidden),
            f"{attention}.o_proj": (hidden, hidden),
            f"{mlp}.gate_proj": (inner, hidden),
            f"{mlp}.up_proj": (inner, hidden),
            f"{mlp}.down_proj": (hidden, inner),
        }
    draw = np.random.default_rng(0)
    tensors = {f"{name}.weight": _normal(draw, shape) for name, shape in shapes.items()}
    norms = ["model.norm"] + [
        f"model.layers.{layer}.{name}"
        for layer in range(layers)
        for name in ("input_layernorm", "post_attention_layernorm")
    ]
    tensors |= {f"{name}.weight": np.ones(hidden, np.float32) for name in norms}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_tokenizer(folder, words)
    return folder


def write_adapter(
    folder: Path, base: str, layers: Mapping[str, tuple[int, int]], *, seed: int
) -> Path:
    """Write a LoRA adapter of small values for every linear layer, as PEFT would save it.

    Args:
        folder: is made.
        base: the base model's name.
        layers: outputs and inputs of the base model's matrices, by module.
        seed: adapters of two seeds differ.
    """
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    tensors = {}
    for module, (outputs, inputs) in layers.items():
        if module.rpartition(".")[2] in TARGETS:
            for half, shape in (("A", (RANK, inputs)), ("B", (outputs, RANK))):
                name = f"base_model.model.{module}.lora_{half}.weight"
                tensors[name] = _normal(draw, shape).astype(np.float16)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": RANK,
        "lora_alpha": _ALPHA,
        "target_modules": sorted({name.split(".")[-3] for name in tensors}),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def _normal(draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return _SIZE * draw.standard_normal(shape, dtype=np.float32)


def _write_tokenizer(folder: Path, words: int) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "<eos>"}
    names = [*special.values(), *(f"w{number}" for number in range(words - len(special)))]
    tokenizer = Tokenizer(
        models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special})
    )
