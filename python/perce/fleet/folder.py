"""The folder of a fleet: whose it is, what is finished in it, and adapters that appear whole.

    fleet.json          what the fleet depends on; each user's result and adapter's folder
    fleet.md            the same as a table
    users/<digest>/     a finished user: PEFT's files, perce.json, README.md, result.json
    work/<digest>/      a user under way: checkpoints

A user's id appears in ``fleet.json`` and ``fleet.md`` alone: folders have names that any id gives
on any file system, and may be handed on without telling whose they are.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from perce.errors import StoreError
from perce.files import alone_in
from perce.fleet.result import FleetReport, UserResult
from perce.fleet.table import to_markdown
from perce.report import replacing
from perce.training.checkpoint import publish

FORMAT_VERSION = 1
FLEET_FILE = "fleet.json"
TABLE_FILE = "fleet.md"
RESULT_FILE = "result.json"

Identity = Mapping[str, str]
"""What every adapter of a fleet depends on, by name."""


def folder_name(user: str) -> str:
    """The name of a user's folder: 80 bits of a digest of the id."""
    return hashlib.sha256(user.encode()).hexdigest()[:20]


class FleetFolder:
    """A fleet's folder, opened for work; made if it is not there.

    Args:
        out: the folder.
        identity: what this fleet's adapters depend on.

    Attributes:
        path: the folder.
        former: results of users that earlier runs told of.

    Raises:
        StoreError: the folder holds another fleet (the message names what differs), something else,
            or cannot be written.
    """

    def __init__(self, out: str | Path, identity: Identity) -> None:
        self.path = Path(out)
        self._identity = dict(identity)
        self._key = _key(self._identity)
        self.former: dict[str, UserResult] = {}
        with _writing(self.path):
            self._open()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from working in the folder meanwhile.

        Raises:
            StoreError: another one is at work in it.
        """
        with alone_in(self.path) as alone:
            if not alone:
                raise StoreError(
                    f"another perce fleet is at work in {self.path}: wait for it, or give this one "
                    "an --out of its own"
                )
            with _writing(self.path):
                self._open()  # for what another one has told of until now
            yield

    def finished(self, user: str) -> UserResult | None:
        """The result of a user whose adapter is there, whole."""
        path = self.path / "users" / folder_name(user) / RESULT_FILE
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("fleet") != self._key:
                return None
            return UserResult.from_dict(content)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StoreError(f"{path} is corrupt: delete its folder to train it again") from None

    def work(self, user: str) -> Path:
        """Where a user under way has checkpoints."""
        return self.path / "work" / folder_name(user)

    def staging(self, user: str) -> Path:
        """Where a finished adapter is written before it is published; empty."""
        staging = self.work(user) / "adapter"
        shutil.rmtree(staging, ignore_errors=True)
        return staging

    def publish(self, user: str, fields: Mapping[str, Any]) -> UserResult:
        """Give a user's staged adapter its place, in one step, and clear the work.

        Raises:
            StoreError: it cannot be written.
        """
        folder = Path("users") / folder_name(user)
        result = UserResult(state="trained", folder=folder.as_posix(), **fields)
        staged = self.work(user) / "adapter"
        with _writing(self.path):
            content = {"fleet": self._key, **result.to_dict()}
            (staged / RESULT_FILE).write_text(_json(content), encoding="utf-8")
            (self.path / folder.parent).mkdir(exist_ok=True)
            publish(staged, self.path / folder)
        self.clear(user)
        return result

    def clear(self, user: str) -> None:
        """Delete what a user's training has left to continue from."""
        work = self.work(user)
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):  # others may be under way
            work.parent.rmdir()

    def write(self, report: FleetReport) -> None:
        """Write ``fleet.json`` and ``fleet.md``.

        Raises:
            StoreError: they cannot be written.
        """
        content = {"format_version": FORMAT_VERSION, "made_with": self._identity}
        with _writing(self.path):
            self._write(TABLE_FILE, to_markdown(report))
            self._write(FLEET_FILE, _json(content | report.to_dict()))

    def _open(self) -> None:
        path = self.path / FLEET_FILE
        if path.exists():
            self._check(path)
            return
        if self.path.is_dir() and any(self.path.iterdir()):
            raise StoreError(f"{self.path} holds other files than a fleet's: choose another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        content = {"format_version": FORMAT_VERSION, "made_with": self._identity, "users": {}}
        self._write(FLEET_FILE, _json(content))

    def _check(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version, stored = content["format_version"], dict(content["made_with"])
            users = {user: UserResult.from_dict(r) for user, r in content["users"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StoreError(f"{path} is no fleet's: choose another --out") from None
        if version != FORMAT_VERSION:
            raise StoreError(f"{path} is of another version of perce: choose another --out")
        differing = [
            f"{name} ({_show(stored.get(name))}, now {_show(self._identity.get(name))})"
            for name in sorted(stored.keys() | self._identity.keys())
            if stored.get(name) != self._identity.get(name)
        ]
        if differing:
            raise StoreError(
                f"{self.path} was made with another {', '.join(differing)}: choose another --out"
            )
        self.former = users

    def _write(self, name: str, text: str) -> None:
        with replacing(self.path / name) as scratch:
            scratch.write_text(text, encoding="utf-8")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error.strerror or error}; make room, or choose another "
            "--out"
        ) from error


def _key(identity: Identity) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _show(value: str | None) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:17]}..."
