"""The code of the ledger's guide runs as it stands, and names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ledger_runs import batch
from perce.ledger import ScoreLedger, export
from perce.tokens import PreparedData

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "ledger.md").read_text(encoding="utf-8")


def test_code_runs(
    data: PreparedData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ScoreLedger.create(tmp_path / "runs" / "perce" / "ledger", data) as ledger:
        ledger.update(*batch(1, range(12), data))
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", GUIDE, re.M | re.S)
    exec(compile(code, "ledger.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) > 1


def test_columns_are_those_of_the_table() -> None:
    sentence = GUIDE[GUIDE.index("The exported table has the columns") :]
    assert re.findall(r"`(\w+)`", sentence[: sentence.index(";")]) == export.SCHEMA.names
