"""The files an adapter is: opened so that no link leads away, copied, and named by a hash."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from perce_serving.errors import ValidationError
from perce_serving.faults import Fault

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""What PEFT saves and vLLM reads."""
INFO_FILE = "perce.json"
"""What perce writes beside them, if it trained the adapter: how its prompts are made. With it they
are all that is stored of a folder."""

_BLOCK = 1 << 20


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, following no link in its last two steps.

    Raises:
        ValidationError: ``MISSING_FILE``, ``SYMLINK`` (the file or the folder it is in) or
            ``NOT_A_FILE``; it names the file without its folder, which may be a scratch copy.
        OSError: it cannot be read.
    """
    name = path.name
    try:
        handle = _open_in_folder(path)
    except FileNotFoundError:
        raise ValidationError(
            Fault.MISSING_FILE, "there is no such file; save the adapter with PEFT", file=name
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValidationError(
                Fault.SYMLINK, "a symbolic link; put the file itself there", file=name
            ) from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValidationError(Fault.NOT_A_FILE, "not a regular file", file=name)
    return os.fdopen(handle, "rb")


def open_optional(path: Path) -> BinaryIO | None:
    """Open a regular file like ``open_regular``; None where there is nothing of that name.

    Raises:
        ValidationError: ``SYMLINK`` or ``NOT_A_FILE``.
        OSError: it cannot be read.
    """
    try:
        return open_regular(path)
    except ValidationError as error:
        if error.code == Fault.MISSING_FILE:
            return None
        raise


def _open_in_folder(path: Path) -> int:
    """Open a file in the very folder that was seen to be no link, whatever takes its place."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(path.parent, flags | os.O_DIRECTORY)
    except OSError as error:
        # Which error a link gives depends on the system.
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and path.parent.is_symlink():
            raise ValidationError(
                Fault.SYMLINK, "its folder is a symbolic link; give the folder itself",
                file=path.name,
            ) from None  # fmt: skip
        raise
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
        return os.open(path.name, flags | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


@dataclass(frozen=True, slots=True)
class Content:
    """Digests (SHA-256, hexadecimal) and size of an adapter's files."""

    digests: dict[str, str]
    """By file name, in the order of ``ADAPTER_FILES``, then ``INFO_FILE`` where there is one."""
    size: int
    """Bytes of all files."""

    @property
    def version(self) -> str:
        """The name of this content: SHA-256 over the files' names and digests."""
        whole = hashlib.sha256(b"perce-serving version\0")
        for name, digest in self.digests.items():
            whole.update(f"{name}\0{digest}\0".encode())
        return whole.hexdigest()


def read_content(folder: Path) -> Content:
    """Hash the adapter in ``folder``.

    Raises:
        ValidationError: a file is absent, a link, or no regular file.
        OSError: a file cannot be read.
    """
    return _read(folder, None, None)


def copy_content(folder: Path, target: Path, *, most: int) -> Content:
    """Copy the adapter in ``folder`` into the folder ``target``, onto the disk, and hash the copy.

    Args:
        folder: the adapter's.
        target: an empty folder.
        most: bytes that all files may have together.

    Raises:
        ValidationError: a file is absent, a link, or no regular file; or ``FILE_TOO_LARGE``, before
            anything of that file is copied.
        OSError: a file cannot be read or written.
    """
    return _read(folder, target, most)


def _read(folder: Path, target: Path | None, most: int | None) -> Content:
    digests: dict[str, str] = {}
    size = 0
    for name in (*ADAPTER_FILES, INFO_FILE):
        digest = hashlib.sha256()
        opened = open_optional(folder / name) if name == INFO_FILE else open_regular(folder / name)
        if opened is None:
            continue
        with opened as source:
            _check_size(name, size + os.fstat(source.fileno()).st_size, most)
            with (Path(os.devnull) if target is None else target / name).open("wb") as copy:
                while block := source.read(_BLOCK):
                    size += len(block)
                    _check_size(name, size, most)  # it may grow meanwhile
                    digest.update(block)
                    copy.write(block)
                if target is not None:
                    copy.flush()
                    os.fsync(copy.fileno())
        digests[name] = digest.hexdigest()
    return Content(digests, size)


def _check_size(name: str, size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise ValidationError(
            Fault.FILE_TOO_LARGE,
            f"with it, the adapter has {size:,} bytes or more, {most:,} is the most; "
            "see what it holds, or allow more",
            file=name,
        )
