"""What of a demo is done already, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from perce.errors import StoreError
from perce.report import replacing

_FILE = "demo.json"


def key_of(*parts: object) -> str:
    """A step's key: the same as long as everything that it depends on is the same."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def folder_key(folder: Path) -> str:
    """A model folder's key: the names, sizes and times of its files, not their gigabytes."""
    stats = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    return key_of([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


class Steps:
    """The steps of one demo folder, remembered in its ``demo.json``.

    Raises:
        StoreError: the file is there but is not ours.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / _FILE
        self._keys: dict[str, str] = {}
        if self._path.is_file():
            try:
                self._keys = dict(json.loads(self._path.read_text(encoding="utf-8")))
            except (ValueError, TypeError):
                raise StoreError(
                    f"{self._path} is not a demo's: delete it and start again"
                ) from None

    def done(self, name: str, key: str, *files: Path) -> bool:
        """Whether the step ended with this key, and left these files."""
        return self._keys.get(name) == key and all(file.exists() for file in files)

    def mark(self, name: str, key: str) -> None:
        """Remember that the step ended with this key."""
        self._keys[name] = key
        with replacing(self._path) as scratch:
            scratch.write_text(json.dumps(self._keys, indent=2) + "\n", encoding="utf-8")
