"""Where records come from: one module a kind of source, all with the face of :class:`Source`."""

from __future__ import annotations

from perce.data.sources.base import OnBad, Source
from perce.data.sources.known_truth import KnownTruthSource
from perce.data.sources.longlamp import LongLaMPSource
from perce.data.sources.sotu import SotuSource
from perce.data.sources.tabular import TabularSource

__all__ = [
    "KnownTruthSource",
    "LongLaMPSource",
    "OnBad",
    "SotuSource",
    "Source",
    "TabularSource",
]
