"""New adapters on a base model, as training wants them; and dropout, as it does not."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from perce.errors import OptionError

logger = logging.getLogger(__name__)


def with_adapters(model: nn.Module, peft_config: Any, *, seed: int) -> nn.Module:
    """Wrap a model with new adapters, and warn of dropout, which biases PIR.

    An adapter's first weights are random. They depend on the seed alone, so that two runs which
    differ in their objective start from the same adapter.

    Args:
        model: the base model; its layers are wrapped in place, as PEFT does.
        peft_config: of PEFT.
        seed: of the new adapters' weights; torch's global generator goes on as if nothing was
            drawn.

    Returns:
        The ``PeftModel``.

    Raises:
        OptionError: the configuration does not fit the model.
    """
    from peft import get_peft_model

    if getattr(peft_config, "lora_dropout", 0.0) > 0:
        logger.warning(
            "lora_dropout %s biases PIR, whose two passes then differ by more than the profile: 0 "
            "is advised",
            peft_config.lora_dropout,
        )
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            adapted: nn.Module = get_peft_model(model, peft_config)
    except ValueError as error:
        raise OptionError("peft_config", " ".join(str(error).split())) from error
    return adapted


def dropout_rate(model: nn.Module) -> float:
    """The highest dropout rate of the base model's own layers; adapters' dropout is left out."""
    rates = [
        float(module.p)
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout) and "lora_dropout" not in name
    ]
    return max(rates, default=0.0)
