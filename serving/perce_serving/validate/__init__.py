"""Whether an adapter may be served: checked from its bytes, without torch.

A configuration and weights that pass are what vLLM serves as PEFT would: nothing is ignored, every
layer fits the base model, every value is finite, and what a layer adds is bounded.
"""

from perce_serving.faults import Fault
from perce_serving.validate.base import BaseModel
from perce_serving.validate.finding import base_of, find_base
from perce_serving.validate.validator import DEFAULT_RANK, ENGINE_RANKS, Validator

__all__ = [
    "DEFAULT_RANK",
    "ENGINE_RANKS",
    "BaseModel",
    "Fault",
    "Validator",
    "base_of",
    "find_base",
]
