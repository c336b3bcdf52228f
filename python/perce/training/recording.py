"""A run's score ledger: journalled step by step, merged over ranks, part of every checkpoint."""

# ruff: noqa: ARG002 - the signatures are those of transformers

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from perce.ledger import ScoreLedger
from perce.ledger.layout import CHECKPOINT_FILE, LEDGER_FOLDER
from perce.tokens import PreparedData


class Computed(NamedTuple):
    """What one micro-batch gave, on its device.

    Attributes:
        records: int64 [S].
        pir: float32 [N], in nats, record after record.
        logp_without: float32 [N], in nats.
    """

    records: Tensor
    pir: Tensor
    logp_without: Tensor


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Writes a run's ledger. Every rank has one; they exchange at checkpoints and epochs' ends.

    Args:
        ledger: open for writing.

    Attributes:
        ledger: the same.
    """

    def __init__(self, ledger: ScoreLedger) -> None:
        self.ledger = ledger

    @classmethod
    def start(
        cls,
        output_dir: Path,
        data: PreparedData,
        *,
        checkpoint: Path | None,
        decay: float,
        rank: int,
        world_size: int,
    ) -> Recorder:
        """Begin a ledger in a run's folder, or go on with it from a checkpoint.

        Raises:
            LedgerError: it cannot be written, or the checkpoint's state is damaged.
        """
        folder = output_dir / LEDGER_FOLDER
        if checkpoint is None:
            ledger = ScoreLedger.create(folder, data, decay=decay, rank=rank, world_size=world_size)
        else:
            ledger = ScoreLedger.resume(
                folder,
                data,
                snapshot=checkpoint / CHECKPOINT_FILE,
                rank=rank,
                world_size=world_size,
            )
        return cls(ledger)

    def record(self, step: int, computed: list[Computed]) -> None:
        """Journal an optimizer step's micro-batches; waits for their device.

        Args:
            step: the step under way, from 1.
            computed: the micro-batches in which something counts.

        Raises:
            LedgerError: the journal cannot be written; the step has not changed the weights yet.
        """
        for records, pir, logp_without in computed:
            self.ledger.update(step, *(_array(t) for t in (records, pir, logp_without)))

    def save(self, folder: Path | None, step: int) -> None:
        """Merge what the ranks computed; the rank that saves writes the state into a checkpoint.

        Args:
            folder: the checkpoint's folder, or None on the other ranks.
            step: optimizer steps done.

        Raises:
            LedgerError: it cannot be written.
        """
        self.ledger.exchange(_gather)
        if folder is not None:
            self.ledger.write_snapshot(folder / CHECKPOINT_FILE, step)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Merge what the ranks computed: in the next epoch any rank may need any record."""
        self.ledger.exchange(_gather)


def _gather(block: bytes) -> list[bytes]:
    gathered: list[bytes] = gather_object([block])
    return gathered


def _array(tensor: Tensor) -> Any:
    dtype = torch.int64 if tensor.dtype == torch.int64 else torch.float32
    return np.ascontiguousarray(tensor.detach().to("cpu", dtype).numpy())
