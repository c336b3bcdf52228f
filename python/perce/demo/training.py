"""The demo's trainings: an arm of the comparison, and an adapter for each of two writers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from perce.demo.settings import DemoSettings
from perce.errors import TrainingError
from perce.fleet import AdapterSlot, train_fleet
from perce.modeling.loading import load_model, load_tokenizer
from perce.tokens import PreparedData
from perce.training import LoraArguments, PerCEConfig, PerCETrainer
from perce.training.telling import tell_steps


def train_arm(
    model: Path,
    data: PreparedData,
    out: Path,
    objective: str,
    settings: DemoSettings,
    *,
    say: Callable[[str], None],
    tell: Callable[[str, int, int], None],
) -> None:
    """Train an adapter into ``out``, from its last checkpoint where there is one.

    Arms differ in ``objective`` alone: the same records in the same order, the same steps, seed and
    initial adapter.

    Args:
        model: the base model's folder.
        data: prepared records.
        out: the adapter's folder; checkpoints go under it and stay until training ends.
        objective: name of the token weighting.
        settings: sizes and options.
        say: called with a line of text.
        tell: called after each optimizer step.

    Raises:
        KeyboardInterrupt: Ctrl-C; a checkpoint was saved.
        TrainingError: a checkpoint in ``out`` belongs to another run.
    """
    config = PerCEConfig(
        output_dir=str(out),
        objective=objective,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        max_tokens=settings.max_tokens,
        gradient_accumulation_steps=settings.accumulation,
        logging_steps=1,
        save_steps=settings.save_steps,
        save_total_limit=1,
        report_to="none",
        seed=settings.seed,
    )
    lora = LoraArguments(use_peft=True, lora_r=settings.lora_r, lora_alpha=2 * settings.lora_r)
    trainer = PerCETrainer(
        model=load_model(model, device="cpu" if config.use_cpu else None),
        args=config,
        train_dataset=data,
        processing_class=load_tokenizer(model),
        peft_config=lora.peft_config(),
    )
    tell_steps(trainer, partial(tell, f"training {objective}"))
    resumable = any(out.glob("checkpoint-*"))
    if resumable:
        say("  going on from the last checkpoint")
    trainer.train(resume_from_checkpoint=True if resumable else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    trainer.save_model()
    trainer.save_state()


def train_writers(
    model: Path,
    shared: Path,
    data: PreparedData,
    held_out: PreparedData,
    out: Path,
    settings: DemoSettings,
    *,
    tell: Callable[[str, int, int], None],
) -> dict[str, Path]:
    """Train an adapter for each writer, starting from the shared one; the finished ones are kept.

    Args:
        model: the base model's folder.
        shared: folder of the adapter to start from.
        data: the writers' training records.
        held_out: the writers' held-out records.
        out: the fleet's folder.
        settings: sizes and options.
        tell: called after each optimizer step.

    Returns:
        Each writer's adapter.

    Raises:
        KeyboardInterrupt: Ctrl-C; a checkpoint was saved.
        TrainingError: a training failed.
    """
    config = PerCEConfig(
        learning_rate=settings.writer_learning_rate,
        max_steps=settings.writer_steps,
        max_tokens=settings.max_tokens,
        save_strategy="no",
        personal_threshold=settings.threshold,
        report_to="none",
        seed=settings.seed,
    )
    base = load_model(model, device="cpu" if config.use_cpu else None)
    report = train_fleet(
        AdapterSlot.shared(base, shared),
        data,
        out,
        config=config,
        users=settings.writers,
        eval_data=held_out,
        min_records=1,
        start=f"the adapter {shared.name}",
        progress=tell,
    )
    folders = {}
    for writer, result in report.users.items():
        if result.folder is None:
            raise TrainingError(f"no adapter for {writer}: {result.reason}")
        folders[writer] = out / result.folder
    return folders
