"""Whether an adapter may be served: checked from its bytes, without torch."""

from perce_serving.validate.faults import Fault

__all__ = ["Fault"]
