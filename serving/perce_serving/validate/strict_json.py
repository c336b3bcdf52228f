"""JSON as two readers could not read differently: no key twice, no NaN, bounded nesting.

Nor "-0", which some read as an integer, nor halves of surrogate pairs, which some refuse.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from perce_serving.errors import ValidationError
from perce_serving.faults import Fault


def parse_object(text: bytes, *, fault: Fault, file: str) -> dict[str, Any]:
    """Parse one JSON object in UTF-8.

    Args:
        text: the whole text.
        fault: code of the error.
        file: named in the error.

    Raises:
        ValidationError: it is not JSON, not an object, or gives a key twice.
    """
    try:
        parsed = json.loads(
            text.decode(),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_constant=_refuse_constant,
        )
        if b"\\u" in text:
            json.dumps(parsed, ensure_ascii=False).encode()
    except RecursionError:
        raise ValidationError(fault, "JSON nested too deeply; write it anew", file=file) from None
    except ValueError as error:
        raise ValidationError(fault, f"not JSON ({error}); write it anew", file=file) from None
    if not isinstance(parsed, dict):
        raise ValidationError(fault, "JSON, but not an object; write it anew", file=file)
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for key, value in pairs:
        if key in parsed:
            raise ValueError(f"the key {key[:80]!r} is there twice")
        parsed[key] = value
    return parsed


def _integer(digits: str) -> int:
    if digits == "-0":
        raise ValueError("-0 is not an integer")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
