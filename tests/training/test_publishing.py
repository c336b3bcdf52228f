"""``perce train --publish``: published when it is trained, refused before, never lost."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from perce_serving.cli import main as perce_adapters
from perce_serving.store import LocalStore

from perce.cli import main
from perce.training import PerCETrainer
from perce.training.run import parse_arguments
from tiny import tiny_data, tiny_model, tiny_tokenizer

PUBLISH = ("--use_peft", "--publish", "user=alice", "--store", "adapters")
Train = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    tiny_model().save_pretrained(root / "model")
    tiny_tokenizer().save_pretrained(root / "model")
    tiny_data(root / "prepared")
    return root


@pytest.fixture
def train(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Train:
    """Run ``perce train`` of one step with these options more; exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def called(*options: str) -> tuple[int, str, str]:
        words = [
            *("train", "--model", str(folders / "model"), "--data", str(folders / "prepared")),
            *("--output_dir", "out", "--max_tokens", "200", "--max_steps", "1", "--use_cpu"),
            *("--disable_tqdm", "true", "--lora_r", "2", *options),
        ]
        code = main(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of the trainer, in whose place nothing is trained."""
    calls: list[Any] = []
    monkeypatch.setattr(PerCETrainer, "train", lambda *given, **named: calls.append(given))
    return calls


def test_the_finished_adapter_is_the_user_s_current_one(train: Train) -> None:
    code, out, err = train(*PUBLISH)
    assert code == 0, err
    assert "published into adapters: the current adapter of user alice" in out
    store = LocalStore(Path("adapters"))
    version = store.current("alice")
    assert version is not None
    name = "adapter_model.safetensors"
    assert (store.open("alice", version) / name).read_bytes() == (Path("out") / name).read_bytes()


def test_without_it_nothing_is_published(train: Train) -> None:
    code, out, err = train("--use_peft")
    assert code == 0, err
    assert "published" not in out
    assert not Path("adapters").exists()


def test_options_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("publish: user=a b\nstore: adapters\nmax-lora-rank: 8\n")
    script, _, _ = parse_arguments(["--config", str(path)])
    assert (script.publish, script.store, script.max_lora_rank) == ("user=a b", "adapters", 8)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--publish", "user=alice"), "store: is missing"),
        (("--store", "adapters"), "store: means nothing without publish"),
        (("--publish", "alice", "--store", "adapters"), "publish: 'alice': give user=ID"),
        (("--publish", "user=", "--store", "adapters"), "the id is empty"),
        (("--publish", "user=alice", "--store", "out/../taken"), "cannot be published"),
        ((*PUBLISH, "--lora_r", "65"), "r: 65: must be 1 to 64"),
        ((*PUBLISH, "--max_lora_rank", "12"), "max_lora_rank: 12"),
        ((*PUBLISH, "--use_peft", "false"), "publish: publishes adapters: give use_peft"),
    ],
)
def test_what_cannot_be_published_is_not_trained(
    train: Train, trained: list[Any], options: tuple[str, ...], told: str
) -> None:
    Path("taken").write_text("a file where the store should be")
    code, out, err = train("--use_peft", *options)
    assert (code, out) == (2, "")
    line = err.rstrip("\n").splitlines()[-1]
    assert line.startswith("perce train: ")
    assert told in line
    assert trained == []


def test_an_interrupted_training_publishes_nothing(
    train: Train, trained: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PerCETrainer, "interrupted", True, raising=False)
    code, _, err = train(*PUBLISH)
    assert (code, len(trained)) == (130, 1)
    assert "interrupted" in err
    assert LocalStore(Path("adapters")).users() == []


def test_an_adapter_that_cannot_be_published_is_not_lost(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "publish", full_disk)
        code, _, err = train(*PUBLISH)
    assert code == 2
    line = err.rstrip("\n").splitlines()[-1]
    assert "the adapter is in out" in line
    assert "No space left on device" in line
    found = re.search("`perce-adapters (.*)`", line)
    assert found is not None
    assert perce_adapters(shlex.split(found[1])) == 0
    assert LocalStore(Path("adapters")).users() == ["alice"]
