"""Publish trained adapters into the store from which ``perce-serve`` serves them.

The store, its checks and its files are those of the distribution perce-serving, which training does
without: it is imported when something is to be published. What can go wrong is looked for before
training (:class:`Publisher`, :meth:`Publisher.rehearse`), since afterwards it costs the most; and
an error that comes all the same says where the adapter lies and which command publishes it.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from perce.errors import MissingExtraError, OptionError, PublishError, RefusedAdapterError

if TYPE_CHECKING:
    from perce_serving.store import Version

MAX_LORA_RANK = 64
"""Highest rank that a server takes unless told otherwise: perce-serving's own default."""

_USER = "user="


def publish(
    *,
    store: str | Path,
    user: str,
    folder: str | Path,
    base: str | None = None,
    max_lora_rank: int = MAX_LORA_RANK,
) -> Version:
    """Check an adapter, store it and make it the user's current one.

    Args:
        store: folder of the store; the first publishing makes it.
        user: whose adapter it is, any text without control characters.
        folder: what PEFT saved, as ``perce train`` does at the root of ``output_dir``.
        base: folder or hub name of the base model; what the adapter names by default.
        max_lora_rank: highest rank that the server takes, one of vLLM's.

    Returns:
        The version: the SHA-256 of the adapter's files is its name. The same files give the same
        version, and nothing is stored twice.

    Raises:
        MissingExtraError: perce-serving is not installed.
        RefusedAdapterError: it may not be served; the message names the file and the field.
        PublishError: the base model is not on this machine, or the store cannot be written.
    """
    if base is None:
        with _told(f"{folder} cannot be published"):
            from perce_serving.validate import base_of

            base = base_of(Path(folder))
    return Publisher(store=store, base=base, max_lora_rank=max_lora_rank).publish(user, folder)


class Publisher:
    """Publishes adapters of one base model into one store.

    Making one checks what can be checked without an adapter: that perce-serving is there, the store
    can be written, and the base model is one against which adapters can be checked.

    Args:
        store: folder of the store; it is made.
        base: folder or hub name of the base model.
        max_lora_rank: highest rank that the server takes.

    Raises:
        MissingExtraError: perce-serving is not installed.
        OptionError: ``max_lora_rank`` is none that vLLM knows.
        PublishError: the store cannot be written, or the base model is not on this machine, has no
            safetensors, or is quantised.
    """

    def __init__(self, *, store: str | Path, base: str, max_lora_rank: int = MAX_LORA_RANK) -> None:
        with _told(f"adapters for {base} cannot be published into {store}"):
            from perce_serving.store import LocalStore
            from perce_serving.validate import ENGINE_RANKS, Validator, find_base

            if max_lora_rank not in ENGINE_RANKS:
                ranks = ", ".join(map(str, ENGINE_RANKS))
                raise OptionError("max_lora_rank", f"{max_lora_rank}: must be one of {ranks}")
            self._check = Validator(find_base(base), max_rank=max_lora_rank).check
            self._store = LocalStore(Path(store))
            self._store.check_writable()
        self._max_lora_rank = max_lora_rank

    def check_user(self, user: str) -> None:
        """Make sure that the store takes this user's id.

        Raises:
            PublishError: it is empty, too long, or holds a control character.
        """
        from perce_serving.users import check_user

        with _told("cannot publish"):
            check_user(user)

    def rehearse(self, save: Callable[[Path], object]) -> None:
        """Check an adapter before its training as publishing will check it afterwards.

        Rank, names, shapes, the base model and every option of PEFT stay what they are; only the
        values change.

        Args:
            save: saves the adapter, as it is now, into a folder.

        Raises:
            RefusedAdapterError: an adapter like this may not be served.
        """
        with (
            tempfile.TemporaryDirectory(prefix="perce-") as scratch,
            _told("an adapter like this cannot be published"),
        ):
            save(Path(scratch))
            self._check(Path(scratch))

    def publish(self, user: str, folder: str | Path) -> Version:
        """Check an adapter, store it and make it the user's current one.

        Raises:
            RefusedAdapterError: it may not be served.
            PublishError: the store cannot be written. Either way the message says how to publish
                the adapter, which is left where it is.
        """
        with _told(self._by_hand(user, folder)):
            # Before it is copied, too: what is refused may be larger than the disk.
            self._check(Path(folder))
            return self._store.publish(user, Path(folder), check=self._check)

    def publish_once(self, user: str, folder: str | Path) -> Version:
        """Publish an adapter unless the store has it already, current or not, served or not.

        What was published once is thus left alone, whatever was published, rolled back to or
        retired since.

        Raises:
            RefusedAdapterError, PublishError: as from :meth:`publish`.
        """
        from perce_serving.adapter_files import read_content

        with _told(self._by_hand(user, folder)):
            name = read_content(Path(folder)).version
            for version in self._store.versions(user):
                if version.version == name:
                    return version
        return self.publish(user, folder)

    def _by_hand(self, user: str, folder: str | Path) -> str:
        """How to publish an adapter whose publishing failed."""
        words = ["perce-adapters", "publish", "--store", str(self._store.root), "--user", user]
        if self._max_lora_rank != MAX_LORA_RANK:
            words += ["--max_lora_rank", str(self._max_lora_rank)]
        command = shlex.join([*words, str(folder)])
        return f"the adapter is in {folder}, but is not published; `{command}` tries again"


def publishing_user(option: str) -> str:
    """The user's id in ``user=ID``, the value of the option ``publish``.

    Raises:
        OptionError: it has another form.
    """
    if not option.startswith(_USER):
        raise OptionError("publish", f"{option!r}: give user=ID, whose adapter it will be")
    return option.removeprefix(_USER)


def check_options(*, publish: bool, store: str | None) -> None:
    """Make sure that ``publish`` and ``store`` are given together or not at all.

    Raises:
        OptionError: one is missing.
    """
    if publish and store is None:
        raise OptionError("store", "is missing: publish needs the folder of a store")
    if store is not None and not publish:
        raise OptionError("store", "means nothing without publish: give both or none")


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what perce-serving raises into an error of this package.

    Args:
        what: ahead of the error's own words.
    """
    try:
        from perce_serving.errors import ServingError, ValidationError
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("perce_serving"):
            raise
        raise MissingExtraError("perce-serving") from None
    try:
        yield
    except ValidationError as error:
        raise RefusedAdapterError(f"{what}: {error}") from error
    except (ServingError, OSError) as error:
        raise PublishError(f"{what}: {error}") from error
