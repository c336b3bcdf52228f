"""One user's training: measured, trained, measured again, saved."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perce.errors import OptionError
from perce.fleet.result import Figures
from perce.fleet.slot import AdapterSlot
from perce.tokens import PreparedData
from perce.training import PerCEConfig, PerCETrainer
from perce.training.checkpoint import writing
from perce.training.telling import tell_steps

Tell = Callable[[int, int], None]
"""Called with the optimizer steps done and the steps there are."""

_MEANINGLESS = {
    "eval_strategy": "held-out records are measured before and after each user's training",
    "eval_on_start": "held-out records are measured before and after each user's training",
    "load_best_model_at_end": "records that choose a model can no longer judge it",
    "resume_from_checkpoint": "the same command goes on where the fleet stopped",
    "push_to_hub": "a user's adapter is private: upload it yourself, if that is what they want",
    "perce_scores": "the scores are of all users' records: use perce_weight_source reference",
    "output_dir": "the folder of a fleet is its out",
}
"""Training options that mean nothing in a fleet, and why."""

_INDIFFERENT = (
    "disable_tqdm",
    "do_",
    "hub_",
    "ledger",
    "log_",
    "logging_",
    "output_dir",
    "project",
    "report_to",
    "run_name",
    "save_",
    "skip_memory_metrics",
    "trackio_",
)
"""Beginnings of options that change nothing of an adapter."""


def check_config(config: PerCEConfig) -> None:
    """Refuse training options that mean nothing in a fleet.

    Raises:
        OptionError: one of them is given, or this is one process of several.
    """
    untouched = PerCEConfig()
    for name, reason in _MEANINGLESS.items():
        if getattr(config, name) != getattr(untouched, name):
            raise OptionError(name, f"leave it out: {reason}")
    if config.world_size > 1:
        raise OptionError(
            "users",
            "a fleet runs in one process: start one for each part of the users, with a file of "
            "them and an out of its own",
        )


def training_identity(config: PerCEConfig) -> dict[str, str]:
    """The training options that an adapter depends on, as text."""
    return {
        name: str(getattr(value, "value", value))
        for name, value in sorted(vars(config).items())
        if name in config.__dataclass_fields__ and not name.startswith(_INDIFFERENT)
    }


def user_seed(seed: int, user: str) -> int:
    """A seed of 31 bits from the fleet's and the user's id: no user's depends on the others."""
    digest = hashlib.sha256(f"{seed}\0{user}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def user_config(config: PerCEConfig, user: str, folder: Path) -> PerCEConfig:
    """The options of one user's training.

    Args:
        config: the fleet's.
        user: the user's id.
        folder: where checkpoints go.
    """
    mine = copy.copy(config)
    mine.output_dir = str(folder)
    mine.seed = user_seed(config.seed, user)
    # A ledger of a training whose folder goes away at its end is of use to itself alone.
    mine.ledger = config.refresh_every > 1
    return mine


def train_user(
    slot: AdapterSlot,
    train: PreparedData,
    held_out: PreparedData,
    config: PerCEConfig,
    save_to: Path,
    *,
    tell: Tell,
) -> dict[str, Any]:
    """Train one user's adapter, from the last checkpoint of ``config.output_dir`` if there is one.

    Args:
        slot: the base and its adapter, whose weights are set to the start first.
        train: the user's training records.
        held_out: the user's records that judge.
        config: from :func:`user_config`.
        save_to: folder for the adapter and its card.
        tell: called after each optimizer step.

    Returns:
        The fields of a :class:`perce.fleet.result.UserResult` that training gives.

    Raises:
        KeyboardInterrupt: Ctrl-C; a checkpoint was saved.
        TrainingError: the loss is not finite, or a checkpoint cannot be used.
        WriteError: a checkpoint or the adapter cannot be written.
        LedgerError: the scores cannot be written.
        PackingError: a record is longer than ``max_tokens``.
    """
    started = time.monotonic()
    slot.reset()
    trainer = PerCETrainer(slot.model, config, train, eval_dataset=held_out)
    tell_steps(trainer, tell)
    before = trainer.evaluate()
    resumable = any(Path(config.output_dir).glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=True if resumable else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    after = trainer.evaluate()
    with writing("the adapter"):
        save_to.mkdir(parents=True, exist_ok=True)
        slot.model.save_pretrained(str(save_to))
        trainer.create_model_card(save_to)
    tokens = held_out.core.n_response_tokens
    return {
        "records": len(train),
        "held_out": len(held_out),
        "tokens": tokens,
        "personal_tokens": round(before["eval_personal_share"] * tokens),
        "steps": trainer.state.global_step,
        "seconds": round(time.monotonic() - started, 3),
        "before": _figures(before),
        "after": _figures(after),
    }


def _figures(metrics: dict[str, float]) -> Figures:
    return Figures(metrics["eval_loss"], metrics.get("eval_nll_personal"))
