"""From whatever wraps a model to the model itself."""

from __future__ import annotations

from typing import Any

import torch


def without_parallel(model: torch.nn.Module) -> Any:
    """The module inside DistributedDataParallel, or the module itself."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        return model.module
    return model


def base_model(model: torch.nn.Module) -> Any:
    """The transformers model inside DistributedDataParallel and PEFT; layers may carry adapters."""
    model = without_parallel(model)
    get_base_model = getattr(model, "get_base_model", None)
    return get_base_model() if get_base_model is not None else model


def is_peft(model: torch.nn.Module) -> bool:
    """Whether a PEFT wrapper carries adapters around the base model."""
    return hasattr(without_parallel(model), "peft_config")
