"""The header of a safetensors file: which tensors it holds, and where.

A file is eight bytes with the header's length (little-endian), the header (a JSON object), and the
values. Format: https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO, NamedTuple

from perce_serving.errors import ValidationError
from perce_serving.faults import Fault
from perce_serving.validate.strict_json import parse_object

_LENGTH_BYTES = 8


class Tensor(NamedTuple):
    """What a header says of one tensor."""

    dtype: str
    """As the format spells it: ``F32``, ``F16``, ``BF16`` and others."""
    shape: tuple[int, ...]
    """Sizes of the dimensions."""
    begin: int
    """First byte of the values in the file."""
    end: int
    """One past the last byte of the values in the file."""


def read_header(file: BinaryIO, *, most: int, name: str) -> dict[str, Tensor]:
    """Read a header, and check that its tensors fill the rest of the file without gap or overlap.

    Whether a tensor's bytes fit its shape and dtype is not looked at.

    Args:
        file: at its start.
        most: longest header, in bytes, that is read.
        name: of the file, for errors.

    Returns:
        The tensors by name, in the order of their values.

    Raises:
        ValidationError: ``TRUNCATED``, ``HEADER_TOO_LARGE`` or ``CORRUPT``.
        OSError: the file cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if size < _LENGTH_BYTES:
        raise _truncated(f"{size} bytes hold no header", name)
    if length > most:
        raise ValidationError(
            Fault.HEADER_TOO_LARGE,
            f"the header says it has {length} bytes, {most} is the most; save the weights anew",
            file=name,
        )
    start = _LENGTH_BYTES + length
    if start > size:
        raise _truncated(f"the header ends at byte {start}, the file has {size}", name)
    header = parse_object(file.read(length), fault=Fault.CORRUPT, file=name)
    _check_metadata(header.pop("__metadata__", {}), name)
    tensors = {key: _tensor(key, entry, start, name) for key, entry in header.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: item[1][2:]))
    position = start
    for key, tensor in ordered.items():
        if tensor.begin != position:
            raise _corrupt(
                f"its values begin at byte {tensor.begin}, where {position} comes next", name, key
            )
        position = tensor.end
    if position > size:
        raise _truncated(f"the values end at byte {position}, the file has {size}", name)
    if position < size:
        raise _corrupt(f"{size - position} bytes after the last tensor", name)
    return ordered


def _check_metadata(metadata: Any, name: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _corrupt("not texts by name", name, "__metadata__")


def _tensor(key: str, entry: Any, start: int, name: str) -> Tensor:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end], **rest}:
            if (
                not rest
                and all(_is_size(number) for number in [*shape, begin, end])
                and begin <= end
            ):
                return Tensor(dtype, tuple(shape), start + begin, start + end)
    raise _corrupt("not a dtype, a shape and two offsets in order", name, key)


def _is_size(number: Any) -> bool:
    return type(number) is int and number >= 0


def _corrupt(message: str, name: str, key: str | None = None) -> ValidationError:
    field = None if key is None else key[:200]
    return ValidationError(
        Fault.CORRUPT, f"{message}; save the weights anew", file=name, field=field
    )


def _truncated(message: str, name: str) -> ValidationError:
    return ValidationError(Fault.TRUNCATED, f"{message}; copy the file again", file=name)
