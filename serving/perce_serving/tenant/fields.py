"""Which fields of a body go on to the server: an allow-list per route, by vLLM 0.32's protocol.

Fields left out on purpose, each of which reaches past the caller:

* ``cache_salt``, ``kv_transfer_params``, ``ec_transfer_params``, ``vllm_xargs``: another's cache;
* ``request_id``, ``session_id``, ``previous_response_id``: another's request or conversation;
* ``priority``: a place in the queue ahead of everybody;
* ``chat_template``, ``chat_template_kwargs``, ``documents``: another prompt than the adapter was
  trained with, the first a program as well;
* ``prompt_embeds``, ``mm_processor_kwargs``, ``media_io_kwargs`` and all content but text: tensors,
  files and addresses for the server to open;
* ``structured_outputs``, ``use_beam_search``: work without bound for one request;
* ``prompt_logprobs``, and ``echo``, which asks for them together with ``logprobs``: figures for the
  whole prompt at once, for which vLLM has run out of memory with all it served.

vLLM accepts unknown fields silently and gains more with each release, so the list says what reaches
the caller's own request alone, and the rest is refused by name; ``bounds`` says how much of it.
``model`` and ``cache_salt`` are written by the tenant layer itself.
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
        "ignore_eos",
        "include_stop_str_in_output",
        "min_p",
        "min_tokens",
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
"""Fields that go on."""

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


# Of a message: what vLLM reads, and what the answers have that clients send back.
_MESSAGE = frozenset(
    {
        "annotations",
        "content",
        "name",
        "reasoning",
        "reasoning_content",
        "refusal",
        "role",
        "tool_call_id",
        "tool_calls",
    }
)


def forwarded(route: Route, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``body`` that go on, without ``model``.

    Args:
        route: a key of ``FORWARDED``.
        body: what the caller sent.

    Raises:
        RequestError: a field is not forwarded, or some content is not text.
    """
    allowed = FORWARDED[route]
    result: dict[str, Any] = {}
    for name, value in body.items():
        if name in allowed:
            result[name] = value
        elif name != "model" and name not in DROPPED:
            raise refuse("field", f"the field {name[:80]!r} is not offered here", param=name[:80])
    if route is Route.CHAT:
        messages = result.get("messages")
        # What is no list of objects is vLLM's to refuse.
        for index, message in enumerate(messages if isinstance(messages, list) else ()):
            if isinstance(message, dict):
                _check_message(f"messages[{index}]", message)
    return result


def _check_message(place: str, message: Mapping[str, Any]) -> None:
    """Refuse all content but text, wherever a message may hold it."""
    for name, value in message.items():
        if name not in _MESSAGE and value is not None:
            raise refuse("field", f"{place}: {name[:80]!r} is not offered here", param="messages")
    content = message.get("content")
    if not isinstance(content, str | list | None):
        raise refuse("field", f"{place}.content: a text is expected", param="messages")
    for part in content if isinstance(content, list) else ():
        # vLLM tells a part's kind by its keys when it has no type, so the keys are compared.
        if (
            not isinstance(part, dict)
            or part.keys() != {"type", "text"}
            or part["type"] != "text"
            or not isinstance(part["text"], str)
        ):
            raise refuse(
                "field",
                f"{place}.content: parts are {{'type': 'text', 'text': ...}} only",
                param="messages",
            )
