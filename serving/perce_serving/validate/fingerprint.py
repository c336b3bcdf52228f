"""A short name for a base model's weights, by which two models of one name are told apart.

It is made of each layer's name and shape and its first values, so it costs milliseconds for any
size. Training all layers changes it, and so does merging an adapter into the weights; a change that
leaves the first values of every layer as they are does not. The values are rounded to bfloat16
first, so that a copy of the weights in float32 or bfloat16 has the fingerprint of the original.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from perce_serving.validate.header import Tensor
from perce_serving.validate.values import DTYPES, item_size, read_floats

_VALUES = 64
"""Values of each layer that are looked at."""


def sample(file: BinaryIO, tensor: Tensor) -> bytes:
    """The first values of a matrix: in bfloat16, or as they stand in a dtype that is not served.

    Raises:
        OSError: the file cannot be read.
    """
    file.seek(tensor.begin)
    if tensor.dtype not in DTYPES:
        return file.read(min(2 * _VALUES, tensor.end - tensor.begin))
    end = min(tensor.begin + _VALUES * item_size(tensor.dtype), tensor.end)
    bits = read_floats(file, tensor.begin, end, tensor.dtype).view(np.uint32)
    # To the nearest, halves to even.
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def fingerprint(layers: Mapping[str, tuple[int, int]], samples: Mapping[str, bytes]) -> str:
    """Name the layers of these shapes and first values.

    Returns:
        A SHA-256 in hexadecimal digits.
    """
    digest = hashlib.sha256(b"perce-serving base\0")
    for name, shape in sorted(layers.items()):
        digest.update(f"{name}\0{shape[0]}\0{shape[1]}\0".encode())
        digest.update(samples[name])
    return digest.hexdigest()
