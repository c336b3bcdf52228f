"""What a checkpoint must have in common with a run, over ranks, shards and other differences."""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce import _core
from perce.errors import TrainingError
from perce.training.resuming import STATE_FILE, RunState

STATE = RunState(
    data="d",
    template="t",
    plan="p",
    base_weights="b",
    trained_weights="w",
    objective="perce",
    objective_options={"clip_min": 0.8, "clip_max": 5.0},
    normalize="tokens",
    ce_warmup_steps=0,
    perce_weight_source="self",
    scores="",
    refresh_every=1,
    ledger=0.5,
    arguments={"learning_rate": 1e-4, "optim": "adamw_torch"},
    gradient_accumulation_steps=4,
    world_size=2,
    threads=1,
    max_steps=10,
)

WEIGHTS = {
    "adapter": ["adapter_model.safetensors"],
    "whole": ["model.safetensors"],
    "sharded": ["model.safetensors.index.json", "model-00001-of-00002.safetensors"],
    "fsdp full": ["adapter_model.safetensors", "pytorch_model_fsdp.bin"],
    "fsdp sharded": ["pytorch_model_fsdp_0/.metadata", "pytorch_model_fsdp_0/__0_0.distcp"],
}
OPTIMIZER = {
    "fsdp full": ["optimizer.bin"],
    "fsdp sharded": ["optimizer_0/.metadata", "optimizer_0/__0_0.distcp"],
}


def files_of(kind: str, state: RunState) -> list[str]:
    ranks = state.world_size
    rng = [f"rng_state_{rank}.pth" for rank in range(ranks)] if ranks > 1 else ["rng_state.pth"]
    ledger = [] if state.ledger is None else ["ledger.bin"]
    others = ["trainer_state.json", "scheduler.pt", "README.md", *rng, *ledger]
    return [*WEIGHTS[kind], *OPTIMIZER.get(kind, ["optimizer.pt"]), *others]


def write(folder: Path, state: RunState, kind: str = "adapter") -> Path:
    """A checkpoint with nothing in its files."""
    for name in files_of(kind, state):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    state.write(folder)
    return folder


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("ranks", [1, 3])
def test_every_part_is_needed(tmp_path, kind: str, ranks: int, caplog) -> None:
    state = dataclasses.replace(STATE, world_size=ranks)
    folder = write(tmp_path / "checkpoint-7", state, kind)
    state.check(folder)
    assert caplog.text == ""
    for name in files_of(kind, state):
        path = folder / name
        path.unlink()
        if name == "README.md":
            state.check(folder)
            continue
        with pytest.raises(TrainingError, match=r"is not whole, .* missing: resume"):
            state.check(folder)
        for damaged in ("torn", name[:-1] + "~"):
            path.write_text(damaged)
            with pytest.raises(TrainingError, match=rf"not whole, {name} is damaged"):
                state.check(folder)
        path.write_text(name)
    state.check(folder)


CHANGES: dict[str, Any] = {
    "data": "e",
    "template": "u",
    "plan": "q",
    "base_weights": "c",
    "trained_weights": "x",
    "objective": "ce",
    "objective_options": {"clip_min": 0.2, "clip_max": 5.0},
    "normalize": "weight",
    "ce_warmup_steps": 3,
    "perce_weight_source": "column",
    "scores": "s",
    "refresh_every": 4,
    "ledger": None,
    "gradient_accumulation_steps": 3,
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_difference_is_refused_by_name(tmp_path, name: str) -> None:
    folder = write(tmp_path / "checkpoint-7", STATE)
    other = dataclasses.replace(STATE, **{name: CHANGES[name]})
    with pytest.raises(
        TrainingError, match=f"another run: {name} is .* there and .* here"
    ) as error:
        other.check(folder)
    assert "\n" not in str(error.value)


def test_every_field_is_compared() -> None:
    loose = {"arguments", "world_size", "threads", "max_steps"}
    assert CHANGES.keys() | loose == {field.name for field in dataclasses.fields(RunState)}


def test_training_arguments_are_refused_by_their_names(tmp_path) -> None:
    folder = write(tmp_path / "checkpoint-7", STATE)
    for arguments in ({"learning_rate": 2e-4, "optim": "adamw_torch"}, {"optim": "adamw_torch"}):
        other = dataclasses.replace(STATE, arguments=arguments)
        with pytest.raises(TrainingError, match=r"another run: learning_rate is 0\.0001 there and"):
            other.check(folder)


@pytest.mark.parametrize("name", ["threads", "max_steps"])
def test_what_only_rounds_otherwise_is_told(tmp_path, name: str, caplog) -> None:
    folder = write(tmp_path / "checkpoint-7", STATE)
    dataclasses.replace(STATE, **{name: 99}).check(folder)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"checkpoint-7: {name} is ")
    assert message.endswith("here; the run is no longer bit-equal")


@given(
    ranks=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    accumulation=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_other_ranks_go_on_where_a_step_remains_the_same_bins(
    tmp_path_factory, ranks, accumulation
) -> None:
    there, here = (
        dataclasses.replace(STATE, world_size=r, gradient_accumulation_steps=a)
        for r, a in zip(ranks, accumulation, strict=True)
    )
    folder = write(tmp_path_factory.mktemp("ranks") / "checkpoint-7", there)
    bins = [r * a for r, a in zip(ranks, accumulation, strict=True)]
    if bins[0] == bins[1]:
        here.check(folder)
        return
    name = "gradient_accumulation_steps"
    told = f"{name} x ranks is {bins[0]} there and {bins[1]} here"
    if ranks[0] == ranks[1]:
        told = f"{name} is {accumulation[0]} there and {accumulation[1]} here"
    elif bins[0] % ranks[1] == 0:
        told += f"; set {name} to {bins[0] // ranks[1]}"
    else:
        told += f"; use a number of ranks that divides {bins[0]}"
    with pytest.raises(TrainingError) as error:
        here.check(folder)
    assert told in str(error.value)


def steps_of(n_bins: int, ranks: int, accumulation: int, epoch: int) -> list[set[int]]:
    """Bins of each optimizer step of an epoch, over all ranks; repeats left out."""
    order = _core.epoch_order(n_bins, 7, epoch)
    shares = [_core.rank_bins(order, rank, ranks).tolist() for rank in range(ranks)]
    return [
        {code for share in shares for code in share[start : start + accumulation] if code >= 0}
        for start in range(0, len(shares[0]), accumulation)
    ]


@given(
    n_bins=st.integers(1, 40),
    split=st.sampled_from([(1, 12), (2, 6), (3, 4), (4, 3), (6, 2), (12, 1)]),
    epoch=st.integers(0, 3),
)
def test_ranks_times_accumulation_alone_decides_what_a_step_is(n_bins, split, epoch) -> None:
    """Why another split goes on with no record lost or repeated: its steps hold the same bins."""
    assert steps_of(n_bins, *split, epoch) == steps_of(n_bins, 1, 12, epoch)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "of another version"),
        ('{"format_version": 1}', "of another version"),
        ('{"format_version": 3, "data": "d"}', "lacks template, plan"),
    ],
)
def test_a_state_that_cannot_be_read(tmp_path, text: str, told: str) -> None:
    folder = write(tmp_path / "checkpoint-7", STATE)
    (folder / STATE_FILE).write_text(text)
    with pytest.raises(TrainingError, match=f"checkpoint-7: {STATE_FILE} .*{told}"):
        STATE.check(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("parts", []), ("arguments", None), ("world_size", "2"), ("gradient_accumulation_steps", 1.5)],
)
def test_a_damaged_state_is_told(tmp_path, name: str, value: Any) -> None:
    folder = write(tmp_path / "checkpoint-7", STATE)
    path = folder / STATE_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(TrainingError, match=f"{STATE_FILE} is damaged: {name} is"):
        STATE.check(folder)


def test_what_is_stored_is_plain_json(tmp_path) -> None:
    folder = write(tmp_path / "checkpoint-7", STATE)
    stored = json.loads((folder / STATE_FILE).read_text())
    name = "rng_state_1.pth"
    assert stored["parts"][name] == {"bytes": len(name), "crc32": zlib.crc32(name.encode())}
    assert STATE_FILE not in stored["parts"]
