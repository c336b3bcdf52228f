"""The demo's whole way on a tiny random model: what it leaves, and what it does not do twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from perce.data.sources import KnownTruthSource, Source
from perce.demo import run as module
from perce.demo.run import DemoResult, run_demo
from perce.demo.settings import DemoSettings
from perce.errors import StoreError
from tiny import ListSource, tiny_model, tiny_records, tiny_tokenizer

SETTINGS = DemoSettings(
    train_records=12,
    eval_records=6,
    gallery_records=4,
    max_length=500,
    max_tokens=500,
    accumulation=1,
    lora_r=2,
    save_steps=1,
    generate=2,
    max_new_tokens=4,
    writers=("u1", "u2"),
    writer_records=4,
    writer_eval_records=2,
    writer_steps=2,
)


class Texts(ListSource):
    """Tiny records under the names of sotu's splits."""

    def splits(self) -> tuple[str, ...]:
        return ("train", "val", "unseen")


@pytest.fixture(scope="module")
def sources() -> Mapping[str, Source]:
    return {
        "text": Texts(tiny_records(12)),
        "gallery": KnownTruthSource(),
        "writers": Texts(tiny_records(24, seed=5)),
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def run(
    model: Path, out: Path, sources: Mapping[str, Source], settings: DemoSettings = SETTINGS
) -> tuple[DemoResult, list[str]]:
    said: list[str] = []
    return run_demo(model, out, settings=settings, sources=sources, say=said.append), said


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, model: Path, sources: Mapping[str, Source]
) -> tuple[Path, DemoResult]:
    out = tmp_path_factory.mktemp("demo")
    return out, run(model, out, sources)[0]


def test_it_leaves_scores_adapters_page_and_comparison(finished: tuple[Path, DemoResult]) -> None:
    out, result = finished
    assert pq.read_table(out / "scores" / "base-val.parquet").num_rows > 0
    for arm in ("ce", "perce"):
        assert (out / arm / "adapter_model.safetensors").is_file()
    page = result.heatmap.read_text(encoding="utf-8")
    assert page.index("Does it find the right words?") < page.index("Real writers")
    assert "AUROC" in page
    for name in ("val", "unseen"):
        evaluation = result.evaluations[name]
        assert [arm.name for arm in evaluation.arms] == ["base", "ce", "perce"]
        assert evaluation.reference == "ce"
        assert evaluation.generated == 2
        assert json.loads((out / f"eval-{name}.json").read_text())["data"] == f"prepared/{name}"
    report = result.report.read_text(encoding="utf-8")
    assert "prepared/val" in report
    assert "prepared/unseen" in report
    assert "Two writers" in report
    assert result.peak_memory is None or result.peak_memory > 1e7


def test_the_arms_differ_though_all_but_the_objective_is_equal(
    finished: tuple[Path, DemoResult],
) -> None:
    out, result = finished
    base, ce, perce = (arm.figures["nll"] for arm in result.evaluations["val"].arms)
    assert len({base, ce, perce}) == 3
    states = [json.loads((out / arm / "trainer_state.json").read_text()) for arm in ("ce", "perce")]
    assert states[0]["max_steps"] == states[1]["max_steps"] > 1


def test_two_writers_adapters_are_measured_on_both_writers(
    finished: tuple[Path, DemoResult], sources: Mapping[str, Source]
) -> None:
    out, result = finished
    table = result.writers
    assert table is not None
    assert table.writers == ("u1", "u2")
    assert dict(table.records) == {"u1": 2, "u2": 2}
    assert list(table.nll) == list(table.texts) == ["shared", "u1", "u2"]
    # The fleet's own figures are the same measure of the same tokens.
    fleet = json.loads((out / "writers" / "fleet.json").read_text())["users"]
    for writer, told in fleet.items():
        assert told["records"] == 4
        assert told["steps"] == 2
        assert told["before"]["nll"] == pytest.approx(table.nll["shared"][writer], abs=1e-4)
        assert told["after"]["nll"] == pytest.approx(table.nll[writer][writer], abs=1e-4)
        assert told["before"]["nll"] != told["after"]["nll"]
    kept = {record.user_id for record in sources["writers"].records("val")}
    assert len(kept) == 4, "the source has more writers than the table"


def test_an_interrupted_writer_is_trained_and_the_other_kept(
    finished: tuple[Path, DemoResult],
    model: Path,
    sources: Mapping[str, Source],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    (out / "writers.json").unlink()
    folder = json.loads((out / "writers" / "fleet.json").read_text())["users"]["u2"]["folder"]
    shutil.rmtree(out / "writers" / folder)
    told: list[str] = []
    again = run_demo(
        model,
        out,
        settings=SETTINGS,
        sources=sources,
        say=lambda line: None,
        tell=lambda what, done, total: told.append(what),
    )
    assert "training u2" in told
    assert "training u1" not in told
    assert again.writers == finished[1].writers


def test_without_writers_there_is_no_such_table(
    finished: tuple[Path, DemoResult],
    model: Path,
    sources: Mapping[str, Source],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    monkeypatch.delattr(module, "train_writers")
    result, _ = run(model, out, sources, replace(SETTINGS, writers=()))
    assert result.writers is None
    assert result.evaluations == finished[1].evaluations, "the arms need not be trained again"
    assert "Two writers" not in result.report.read_text(encoding="utf-8")


def test_a_second_run_does_nothing_again(
    finished: tuple[Path, DemoResult],
    model: Path,
    sources: Mapping[str, Source],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, result = finished

    def never(*args: object, **settings: object) -> None:
        raise AssertionError("done before")

    for work in (
        "score_dataset",
        "train_arm",
        "evaluate_adapters",
        "train_writers",
        "compare_writers",
        "load_model",
    ):
        monkeypatch.setattr(module, work, never)
    again, said = run(model, out, sources)
    assert again.evaluations == result.evaluations
    assert again.writers == result.writers
    assert sum("done before" in line for line in said) == 3 + 2 + 2 + 1


def test_an_interrupted_training_goes_on_and_ends_as_if_nothing_had_been(
    finished: tuple[Path, DemoResult],
    model: Path,
    sources: Mapping[str, Source],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what == "training perce" and done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    settings = replace(SETTINGS, writers=())
    with pytest.raises(KeyboardInterrupt):
        run_demo(
            model,
            tmp_path,
            settings=settings,
            sources=sources,
            say=lambda line: None,
            tell=interrupt,
        )
    assert (tmp_path / "ce" / "adapter_config.json").is_file()
    assert not (tmp_path / "perce" / "adapter_config.json").is_file()
    result, said = run(model, tmp_path, sources, settings)
    assert "Training ce: done before" in said
    assert "  going on from the last checkpoint" in said
    assert result.evaluations == finished[1].evaluations


def test_another_learning_rate_trains_anew(
    finished: tuple[Path, DemoResult],
    model: Path,
    sources: Mapping[str, Source],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    assert any((out / "ce").glob("checkpoint-*"))

    class ReachedError(Exception):
        pass

    def watched(base: Path, data: object, folder: Path, *rest: object, **settings: object) -> None:
        assert not folder.exists(), "checkpoints of the former run would be continued"
        raise ReachedError

    monkeypatch.setattr(module, "train_arm", watched)
    monkeypatch.delattr(module, "score_dataset")
    with pytest.raises(ReachedError):
        run(model, out, sources, replace(SETTINGS, learning_rate=1e-2))


def test_a_folder_of_something_else_is_refused(
    model: Path, sources: Mapping[str, Source], tmp_path: Path
) -> None:
    (tmp_path / "demo.json").write_text("not a demo's")
    with pytest.raises(StoreError, match=r"demo\.json"):
        run(model, tmp_path, sources)
