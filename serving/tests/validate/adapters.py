"""A tiny base model and adapters for it, written byte by byte; and one real one, by PEFT."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perce_serving.adapter_files import CONFIG_FILE, WEIGHTS_FILE

HIDDEN = 12
RANK = 3
LAYERS: dict[str, tuple[int, int]] = {
    f"model.layers.{layer}.self_attn.{name}": (outputs, HIDDEN)
    for layer in range(2)
    for name, outputs in [("q_proj", HIDDEN), ("v_proj", 6)]
}
"""Outputs and inputs of the base model's linear layers."""

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1, "F8_E4M3": 1}
Arrays = dict[str, tuple[str, bytes, list[int]]]
"""dtype, values and shape by name."""


def pack(arrays: Arrays, **changes: Any) -> bytes:
    """A safetensors file; ``changes`` replace or add entries of its header."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, (dtype, values, shape) in arrays.items():
        end = position + len(values)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    header = json.dumps({**entries, **changes}).encode()
    values = b"".join(values for _, values, _ in arrays.values())
    return len(header).to_bytes(8, "little") + header + values


def name(module: str, half: str) -> str:
    return f"base_model.model.{module}.lora_{half}.weight"


def encode(values: np.ndarray[Any, np.dtype[np.float32]], dtype: str) -> bytes:
    """Values in one of the dtypes that are served."""
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]).tobytes()


def weights(dtype: str = "F32", rank: int = RANK) -> Arrays:
    """Both halves for every layer, small random values."""
    random = np.random.default_rng(0)
    made: Arrays = {}
    for module, (outputs, inputs) in LAYERS.items():
        for half, shape in [("A", [rank, inputs]), ("B", [outputs, rank])]:
            values = random.normal(size=shape).astype(np.float32)
            made[name(module, half)] = (dtype, encode(values, dtype), shape)
    return made


def put(arrays: Arrays, tensor: str, value: float, position: int = -1) -> Arrays:
    """The same arrays with one value replaced."""
    dtype, values, shape = arrays[tensor]
    size = SIZES[dtype]
    index = position % math.prod(shape)
    one = encode(np.array([value], dtype=np.float32), dtype)
    changed = values[: index * size] + one + values[(index + 1) * size :]
    return {**arrays, tensor: (dtype, changed, shape)}


def config(**changes: Any) -> dict[str, Any]:
    """What PEFT writes, as far as it matters."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "Org/Tiny",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "rank_pattern": {},
        "init_lora_weights": True,
        **changes,
    }


def write_adapter(
    folder: Path, arrays: Arrays | bytes, configuration: Mapping[str, Any] | bytes
) -> Path:
    folder.mkdir(exist_ok=True)
    made = arrays if isinstance(arrays, bytes) else pack(arrays)
    text = (
        configuration
        if isinstance(configuration, bytes)
        else json.dumps(dict(configuration)).encode()
    )
    (folder / WEIGHTS_FILE).write_bytes(made)
    (folder / CONFIG_FILE).write_bytes(text)
    return folder


def write_base(
    folder: Path,
    *,
    seed: int = 0,
    dtype: str = "F32",
    first: int = 3,
    changes: Mapping[str, tuple[int, float]] | None = None,
) -> Path:
    """A base model in two files, as large models are saved.

    Args:
        folder: to be made.
        seed: of its values, which all dtypes hold exactly.
        dtype: of its values.
        first: how many matrices are in the first file.
        changes: position and value to be replaced, by tensor.
    """
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    matrices = {
        "model.embed_tokens": (30, HIDDEN),
        "lm_head": (30, HIDDEN),
        **LAYERS,
    }
    random = np.random.default_rng(seed)
    arrays: Arrays = {}
    for module, shape in {**matrices, "model.norm": (HIDDEN,)}.items():
        values = random.normal(size=shape).astype(np.float32)
        values = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)  # bfloat16's
        arrays[f"{module}.weight"] = (dtype, encode(values, dtype), list(shape))
    for tensor, (position, value) in (changes or {}).items():
        arrays = put(arrays, tensor, value, position)
    shards = [dict(list(arrays.items())[:first]), dict(list(arrays.items())[first:])]
    places = {}
    for number, shard in enumerate(shards):
        file = f"model-{number}.safetensors"
        (folder / file).write_bytes(pack(shard))
        places.update(dict.fromkeys(shard, file))
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
