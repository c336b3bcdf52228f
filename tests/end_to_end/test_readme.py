"""README's Python runs as printed, on a tiny model that stands where README names a real one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perce.cli import COMMANDS, main

README = Path(__file__).resolve().parents[2] / "README.md"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def workplace(model_folder: Path, records_folder: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    source = ["--source", "tabular", "--path", str(records_folder)]
    out = ["--model", str(model_folder), "--out", str(folder / "prepared")]
    assert main(["prepare", *source, *out]) == 0
    return folder


def test_readme_shows_each_part() -> None:
    shown = "\n".join(BLOCKS)
    for name in (
        "PairLoader", "PerCETrainer", "perce_weights", "linear_weighted_ce", "score_dataset",
    ):  # fmt: skip
        assert name in shown


@pytest.mark.parametrize("code", BLOCKS, ids=lambda code: code.splitlines()[0])
def test_block_runs(code: str, workplace: Path, model_folder: Path, monkeypatch) -> None:
    statements = [line for line in code.splitlines() if line.strip() and "import" not in line]
    assert len(statements) <= 5
    monkeypatch.chdir(workplace)
    exec(compile(code.replace(MODEL, str(model_folder)), "README.md", "exec"), {})


def test_the_two_commands_come_first() -> None:
    before_code = README.read_text().split("```python")[0]
    assert re.search(r"^    make demo.*\n    make test", before_code, flags=re.MULTILINE)


def test_readme_names_every_command() -> None:
    text = README.read_text()
    assert all(f"perce {command}" in text or f"make {command}" in text for command in COMMANDS)
