"""Bearer keys in a file: only their hashes are stored, and revoking one needs no restart.

A key is ``perce-<id>-<secret>``, 256 random bits behind a public id. The id finds the entry, so a
key is checked as fast with a million users as with one; hashes are compared in constant time.
SHA-256 without salt or stretching is enough for secrets that nobody chose: nothing can be guessed.

The file is JSON, replaced whole under a lock. Readers look at its inode and times before each use
and read it anew when they changed, some microseconds a key, in a thread: requests wait for it, and
answers under way do not. One that cannot be read lets nobody in: the keys of before might hold one
that was just revoked. An answer under way goes on; and on a file system that remembers times for a
while, as NFS does for seconds, a change is seen that much later.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perce_serving.errors import KeyFileError, UserError
from perce_serving.files import move
from perce_serving.tenant.identity import Caller

FORMAT = "perce-keys/1"
"""What a keys file says of itself."""

_KEY = re.compile(r"perce-(?P<id>[0-9a-f]{16})-[A-Za-z0-9_-]{43}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FIELDS = frozenset({"id", "user", "operator", "sha256", "created"})
# Compared when no entry has the id, so that an unknown id takes as long as a wrong secret.
_NOBODY = hashlib.sha256(b"perce-serving: no such key").hexdigest()

_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class KeyEntry:
    """One key as the file holds it: public id, whom it names, when it was made (Unix seconds)."""

    id: str
    caller: Caller
    created: int
    digest: str = field(repr=False)


@dataclass(frozen=True)
class NewKey:
    """A key just made. ``text`` is the credential itself: shown once, stored nowhere."""

    id: str
    text: str = field(repr=False)


class KeyFile:
    """The keys of a server, an ``Identity`` as well as what ``perce-adapters keys`` edits.

    Making one reads nothing. Several processes may hold the same file; one that writes is alone.

    Args:
        path: the file; ``create`` makes it, readable by its owner alone. Whom its owner then lets
            read it, by group or mode, may do so after each change.
        clock: gives Unix seconds, for the entries' dates.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time):
        self.path = Path(path)
        self._clock = clock
        self._stamp: _Stamp | None = None
        self._entries: Mapping[str, KeyEntry] = {}
        self._reading = asyncio.Lock()

    async def authenticate(self, authorization: str | None) -> Caller | None:
        """Return whom a ``Bearer`` key names, by the file as it stands when asked, or later.

        Raises:
            KeyFileError: the file is absent or damaged.
        """
        scheme, _, text = (authorization or "").partition(" ")
        found = _KEY.fullmatch(text.strip(" "))
        if scheme.lower() != "bearer" or found is None:
            return None
        entry = (await self._current()).get(found[0][6:22])
        digest = _digest(found[0])
        if hmac.compare_digest(digest, _NOBODY if entry is None else entry.digest):
            return None if entry is None else entry.caller
        return None

    def create(self, caller: Caller) -> NewKey:
        """Make a key for ``caller``, beside any it has.

        Raises:
            KeyFileError: the file is damaged, or cannot be written.
        """
        key_id = secrets.token_hex(8)
        key = NewKey(key_id, f"perce-{key_id}-{secrets.token_urlsafe(32)}")
        with self._editing() as entries:
            entries[key.id] = KeyEntry(key.id, caller, int(self._clock()), _digest(key.text))
        return key

    def revoke(self, key_id: str) -> KeyEntry:
        """Remove one key, by its public id; servers refuse it from their next request on.

        Raises:
            KeyFileError: no key has this id, or the file is damaged or cannot be written.
        """
        with self._editing() as entries:
            if key_id not in entries:
                raise KeyFileError(f"{self.path}: no key has the id {key_id[:40]!r}; list them")
            return entries.pop(key_id)

    def revoke_user(self, user: str) -> tuple[KeyEntry, ...]:
        """Remove all keys of a user, of whom nothing then remains in the file; return them.

        Raises:
            KeyFileError: the file is damaged, or cannot be written.
        """
        if not self.path.exists():
            return ()
        with self._editing() as entries:
            gone = tuple(entry for entry in entries.values() if entry.caller.user == user)
            for entry in gone:
                del entries[entry.id]
        return gone

    def entries(self) -> tuple[KeyEntry, ...]:
        """All keys, oldest first; none when there is no file yet.

        Raises:
            KeyFileError: the file is damaged.
        """
        return tuple(_read(self.path).values()) if self.path.exists() else ()

    async def _current(self) -> Mapping[str, KeyEntry]:
        """The entries, read anew if the file is another than the one last read.

        Whoever comes while it is read waits for that: what was read before may hold a revoked key.
        """
        if _stamp(self.path) != self._stamp:
            async with self._reading:
                # The stamp is taken first: a file replaced while it is read will be read once more.
                stamp = _stamp(self.path)
                if stamp != self._stamp:
                    entries = await asyncio.to_thread(_read, self.path)
                    self._entries, self._stamp = entries, stamp
        return self._entries

    @contextmanager
    def _editing(self) -> Iterator[dict[str, KeyEntry]]:
        """Yield the entries under the lock; what they are then replaces the file."""
        try:
            # By a link, the file itself is edited: it is what those who know it by its name read.
            path = self.path.resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_name(f"{path.name}.lock").open("a") as handle:
                # Given back by the system even if this process is killed.
                fcntl.flock(handle, fcntl.LOCK_EX)
                entries = _read(path) if path.exists() else {}
                yield entries
                _write(path, entries)
        except OSError as error:
            raise KeyFileError(f"{self.path}: cannot be written: {error.strerror}") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    # The time alone tells a file that was replaced (``_write``); the rest, one edited by hand.
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> dict[str, KeyEntry]:
    try:
        # Python's own code for each key: between two of them, other threads have their turn.
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise KeyFileError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise KeyFileError(f"{path}: not a keys file of this project (format {FORMAT!r})")
    keys = content.get("keys")
    if not isinstance(keys, list):
        raise KeyFileError(f"{path}: keys: a list is expected")
    entries: dict[str, KeyEntry] = {}
    for index, item in enumerate(keys):
        entry = _entry(path, index, item)
        if entry.id in entries:
            raise KeyFileError(f"{path}: keys[{index}].id: {entry.id} appears twice")
        entries[entry.id] = entry
    return entries


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _entry(path: Path, index: int, item: Any) -> KeyEntry:
    def fault(name: str, expected: str) -> KeyFileError:
        return KeyFileError(f"{path}: keys[{index}].{name}: {expected} is expected")

    if not isinstance(item, dict) or item.keys() != _FIELDS:
        raise KeyFileError(f"{path}: keys[{index}]: the fields {sorted(_FIELDS)} are expected")
    for name, form in (("id", _ID), ("sha256", _DIGEST)):
        if not isinstance(item[name], str) or form.fullmatch(item[name]) is None:
            raise fault(name, f"{form.pattern}")
    if not isinstance(item["operator"], bool):
        raise fault("operator", "true or false")
    if item["user"] is not None and not isinstance(item["user"], str):
        raise fault("user", "an id or null")
    if not isinstance(item["created"], int):
        raise fault("created", "a number of seconds")
    try:
        caller = Caller(item["user"], item["operator"])
    except (UserError, ValueError) as error:
        raise KeyFileError(f"{path}: keys[{index}]: {error}") from error
    return KeyEntry(item["id"], caller, item["created"], item["sha256"])


def _write(path: Path, entries: Mapping[str, KeyEntry]) -> None:
    content = {
        "format": FORMAT,
        "keys": [
            {
                "id": entry.id,
                "user": entry.caller.user,
                "operator": entry.caller.operator,
                "sha256": entry.digest,
                "created": entry.created,
            }
            for entry in entries.values()
        ],
    }
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(content))
            file.flush()
            if path.exists():
                # Who could read it still can: the server may run as another user than the operator.
                before = path.stat()
                os.fchown(handle, before.st_uid, before.st_gid)
                os.fchmod(handle, stat.S_IMODE(before.st_mode))
                # Later than the one before, whatever the clock and its resolution: inode and size
                # may well be those of a file that a server has read.
                later = max(os.fstat(handle).st_mtime_ns, before.st_mtime_ns + 1)
                os.utime(handle, ns=(later, later))
            os.fsync(handle)
        move(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)
