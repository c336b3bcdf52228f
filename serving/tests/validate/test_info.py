"""perce.json, the third file an adapter may have: bounded, strict JSON, part of the version."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from perce_serving.adapter_files import ADAPTER_FILES, INFO_FILE, read_content
from perce_serving.errors import ValidationError
from perce_serving.faults import Fault
from perce_serving.validate import Validator
from perce_serving.validate.config import MOST_CONFIG
from perce_serving.validate.info import read_info
from validate.adapters import config, weights, write_adapter


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter", weights(), config())


def refused(validator: Validator, folder: Path) -> ValidationError:
    with pytest.raises(ValidationError) as error:
        validator.check(folder)
    assert error.value.file == INFO_FILE
    return error.value


def test_an_adapter_may_do_without(validator: Validator, adapter: Path) -> None:
    assert read_info(adapter) is None
    validator.check(adapter)
    assert list(read_content(adapter).digests) == list(ADAPTER_FILES)


def test_it_is_read_and_counts_as_content(validator: Validator, adapter: Path) -> None:
    without = read_content(adapter)
    info = {"prompt": {"version": 7, "of": "another release"}, "data": {"source": "é"}}
    (adapter / INFO_FILE).write_text(json.dumps(info, ensure_ascii=False), encoding="utf-8")
    validator.check(adapter)
    assert read_info(adapter) == info
    content = read_content(adapter)
    assert list(content.digests) == [*ADAPTER_FILES, INFO_FILE]
    assert content.version != without.version
    assert content.size == without.size + (adapter / INFO_FILE).stat().st_size
    (adapter / INFO_FILE).write_text("{}")
    validator.check(adapter)
    assert read_content(adapter).version not in (content.version, without.version)


@pytest.mark.parametrize(
    ("text", "fault", "field"),
    [
        (b"", Fault.CONFIG_SYNTAX, None),
        (b"[]", Fault.CONFIG_SYNTAX, None),
        (b'{"a": NaN}', Fault.CONFIG_SYNTAX, None),
        (b'{"prompt": {}, "prompt": {}}', Fault.CONFIG_SYNTAX, None),
        (b'{"a": "\xff"}', Fault.CONFIG_SYNTAX, None),
        (b'{"a": "\\ud800"}', Fault.CONFIG_SYNTAX, None),
        (b'{"prompt": []}', Fault.CONFIG_FIELD, "prompt"),
        (b'{"prompt": null}', Fault.CONFIG_FIELD, "prompt"),
        (b"{" + b" " * MOST_CONFIG + b"}", Fault.FILE_TOO_LARGE, None),
    ],
)
def test_texts_that_are_none(
    validator: Validator, adapter: Path, text: bytes, fault: Fault, field: str | None
) -> None:
    (adapter / INFO_FILE).write_bytes(text)
    error = refused(validator, adapter)
    assert (error.code, error.field) == (fault, field)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), Fault.SYMLINK),
        (lambda path: path.symlink_to("nowhere"), Fault.SYMLINK),
        (lambda path: path.mkdir(), Fault.NOT_A_FILE),
        (os.mkfifo, Fault.NOT_A_FILE),
    ],
    ids=["link", "dangling", "folder", "pipe"],
)
def test_files_that_are_none(
    validator: Validator, adapter: Path, make: Callable[[Path], object], fault: Fault
) -> None:
    make(adapter / INFO_FILE)
    assert refused(validator, adapter).code == fault


@pytest.mark.parametrize("known", [True, False])
def test_a_version_whose_info_was_touched_is_looked_at(
    validator: Validator, adapter: Path, known: bool
) -> None:
    version = read_content(adapter).version
    if known:
        validator.check_version(adapter, version)
    (adapter / INFO_FILE).write_text("{}")
    with pytest.raises(ValidationError) as error:
        validator.check_version(adapter, version)
    assert error.value.code == Fault.CHANGED
