"""Who a user is: what an id may be, its folder on disk, and the names of a user's adapters.

An id is text of the platform's own choosing, compared byte by byte: no case folding and no Unicode
normalisation, so two ids that merely look alike are two users. On disk it appears only as a digest
(and inside ``user.json``), in adapter names only percent-encoded: no id can name a path, end a
header line or hold the ``@`` that separates it from the version.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import NamedTuple
from urllib.parse import quote, unquote

from perce_serving.errors import UserError

MAX_ID_BYTES = 256
"""Longest id, in bytes of UTF-8."""

VERSION_CHARS = 64
"""Length of a version: a SHA-256 in lower-case hexadecimal digits."""

_VERSION = re.compile(rf"[0-9a-f]{{{VERSION_CHARS}}}", re.ASCII)
_NAME = re.compile(rf"user-(?P<id>[^@]+)@(?P<version>{_VERSION.pattern})", re.ASCII)
# Control characters, halves of surrogate pairs, and the separators that end a line in a log.
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})


class AdapterName(NamedTuple):
    """What an adapter's name says: whose it is, and which version."""

    user: str
    version: str


def check_user(user: str) -> str:
    """Return ``user`` if it may be an id.

    Raises:
        UserError: it is empty, longer than ``MAX_ID_BYTES``, or holds a control character.
    """
    if not user:
        raise UserError("user: the id is empty; give some text")
    for position, character in enumerate(user):
        if unicodedata.category(character) in _REFUSED:
            raise UserError(
                f"user {user!r}: character {position} is the control character "
                f"U+{ord(character):04X}; leave it out"
            )
    size = len(user.encode())
    if size > MAX_ID_BYTES:
        raise UserError(
            f"user {user[:16]!r}...: the id has {size} bytes of UTF-8; {MAX_ID_BYTES} is the most"
        )
    return user


def user_folder(user: str) -> str:
    """Name of a user's folder: SHA-256 of the id, in hexadecimal digits.

    Raises:
        UserError: ``user`` may not be an id.
    """
    return hashlib.sha256(b"perce-serving user\0" + check_user(user).encode()).hexdigest()


def is_version(text: str) -> bool:
    """Whether ``text`` has the form of a version: 64 lower-case hexadecimal digits."""
    return _VERSION.fullmatch(text) is not None


def adapter_name(user: str, version: str) -> str:
    """Name by which the engine knows an adapter: ``user-<percent-encoded id>@<version>``.

    Raises:
        UserError: ``user`` may not be an id, or ``version`` is not a version.
    """
    if not is_version(version):
        raise UserError(
            f"version {version[:80]!r} is not {VERSION_CHARS} lower-case hexadecimal digits"
        )
    return f"user-{quote(check_user(user), safe='')}@{version}"


def parse_adapter_name(name: str) -> AdapterName:
    """Take an adapter's name apart; the inverse of ``adapter_name`` and of nothing else.

    Any other spelling of the same name is refused, since the engine would cache it apart.

    Raises:
        UserError: ``adapter_name`` makes no such name.
    """
    found = _NAME.fullmatch(name)
    if found is not None:
        # A percent-encoded byte that is not UTF-8 becomes U+FFFD, which encodes to other bytes.
        parsed = AdapterName(unquote(found["id"]), found["version"])
        try:
            canonical = adapter_name(*parsed) == name
        except UserError:
            canonical = False
        if canonical:
            return parsed
    raise UserError(f"{name[:80]!r} is not an adapter's name, user-ID@VERSION")
