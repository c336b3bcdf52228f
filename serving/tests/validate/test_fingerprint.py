"""Base models of one name and one shape, told apart by their weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from perce_serving.errors import ValidationError
from perce_serving.store import LocalStore
from perce_serving.validate import BaseModel, Fault, Validator
from perce_serving.version_file import VERSION_FILE
from validate.adapters import LAYERS, config, weights, write_adapter, write_base

LAYER = f"{next(iter(LAYERS))}.weight"
Base = Callable[..., BaseModel]


@pytest.fixture
def base(tmp_path: Path) -> Base:
    """Write a base model named ``Tiny`` with these options, and read it."""
    made = iter(range(100))

    def called(**options: object) -> BaseModel:
        return BaseModel.read(write_base(tmp_path / str(next(made)) / "Tiny", **options))

    return called


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("first", [1, 3, 6])
def test_a_copy_in_other_files_or_another_dtype_is_the_same(
    base: Base, dtype: str, first: int
) -> None:
    assert base(dtype=dtype, first=first).fingerprint == base().fingerprint


@pytest.mark.parametrize(
    "changes", [{LAYER: (0, 2.0)}, {LAYER: (63, 2.0)}, {LAYER: (0, -0.0)}], ids=str
)
def test_other_weights_are_another_model(base: Base, changes: dict[str, object]) -> None:
    assert base(changes=changes).fingerprint != base().fingerprint
    assert base(seed=1).fingerprint != base().fingerprint


@pytest.mark.parametrize("tensor", ["lm_head.weight", "model.embed_tokens.weight"])
def test_what_some_leave_out_when_they_save_makes_no_difference(base: Base, tensor: str) -> None:
    assert base(changes={tensor: (0, 2.0)}).fingerprint == base().fingerprint


def test_values_past_the_first_are_not_looked_at(base: Base) -> None:
    """What the module says of itself."""
    assert base(changes={LAYER: (64, 2.0)}).fingerprint == base().fingerprint


def test_a_dtype_that_is_not_served_is_read_as_it_stands(base: Base) -> None:
    double = base(dtype="F64")
    assert double.fingerprint not in (None, base().fingerprint)
    assert double.fingerprint != base(dtype="F64", seed=1).fingerprint


def test_a_version_is_for_the_weights_it_was_published_for(base: Base, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", weights(), config())
    store = LocalStore(tmp_path / "store")
    own, other = Validator(base(), max_rank=8), Validator(base(seed=1), max_rank=8)
    version = store.publish("alice", folder, check=own.check)
    assert version.base == base().fingerprint
    stored = store.open("alice", version.version)
    own.check_version(stored, version.version)
    for _ in range(2):  # the second time it is known
        with pytest.raises(ValidationError, match="with other weights") as error:
            other.check_version(stored, version.version)
        assert (error.value.code, error.value.file) == (Fault.WRONG_BASE, VERSION_FILE)
    # Published for the other one as well: it is the last that counts, without a restart.
    store.publish("alice", folder, check=other.check)
    other.check_version(stored, version.version)
    with pytest.raises(ValidationError, match="with other weights"):
        own.check_version(stored, version.version)


@pytest.mark.parametrize("record", ["{", "[]", '{"base": null}', '{"base": 7}', "{}", None])
def test_what_is_not_known_is_not_compared(base: Base, tmp_path: Path, record: str | None) -> None:
    folder = write_adapter(tmp_path / "adapter", weights(), config())
    validator = Validator(base(), max_rank=8)
    store = LocalStore(tmp_path / "store")
    version = store.publish("alice", folder, check=validator.check).version
    stored = store.open("alice", version)
    if record is None:
        (stored / VERSION_FILE).unlink()
    else:
        (stored / VERSION_FILE).write_text(record)
    Validator(base(seed=1), max_rank=8).check_version(stored, version)
    unknown = BaseModel(name="tiny", layers=base().layers)
    (stored / VERSION_FILE).write_text(json.dumps({"base": "0" * 64}))
    Validator(unknown, max_rank=8).check_version(stored, version)
