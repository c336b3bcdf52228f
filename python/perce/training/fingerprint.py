"""Short names for weights, so that a run notices when it continues with others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

_SAMPLE = 64
"""Values of each tensor that go into a fingerprint, which costs milliseconds for any model."""


def frozen_weights(model: nn.Module) -> str:
    """Name the weights that do not train, by their names, shapes and first values.

    Args:
        model: with or without adapters, not yet sharded.

    Returns:
        A hash of 16 characters, or "none" where everything trains.
    """
    digest = hashlib.sha256()
    found = False
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            found = True
            digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
            digest.update(_first_values(parameter))
    return digest.hexdigest()[:16] if found else "none"


def trained_weights(model: nn.Module) -> str:
    """Describe the weights that train, by names and shapes: they change, their form does not."""
    digest = hashlib.sha256()
    tensors = values = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            tensors += 1
            values += parameter.numel()
            digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
    return f"{values} values in {tensors} tensors ({digest.hexdigest()[:8]})"


def folder_weights(folder: Path) -> str:
    """Name what a folder of a model or an adapter holds, by the content of all of it.

    Returns:
        A hash of 16 characters.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin") or path.name.endswith("config.json"):
            digest.update(path.name.encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def _first_values(parameter: nn.Parameter) -> bytes:
    values = parameter.detach()
    if values.is_meta or values.numel() == 0:
        return b""
    while values.dim() > 1:
        values = values[0]
    return bytes(values.reshape(-1)[:_SAMPLE].to(torch.float32).cpu().numpy().tobytes())
