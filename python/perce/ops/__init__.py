"""Weighted cross-entropy and log-probabilities from hidden states, chunked, in float32."""

from perce.ops.interface import WeightedCE, linear_logp, linear_weighted_ce
from perce.ops.plain import weighted_ce

__all__ = ["WeightedCE", "linear_logp", "linear_weighted_ce", "weighted_ce"]
