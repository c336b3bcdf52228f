"""One adapter a user: no user's depends on another's, or on what interrupted the fleet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from disks import small_files
from fleets import USERS, all_weights, config, figures, fresh_slot, run, weights
from perce.data import PromptRecipe
from perce.errors import LedgerError, OptionError, StoreError, TrainingError, WriteError
from perce.fleet import AdapterSlot, FleetReport
from perce.fleet import run as module
from perce.fleet import training as training_module
from perce.tokens import PreparedData
from perce.training import PerCETrainer
from tiny import tiny_data, tiny_model, tiny_records

TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def finished(
    data: PreparedData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, FleetReport]:
    out = tmp_path_factory.mktemp("finished") / "adapters"
    return out, run(data, out)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*args: Any, **settings: Any) -> None:
        raise AssertionError("trained before")

    monkeypatch.setattr(module, "train_user", trained)


def test_every_user_has_an_adapter_of_their_own(finished, data: PreparedData) -> None:
    out, report = finished
    assert list(report.users) == list(USERS)
    adapters = all_weights(out)
    assert len(set(adapters.values())) == len(USERS)
    for result in report.users.values():
        assert result.state == "trained"
        assert result.records + result.held_out + result.left_out == 6
        assert result.gain("nll") != 0
        folder = out / result.folder
        assert {path.name for path in folder.iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
            "perce.json",
            "README.md",
            "result.json",
        }
        card = json.loads((folder / "perce.json").read_text())
        assert (card["data"]["users"], card["data"]["records"]) == (1, result.records)
        assert PromptRecipe.from_dict(card["prompt"]).response_length > 0
    assert {path.name for path in out.iterdir()} == {"users", "fleet.json", "fleet.md"}


def test_a_user_s_id_is_in_the_fleet_s_own_files_alone(finished) -> None:
    out, _ = finished
    for path in (out / "users").rglob("*"):
        assert not any(user in path.name for user in USERS)
        if path.suffix in {".json", ".md"}:
            assert not any(f'"{user}"' in path.read_text() for user in USERS)
    assert list(json.loads((out / "fleet.json").read_text())["users"]) == list(USERS)


def test_the_base_stays_as_it_was_and_the_slot_goes_back(data: PreparedData, tmp_path) -> None:
    slot = fresh_slot()
    before = {name: p.detach().clone() for name, p in slot.model.named_parameters()}
    run(data, tmp_path / "out", slot=slot, users=["u0"])
    after = dict(slot.model.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    slot.reset()
    assert all(torch.equal(before[name], p) for name, p in slot.model.named_parameters())


@pytest.mark.parametrize("start", ["fresh", "shared", "everything on"])
def test_a_user_alone_is_that_user_after_another(
    data: PreparedData, val: PreparedData, place: Path, tmp_path: Path, start: str
) -> None:
    """Bit for bit, with dropout, mixed precision and recomputation, too, which leave traces."""
    options: dict[str, Any] = {}

    def slot() -> AdapterSlot:
        if start == "shared":
            return AdapterSlot.shared(tiny_model(), place / "shared")
        return fresh_slot(lora_dropout=0.1) if start == "everything on" else fresh_slot()

    if start == "everything on":
        options = {"bf16": True, "gradient_checkpointing": True, "optim": "adamw_torch"}
    settings = {"eval_data": val, "config": config(max_steps=2, **options)}
    alone = run(data, tmp_path / "alone", slot=slot(), users=["u1"], **settings)
    both = run(data, tmp_path / "both", slot=slot(), users=["u2", "u1"], **settings)
    assert weights(tmp_path / "alone", "u1") == weights(tmp_path / "both", "u1")
    assert figures(alone)["u1"] == figures(both)["u1"]
    assert weights(tmp_path / "both", "u1") != weights(tmp_path / "both", "u2")


def test_it_is_what_a_single_training_gives(data: PreparedData, finished, tmp_path: Path) -> None:
    """The trainer alone, on a model of its own, with this user's records and seed."""
    out, _ = finished
    splits = module.UserSplits(data)
    options = training_module.user_config(config(), "u2", tmp_path)
    model = fresh_slot().model
    PerCETrainer(model, options, data.select(splits.split("u2").train)).train()
    saved = load(weights(out, "u2"))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(saved[name.replace(".default", "")], parameter)


def test_a_second_run_trains_nothing_and_tells_the_same(finished, data, never) -> None:
    out, report = finished
    again = run(data, out)
    assert again == report
    few = run(data, out, users=["u2"])
    assert few.users == report.users, "users of earlier runs stay in the table"


def test_users_come_later(data: PreparedData, finished, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(data, out, users=["u2"])
    report = run(data, out, users=["u2", "u0"])
    assert list(report.users) == ["u2", "u0"]
    assert all_weights(out, ("u0", "u2")) == all_weights(finished[0], ("u0", "u2"))


@pytest.mark.parametrize("how", ["ctrl-c", "killed", "killed with checkpoints"])
def test_an_interrupted_fleet_ends_as_if_nothing_had_been(
    data: PreparedData, finished, tmp_path: Path, how: str
) -> None:
    out = tmp_path / "out"

    class KilledError(BaseException):
        pass

    def tell(what: str, done: int, total: int) -> None:
        if what == "training u1" and done == 2:
            if how != "ctrl-c":
                raise KilledError
            os.kill(os.getpid(), signal.SIGINT)

    checkpoints = how == "killed with checkpoints"
    saving = {"save_strategy": "steps", "save_steps": 1} if checkpoints else {}
    two = ("u0", "u1")
    with pytest.raises(KeyboardInterrupt if how == "ctrl-c" else KilledError):
        run(data, out, config=config(**saving), progress=tell, users=two)
    assert list(json.loads((out / "fleet.json").read_text())["users"]) == ["u0"]
    assert bool(list(out.glob("work/*/checkpoint-*"))) == (how != "killed")
    report = run(data, out, config=config(**saving), users=two)
    assert all_weights(out, two) == all_weights(finished[0], two)
    undisturbed = figures(finished[1])
    assert figures(report) == {user: undisturbed[user] for user in two}
    assert not (out / "work").exists()


def test_a_crash_between_publishing_and_clearing(
    data, finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def crash(self: Any, user: str) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(module.FleetFolder, "clear", crash)
        with pytest.raises(RuntimeError, match="killed"):
            run(data, out, users=["u0"])
    assert (out / "work").exists()
    monkeypatch.setattr(module, "train_user", None)
    assert run(data, out, users=["u0"]).users["u0"].state == "trained"
    assert not (out / "work").exists()
    assert weights(out, "u0") == weights(finished[0], "u0")


def test_a_user_who_fails_is_named_and_the_others_go_on(
    data, finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(PerCETrainer):
        def compute_loss(self, *args: Any, **settings: Any) -> Any:
            loss = super().compute_loss(*args, **settings)
            return loss * float("nan") if self.train_dataset.user_ids[0] == "u1" else loss

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(training_module, "PerCETrainer", Broken)
        report = run(data, out, users=["u1", "u2"])
    assert list(report.of("failed")) == ["u1"]
    assert "not finite" in report.users["u1"].reason
    assert "r1" in report.users["u1"].reason
    assert weights(out, "u2") == weights(finished[0], "u2")
    assert "## Failed" in (out / "fleet.md").read_text()
    assert run(data, out, users=["u1", "u2"]).of("failed") == {}, "another run tries again"
    assert weights(out, "u1") == weights(finished[0], "u1")


def test_a_full_disk_is_nobody_s_failure(
    data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **settings: Any) -> None:
        raise TrainingError("cannot write checkpoint-1: no space") from OSError(28, "no space")

    monkeypatch.setattr(module, "train_user", full)
    with pytest.raises(TrainingError, match="no space"):
        run(data, tmp_path / "out")


@pytest.mark.parametrize("strategy", ["no", "steps"])
def test_a_disk_that_fills_up_loses_nothing(
    data: PreparedData, finished, tmp_path: Path, strategy: str
) -> None:
    whole, report = finished
    largest = len(weights(whole, USERS[0]))
    options = {"config": config(save_strategy=strategy, save_steps=1)}
    out = tmp_path / "out"

    with small_files() as limit:

        def progress(what: str, done: int, total: int) -> None:
            if (what, done) == (f"training {USERS[1]}", 2):
                limit(largest - 1)

        with pytest.raises(WriteError, match="cannot write "):
            run(data, out, progress=progress, **options)
    told = json.loads((out / "fleet.json").read_text())["users"]
    assert [user["state"] for user in told.values()] == ["trained"]
    checkpoints = [path.name for path in out.glob("work/*/checkpoint-*")]
    assert checkpoints == (["checkpoint-1"] if strategy == "steps" else [])
    again = run(data, out, **options)
    assert all_weights(out) == all_weights(whole)
    assert figures(again) == figures(report)


def test_a_full_journal_is_nobody_s_failure(
    data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **settings: Any) -> None:
        raise LedgerError("cannot append to journal-0.log: No space left on device")

    monkeypatch.setattr(module, "train_user", full)
    with pytest.raises(LedgerError, match="No space"):
        run(data, tmp_path / "out")


def test_two_at_once_in_a_folder_are_refused(data: PreparedData, finished, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused = []

    def progress(what: str, done: int, total: int) -> None:
        if not refused:
            with pytest.raises(StoreError, match="another perce fleet is at work in") as error:
                run(data, out)
            refused.append(error.value)

    run(data, out, progress=progress)
    assert len(refused) == 1
    assert all_weights(out) == all_weights(finished[0])


def test_skipped_users_are_told_with_the_reason(data, val, tmp_path: Path, never) -> None:
    report = run(data, tmp_path / "few", min_records=7, users=["u0", "u1"])
    assert report.users["u0"].reason == "5 records to train on, fewer than min_records 7"
    assert list(report.of("skipped")) == ["u0", "u1"]
    assert report.summary("nll") is None
    assert "## Skipped" in (tmp_path / "few" / "fleet.md").read_text()
    others = val.select([i for i, user in enumerate(val.user_ids) if user != "u2"])
    report = run(data, tmp_path / "no exam", eval_data=others, users=["u2"])
    assert report.users["u2"].reason == "no record in eval_data to judge by"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"config": config(learning_rate=0.02)}, r"learning_rate \(0\.01, now 0\.02\)"),
        ({"config": config(seed=7)}, r"seed \(42, now 7\)"),
        ({"config": config(perce_clip_min=0.2)}, r"perce_clip_min \(0\.8, now 0\.2\)"),
        ({"eval_share": 0.5}, r"held-out data \(last 0\.2, now last 0\.5\)"),
        ({"slot": "other adapter"}, r"adapter \(.*start \("),
        ({"slot": "other base"}, r"base model \("),
        ({"data": "other"}, r"data \("),
    ],
)
def test_a_folder_of_another_fleet_is_refused_by_name(
    data, finished, tmp_path: Path, never, change: dict[str, Any], told: str
) -> None:
    settings = dict(change)
    if settings.get("slot") == "other adapter":
        settings["slot"] = fresh_slot(lora_alpha=3, init_lora_weights=False)
    elif settings.get("slot") == "other base":
        slot = fresh_slot()
        with torch.no_grad():
            slot.model.get_base_model().model.norm.weight.add_(1e-3)
        settings["slot"] = slot
    if settings.pop("data", None):
        data = tiny_data(tmp_path / "other", tiny_records(24, seed=9))
    with pytest.raises(StoreError, match=rf"was made with another {told}.*choose another --out"):
        run(data, finished[0], **settings)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"users": ["u9"]}, "users: the data have no user 'u9'"),
        ({"min_records": 0}, "min_records: 0"),
        ({"eval_share": 1.0}, "eval_share: 1.0"),
        ({"config": config(output_dir="x")}, "output_dir: leave it out"),
        ({"config": config(resume_from_checkpoint="x")}, "resume_from_checkpoint: leave it out"),
        ({"config": config(eval_strategy="epoch")}, "eval_strategy: leave it out"),
    ],
)
def test_options_that_cannot_work(data, tmp_path, never, change, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        run(data, tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


SCRIPT = """
import sys
from pathlib import Path
from fleets import config, run
from perce.tokens import PreparedData

saving = config(save_strategy="steps", save_steps=1)
run(PreparedData.open(sys.argv[1]), Path(sys.argv[2]), config=saving)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_bit_equal(data, finished, tmp_path: Path) -> None:
    """SIGKILL early in a user's training and late, then once undisturbed."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", SCRIPT, str(data.path), str(out)]
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": threads}
    kills = 0
    for moment in (4, 25):
        with subprocess.Popen(command, env=environment) as process:
            try:
                # The moment counts entries that appear in the folder, not seconds.
                while process.poll() is None and _entries(out) < moment:
                    time.sleep(0.01)
                kills += process.poll() is None
            finally:
                process.kill()
    assert kills
    subprocess.run(command, env=environment, check=True)
    assert all_weights(out) == all_weights(finished[0])
    assert not (out / "work").exists()


def _entries(out: Path) -> int:
    try:
        return sum(1 for _ in out.rglob("*"))
    except FileNotFoundError:  # what is listed may go away meanwhile
        return 0
