"""Whether an adapter may be served: checked from its bytes, without torch.

A configuration and weights that pass are what vLLM serves as PEFT would: nothing is ignored, every
layer fits the base model, every value is finite, and what a layer adds is bounded.
"""

from perce_serving.faults import Fault
from perce_serving.validate.base import BaseModel
from perce_serving.validate.validator import ENGINE_RANKS, Validator

__all__ = ["ENGINE_RANKS", "BaseModel", "Fault", "Validator"]
