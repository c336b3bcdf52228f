"""Checkpoints that appear whole or not at all, and that say which run they belong to.

transformers writes a checkpoint in place and resumes from the highest number, torn or not; without
its optimizer or random state it resumes silently different. Here a checkpoint is written under
another name, flushed and renamed, and resuming compares what it belongs to with the run at hand.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perce.errors import TrainingError

logger = logging.getLogger(__name__)

STATE_FILE = "perce_state.json"
FORMAT_VERSION = 1
STAGING = ".checkpoint.partial"
"""Folder, beside the checkpoints, in which the next one is written."""

_PARTS = ("trainer_state.json", "optimizer.pt", "scheduler.pt", STATE_FILE)
_WEIGHTS = (
    "adapter_model.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What a run and its checkpoints must have in common to be continued exactly.

    Attributes:
        data: key of the prepared data.
        template: hash of the prompt template.
        plan: hash of the packing plan: lengths, packing options, seed, number of ranks.
        objective: name of the token weighting.
        objective_options: its options.
        normalize: what the loss is divided by.
        ce_warmup_steps: steps of plain cross-entropy.
        gradient_accumulation_steps: micro-batches an optimizer step.
        world_size: number of ranks.
        threads: threads torch computes with; another number rounds differently.
    """

    data: str
    template: str
    plan: str
    objective: str
    objective_options: Mapping[str, float]
    normalize: str
    ce_warmup_steps: int
    gradient_accumulation_steps: int
    world_size: int
    threads: int

    def write(self, folder: Path) -> None:
        """Write it into a checkpoint."""
        text = json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=2)
        (folder / STATE_FILE).write_text(text + "\n", encoding="utf-8")

    def check(self, folder: Path) -> None:
        """Make sure that a checkpoint is whole and belongs to this run.

        Another number of threads is only reported: the run goes on, no longer bit for bit.

        Raises:
            TrainingError: a part is missing, or something differs; the message names it.
        """
        missing = [name for name in _PARTS if not (folder / name).is_file()]
        if not any((folder / name).is_file() for name in _WEIGHTS):
            missing.append(" or ".join(_WEIGHTS[:2]))
        if not list(folder.glob("rng_state*.pth")):
            missing.append("rng_state.pth")
        if missing:
            raise TrainingError(
                f"{folder.name} is not whole, {', '.join(missing)} missing: resume from another"
            )
        stored = _read(folder / STATE_FILE)
        for name, value in asdict(self).items():
            if stored.get(name) == value:
                continue
            difference = f"{name} is {_show(stored.get(name))} there and {_show(value)} here"
            if name != "threads":
                raise TrainingError(f"{folder.name} belongs to another run: {difference}")
            logger.warning("%s: %s; the run is no longer bit-equal", folder.name, difference)


def find_checkpoint(resume: str | bool, output_dir: Path) -> Path:
    """The folder that ``resume_from_checkpoint`` means.

    Args:
        resume: a checkpoint's folder, or True for the last one in ``output_dir``.
        output_dir: the run's folder.

    Raises:
        TrainingError: there is none.
    """
    if resume is not True:
        folder = Path(str(resume))
        if not folder.is_dir():
            raise TrainingError(f"resume_from_checkpoint: no folder {resume}")
        return folder
    found = _checkpoints(output_dir)
    if not found:
        raise TrainingError(
            f"resume_from_checkpoint: no checkpoint-N in {output_dir}; start without it"
        )
    return found[-1]


def publish(staged: Path, target: Path) -> None:
    """Give a finished folder its name, after everything in it is on disk.

    Args:
        staged: the folder as written, on the same file system.
        target: its name; a folder of that name is replaced.
    """
    for path in sorted(staged.rglob("*")):
        _flush(path)
    _flush(staged)
    if target.exists():
        # The same step saved twice, as at an epoch's end: no rename replaces a folder.
        former = staged.parent / f"{target.name}.former"
        target.replace(former)
        staged.replace(target)
        shutil.rmtree(former)
    else:
        staged.replace(target)
    _flush(target.parent)


def rotate(output_dir: Path, keep: int | None, best: str | None) -> None:
    """Delete the oldest checkpoints but ``keep``; the best one and the last one stay.

    Args:
        output_dir: the run's folder.
        keep: how many to keep; None for all.
        best: the best checkpoint's folder, if one is kept for that.
    """
    if keep is None:
        return
    found = _checkpoints(output_dir)
    spared = {found[-1].name} | ({Path(best).name} if best else set())
    surplus = max(len(found) - max(keep, len(spared)), 0)
    # Renamed first: a deletion that is cut short must not leave half a checkpoint behind.
    staging = output_dir / STAGING
    for folder in [path for path in found if path.name not in spared][:surplus]:
        staging.mkdir(exist_ok=True)
        folder.replace(staging / folder.name)
    shutil.rmtree(staging, ignore_errors=True)


def _checkpoints(output_dir: Path) -> list[Path]:
    numbered = [
        (int(path.name.removeprefix("checkpoint-")), path)
        for path in output_dir.glob("checkpoint-*")
        if path.is_dir() and path.name.removeprefix("checkpoint-").isdecimal()
    ]
    return [path for _, path in sorted(numbered)]


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"{path.parent.name}: {path.name} is not JSON: {error}") from None
    if not isinstance(stored, dict) or stored.get("format_version") != FORMAT_VERSION:
        raise TrainingError(f"{path.parent.name}: {path.name} is of another version of perce")
    return stored


def _show(value: Any) -> str:
    text = json.dumps(value)
    return f"{text[:13]}..." if isinstance(value, str) and len(text) > 16 else text


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
