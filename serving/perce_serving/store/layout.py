"""The store's own small files in a user's folder: what they hold, written and read back.

<root>/<digest of the id>/user.json          whose folder this is
                          CURRENT            versions that were current, newest first, a line each
                          ERASED             once the user is, until the last version is collected
                          <version>/         adapter_config.json, adapter_model.safetensors,
                                             perce.json if published with it, version.json;
                                             RETIRED once it is not served
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perce_serving.adapter_files import Content
from perce_serving.errors import DamagedError, StoreError, UserError
from perce_serving.store.interface import Version
from perce_serving.users import is_version, user_folder
from perce_serving.version_file import BASE, VERSION_FILE, recorded_base

CURRENT = "CURRENT"
ERASED = "ERASED"
RETIRED = "RETIRED"
USER_FILE = "user.json"
_FORMAT = 1
_MOST_HISTORY = 100
"""Versions that are remembered as having been current: the file is read for every request."""


def user_record(user: str) -> bytes:
    """Content of ``user.json``."""
    return _encode({"format": _FORMAT, "user": user})


def read_user(folder: Path) -> str:
    """Whose folder this is.

    Raises:
        DamagedError: ``user.json`` is absent, unreadable, or of another user.
    """
    path = folder / USER_FILE
    user = _read(path).get("user")
    try:
        if isinstance(user, str) and user_folder(user) == folder.name:
            return user
    except UserError:
        pass
    raise DamagedError(f"{path}: names another user than the folder; publish again")


def version_record(user: str, content: Content, published: str, base: str | None) -> bytes:
    """Content of ``version.json``."""
    record = {
        "format": _FORMAT,
        "user": user,
        "version": content.version,
        "published": published,
        "bytes": content.size,
        "sha256": content.digests,
        BASE: base,
    }
    return _encode(record)


def read_version(folder: Path) -> Version:
    """The version in this folder.

    Raises:
        DamagedError: ``version.json`` is absent, unreadable, or of another version.
    """
    path = folder / VERSION_FILE
    # First, as in `is_served`.
    retired = _is_withdrawn(folder)
    record = _read(path)
    match record:
        case {
            "user": str(user), "version": folder.name, "published": str(published),
            "bytes": int(size),
        }:  # fmt: skip
            return Version(
                user=user, version=folder.name, published=published, size=size, retired=retired,
                base=recorded_base(folder),
            )  # fmt: skip
    raise DamagedError(f"{path}: describes another version than the folder; publish again")


def is_served(folder: Path) -> bool:
    """Whether the version in this folder is published and not withdrawn."""
    # In this order: what is withdrawn and collected between the two looks must not seem served.
    return not _is_withdrawn(folder) and is_stored(folder)


def is_stored(folder: Path) -> bool:
    """Whether the version in this folder is published and not yet collected, served or not."""
    return (folder / VERSION_FILE).is_file()


def is_erased(folder: Path) -> bool:
    """Whether this is the folder of a user who is erased and whose files are still there."""
    return (folder / ERASED).exists()


def version_folders(folder: Path) -> list[Path]:
    """The folders of all versions in a user's folder, served or not; none once it is gone."""
    try:
        return [path for path in folder.iterdir() if is_version(path.name)]
    except FileNotFoundError:
        return []


def history_record(history: list[str]) -> bytes:
    """Content of ``CURRENT``."""
    return "".join(f"{version}\n" for version in history[:_MOST_HISTORY]).encode()


def read_history(folder: Path) -> list[str]:
    """Versions that were current, the current one first; none where a user is unknown or erased.

    Raises:
        DamagedError: ``CURRENT`` holds something else.
    """
    if is_erased(folder):
        return []
    path = folder / CURRENT
    try:
        text = path.read_text("ascii", errors="replace")
    except FileNotFoundError:
        if not folder.exists():
            return []
        # A first publishing may have come between the two looks; it brings folder and file at once.
        try:
            text = path.read_text("ascii", errors="replace")
        except FileNotFoundError:
            raise DamagedError(f"{path}: there is no such file; publish again") from None
    history = text.split("\n")
    if history.pop() == "" and history and all(is_version(version) for version in history):
        return history
    raise DamagedError(f"{path}: not a list of versions; publish again")


def _is_withdrawn(folder: Path) -> bool:
    """Whether this version is retired, or its user erased."""
    return is_erased(folder.parent) or (folder / RETIRED).exists()


def _encode(record: dict[str, Any]) -> bytes:
    return json.dumps(record, indent=2).encode() + b"\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DamagedError(f"{path}: there is no such file; publish again") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: not JSON ({error}); publish again") from None
    if not isinstance(record, dict):
        raise DamagedError(f"{path}: not a JSON object; publish again")
    if record.get("format") != _FORMAT:
        # No damage: mending it would destroy what a later release wrote.
        raise StoreError(f"{path}: not of format {_FORMAT}; use the release that wrote it")
    return record
