"""An adapter's ``adapter_model.safetensors``: names, pairs, shapes and every value."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from perce_serving.adapter_files import WEIGHTS_FILE, open_regular
from perce_serving.errors import ValidationError
from perce_serving.faults import Fault
from perce_serving.validate.base import BaseModel, is_linear
from perce_serving.validate.config import AdapterConfig
from perce_serving.validate.header import Tensor, read_header
from perce_serving.validate.values import DTYPES, FLOAT16_MAX, find_fault, item_size, row_norms

MOST_HEADER = 4 << 20
"""Bytes of the longest header that is read: some 30,000 tensors, where a large model has 2,000."""

MOST_CHANGE = 1024.0
"""Most that a pair may add to any output of its layer, for inputs whose root mean square is 1.

Trained adapters add about 1 (SmolLM2-135M at rank 8: 0.54 by the same bound). The inputs of
attention and MLP come from a norm, whose gain multiplies the bound: float16 holds 64 times as much,
so that keys and values stay finite there too. Inside an MLP, two such outputs are multiplied before
the third layer: some 1e14 over all of a model, with a gain of 64, which bfloat16 and float32 hold
and float16 does not.
"""

_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight", re.ASCII)
_HALF_A, _HALF_B = ".lora_A.weight", ".lora_B.weight"

_MEANING = {
    Fault.NAN: "a value is not a number",
    Fault.INFINITE: "a value is infinite",
    Fault.TOO_LARGE: "a value overflows in float16, scaled as it is served",
}


def check_weights(folder: Path, config: AdapterConfig, base: BaseModel) -> None:
    """Check the weights in a folder; reads them once, in blocks.

    Raises:
        ValidationError: naming the tensor.
        OSError: the file cannot be read.
    """
    with open_regular(folder / WEIGHTS_FILE) as file:
        tensors = read_header(file, most=MOST_HEADER, name=WEIGHTS_FILE)
        _check_pairs(tensors, config, base)
        for name, tensor in tensors.items():
            _check_values(file, name, tensor, config)
        for name in tensors:
            if name.endswith(_HALF_B):
                _check_change(file, name, tensors, config)


def _check_pairs(tensors: dict[str, Tensor], config: AdapterConfig, base: BaseModel) -> None:
    halves: dict[str, set[str]] = {}
    for name, tensor in tensors.items():
        found = _NAME.fullmatch(name)
        if found is None:
            raise _refused(
                Fault.UNKNOWN_TENSOR, name, "not half of a low-rank pair; save LoRA layers alone"
            )
        module, half = found["module"], found["half"]
        _check_module(name, module, config, base)
        _check_form(name, tensor, half, config.rank, base.layers[module])
        halves.setdefault(module, set()).add(half)
    if not halves:
        raise ValidationError(Fault.UNPAIRED, "there are no tensors; train it", file=WEIGHTS_FILE)
    for module, found_halves in halves.items():
        if len(found_halves) == 1:
            name = f"base_model.model.{module}.lora_{found_halves.pop()}.weight"
            raise _refused(Fault.UNPAIRED, name, "the other half is missing; save the adapter anew")


def _check_module(name: str, module: str, config: AdapterConfig, base: BaseModel) -> None:
    if module not in base.layers:
        raise _refused(
            Fault.EXTRA_MODULE, name, f"{base.name!r} has no such layer; train on that model"
        )
    if not is_linear(module):
        raise _refused(
            Fault.UNSUPPORTED, name, "not every model is served with it; train 'all-linear'"
        )
    if not config.is_for(module):
        raise _refused(
            Fault.NOT_TARGETED, name, "the configuration is not for it; save the adapter anew"
        )


def _check_form(name: str, tensor: Tensor, half: str, rank: int, layer: tuple[int, int]) -> None:
    if tensor.dtype not in DTYPES:
        raise _refused(
            Fault.WRONG_DTYPE, name, f"{tensor.dtype[:20]}: must be one of {', '.join(DTYPES)}"
        )
    outputs, inputs = layer
    shape = (rank, inputs) if half == "A" else (outputs, rank)
    if tensor.shape != shape:
        raise _refused(
            Fault.WRONG_SHAPE,
            name,
            f"{list(tensor.shape[:8])}: must be {list(shape)}; train on the model that is served",
        )
    if tensor.end - tensor.begin != shape[0] * shape[1] * item_size(tensor.dtype):
        raise _refused(Fault.CORRUPT, name, "its bytes do not fit its shape; save the adapter anew")


def _check_values(file: BinaryIO, name: str, tensor: Tensor, config: AdapterConfig) -> None:
    scaled = name.endswith(_HALF_B)
    most = FLOAT16_MAX / max(1.0, config.scaling if scaled else 1.0)
    try:
        fault = find_fault(file, tensor.begin, tensor.end, tensor.dtype, most)
    except EOFError:
        raise _shrinks(name) from None
    if fault is not None:
        raise _refused(fault, name, f"{_MEANING[fault]}; train it anew, at a lower rate")


def _check_change(
    file: BinaryIO, name: str, tensors: dict[str, Tensor], config: AdapterConfig
) -> None:
    """Check what a pair, given the name of its B, may add to an output (``MOST_CHANGE``).

    By Cauchy-Schwarz that is the scaling times the longest row of B, the Frobenius norm of A and
    the norm of the input, whose root mean square times the root of its length that is.
    """
    try:
        a, b = (
            row_norms(file, half.begin, (half.shape[0], half.shape[1]), half.dtype)
            for half in (tensors[name.removesuffix(_HALF_B) + _HALF_A], tensors[name])
        )
    except EOFError:
        raise _shrinks(name) from None
    inputs = tensors[name.removesuffix(_HALF_B) + _HALF_A].shape[1]
    change = config.scaling * float(b.max()) * float(np.linalg.norm(a)) * math.sqrt(inputs)
    if change > MOST_CHANGE:
        raise _refused(
            Fault.TOO_LARGE,
            name,
            f"with its other half it may change an output by {change:.3g}, {MOST_CHANGE:g} is the "
            "most; train it anew, at a lower rate",
        )


def _shrinks(name: str) -> ValidationError:
    return _refused(Fault.TRUNCATED, name, "the file shrinks; copy it again")


def _refused(fault: Fault, name: str, message: str) -> ValidationError:
    return ValidationError(fault, message, file=WEIGHTS_FILE, field=name[:200])
