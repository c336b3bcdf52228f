"""What a run and its checkpoints must have in common, to go on as if nothing happened."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perce.errors import TrainingError
from perce.ledger.layout import CHECKPOINT_FILE

logger = logging.getLogger(__name__)

STATE_FILE = "perce_state.json"
FORMAT_VERSION = 3

_KINDS = {
    "trainer_state.json": ("trainer_state.json",),
    # One file, or with FSDP what accelerate writes: one file of all ranks, or a folder of shards.
    "optimizer.pt": ("optimizer.pt", "optimizer.bin", "optimizer_*/.metadata"),
    "scheduler.pt": ("scheduler.pt",),
    "adapter_model.safetensors or model.safetensors": (
        "adapter_model.safetensors",
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model_fsdp.bin",
        "pytorch_model_fsdp_*/.metadata",
    ),
}
"""Parts that every checkpoint has, and the files that each can consist of."""

_UNEQUAL = ("world_size", "threads", "max_steps")
"""What may differ: sums are then formed in another order, or the learning rate falls otherwise."""

_BINS = "gradient_accumulation_steps x ranks"
"""Bins of an optimizer step, which are the same for 2 ranks x 4 as for 4 ranks x 2."""

_CHANGEABLE = {"README.md", STATE_FILE}
"""Files that may change after a checkpoint was written, or that cannot list themselves."""


_READ = {"arguments": dict, "parts": dict, "world_size": int, "gradient_accumulation_steps": int}
"""Kinds of what is computed with; the rest is only compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What a run and its checkpoints must have in common to be continued exactly.

    Attributes:
        data: key of the prepared data.
        template: hash of the prompt template.
        plan: hash of the packing plan: lengths, packing options, seed.
        base_weights: name of the weights that do not train.
        trained_weights: names and shapes of those that do.
        objective: name of the token weighting.
        objective_options: its options.
        normalize: what the loss is divided by.
        ce_warmup_steps: steps of plain cross-entropy.
        perce_weight_source: whose log-probabilities make the weights.
        scores: name of the stored log-probabilities, "" for none.
        refresh_every: epochs between two profile-free passes.
        ledger: decay of the score ledger, None without one.
        arguments: further training arguments that change what a step does, by name.
        gradient_accumulation_steps: micro-batches an optimizer step, on each rank.
        world_size: number of ranks.
        threads: threads torch computes with.
        max_steps: optimizer steps of the whole run.
    """

    data: str
    template: str
    plan: str
    base_weights: str
    trained_weights: str
    objective: str
    objective_options: Mapping[str, float]
    normalize: str
    ce_warmup_steps: int
    perce_weight_source: str
    scores: str
    refresh_every: int
    ledger: float | None
    arguments: Mapping[str, Any]
    gradient_accumulation_steps: int
    world_size: int
    threads: int
    max_steps: int

    def write(self, folder: Path) -> None:
        """Write it into a checkpoint, after everything else, with a list of all parts."""
        parts = {
            str(path.relative_to(folder)): _seal(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in _CHANGEABLE
        }
        stored = {"format_version": FORMAT_VERSION, **asdict(self), "parts": parts}
        (folder / STATE_FILE).write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")

    def check(self, folder: Path) -> None:
        """Make sure that a checkpoint is whole and belongs to this run.

        Another number of ranks, threads or steps is only reported: the run goes on, no longer bit
        for bit. A step has to remain the same bins, though, so that no record is lost or repeated:
        with another number of ranks ``gradient_accumulation_steps`` has to change, too.

        Raises:
            TrainingError: a part is missing, or something differs; the message names it.
        """
        stored = _read(folder)
        self._check_parts(folder, stored)
        for name, value in _differences(stored, json.loads(json.dumps(asdict(self)))):
            difference = f"{name} is {_show(value[0])} there and {_show(value[1])} here"
            if name not in _UNEQUAL:
                remedy = self._remedy(stored) if name == _BINS else ""
                raise TrainingError(f"{folder.name} belongs to another run: {difference}{remedy}")
            logger.warning("%s: %s; the run is no longer bit-equal", folder.name, difference)

    def _remedy(self, stored: Mapping[str, Any]) -> str:
        bins = stored["gradient_accumulation_steps"] * stored["world_size"]
        if bins % self.world_size:
            return f"; use a number of ranks that divides {bins}"
        return f"; set gradient_accumulation_steps to {bins // self.world_size}"

    def _check_parts(self, folder: Path, stored: Mapping[str, Any]) -> None:
        ranks = stored["world_size"]
        needed = dict(_KINDS)
        names = [f"rng_state_{rank}.pth" for rank in range(ranks)] if ranks > 1 else []
        needed |= {name: (name,) for name in names or ["rng_state.pth"]}
        if stored["ledger"] is not None:
            needed[CHECKPOINT_FILE] = (CHECKPOINT_FILE,)
        missing = [
            part
            for part, patterns in needed.items()
            if not any(path.is_file() for pattern in patterns for path in folder.glob(pattern))
        ]
        if missing:
            raise _not_whole(folder, f"{', '.join(missing)} missing")
        for name, seal in stored["parts"].items():
            path = folder / name
            if not path.is_file():
                raise _not_whole(folder, f"{name} missing")
            if _seal(path) != seal:
                raise _not_whole(folder, f"{name} is damaged")


def _differences(
    there: Mapping[str, Any], here: Mapping[str, Any]
) -> list[tuple[str, tuple[Any, Any]]]:
    """What differs, by name, what refuses before what only warns."""
    pairs = {name: (there.get(name), value) for name, value in here.items()}
    del pairs["arguments"]
    stored, mine = there["arguments"], here["arguments"]
    pairs |= {name: (stored.get(name), mine.get(name)) for name in sorted(stored.keys() | mine)}
    bins = [run["gradient_accumulation_steps"] * run["world_size"] for run in (there, here)]
    if here["world_size"] != there["world_size"]:
        del pairs["gradient_accumulation_steps"]
        pairs[_BINS] = (bins[0], bins[1])
    found = [(name, pair) for name, pair in pairs.items() if pair[0] != pair[1]]
    return sorted(found, key=lambda difference: difference[0] in _UNEQUAL)


def _seal(path: Path) -> dict[str, int]:
    """By what a part is known again: size in bytes and CRC-32, which a disk's bit flips change."""
    with path.open("rb") as file:
        crc = 0
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
        return {"bytes": file.tell(), "crc32": crc}


def _not_whole(folder: Path, what: str) -> TrainingError:
    return TrainingError(f"{folder.name} is not whole, {what}: resume from another")


def _read(folder: Path) -> dict[str, Any]:
    path = folder / STATE_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _not_whole(folder, f"{STATE_FILE} missing") from None
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder.name}: {STATE_FILE} is not JSON: {error}") from None
    if not isinstance(stored, dict) or stored.get("format_version") != FORMAT_VERSION:
        raise TrainingError(
            f"{folder.name}: {STATE_FILE} is of another version of perce: start without it"
        )
    lacking = [name for name in (*RunState.__slots__, "parts") if name not in stored]
    if lacking:
        raise TrainingError(f"{folder.name}: {STATE_FILE} lacks {', '.join(lacking)}")
    for name, kind in _READ.items():
        if not isinstance(stored[name], kind):
            raise TrainingError(
                f"{folder.name}: {STATE_FILE} is damaged: {name} is {_show(stored[name])}"
            )
    return stored


def _show(value: Any) -> str:
    text = json.dumps(value)
    return f"{text[:13]}..." if isinstance(value, str) and len(text) > 60 else text
