"""The whole way of a record through the command line, on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from perce.cli import main

TRAIN = """\
model: {model}
data: {prepared}
use_peft: true
lora_r: 4
learning_rate: 5e-3
max_tokens: 512
max_steps: 3
report_to: none
logging_steps: 1
use_cpu: true
"""


@pytest.fixture(scope="module")
def prepared(model_folder: Path, records_folder: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("way") / "prepared"
    source = ["--source", "tabular", "--path", str(records_folder), "--retrieval", "none"]
    assert main(["prepare", *source, "--model", str(model_folder), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def runs(model_folder: Path, prepared: Path) -> Path:
    folder = prepared.parent
    config = folder / "train.yaml"
    config.write_text(TRAIN.format(model=model_folder, prepared=prepared))
    for objective in ("ce", "perce"):
        out = folder / "runs" / objective
        options = ["--config", str(config), "--objective", objective, "--output_dir", str(out)]
        assert main(["train", *options]) == 0
    return folder / "runs"


def test_inspect_shows_both_prompts_and_the_same_response(prepared: Path, capsys) -> None:
    assert main(["inspect", str(prepared), "--record", "3", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    text = json.dumps(shown)
    assert "I love the hills." in text
    assert "Trip 3 goes to the hills" in text


def test_score_writes_one_row_a_response_token(
    model_folder: Path, prepared: Path, tmp_path: Path, capsys
) -> None:
    out, page = tmp_path / "scores.parquet", tmp_path / "scores.html"
    options = ["--data", str(prepared), "--out", str(out), "--html", str(page)]
    assert main(["score", "--model", str(model_folder), *options]) == 0
    table = pq.read_table(out)
    figures = ["position", "token_id", "piece", "logp_with", "logp_without", "pir"]
    assert table.column_names == ["record", "id", "user", *figures]
    pieces = zip(table["piece"].to_pylist(), table["record"].to_pylist(), strict=True)
    first = "".join(piece for piece, record in pieces if record == 0)
    assert first.startswith("Trip 0 goes to the sea, early in the day.")
    assert "Plan trip 0, please." in page.read_text()


def test_the_two_arms_differ_and_are_peft_adapters(runs: Path) -> None:
    weights = [load_file(runs / arm / "adapter_model.safetensors") for arm in ("ce", "perce")]
    assert weights[0].keys() == weights[1].keys()
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])


def test_eval_prints_base_and_both_arms(
    runs: Path, model_folder: Path, prepared: Path, tmp_path: Path, capsys
) -> None:
    adapters = [str(runs / "ce"), str(runs / "perce")]
    out = tmp_path / "eval.json"
    options = ["--data", str(prepared / "val"), "--generate", "2", "--out", str(out)]
    assert main(["eval", "--model", str(model_folder), "--adapters", *adapters, *options]) == 0
    printed = capsys.readouterr().out
    assert "base" in printed
    assert "perce" in printed
    arms = json.loads(out.read_text())
    assert "perce" in json.dumps(arms)


def test_resume_of_a_finished_run_with_other_data_is_refused(
    runs: Path, model_folder: Path, records_folder: Path, tmp_path: Path, capsys
) -> None:
    other = tmp_path / "other"
    source = ["--source", "tabular", "--path", str(records_folder), "--limit", "12"]
    assert main(["prepare", *source, "--model", str(model_folder), "--out", str(other)]) == 0
    options = ["--model", str(model_folder), "--data", str(other), "--use_peft", "--use_cpu"]
    checkpoint = next((runs / "ce").glob("checkpoint-*"))
    resume = ["--resume_from_checkpoint", str(checkpoint), "--output_dir", str(tmp_path / "run")]
    assert main(["train", *options, *resume]) == 2
    assert "belongs to another run" in capsys.readouterr().err


def test_env_tells_what_a_bug_report_needs(capsys) -> None:
    assert main(["env"]) == 0
    printed = capsys.readouterr().out
    for word in ("perce", "torch", "transformers", "threads", "kernels"):
        assert word in printed
