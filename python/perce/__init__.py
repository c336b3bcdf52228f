"""PerContrast and PerCE: language models that write like *this* user.

The public names load on first use, so that ``import perce`` (and ``import perce.data``) brings
neither torch nor transformers. Method: "Rethinking Personalization in Large Language Models at the
Token Level", arXiv 2603.06595.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from perce.errors import PerceError

if TYPE_CHECKING:
    from perce.contrast import score_dataset
    from perce.objectives import perce_weights, register_objective
    from perce.ops import linear_logp, linear_weighted_ce
    from perce.pairs import PairBatch, PairLoader
    from perce.tokens import PreparedData
    from perce.training import PerCEConfig, PerCETrainer

__version__ = importlib.metadata.version("perce")

_HOMES = {
    "PairBatch": "perce.pairs",
    "PairLoader": "perce.pairs",
    "PerCEConfig": "perce.training",
    "PerCETrainer": "perce.training",
    "PreparedData": "perce.tokens",
    "linear_logp": "perce.ops",
    "linear_weighted_ce": "perce.ops",
    "perce_weights": "perce.objectives",
    "register_objective": "perce.objectives",
    "score_dataset": "perce.contrast",
}

__all__ = [
    "PairBatch",
    "PairLoader",
    "PerCEConfig",
    "PerCETrainer",
    "PerceError",
    "PreparedData",
    "__version__",
    "linear_logp",
    "linear_weighted_ce",
    "perce_weights",
    "register_objective",
    "score_dataset",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'perce' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
