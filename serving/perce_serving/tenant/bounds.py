"""How much one request may ask for: the values of the fields that ``fields`` lets through.

Each bound is on what costs everybody: vLLM looks for every stop text in every sequence at every
token, in the one loop that serves all streams; words and tokens to be left out are gone through at
every step of the engine; and grammars, which a schema becomes, are compiled for as long as they
please. What is wrong with a value beside its amount is vLLM's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perce_serving.errors import RequestError
from perce_serving.refusal import refuse
from perce_serving.tenant.limits import Limits
from perce_serving.tenant.routes import Route

_TEXTS = ("stop", "bad_words")
_TOKEN_IDS = ("allowed_token_ids", "logit_bias", "stop_token_ids")
_TOKENS = ("max_completion_tokens", "max_tokens")
_SCHEMAS = ("response_format", "tools", "tool_choice")
# Formats that need no grammar, or one grammar for all.
_FORMATS = ({"type": "text"}, {"type": "json_object"})


def bounded(route: Route, fields: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return ``fields`` with a bound on the answer's length where the caller gave none.

    Args:
        route: where they go.
        fields: what ``perce_serving.tenant.fields.forwarded`` gave.
        limits: the bounds.

    Raises:
        RequestError: a field asks for more than may be.
    """
    _check_sequences(fields, limits)
    for name in _TEXTS:
        value = fields.get(name)
        texts = value if isinstance(value, list) else [value]
        if len(texts) > limits.texts:
            raise _too_much(name, f"{len(texts)} texts; {limits.texts} is the most")
        longest = max((len(text) for text in texts if isinstance(text, str)), default=0)
        if longest > limits.text_chars:
            raise _too_much(name, f"{longest} characters; {limits.text_chars} is the most")
    for name in _TOKEN_IDS:
        value = fields.get(name)
        if isinstance(value, list | dict) and len(value) > limits.token_ids:
            raise _too_much(name, f"{len(value)} tokens; {limits.token_ids} is the most")
    for name in () if limits.schemas else _SCHEMAS:
        value = fields.get(name)
        if value is not None and not (name == "response_format" and value in _FORMATS):
            raise _too_much(name, "schemas and tools are not offered here")
    return _with_tokens(route, fields, limits)


def _check_sequences(fields: Mapping[str, Any], limits: Limits) -> None:
    sequences = _prompts(fields.get("prompt")) * _number(fields, "n", default=1)
    if sequences > limits.sequences:
        raise refuse(
            "field",
            f"the request asks for {sequences} sequences (prompts times n); "
            f"{limits.sequences} is the most",
            param="n",
        )


def _with_tokens(route: Route, fields: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return ``fields`` with the bound on an answer's tokens, given or not."""
    result = {name: value for name, value in fields.items() if name not in _TOKENS}
    for name in _TOKENS:
        tokens = _number(fields, name, default=None)
        if tokens is not None:
            if tokens > limits.tokens:
                raise _too_much(name, f"{tokens} tokens; {limits.tokens} is the most")
            result[name] = tokens
    # A chat without it would fill the model's context; a completion has 16 tokens by default.
    if route is Route.CHAT and not any(name in result for name in _TOKENS):
        result["max_tokens"] = limits.tokens
    return result


def _prompts(prompt: Any) -> int:
    """How many prompts a completion has: a list is one of token ids or one of prompts."""
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1


def _number(fields: Mapping[str, Any], name: str, *, default: int | None) -> Any:
    value = fields.get(name)
    if value is None:
        return default
    # pydantic would read "3", 3.0 and true as numbers, too: here there is one spelling.
    if type(value) is not int or value < 1:
        raise refuse("field", f"{name}: a whole number from 1 is expected", param=name)
    return value


def _too_much(name: str, message: str) -> RequestError:
    return refuse("field", f"{name}: {message}", param=name)
