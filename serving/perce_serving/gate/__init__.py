"""Admission: which requests run now, so that an engine with few adapter slots starves nobody."""

from perce_serving.gate.gate import Gate
from perce_serving.gate.metrics import Metrics
from perce_serving.gate.rules import GateConfig

__all__ = ["Gate", "GateConfig", "Metrics"]
