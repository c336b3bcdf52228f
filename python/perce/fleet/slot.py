"""One frozen base model with an adapter on it that goes back to its start for each user."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from perce.errors import ModelError
from perce.modeling.loading import load_adapter
from perce.modeling.unwrap import base_model
from perce.training.adapters import with_adapters
from perce.training.fingerprint import frozen_weights


class AdapterSlot:
    """A base model and the adapter that each user's training begins with.

    Only the adapter's weights ever change; :meth:`reset` puts them back, and takes off what a
    training has left on the model, so that nothing of one user reaches the next.

    Args:
        model: a PEFT model of one LoRA adapter, ready to train.

    Attributes:
        model: the same.

    Raises:
        ModelError: the adapter is no LoRA adapter.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model
        kind = self._config().peft_type
        if str(getattr(kind, "value", kind)) != "LORA":
            raise ModelError(f"a fleet trains LoRA adapters, not {kind}")
        self._start: dict[str, Tensor] = {
            name: parameter.detach().clone() for name, parameter in self._trainable().items()
        }

    @classmethod
    def fresh(cls, model: nn.Module, peft_config: Any, *, seed: int) -> AdapterSlot:
        """Begin with a new adapter, the same for every user, drawn from ``seed``."""
        return cls(with_adapters(model, peft_config, seed=seed))

    @classmethod
    def shared(cls, model: nn.Module, folder: str | Path) -> AdapterSlot:
        """Begin with a copy of a trained adapter.

        Raises:
            ModelError: the folder holds no adapter, or one for another model.
        """
        adapted = load_adapter(model, folder)
        # It was loaded frozen, for evaluation.
        adapted.set_adapter(adapted.active_adapter)
        return cls(adapted)

    def reset(self) -> None:
        """Put the adapter's weights back, and take off what a training has left on the model."""
        trainable = self._trainable()
        with torch.no_grad():
            for name, weight in self._start.items():
                trainable[name].copy_(weight)
                trainable[name].grad = None
        # accelerate wraps forward for mixed precision, and would leave the next training without,
        # as the model is marked; gradient checkpointing hooks the embeddings, once a training.
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            vars(self.model).pop(name, None)
        base_model(self.model).disable_input_require_grads()
        self.model.eval()

    def identity(self) -> dict[str, str]:
        """What the adapters of this slot depend on: digests of base, adapter shape and start."""
        start = hashlib.sha256()
        for name, weight in sorted(self._start.items()):
            start.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
            start.update(_bytes(weight))
        shape = {
            name: sorted(value) if isinstance(value, set) else value
            for name, value in vars(self._config()).items()
            if name in ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora")
        }
        return {
            "base model": frozen_weights(self.model),
            "start": start.hexdigest(),
            "adapter": json.dumps(shape, sort_keys=True, default=str),
        }

    def _config(self) -> Any:
        return self.model.active_peft_config

    def _trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def _bytes(weight: Tensor) -> bytes:
    # numpy knows no bfloat16: the same bytes, seen as integers.
    return weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
