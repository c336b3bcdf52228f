"""Several processes prepare the folder that one does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sample_tokenizers import make_tiny_tokenizer

from perce import prepare as module
from perce.data.sources import TabularSource
from perce.errors import RecordError
from perce.prepare import PrepareOptions, prepare


def source(folder: Path, records: int = 40) -> TabularSource:
    """Records of which some cannot be read and others do not fit."""
    rows = []
    for number in range(records):
        row = {"user_id": f"u{number % 7}", "profile": [f"likes {n}" for n in range(number % 5)]}
        text = "long " * 200 if number % 11 == 3 else f"a question of {number}"
        rows.append(row | {"query": text, "response": "" if number % 9 == 4 else f"the {number}"})
    file = folder / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return TabularSource(file)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "train").iterdir()}


def make(folder: Path, out: Path, **options: Any) -> dict[str, bytes]:
    given = PrepareOptions(max_length=300, max_profile_length=20, **options)
    prepare(source(folder), "train", make_tiny_tokenizer(), out, options=given)
    return contents(out)


def test_bad_records_are_listed_in_the_order_of_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 8)
    made = make(tmp_path, tmp_path / "one", skip_bad=True, limit=30)
    listed = json.loads(made["meta.json"])["bad_records"]
    lines = [int(error.split(":")[1]) - 1 for error in listed if ".jsonl:" in error]
    assert lines == [number for number in range(40) if number % 9 == 4][: len(lines)]
    assert len(lines) >= 3
    assert len(listed) > len(lines)  # those too long are found after reading


@pytest.mark.slow
def test_several_processes_make_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 4)
    one = make(tmp_path, tmp_path / "one", skip_bad=True)
    assert make(tmp_path, tmp_path / "two", skip_bad=True, num_proc=2) == one
    with pytest.raises(RecordError, match="field 'response': is empty"):
        make(tmp_path, tmp_path / "three", num_proc=2)
    assert not (tmp_path / "three").exists()
