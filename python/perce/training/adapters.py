"""New adapters on a base model, as training wants them."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn

from perce.errors import OptionError

logger = logging.getLogger(__name__)


def with_adapters(model: nn.Module, peft_config: Any) -> nn.Module:
    """Wrap a model with new adapters, and warn of dropout, which biases PIR.

    Args:
        model: the base model; its layers are wrapped in place, as PEFT does.
        peft_config: of PEFT.

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
        adapted: nn.Module = get_peft_model(model, peft_config)
    except ValueError as error:
        raise OptionError("peft_config", " ".join(str(error).split())) from error
    return adapted
