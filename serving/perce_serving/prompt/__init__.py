"""Prompts as training made them: users' profiles retrieved, rendered and cut by perce itself.

perce, its extra ``retrieval`` and transformers are imported when something here is first made, not
before; where ``installed()`` is false, nothing here can be made.
"""

from __future__ import annotations

from importlib.util import find_spec

from perce_serving.prompt.renderer import Renderer
from perce_serving.prompt.served import ServedPrompt

__all__ = ["Renderer", "ServedPrompt", "installed"]


def installed() -> bool:
    """Whether all is there that rendering needs."""
    return all(find_spec(name) is not None for name in ("perce", "bm25s", "transformers"))
