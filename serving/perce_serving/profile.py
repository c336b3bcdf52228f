"""What is known about a user: items of text, as perce's records have them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from perce_serving.errors import ProfileError

MOST_ITEMS = 10_000
"""Most items of a profile."""

MOST_BYTES = 1 << 18
"""Most bytes of a profile, as JSON in UTF-8: all of it is searched for every prompt, which takes a
core some 0.5 ms a kB, and the one thread that makes all prompts."""


@dataclass(frozen=True, slots=True)
class ProfileItem:
    """One thing known about a user; the fields are those of ``perce.data.ProfileItem``."""

    text: str
    """The item as prompts show it."""
    title: str = ""
    """The title-like part, if there is one."""
    content: str = ""
    """The text-like part, without the wording around it in ``text``."""
    date: str = ""
    """An ISO 8601 date, for retrieval by recency."""
    search_text: str = ""
    """What retrieval searches; ``text`` when empty."""


def parse_profile(text: bytes) -> tuple[ProfileItem, ...]:
    """Read a profile as the field ``profile`` of perce's records: a JSON list.

    An item is a text, or an object with ``text``, or with ``content`` and perhaps ``title`` of
    which the text is then made; and perhaps ``date`` and ``search_text``.

    Raises:
        ProfileError: it is something else, or too long; names the item and the field.
    """
    if len(text) > MOST_BYTES:
        raise ProfileError(f"over {MOST_BYTES} bytes; leave items out")
    try:
        rows = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"not JSON ({error}); write a list of texts") from None
    return profile_items(rows)


def profile_items(rows: Any) -> tuple[ProfileItem, ...]:
    """Make a profile of parsed JSON; see ``parse_profile``.

    Raises:
        ProfileError: it is something else, or too long; names the item and the field.
    """
    if not isinstance(rows, list):
        raise ProfileError("JSON, but not a list; write a list of texts")
    return check_profile([_item(f"[{index}]", row) for index, row in enumerate(rows)])


def check_profile(items: Sequence[ProfileItem]) -> tuple[ProfileItem, ...]:
    """Return ``items`` if they may be a profile: not too many, each a text that UTF-8 can encode.

    Raises:
        ProfileError: they may not.
    """
    if len(items) > MOST_ITEMS:
        raise ProfileError(f"{len(items)} items; {MOST_ITEMS} is the most: leave some out")
    for index, item in enumerate(items):
        if not item.text.strip():
            raise ProfileError(f"[{index}].text: is empty; leave the item out")
        for name, value in asdict(item).items():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ProfileError(
                    f"[{index}].{name}: half of a surrogate pair at character {error.start}; "
                    "leave it out"
                ) from None
    size = len(encode_items(items))  # after the texts: encoding them may fail
    if size > MOST_BYTES:
        raise ProfileError(f"over {MOST_BYTES} bytes; leave items out")
    return tuple(items)


def encode_items(items: Sequence[ProfileItem]) -> bytes:
    """The one JSON of these items, without the fields that are empty."""
    rows = [{name: value for name, value in asdict(item).items() if value} for item in items]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()


def profile_version(items: Sequence[ProfileItem]) -> str:
    """The name of this content: a SHA-256 in hexadecimal digits."""
    return hashlib.sha256(b"perce-serving profile\0" + encode_items(items)).hexdigest()


_FIELDS = tuple(field.name for field in fields(ProfileItem))


def _item(place: str, value: Any) -> ProfileItem:
    if isinstance(value, str):
        return ProfileItem(value)
    if not isinstance(value, dict):
        raise ProfileError(f"{place}: neither a text nor an object")
    for name, part in value.items():
        if name not in _FIELDS:
            raise ProfileError(f"{place}.{name[:80]}: unknown; one of {', '.join(_FIELDS)}")
        if not isinstance(part, str | None):
            raise ProfileError(f"{place}.{name}: not a text")
    parts: dict[str, str] = {name: part for name, part in value.items() if part}
    if "text" not in parts:
        if "content" not in parts:
            raise ProfileError(f"{place}: has neither text nor content")
        # As perce does for its records.
        parts["text"] = "\n".join(filter(None, (parts.get("title"), parts["content"])))
    return ProfileItem(**parts)
