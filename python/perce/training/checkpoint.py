"""Checkpoints that appear whole or not at all, and that say which run they belong to.

transformers writes a checkpoint in place and resumes from the highest number, torn or not; without
its optimizer or random state it resumes silently different. Here a checkpoint is written under
another name, flushed and renamed, with a list of its parts, and resuming compares what it belongs
to with the run at hand (:mod:`perce.training.resuming`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from perce.errors import OptionError, TrainingError, WriteError
from perce.files import flush

STAGING = ".checkpoint.partial"
"""Folder, beside the checkpoints, in which the next one is written."""

_FORMER = ".former"
"""Ends the name of a checkpoint that is just being replaced by another of the same step."""

_TORCH_WRITER = ("inline_container", "PytorchStreamWriter", "basic_ios::clear")
"""Stand in the messages of torch's file writer."""


def check_output_dir(output_dir: Path) -> None:
    """Make sure, before long work, that its results can be written; makes the folder.

    Raises:
        OptionError: it is a file, lies under one, or is read-only.
    """
    probe = output_dir / f".perce-{os.getpid()}"
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise OptionError(
            "output_dir", f"{output_dir} cannot be written: {error.strerror or error}"
        ) from error


def recover(output_dir: Path) -> None:
    """Clear away what a killed run left half done, and put back what it was about to replace.

    Args:
        output_dir: the run's folder; it need not exist.

    Raises:
        TrainingError: the folder cannot be written.
    """
    try:
        for former in output_dir.glob(f".checkpoint-*{_FORMER}"):
            target = output_dir / former.name.removeprefix(".").removesuffix(_FORMER)
            if target.exists():
                shutil.rmtree(former)
            else:
                former.replace(target)
        shutil.rmtree(output_dir / STAGING, ignore_errors=True)
    except OSError as error:
        raise TrainingError(
            f"cannot clear what a former run left in {output_dir}: {error.strerror or error}"
        ) from error


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn what goes wrong when weights or states are written into one line.

    Args:
        what: what is being written.

    Raises:
        WriteError: the disk is full, or something else keeps it from being written.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot write {what}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise WriteError(f"cannot write {what}: {error}") from error
    except RuntimeError as error:
        # torch's writer says no more than that fewer bytes arrived than it had sent.
        if not any(word in str(error) for word in _TORCH_WRITER):
            raise
        raise WriteError(f"cannot write {what}: is the disk full? torch: {error}") from error


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
        flush(path)
    flush(staged)
    # The same step may be saved twice, as at an epoch's end, and no rename replaces a folder: the
    # former one stands aside, where `recover` finds it, until the new one has its name.
    former = target.with_name(f".{target.name}{_FORMER}")
    if target.exists():
        shutil.rmtree(former, ignore_errors=True)
        target.replace(former)
    staged.replace(target)
    flush(target.parent)
    shutil.rmtree(former, ignore_errors=True)


def rotate(output_dir: Path, keep: int | None, *, newest: Path, best: str | None) -> None:
    """Delete the oldest checkpoints but ``keep``; the best one and the newest one stay.

    Args:
        output_dir: the run's folder.
        keep: how many to keep; None for all.
        newest: the checkpoint just written. Those of later steps are older: a former run in the
            same folder left them, or the part of this run before it went back to a checkpoint.
        best: the best checkpoint's folder, if one is kept for that.
    """
    if keep is None:
        return
    numbered = _checkpoints(output_dir)
    later = [path for path in numbered if _step(path) > _step(newest)]
    found = later + [path for path in numbered if path not in later]
    spared = {newest.name} | ({Path(best).name} if best else set())
    surplus = max(len(found) - max(keep, len(spared)), 0)
    # Renamed first: a deletion that is cut short must not leave half a checkpoint behind.
    staging = output_dir / STAGING
    for folder in [path for path in found if path.name not in spared][:surplus]:
        staging.mkdir(exist_ok=True)
        folder.replace(staging / folder.name)
    shutil.rmtree(staging, ignore_errors=True)


def _checkpoints(output_dir: Path) -> list[Path]:
    found = [
        path
        for path in output_dir.glob("checkpoint-*")
        if path.is_dir() and path.name.removeprefix("checkpoint-").isdecimal()
    ]
    return sorted(found, key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))
