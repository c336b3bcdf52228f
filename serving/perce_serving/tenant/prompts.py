"""Profiles in prompts, as far as the tenant layer goes: what was asked, and of which conversation.

Who renders is behind ``ProfileRenderer``: it needs perce and the model's tokenizer, which the
light core does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from perce_serving.errors import RequestError
from perce_serving.refusal import refuse
from perce_serving.users import AdapterName

FIELD = "perce"
"""The field of a chat's body, an object: ``{"profile": true}``."""

ROLES = ("system", "user", "assistant")
"""Who speaks in training's conversations."""

# What would change the prompt past the messages, and the values that do not.
_AS_TRAINED: Mapping[str, tuple[Any, ...]] = {
    "add_generation_prompt": (None, True),
    "add_special_tokens": (None, False),
    "continue_final_message": (None, False),
    "reasoning_effort": (None,),
    "tool_choice": (None, "none"),
    "tools": (None, []),
    "truncate_prompt_tokens": (None,),
}
# vLLM 0.32 drops such a line from a system message (vllm/renderers/chat_utils.py).
_DROPPED_LINE = "x-anthropic-billing-header"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    """One of ``ROLES``."""
    content: str
    """The text."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A wish to have the profile in the prompt."""

    query: str | None
    """What to search the profile with; None for the last message."""


class ProfileRenderer(Protocol):
    """Makes the messages whose prompt is the one that training would have made."""

    async def render(
        self,
        user: str,
        adapter: AdapterName | None,
        conversation: Sequence[Turn],
        asked: Asked,
        *,
        answer_tokens: int,
    ) -> list[dict[str, str]]:
        """Return the messages to send on: with what matters of the user's profile, if any does.

        Args:
            user: whose profile.
            adapter: whose way of making prompts; None for the base model.
            conversation: what ``conversation`` gave.
            asked: what the caller asked for.
            answer_tokens: tokens to be left for the answer.

        Raises:
            RequestError: the adapter's prompts cannot be made here, or the conversation leaves no
                room.
            ServingError: what is stored cannot be read.
            OSError: the same.
        """
        ...


def asked(value: Any) -> Asked | None:
    """Read the field; None where no profile is asked for.

    Raises:
        RequestError: it is something else than it may be.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _refuse('an object is expected, such as {"profile": true}')
    for name in value:
        if name not in ("profile", "query"):
            raise _refuse(f"{name[:80]!r} is not offered here")
    profile, query = value.get("profile", False), value.get("query")
    if not isinstance(profile, bool):
        raise _refuse("profile: true or false is expected")
    if query is not None and _text(query) is None:
        raise _refuse("query: a text is expected")
    return Asked(query) if profile else None


def conversation(content: Mapping[str, Any]) -> list[Turn]:
    """Return the messages of a chat, which have to be such as training has.

    Args:
        content: the chat's body, of fields that are forwarded.

    Raises:
        RequestError: a message has another speaker or more than a text, the last is not the user's,
            or a field would change the prompt.
    """
    for name, values in _AS_TRAINED.items():
        given = content.get(name)
        if not any(given == value and type(given) is type(value) for value in values):
            raise refuse(
                "profile",
                f"{name}: changes the prompt that the model was trained with; leave it out, or "
                f"{FIELD}.profile",
                param=name,
            )
    messages = content.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _refuse_messages("a list of messages is expected")
    turns = [_turn(f"messages[{index}]", message) for index, message in enumerate(messages)]
    if turns[-1].role != "user":
        raise _refuse_messages("the last one has to be the user's")
    return turns


def _turn(place: str, message: Any) -> Turn:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise _refuse_messages(f"{place}.role: one of {', '.join(ROLES)} is expected")
    for name, value in message.items():
        # Clients send answers back with all that they had, most of it empty.
        if name not in ("role", "content") and value not in (None, [], ""):
            raise _refuse_messages(f"{place}.{name[:80]}: only role and content are offered")
    content = message.get("content")
    if isinstance(content, list):
        # As vLLM joins them for templates that take texts.
        content = "\n".join(part["text"] for part in content)
    text = _text(content)
    if text is None:
        raise _refuse_messages(f"{place}.content: a text is expected")
    role: str = message["role"]
    if role == "system" and text.startswith(_DROPPED_LINE):
        raise _refuse_messages(f"{place}.content: begins with a line that the server would drop")
    return Turn(role, text)


def _text(value: Any) -> str | None:
    """``value`` if it is a text that UTF-8 has: JSON's may hold halves of surrogate pairs."""
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _refuse(message: str) -> RequestError:
    return refuse("field", f"{FIELD}: {message}", param=FIELD)


def _refuse_messages(message: str) -> RequestError:
    return refuse("profile", f"{message}, where {FIELD}.profile is asked for", param="messages")
