"""An adapter's two files, opened so that no link leads outside its folder."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from perce_serving.errors import ValidationError
from perce_serving.validate.faults import Fault

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""What PEFT saves and vLLM reads; nothing else of a folder is stored or served."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, following no link in its last two steps.

    Raises:
        ValidationError: ``MISSING_FILE``, ``SYMLINK`` (the file or the folder it is in) or
            ``NOT_A_FILE``; it names the file without its folder, which may be a scratch copy.
        OSError: it cannot be read.
    """
    name = path.name
    if path.parent.is_symlink():
        raise ValidationError(
            Fault.SYMLINK, "its folder is a symbolic link; give the folder itself", file=name
        )
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
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
