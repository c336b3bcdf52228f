"""One way of making prompts for vLLM and the tenant layer: that of training.

vLLM is given the chat template and all its arguments, the date among them, and the tenant layer's
renderer is made from what vLLM was given.
"""

from __future__ import annotations

import argparse

from perce_serving.engine.parts import Parts
from perce_serving.errors import StartError
from perce_serving.prompt import Renderer, ServedPrompt, installed


def settle(parsed: argparse.Namespace, parts: Parts) -> str | None:
    """Have vLLM render as perce does in training.

    Args:
        parsed: vLLM's command line, of which ``chat_template`` and ``default_chat_template_kwargs``
            are filled in.
        parts: the server's.

    Returns:
        Why prompts have no profiles, if so; then vLLM is left as it is.
    """
    if not installed():
        return "profiles in prompts need perce: pip install 'perce[retrieval]'"
    try:
        served = _served(parsed, parts)
    except StartError as error:
        return f"no profiles in prompts: {error}"
    parsed.chat_template = served.chat_template
    parsed.default_chat_template_kwargs = served.arguments
    return None


def renderer(parsed: argparse.Namespace, parts: Parts, *, context: int) -> Renderer | None:
    """Make what puts profiles into prompts; None where ``settle`` gave a reason.

    Args:
        parsed: what ``settle`` filled in.
        parts: the server's.
        context: the model's, in tokens.
    """
    if not installed():
        return None
    try:
        served = _served(parsed, parts)
    except StartError:
        return None
    return Renderer(served, store=parts.store, profiles=parts.profiles, context=context)


def _served(parsed: argparse.Namespace, parts: Parts) -> ServedPrompt:
    return ServedPrompt.load(
        parts.settings.model,
        chat_template=parsed.chat_template,
        arguments=parsed.default_chat_template_kwargs,
    )
