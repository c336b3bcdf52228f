"""Which releases of vLLM this was tried with, and what is said of others."""

from __future__ import annotations

import re

TESTED = (0, 32)
"""The tests run on it."""

CHECKED = (0, 33)
"""Every hook and signature that is used here was compared with its sources."""


def release(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: ``0.32.0+cpu`` is ``(0, 32, 0)``."""
    found = re.match(r"\d+(\.\d+)*", version, re.ASCII)
    return tuple(map(int, found[0].split("."))) if found else ()


def remark(version: str) -> str | None:
    """What to tell the operator of this version of vLLM at start; None where all is well."""
    minor = release(version)[:2]
    if minor == TESTED:
        return None
    if minor == CHECKED:
        return (
            f"vLLM {version}: its interfaces were compared with what is used here, "
            f"but the tests run on {_text(TESTED)}"
        )
    return (
        f"vLLM {version} is not known here: tested is {_text(TESTED)}, compared {_text(CHECKED)}; "
        "try it with adapters and keys of your own before users do"
    )


def _text(minor: tuple[int, ...]) -> str:
    return ".".join(map(str, minor))
