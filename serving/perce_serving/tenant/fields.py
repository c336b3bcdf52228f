"""Which fields of a body go on to the server: an allow-list per route, by vLLM 0.32's protocol.

Fields left out on purpose, each of which reaches past the caller:

* ``cache_salt``, ``kv_transfer_params``, ``ec_transfer_params``, ``vllm_xargs``: another's cache;
* ``request_id``, ``session_id``, ``previous_response_id``: another's request or conversation;
* ``priority``: a place in the queue ahead of everybody;
* ``chat_template``, ``chat_template_kwargs``, ``documents``: another prompt than the adapter was
  trained with, the first a program as well;
* ``prompt_embeds``, ``mm_processor_kwargs``, ``media_io_kwargs`` and all content but text: tensors,
  files and addresses for the server to open;
* ``structured_outputs``, ``use_beam_search``: work without bound for one request.

vLLM accepts unknown fields silently and gains more with each release, so the list says what is
known to be harmless, and the rest is refused by name. ``model`` and ``cache_salt`` are written by
the tenant layer itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from perce_serving.refusal import refuse
from perce_serving.tenant.routes import Route

_BOTH = frozenset(
    {
        # OpenAI's
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "n",
        "presence_penalty",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        # vLLM's
        "add_special_tokens",
        "allowed_token_ids",
        "bad_words",
        "echo",
        "ignore_eos",
        "include_stop_str_in_output",
        "min_p",
        "min_tokens",
        "prompt_logprobs",
        "repetition_penalty",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop_token_ids",
        "top_k",
        "truncate_prompt_tokens",
    }
)

FORWARDED: Mapping[Route, frozenset[str]] = MappingProxyType(
    {
        Route.CHAT: _BOTH
        | {
            "add_generation_prompt",
            "continue_final_message",
            "include_reasoning",
            "max_completion_tokens",
            "messages",
            "parallel_tool_calls",
            "reasoning_effort",
            "tool_choice",
            "tools",
            "top_logprobs",
        },
        Route.COMPLETIONS: _BOTH | {"prompt"},
    }
)
"""Fields that go on unchanged."""

DROPPED = frozenset(
    {
        "cache_salt",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
"""Fields that stock clients send and that mean nothing here: taken without complaint and dropped.
``cache_salt`` is one of them since the caller's own is made here."""


def forwarded(route: Route, body: Mapping[str, Any], *, max_sequences: int) -> dict[str, Any]:
    """Return the fields of ``body`` that go on, without ``model``.

    Args:
        route: a key of ``FORWARDED``.
        body: what the caller sent.
        max_sequences: most sequences that one request may have generated: prompts times ``n``.

    Raises:
        RequestError: a field is not forwarded, some content is not text, or too many sequences are
            asked for.
    """
    allowed = FORWARDED[route]
    result: dict[str, Any] = {}
    for name, value in body.items():
        if name in allowed:
            result[name] = value
        elif name != "model" and name not in DROPPED:
            raise refuse("field", f"the field {name[:80]!r} is not offered here", param=name[:80])
    if route is Route.CHAT:
        _check_text(result.get("messages"))
    sequences = _prompts(result.get("prompt")) * _choices(result.get("n"))
    if sequences > max_sequences:
        raise refuse(
            "field",
            f"the request asks for {sequences} sequences (prompts times n); "
            f"{max_sequences} is the most",
            param="n",
        )
    return result


def _check_text(messages: Any) -> None:
    """Refuse all content but text; what else is wrong with messages is vLLM's to say."""
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            # vLLM tells a part's kind by its keys when it has no type, so the keys are compared.
            if (
                not isinstance(part, dict)
                or part.keys() != {"type", "text"}
                or part["type"] != "text"
            ):
                raise refuse(
                    "field",
                    f"messages[{index}].content: parts are {{'type': 'text', 'text': ...}} only",
                    param="messages",
                )


def _prompts(prompt: Any) -> int:
    """How many prompts a completion has: a list is one of token ids or one of prompts."""
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1


def _choices(n: Any) -> int:
    if n is None:
        return 1
    # pydantic would read "3", 3.0 and true as numbers, too: here there is one spelling.
    if type(n) is not int or n < 1:
        raise refuse("field", "n: a whole number from 1 is expected", param="n")
    return n
