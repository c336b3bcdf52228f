"""Files with anything in them: accepted or refused, never anything else, and as the oracles say."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors
from hypothesis import example, given
from hypothesis import strategies as st

from perce_serving.errors import ValidationError
from perce_serving.faults import Fault
from perce_serving.validate import BaseModel, Validator, values
from perce_serving.validate.base import short_name
from perce_serving.validate.strict_json import parse_object
from perce_serving.validate.values import DTYPES, FLOAT16_MAX, find_fault, item_size, row_norms
from validate.adapters import config, encode, pack, weights, write_adapter

GOOD = pack(weights())
HEADER = 8 + int.from_bytes(GOOD[:8], "little")
CONFIG = json.dumps(config()).encode()


def accepts(base: BaseModel, content: bytes, configuration: bytes = CONFIG) -> bool:
    with tempfile.TemporaryDirectory() as place:
        folder = write_adapter(Path(place) / "adapter", content, configuration)
        try:
            Validator(base, max_rank=8).check(folder)
        except ValidationError:
            return False
        return True


def opens(content: bytes) -> bool:
    """Whether the format's own reader takes the file."""
    try:
        safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return False
    return True


@given(cut=st.integers(0, len(GOOD) - 1))
def test_no_prefix_is_accepted(base: BaseModel, cut: int) -> None:
    assert not accepts(base, GOOD[:cut])


@given(position=st.integers(0, HEADER - 1), byte=st.integers(0, 255))
@example(position=7, byte=255)
def test_a_changed_byte_of_the_header(base: BaseModel, position: int, byte: int) -> None:
    changed = GOOD[:position] + bytes([byte]) + GOOD[position + 1 :]
    # Ours is the stricter reader: it knows what must be there.
    assert opens(changed) or not accepts(base, changed)


@given(position=st.integers(0, len(CONFIG) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_of_the_configuration(base: BaseModel, position: int, byte: int) -> None:
    changed = CONFIG[:position] + bytes([byte]) + CONFIG[position + 1 :]
    try:
        parsed = json.loads(changed)
    except ValueError:
        parsed = None
    assert isinstance(parsed, dict) or not accepts(base, GOOD, changed)


@given(header=st.binary(max_size=64) | st.text().map(str.encode), values=st.binary(max_size=8))
def test_any_header(base: BaseModel, header: bytes, values: bytes) -> None:
    assert not accepts(base, len(header).to_bytes(8, "little") + header + values)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(field=st.sampled_from(sorted(config())), value=JSON)
def test_any_value_of_a_field(base: BaseModel, field: str, value: object) -> None:
    accepts(base, GOOD, json.dumps(config(**{field: value})).encode())


@given(name=st.sampled_from(["dtype", "shape", "data_offsets"]), value=JSON)
def test_any_value_in_a_header(base: BaseModel, name: str, value: object) -> None:
    tensor, (dtype, values, shape) = next(iter(weights().items()))
    entry: dict[str, object] = {"dtype": dtype, "shape": shape, "data_offsets": [0, len(values)]}
    same = entry[name] == value
    assert accepts(base, pack(weights(), **{tensor: {**entry, name: value}})) == same


@given(
    values=st.lists(
        st.floats(width=16, allow_nan=False, allow_infinity=False)
        | st.sampled_from([65504.0, 65520.0, 3e38, float("inf"), float("-inf"), float("nan"), -0.0])
        | st.floats(width=32),
        min_size=1,
        max_size=300,
    ),
    dtype=st.sampled_from(DTYPES),
    before=st.integers(0, 9),
    most=st.sampled_from([1.0, 100.0, FLOAT16_MAX]),
)
def test_values_against_numpy(values: list[float], dtype: str, before: int, most: float) -> None:
    with np.errstate(over="ignore"):
        exact = np.array(values, dtype=np.float32)
        if dtype == "F16":
            exact = exact.astype(np.float16).astype(np.float32)
    if dtype == "BF16":
        bits = exact.view(np.uint32) & 0xFFFF0000
        # A NaN whose upper bits are those of an infinity would become one.
        bits[np.isnan(exact)] = 0x7FC00000
        exact = bits.view(np.float32)
    stored = encode(exact, dtype)
    if np.isnan(exact).any():
        expected = Fault.NAN
    elif np.isinf(exact).any():
        expected = Fault.INFINITE
    else:
        expected = Fault.TOO_LARGE if float(np.abs(exact).max()) > most else None
    with tempfile.TemporaryFile() as file:
        file.write(b"\xff" * before + stored + b"\xff" * 8)
        assert len(stored) == len(values) * item_size(dtype)
        assert find_fault(file, before, before + len(stored), dtype, most) == expected


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 9),
    dtype=st.sampled_from(DTYPES),
    block=st.sampled_from([1, 50, 1 << 20]),
    seed=st.integers(0, 9),
)
def test_norms_against_numpy(rows: int, columns: int, dtype: str, block: int, seed: int) -> None:
    drawn = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    # Few bits, so that every dtype holds the same.
    matrix = np.round(drawn * 4) / 4
    with tempfile.TemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "_BLOCK", block)
        file.write(b"\xff" * 3 + encode(matrix, dtype))
        found = row_norms(file, 3, (rows, columns), dtype)
        with pytest.raises(EOFError):
            row_norms(file, 4, (rows, columns), dtype)
    np.testing.assert_allclose(found, np.linalg.norm(matrix, axis=1), rtol=1e-6)


def test_values_in_every_block() -> None:
    block = 1 << 20
    for position in (0, block - 4, block, 2 * block - 4, 2 * block, 2 * block + 8):
        content = bytearray(2 * block + 12)
        content[position : position + 4] = np.float32(np.nan).tobytes()
        with tempfile.TemporaryFile() as file:
            file.write(content)
            assert find_fault(file, 0, len(content), "F32", 1.0) == Fault.NAN


@given(st.text() | JSON.map(json.dumps))
def test_json_is_python_s_own_but_stricter(text: str) -> None:
    content = text.encode(errors="surrogatepass")
    try:
        parsed = parse_object(content, fault=Fault.CORRUPT, file="x")
    except ValidationError:
        return
    assert parsed == json.loads(content)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("HuggingFaceTB/SmolLM2-135M", "smollm2-135m"),
        ("/data/models/SmolLM2-135M/", "smollm2-135m"),
        ("C:\\models\\SmolLM2-135M", "smollm2-135m"),
        ("/c/hub/models--HuggingFaceTB--SmolLM2-135M/snapshots/93efa2f", "smollm2-135m"),
        ("snapshots/x", "x"),
        ("", ""),
    ],
)
def test_names_of_one_model(name: str, short: str) -> None:
    assert short_name(name) == short
