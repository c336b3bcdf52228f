"""All checks of an adapter, and what they found of the stored versions."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from perce_serving.adapter_files import (
    ADAPTER_FILES,
    CONFIG_FILE,
    INFO_FILE,
    open_regular,
    read_content,
)
from perce_serving.errors import ValidationError
from perce_serving.faults import Fault
from perce_serving.validate.base import BaseModel
from perce_serving.validate.config import parse_config, read_bounded
from perce_serving.validate.info import read_info
from perce_serving.validate.weights import check_weights
from perce_serving.version_file import BASE, VERSION_FILE, recorded_base

ENGINE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM 0.32 takes as ``max_lora_rank``; an adapter may have any rank up to it."""

DEFAULT_RANK = 64
"""Highest rank that is served, unless told otherwise."""

_REMEMBERED = 4096
_Known = tuple[str | tuple[int, ...], ...]


class _Refusal(NamedTuple):
    """What an error said: one that is raised twice would grow with every frame it came through."""

    code: str
    message: str
    file: str | None
    field: str | None

    def error(self) -> ValidationError:
        return ValidationError(self.code, self.message, file=self.file, field=self.field)


class Validator:
    """Checks adapters for one base model, from their bytes.

    Thread-safe.

    Args:
        base: the model that is served.
        max_rank: highest rank that is served, one of ``ENGINE_RANKS``.

    Raises:
        ValidationError: ``max_rank`` is none of them.
    """

    def __init__(self, base: BaseModel, *, max_rank: int) -> None:
        if max_rank not in ENGINE_RANKS:
            ranks = ", ".join(map(str, ENGINE_RANKS))
            raise ValidationError(Fault.RANK, f"max_rank {max_rank}: must be one of {ranks}")
        self._base = base
        self._max_rank = max_rank
        self._lock = Lock()
        self._found: OrderedDict[_Known, _Refusal | None] = OrderedDict()

    def check(self, folder: Path) -> str | None:
        """Check the adapter in a folder, reading all of it once.

        Returns:
            The fingerprint of the base model, for the store's record of the adapter.

        Raises:
            ValidationError: it may not be served; names the fault, the file and the field.
            OSError: a file cannot be read.
        """
        with open_regular(folder / CONFIG_FILE) as file:
            text = read_bounded(file, CONFIG_FILE)
        read_info(folder)
        config = parse_config(text, self._base, max_rank=self._max_rank)
        check_weights(folder, config, self._base)
        return self._base.fingerprint

    def check_version(self, folder: Path, version: str) -> None:
        """Check a stored version, in microseconds where it is known and its files are untouched.

        That its content has the hash it is called by is checked as well: what was published under
        a name is what is served under it. So is the base model, where the store has recorded by
        its weights which one the adapter was published for.

        Args:
            folder: what the store opened.
            version: the hash of its content, by which the store calls it.

        Raises:
            ValidationError: it may not be served; names the fault, the file and the field.
            OSError: a file cannot be read.
        """
        # The stamps are taken first: a file changed while it is read is read again next time.
        files = (*ADAPTER_FILES, INFO_FILE, VERSION_FILE)
        known: _Known = (version, *(_stamp(folder / name) for name in files))
        with self._lock:
            if known in self._found:
                self._found.move_to_end(known)
                refusal = self._found[known]
                if refusal is not None:
                    raise refusal.error()
                return
        try:
            if read_content(folder).version != version:
                raise ValidationError(Fault.CHANGED, "not what was published; publish it again")
            self._check_base(recorded_base(folder))
            self.check(folder)
        except ValidationError as error:
            self._remember(known, _Refusal(error.code, error.message, error.file, error.field))
            raise
        self._remember(known, None)

    def _check_base(self, recorded: str | None) -> None:
        own = self._base.fingerprint
        if recorded is not None and own is not None and recorded != own:
            raise ValidationError(
                Fault.WRONG_BASE,
                f"was published for a model {self._base.name!r} with other weights than the one "
                "that is served; train on this one, or publish again with --model if it is meant",
                file=VERSION_FILE,
                field=BASE,
            )

    def _remember(self, known: _Known, refusal: _Refusal | None) -> None:
        with self._lock:
            self._found[known] = refusal
            if len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does; empty where there is none."""
    try:
        status = path.lstat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
