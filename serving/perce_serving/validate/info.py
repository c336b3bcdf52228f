"""``perce.json``: what perce tells of an adapter that it trained, if it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perce_serving.adapter_files import INFO_FILE, open_optional
from perce_serving.errors import ValidationError
from perce_serving.faults import Fault
from perce_serving.validate.config import read_bounded
from perce_serving.validate.strict_json import parse_object

PROMPT = "prompt"
"""The section that says how the adapter's prompts are made; another release's is taken as well: who
renders by it says what it reads."""


def read_info(folder: Path) -> dict[str, Any] | None:
    """Read the ``perce.json`` of an adapter; None where there is none.

    Raises:
        ValidationError: ``SYMLINK``, ``NOT_A_FILE``, ``FILE_TOO_LARGE``, ``CONFIG_SYNTAX``, or
            ``CONFIG_FIELD`` where its section on prompts is no object.
        OSError: it cannot be read.
    """
    opened = open_optional(folder / INFO_FILE)
    if opened is None:
        return None
    with opened as file:
        text = read_bounded(file, INFO_FILE)
    info = parse_object(text, fault=Fault.CONFIG_SYNTAX, file=INFO_FILE)
    if not isinstance(info.get(PROMPT, {}), dict):
        raise ValidationError(
            Fault.CONFIG_FIELD, "not an object; train again, or leave the file out",
            file=INFO_FILE, field=PROMPT,
        )  # fmt: skip
    return info
