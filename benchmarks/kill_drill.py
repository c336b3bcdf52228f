"""Kill a training run with ``kill -9`` at the worst moments, resume it, and compare bit for bit.

A small run (LoRA with dropout, so that random numbers matter; gradient accumulation; profile-free
passes in every other epoch, so that the ledger is read; the last two checkpoints kept) is trained
once without a fault. Then, for each point, it is started anew, killed there, and continued in a new
process as ``--resume_from_checkpoint True`` does. Weights, optimizer, scheduler, random state and
ledger at the end are compared byte by byte with those of the run that was left alone.

    python benchmarks/kill_drill.py            # all points, a minute or two
    python benchmarks/kill_drill.py --quick    # three of them

Prints one line a point and exits with 1 if one of them differs. It starts each run in a process of
its own, so it needs a system with ``fork``.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import torch
from peft import LoraConfig
from transformers import PrinterCallback

from common import arguments, machine, table
from perce.tokens import PreparedData
from perce.training import checkpoint, saving
from perce.training.checkpoint import find_checkpoint
from perce.training.config import PerCEConfig
from perce.training.recording import Recorder
from perce.training.trainer import PerCETrainer
from tiny import tiny_data, tiny_model, tiny_records, tiny_tokenizer

STEP = 6
"""Step of the points that are in the midst of a run; its checkpoint is the third."""


def kill() -> None:
    """End this process as a power cut would: nothing is flushed, no handler runs."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_frame() -> None:
    def torn(recorder: Recorder) -> None:
        journal = recorder.ledger.folder / "journal-0.log"
        os.truncate(journal, journal.stat().st_size - 7)

    _after_journal(torn)


def before_the_optimizer() -> None:
    _after_journal(lambda _: None)


def _after_journal(damage: Callable[[Recorder], None]) -> None:
    original = Recorder.record

    def record(self: Recorder, step: int, computed: Any) -> None:
        original(self, step, computed)
        if step == STEP + 1:
            damage(self)
            kill()

    Recorder.record = record  # type: ignore[method-assign]


def before_the_rename() -> None:
    _around_publish(lambda *_: None)


def after_the_rename() -> None:
    _around_publish(checkpoint.publish)


def _around_publish(first: Callable[[Path, Path], None]) -> None:
    def publish(staged: Path, target: Path) -> None:
        if target.name == f"checkpoint-{STEP}":
            first(staged, target)
            kill()
        checkpoint.publish(staged, target)

    saving.publish = publish


def while_rotating() -> None:
    original = shutil.rmtree

    def rmtree(path: Any, *args: Any, **kwargs: Any) -> None:
        doomed = Path(path) / f"checkpoint-{STEP - 4}"
        if doomed.is_dir():
            next(doomed.glob("*.pt")).unlink()
            kill()
        original(path, *args, **kwargs)

    checkpoint.shutil.rmtree = rmtree


def at_an_epochs_border() -> None:
    original = Recorder.on_epoch_end

    def on_epoch_end(self: Recorder, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        original(self, args, state, control, **kwargs)
        if state.epoch == 2:
            kill()

    Recorder.on_epoch_end = on_epoch_end  # type: ignore[method-assign]


def at_the_end() -> None:
    original = PerCETrainer.save_model

    def save_model(self: PerCETrainer, output_dir: Any = None, **kwargs: Any) -> None:
        if output_dir is None:
            kill()
        original(self, output_dir, **kwargs)

    PerCETrainer.save_model = save_model  # type: ignore[method-assign]


POINTS: dict[str, Callable[[], None]] = {
    "in the midst of a journal's frame": in_a_frame,
    "between journal and optimizer": before_the_optimizer,
    "in a checkpoint, before its rename": before_the_rename,
    "in a checkpoint, after its rename": after_the_rename,
    "while an old checkpoint is deleted": while_rotating,
    "at an epoch's border": at_an_epochs_border,
    "after the last step": at_the_end,
}
QUICK = tuple(POINTS)[:1] + tuple(POINTS)[2:5:2]


def train(folder: Path, output: Path, *, arm: Callable[[], None] | None, resume: bool) -> None:
    """One process's share of a run, up to where it is killed or done."""
    logging.disable(logging.WARNING)
    if arm is not None:
        arm()
    trainer = PerCETrainer(
        tiny_model(spread=6.0),
        PerCEConfig(
            output_dir=str(output),
            num_train_epochs=3,
            max_tokens=150,
            gradient_accumulation_steps=2,
            learning_rate=0.01,
            refresh_every=2,
            save_steps=2,
            save_total_limit=2,
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            report_to="none",
        ),
        PreparedData.open(folder / "data"),
        processing_class=tiny_tokenizer(),
        peft_config=LoraConfig(
            r=2, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model()


def prepare(folder: Path) -> None:
    """Write the run's data."""
    tiny_data(folder / "data", tiny_records(16))


def spawn(task: Callable[..., None], *args: Any, **kwargs: Any) -> int:
    """Run a task in a process of its own; returns its exit code, -9 where it was killed."""
    process = multiprocessing.get_context("fork").Process(target=task, args=args, kwargs=kwargs)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal, bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool((one == other).all()) if hasattr(one, "all") else bool(one == other)


def compare(one: Path, other: Path) -> dict[str, bool]:
    """Which parts of two finished runs are equal."""
    folders = [find_checkpoint(True, run) for run in (one, other)]
    if folders[0].name != folders[1].name:
        return {"last step": False}

    def alike(*names: str) -> bool:
        return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)

    def loaded(name: str) -> bool:
        return same(*(torch.load(folder / name, weights_only=False) for folder in folders))

    last = folders[0].name
    weights = "adapter_model.safetensors"
    return {
        "weights": alike(weights, f"{last}/{weights}"),
        "optimizer": loaded("optimizer.pt"),
        "scheduler": loaded("scheduler.pt"),
        "RNG": loaded("rng_state.pth"),
        "ledger": alike(f"{last}/ledger.bin", "ledger/journal-0.log"),
    }


def drill(folder: Path, name: str) -> tuple[list[str], bool]:
    """Kill, resume and compare at one point: its row of the table, and whether all was equal."""
    output = folder / "killed"
    shutil.rmtree(output, ignore_errors=True)
    code = spawn(train, folder, output, arm=POINTS[name], resume=False)
    if code != -signal.SIGKILL:
        return [name, f"was not killed, but ended with {code}", ""], False
    start = find_checkpoint(True, output).name
    code = spawn(train, folder, output, arm=None, resume=True)
    if code != 0:
        return [name, start, f"did not resume, but ended with {code}"], False
    parts = compare(folder / "whole", output)
    wrong = [part for part, equal in parts.items() if not equal]
    verdict = f"DIFFERENT: {', '.join(wrong)}" if wrong else f"equal: {', '.join(parts)}"
    return [name, start, verdict], not wrong


def main() -> int:
    """Run the drill. Returns 1 if a run that was killed came out different."""
    options = arguments(__doc__).parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-drill-"))
    try:
        if spawn(prepare, folder) or spawn(train, folder, folder / "whole", arm=None, resume=False):
            print("the run without a fault failed", file=sys.stderr)
            return 1
        found = [drill(folder, name) for name in (QUICK if options.quick else POINTS)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    header = ["killed", "resumed from", "at the end"]
    table("kill -9, then resume", header, [row for row, _ in found])
    print(f"\n{machine('transformers', 'peft')}")
    return 0 if all(equal for _, equal in found) else 1


if __name__ == "__main__":
    sys.exit(main())
