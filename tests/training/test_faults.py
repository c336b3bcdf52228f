"""What goes wrong around a run: each a typed error of one line, and nothing is lost that was saved.

There are no loader workers that could be killed: ``dataloader_num_workers`` is refused by name (see
test_config.py).
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from transformers import TrainerCallback

from disks import small_files
from perce.cli import main
from perce.errors import LedgerError, OptionError, PackingError, TrainingError
from perce.ledger import ScoreLedger
from perce.training import saving
from perce.training.checkpoint import (
    STAGING,
    check_output_dir,
    find_checkpoint,
    publish,
    recover,
    writing,
)
from perce.training.config import PerCEConfig
from perce.training.trainer import PerCETrainer
from tiny import tiny_data, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory):
    return tiny_data(tmp_path_factory.mktemp("prepared"))


def make(data, output: Path, **options: Any):
    settings = {
        "output_dir": str(output),
        "max_steps": 4,
        "max_tokens": 150,
        "learning_rate": 0.01,
        "save_steps": 1,
        "logging_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        **options,
    }
    return PerCETrainer(
        tiny_model(spread=6.0),
        PerCEConfig(**settings),
        data,
        processing_class=tiny_tokenizer(),
        peft_config=LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def parts(run: Path) -> dict[str, bytes]:
    """What a finished run must have in common with another, as bytes."""
    last = find_checkpoint(True, run)
    names = ("adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "ledger.bin")
    return {last.name + name: (last / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a fault."""
    output = tmp_path_factory.mktemp("whole")
    make(data, output).train()
    return output


def assert_resumes(data, output: Path, whole: Path) -> None:
    make(data, output).train(resume_from_checkpoint=True)
    assert parts(output) == parts(whole)
    assert (output / "ledger/journal-0.log").read_bytes() == (
        whole / "ledger/journal-0.log"
    ).read_bytes()


class At(TrainerCallback):
    """Calls something at an event of a step, or at every one."""

    def __init__(self, event: str, step: int, act: Callable[[], None]) -> None:
        def call(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step:
                act()

        setattr(self, event, call)


# ---- the disk ----


def test_a_full_disk_under_the_journal(data, whole, tmp_path) -> None:
    trainer = make(data, tmp_path)
    journal = tmp_path / "ledger" / "journal-0.log"
    with small_files() as limit:
        at = At("on_step_begin", 2, lambda: limit(journal.stat().st_size + 10))
        trainer.add_callback(at)
        with pytest.raises(LedgerError, match=r"journal-0\.log") as error:
            trainer.train()
    assert error.value.path == str(journal)
    assert "\n" not in str(error.value)
    assert ScoreLedger.open(tmp_path, data).last_step().max() == 2, "a frame before it is lost"
    assert_resumes(data, tmp_path, whole)


@pytest.mark.parametrize("part", ["adapter_model.safetensors", "optimizer.pt"])
def test_a_full_disk_under_a_checkpoint(data, whole, tmp_path, part: str) -> None:
    """Each library's writer says it in its own way."""
    trainer = make(data, tmp_path)
    most = (find_checkpoint(True, whole) / part).stat().st_size - 1
    with small_files() as limit:
        trainer.add_callback(At("on_step_end", 3, lambda: limit(most)))
        with pytest.raises(TrainingError, match="cannot write checkpoint-3: ") as error:
            trainer.train()
    assert "\n" not in str(error.value)
    assert find_checkpoint(True, tmp_path).name == "checkpoint-2"
    assert not (tmp_path / STAGING).exists()
    assert_resumes(data, tmp_path, whole)


def test_only_a_writers_error_passes_for_one() -> None:
    for error in (OSError(errno.ENOSPC, "No space left"), RuntimeError("PytorchStreamWriter x")):
        with pytest.raises(TrainingError, match="cannot write it: "), writing("it"):
            raise error
    with pytest.raises(RuntimeError, match="a bug") as bug, writing("it"):
        raise RuntimeError("a bug")
    assert not isinstance(bug.value, TrainingError)


def test_an_output_that_cannot_be_written_is_found_out_first(data, tmp_path, monkeypatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for output in (file, file / "under" / "it"):
        with pytest.raises(OptionError, match=r"output_dir: .* cannot be written"):
            make(data, output)

    def read_only(self: Path, *args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "touch", read_only)
    with pytest.raises(OptionError, match="Read-only file system"):
        make(data, tmp_path / "run")


def test_the_command_finds_it_out_before_it_loads_a_model(data, tmp_path, capsys) -> None:
    file = tmp_path / "file"
    file.write_text("")
    arguments = ["train", "--model", str(tmp_path / "absent"), "--data", str(data.path)]
    assert main([*arguments, "--output_dir", str(file / "run"), "--use_cpu"]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("perce train: output_dir: ")


def test_looking_whether_an_output_can_be_written_leaves_nothing(tmp_path) -> None:
    check_output_dir(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


# ---- signals ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["in a step", "in a checkpoint"])
def test_a_signal_saves_and_stops(data, whole, tmp_path, monkeypatch, number, where) -> None:
    trainer = make(data, tmp_path)
    former = signal.getsignal(number)

    def interrupt() -> None:
        os.kill(os.getpid(), number)
        assert signal.getsignal(number) is former, "the second one must not be caught"

    if where == "in a step":
        trainer.add_callback(At("on_pre_optimizer_step", 1, interrupt))
    else:

        def interrupted(staged: Path, target: Path) -> None:
            if target.name == "checkpoint-2":
                interrupt()
            publish(staged, target)

        monkeypatch.setattr(saving, "publish", interrupted)
    trainer.train()
    assert trainer.interrupted
    assert trainer.state.global_step == 2
    assert find_checkpoint(True, tmp_path).name == "checkpoint-2"
    assert not (tmp_path / STAGING).exists()
    monkeypatch.undo()
    assert_resumes(data, tmp_path, whole)


def test_a_second_ctrl_c_in_a_checkpoint_leaves_the_one_before(data, tmp_path, monkeypatch) -> None:
    def interrupted(staged: Path, target: Path) -> None:
        if target.name == "checkpoint-2":
            raise KeyboardInterrupt
        publish(staged, target)

    monkeypatch.setattr(saving, "publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(data, tmp_path).train()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "ledger"]


class Crash(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


@given(crash=st.integers(0, 4), existed=st.booleans())
def test_a_checkpoint_is_there_whole_or_not_whatever_is_cut_short(
    tmp_path_factory, crash: int, existed: bool
) -> None:
    output = tmp_path_factory.mktemp("publish")
    target = output / "checkpoint-3"
    if existed:
        target.mkdir()
        (target / "part").write_text("old")
    staged = output / STAGING / "checkpoint-3"
    staged.mkdir(parents=True)
    (staged / "part").write_text("new")
    calls = 0

    def or_crash(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > crash:
                raise Crash
            return original(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", or_crash(Path.replace))
        patch.setattr(shutil, "rmtree", or_crash(shutil.rmtree))
        try:
            publish(staged, target)
        except Crash:
            pass
        else:
            assert calls <= crash
    recover(output)
    assert {path.name for path in output.iterdir()} <= {"checkpoint-3"}
    if target.exists():
        assert (target / "part").read_text() in ({"old", "new"} if existed else {"new"})
    else:
        assert not existed, "what was replaced is lost"


# ---- the numbers and the records ----


def test_a_gradient_that_is_not_finite_stops_before_the_optimizer(data, tmp_path) -> None:
    trainer = make(data, tmp_path)
    name, weight = next((n, p) for n, p in trainer.model.named_parameters() if "lora_B" in n)
    weight.register_hook(lambda gradient: gradient * torch.nan)
    before = weight.detach().clone()
    with pytest.raises(TrainingError, match="gradient is not finite at step 1") as error:
        trainer.train()
    batch = next(iter(trainer.get_train_dataloader()))
    assert repr(data.record_ids[int(batch.records[0])]) in str(error.value)
    assert torch.equal(weight, before), name
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_record_longer_than_a_micro_batch_is_named_before_anything_is_written(
    data, tmp_path
) -> None:
    longest = data.core.lengths()[0]
    with pytest.raises(PackingError, match="raise max_tokens") as error:
        make(data, tmp_path, max_tokens=int(longest.max()) - 1).train()
    record = error.value.record
    assert longest[record] == longest.max()
    assert repr(data.record_ids[record]) in str(error.value)
    assert list(tmp_path.iterdir()) == []
