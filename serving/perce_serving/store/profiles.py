"""Profiles in a local or shared folder, beside the adapters.

<root>/profiles/<digest of the id>.json     whose it is, its version, when it was set, its items
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from perce_serving.errors import DamagedError, ProfileError, StoreError
from perce_serving.files import flush, move, write
from perce_serving.profile import ProfileItem, check_profile, encode_items, profile_items
from perce_serving.profile import profile_version as version_of
from perce_serving.store.interface import Finding
from perce_serving.store.profile_interface import Profile
from perce_serving.store.scratch import Scratch
from perce_serving.users import user_folder

PROFILES = "profiles"
_FORMAT = 1


class LocalProfiles:
    """A ``ProfileStore`` under the folder of a ``LocalStore``, which makes it.

    A profile is one small file that is replaced by one rename, under the store's lock.

    Args:
        root: the store's folder.
        scratch: the store's.
        clock: seconds since 1970.
        step: called with the name of each step of a change right after it, for tests that end the
            process there.
    """

    def __init__(
        self,
        root: Path,
        scratch: Scratch,
        *,
        clock: Callable[[], float],
        step: Callable[[str], None],
    ) -> None:
        self._folder = root / PROFILES
        self._scratch = scratch
        self._clock = clock
        self._step = step

    def set(self, user: str, items: Sequence[ProfileItem]) -> Profile:
        """See ``ProfileStore``."""
        path = self._path(user)
        profile = Profile(
            user=user,
            version=version_of(check_profile(items)),
            updated=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock())),
            items=tuple(items),
        )
        with self._scratch.lock():
            if not self._folder.exists():
                self._folder.mkdir()
                flush(self._folder.parent)
                self._step("folder made")
            write(self._scratch.file(), _encode(profile))
            self._step("profile written")
            move(self._scratch.file(), path)
            self._step("profile in place")
        return profile

    def read(self, user: str) -> Profile | None:
        """See ``ProfileStore``."""
        path = self._path(user)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        profile = _decode(path, content)
        if profile.user != user:
            raise DamagedError(f"{path}: is user {profile.user!r}'s; set the profile again")
        return profile

    def clear(self, user: str) -> bool:
        """See ``ProfileStore``."""
        path = self._path(user)
        if not self._folder.exists():
            return False
        with self._scratch.lock():
            # A change that was killed may have left the same there.
            self._scratch.file().unlink(missing_ok=True)
            known = path.exists()
            if known:
                path.unlink()
                flush(self._folder)
                self._step("profile gone")
        return known

    def verify(self) -> Iterator[Finding]:
        """Compare every profile with what was set."""
        for path in sorted(self._folder.iterdir()) if self._folder.exists() else ():
            try:
                profile = _decode(path, path.read_bytes())
                if path != self._path(profile.user):
                    raise DamagedError(f"{path}: is user {profile.user!r}'s; set the profile again")
            except FileNotFoundError:
                continue  # cleared meanwhile
            except (StoreError, OSError) as error:
                yield Finding(text=str(error), damage=True)
            else:
                yield Finding(
                    text=f"user {profile.user!r}: profile {profile.version}", damage=False
                )

    def _path(self, user: str) -> Path:
        return self._folder / f"{user_folder(user)}.json"


def _encode(profile: Profile) -> bytes:
    record = {
        "format": _FORMAT,
        "user": profile.user,
        "version": profile.version,
        "updated": profile.updated,
        "items": json.loads(encode_items(profile.items)),
    }
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _decode(path: Path, content: bytes) -> Profile:
    """Read a profile back.

    Raises:
        DamagedError: it is not what was written.
        StoreError: another release wrote it.
    """
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: not JSON ({error}); set the profile again") from None
    if isinstance(record, dict) and record.get("format", _FORMAT) != _FORMAT:
        raise StoreError(f"{path}: not of format {_FORMAT}; use the release that wrote it")
    match record:
        case {"user": str(user), "version": str(version), "updated": str(updated), "items": rows}:
            try:
                items = profile_items(rows)
            except ProfileError as error:
                raise DamagedError(f"{path}: {error}; set the profile again") from None
            if version_of(items) == version:
                return Profile(user=user, version=version, updated=updated, items=items)
    raise DamagedError(f"{path}: not what was set; set the profile again")
