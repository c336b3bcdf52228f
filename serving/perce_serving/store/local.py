"""A store in a local or shared folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from perce_serving.adapter_files import ADAPTER_FILES, INFO_FILE, copy_content
from perce_serving.errors import DamagedError, StoreError
from perce_serving.files import flush, move, write
from perce_serving.store.interface import Check, Finding, Version
from perce_serving.store.layout import (
    CURRENT,
    ERASED,
    RETIRED,
    USER_FILE,
    history_record,
    is_erased,
    is_served,
    is_stored,
    read_history,
    read_user,
    read_version,
    user_record,
    version_folders,
    version_record,
)
from perce_serving.store.profiles import LocalProfiles
from perce_serving.store.scratch import Scratch
from perce_serving.store.verify import intact_version, verify_user
from perce_serving.users import is_version, user_folder
from perce_serving.version_file import VERSION_FILE

MOST_BYTES = 16 << 30
"""An adapter of rank 512 for all layers of a model of 70 billion parameters, in bfloat16."""


def _no_step(_: str) -> None:
    """Nobody watches."""


class LocalStore:
    """An ``AdapterStore`` under one folder of a POSIX file system.

    A new user's folder, a new version's folder and a new ``CURRENT`` each appear by one rename of
    something that is already on the disk, under the store's lock. A shared file system must support
    ``flock`` (NFS does since version 4). The folder is trusted: who can write to it can do
    everything.

    Args:
        root: the store's folder; the first publishing makes it.
        max_bytes: most that the files of an adapter may have together; larger ones are refused
            before they are copied.
        clock: seconds since 1970, for the time of publishing.
        step: called with the name of each step of a change right after it, for tests that end the
            process there.
    """

    def __init__(
        self,
        root: Path,
        *,
        max_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.time,
        step: Callable[[str], None] = _no_step,
    ) -> None:
        self.root = root
        self._max_bytes = max_bytes
        self._clock = clock
        self._step = step
        self._scratch = Scratch(root)
        self.profiles = LocalProfiles(root, self._scratch, clock=clock, step=step)

    def publish(self, user: str, folder: Path, *, check: Check) -> Version:
        """See ``AdapterStore``."""
        home = self._home(user)
        with self._scratch.folder() as scratch:
            self._step("scratch made")
            adapter = scratch / "adapter"
            adapter.mkdir()
            content = copy_content(folder, adapter, most=self._max_bytes)
            self._step("copied")
            base = check(adapter)
            published = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
            # Before the lock, as all of it is read: a version's files do not change.
            stored = intact_version(home / content.version, user)
            if stored is not None:
                published = stored.published
            write(adapter / VERSION_FILE, version_record(user, content, published, base))
            flush(adapter)
            version = read_version(adapter.rename(scratch / content.version))
            self._step("version written")
            with self._scratch.lock():
                if home.exists():
                    self._add(home, scratch, version, stored)
                else:
                    write(scratch / USER_FILE, user_record(user))
                    write(scratch / CURRENT, history_record([version.version]))
                    flush(scratch)
                    self._step("user written")
                    move(scratch, home)
                    self._step("user in place")
        return version

    def _add(self, home: Path, scratch: Path, version: Version, before: Version | None) -> None:
        """Put a version into the folder of a known user and make it current.

        What is damaged there is mended: to publish again is the remedy for it.

        Args:
            home: the user's folder.
            scratch: holds the version's folder.
            version: what is published.
            before: the same as it was found in the store, intact; it may be gone by now.
        """
        name = version.version
        try:
            read_user(home)
        except DamagedError:
            self._replace(home / USER_FILE, user_record(version.user))
        if is_erased(home):
            # Before the user is one again: no earlier version comes back with the new one.
            for folder in version_folders(home):
                self._retire(folder)
        try:
            history = read_history(home)
        except DamagedError:
            history = []
        stored = home / name
        if before is not None and is_stored(stored):
            if before.base != version.base:
                move(scratch / name / VERSION_FILE, stored / VERSION_FILE)
        elif stored.is_dir() and not stored.is_symlink():
            self._mend(scratch / name, stored)
        else:
            stored.unlink(missing_ok=True)
            move(scratch / name, stored)
        (stored / RETIRED).unlink(missing_ok=True)
        flush(stored)
        self._step("version in place")
        self._set_history(home, [name, *(other for other in history if other != name)])
        if is_erased(home):
            (home / ERASED).unlink()
            flush(home)
            self._step("user anew")

    def _mend(self, source: Path, stored: Path) -> None:
        """Put what was published into a version's folder, over what is damaged there.

        One file after the other, each by one rename: none is absent at any moment, and whatever
        the process is killed between, less is damaged than before.
        """
        for name in (*ADAPTER_FILES, INFO_FILE, VERSION_FILE):
            if (stored / name).is_dir():
                self._scratch.trash(stored / name)
            if (source / name).exists():
                move(source / name, stored / name)
            else:
                (stored / name).unlink(missing_ok=True)
            self._step("mended")

    def check_writable(self) -> None:
        """See ``AdapterStore``."""
        with self._scratch.folder():
            pass  # what it takes to make one is all that publishing needs

    def current(self, user: str) -> str | None:
        """See ``AdapterStore``."""
        history = read_history(self._home(user))
        return history[0] if history else None

    def has(self, user: str, version: str) -> bool:
        """See ``AdapterStore``."""
        folder = self._home(user) / version
        return is_version(version) and is_served(folder)

    def served(self, user: str) -> list[str]:
        """See ``AdapterStore``."""
        current = self.current(user)
        folders = version_folders(self._home(user))
        names = (folder.name for folder in folders if is_served(folder))
        return sorted(names, key=lambda name: (name != current, name))

    def versions(self, user: str) -> list[Version]:
        """See ``AdapterStore``."""
        found = []
        for folder in version_folders(self._home(user)):
            try:
                found.append(read_version(folder))
            except StoreError:
                if folder.exists():  # not collected meanwhile
                    raise
        return sorted(found, key=lambda version: (version.published, version.version))

    def open(self, user: str, version: str, *, retired: bool = False) -> Path:
        """See ``AdapterStore``."""
        folder = self._home(user) / version
        if not (is_version(version) and (is_stored(folder) if retired else is_served(folder))):
            raise StoreError(
                f"user {user!r}: version {version[:80]!r} is not "
                f"{'stored' if retired else 'served'}; list the user's versions for those that are"
            )
        return folder

    def rollback(self, user: str, to: str | None = None) -> str:
        """See ``AdapterStore``."""
        home = self._home(user)
        with self._scratch.lock():
            history = read_history(home)
            if to is None:
                del history[:1]  # before the filter: the current one may be damaged
            history = [version for version in history if self.has(user, version)]
            if to is None:
                if not history:
                    raise StoreError(
                        f"user {user!r}: no served version was current before; publish one"
                    )
            else:
                self.open(user, to)
                history = history[history.index(to) :] if to in history else [to, *history]
            self._set_history(home, history)
        return history[0]

    def retire(self, user: str, version: str) -> None:
        """See ``AdapterStore``."""
        with self._scratch.lock():
            folder = self._stored(user, version)
            if version == self.current(user):
                raise StoreError(
                    f"user {user!r}: version {version} is the current one; "
                    "publish another or roll back first"
                )
            self._retire(folder)
            self._step("retired")

    def collect(self, user: str, version: str) -> None:
        """See ``AdapterStore``."""
        with self._scratch.lock():
            folder = self._stored(user, version)
            home = folder.parent
            if not is_erased(home) and not (folder / RETIRED).exists():
                raise StoreError(f"user {user!r}: version {version} is served; retire it first")
            last = is_erased(home) and version_folders(home) == [folder]
            trashed = self._trash(home if last else folder)
        self._delete(trashed)

    def erase(self, user: str, *, delete: bool = False) -> bool:
        """See ``AdapterStore``."""
        home = self._home(user)
        if not self.root.exists():
            return False
        had_profile = self.profiles.clear(user)
        trashed = None
        with self._scratch.lock():
            known = home.exists()
            if known and (delete or not version_folders(home)):
                trashed = self._trash(home)
            elif known:
                write(home / ERASED, b"")
                flush(home)
                self._step("erased")
        # Also for a user who is unknown: a publishing that died may have left a copy.
        self._delete(trashed)
        return known or had_profile

    def users(self) -> list[str]:
        """See ``AdapterStore``."""
        found = []
        for home in self._homes():
            try:
                found.append(read_user(home))
            except StoreError:
                if home.exists():  # not erased meanwhile
                    raise
        return sorted(found)

    def verify(self, check: Check | None = None) -> Iterator[Finding]:
        """See ``AdapterStore``."""
        for home in self._homes():
            yield from verify_user(home, check)
        yield from self.profiles.verify()

    def _homes(self) -> list[Path]:
        """The folders of all users."""
        if not self.root.is_dir():
            raise StoreError(f"{self.root}: there is no store of adapters; publish into it first")
        # A user's folder is named by a digest, which has the form of a version.
        return sorted(folder for folder in self.root.iterdir() if is_version(folder.name))

    def _home(self, user: str) -> Path:
        """Folder of a user, who need not be known."""
        return self.root / user_folder(user)

    def _stored(self, user: str, version: str) -> Path:
        """Folder of a version that is stored, served or not."""
        folder = self._home(user) / version
        if not is_version(version) or not folder.is_dir():
            raise StoreError(
                f"user {user!r}: there is no version {version[:80]!r}; list the user's versions"
            )
        return folder

    def _retire(self, folder: Path) -> None:
        """Serve the version in this folder no longer; the store's lock is held."""
        write(folder / RETIRED, b"")
        flush(folder)

    def _trash(self, path: Path) -> Path:
        """Take a tree out of sight, for ``_delete``; the store's lock is held."""
        trashed = self._scratch.trash(path)
        flush(path.parent)
        self._step("out of sight")
        return trashed

    def _delete(self, trashed: Path | None) -> None:
        """Delete all that is unused.

        Raises:
            StoreError: ``trashed`` could not be deleted.
        """
        if trashed is not None:
            self._scratch.delete(trashed)
        self._scratch.delete_garbage()
        if trashed is not None and trashed.exists():
            raise StoreError(
                f"{trashed}: served no more, but could not be deleted; "
                "see who may write there, then delete it"
            )
        self._step("deleted")

    def _set_history(self, home: Path, history: list[str]) -> None:
        """Replace ``CURRENT``; the store's lock is held."""
        self._replace(home / CURRENT, history_record(history))
        self._step("current in place")

    def _replace(self, path: Path, content: bytes) -> None:
        """Replace one of the store's own files; the store's lock is held."""
        write(self._scratch.file(), content)
        self._step("replacement written")
        move(self._scratch.file(), path)
