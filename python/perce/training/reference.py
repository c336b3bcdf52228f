"""A frozen reference's log-probabilities: two passes over the data, once, before the first step."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from perce.contrast import score_batches
from perce.errors import ModelError, StoreError
from perce.files import replacing
from perce.modeling.loading import load_adapter, load_model, load_tokenizer
from perce.modeling.unwrap import is_peft
from perce.pairs import PairLoader
from perce.tokens import PreparedData
from perce.training.checkpoint import writing
from perce.training.fingerprint import folder_weights
from perce.training.sources import F32, StoredScores

logger = logging.getLogger(__name__)

REFERENCE_FILE = "reference_scores.parquet"
"""In ``output_dir``: what the reference gave, in the columns of ``perce score``."""

_KEY = b"perce_reference"


@dataclass(frozen=True, slots=True)
class Ranks:
    """How several ranks act as one; every rank calls these at the same point.

    Attributes:
        anywhere: whether a flag is set on any rank.
        total: the sum over the ranks of a tensor on the CPU.
        saves: whether this rank writes files.
    """

    anywhere: Callable[[bool], bool]
    total: Callable[[Tensor], Tensor]
    saves: bool


def reference_key(reference: str, base_weights: str) -> str:
    """Name a reference, so that its scores can be told from another's.

    Args:
        reference: "base", a model's or an adapter's folder, or a model's name on the hub.
        base_weights: name of the weights under the adapters in training.
    """
    if reference == "base":
        return f"base {base_weights}"
    folder = Path(reference)
    if not folder.is_dir():
        return reference
    key = folder_weights(folder)
    return f"{key} on {base_weights}" if _is_adapter(folder) else key


def reference_scores(
    reference: str,
    model: nn.Module,
    data: PreparedData,
    path: Path,
    *,
    key: str,
    loader: PairLoader,
    ranks: Ranks,
) -> StoredScores:
    """What a reference says of all response tokens: read if an earlier start computed it.

    Args:
        reference: "base", a model's or an adapter's folder, or a model's name on the hub.
        model: the model in training; for "base" its adapters must be off.
        data: the data in training.
        path: where the scores are kept.
        key: of :func:`reference_key`.
        loader: this rank's share of all records, in a fixed order.
        ranks: how the ranks agree.

    Raises:
        ModelError: the reference cannot be loaded, or gives what is not finite.
        StoreError: it has another tokenizer than the data.
        TrainingError: the scores cannot be written.
    """
    found = _read(path, data, key)
    # Where one rank has no file, all of them compute.
    if not ranks.anywhere(found is None):
        assert found is not None
        return found
    frozen = model if reference == "base" else _load(reference, model, data)
    scores = _score(frozen, data, loader, ranks)
    if ranks.saves:
        _write(path, data, key, scores)
    return scores


def _load(reference: str, model: nn.Module, data: PreparedData) -> nn.Module:
    """A reference other than "base", beside the model in training and on its device."""
    weight = next(model.parameters())
    if _is_adapter(Path(reference)):
        # A copy: PEFT puts adapters into a model's layers in place.
        base: Any = copy.deepcopy(model)
        loaded: nn.Module = load_adapter(base.unload() if is_peft(model) else base, reference)
        return loaded
    data.check_tokenizer(load_tokenizer(reference))
    dtype = weight.dtype if weight.is_floating_point() else None
    other: nn.Module = load_model(reference, dtype=dtype, device=weight.device)
    return other


def _score(model: nn.Module, data: PreparedData, loader: PairLoader, ranks: Ranks) -> StoredScores:
    columns: tuple[F32, F32] = (
        np.zeros(len(data.response_ids), np.float32),
        np.zeros(len(data.response_ids), np.float32),
    )
    for scores in score_batches(model, loader):
        counted = scores.batch.labels != -100
        index = scores.batch.ledger_index[counted].cpu().numpy()
        assert scores.logp_without is not None
        for column, values in zip(columns, (scores.logp_with, scores.logp_without), strict=True):
            column[index] = values[counted].cpu().numpy()
    # Each rank has zeros where others computed.
    summed = [ranks.total(torch.from_numpy(column)).numpy() for column in columns]
    for name, column in zip(("with", "without"), summed, strict=True):
        broken = np.flatnonzero(~np.isfinite(column))
        if len(broken):
            record = int(np.searchsorted(data.response_offsets, broken[0], side="right")) - 1
            raise ModelError(
                f"the reference's log p {name} the profile is {column[broken[0]]} in record "
                f"{data.record_ids[record]!r}: choose another perce_reference"
            )
    return StoredScores.of(*summed)


def _read(path: Path, data: PreparedData, key: str) -> StoredScores | None:
    try:
        found = json.loads((pq.read_schema(path).metadata or {})[_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    if found != {"data": data.meta["key"], "reference": key}:
        return None
    try:
        return StoredScores.read(path, data)
    except StoreError as error:
        logger.warning("computed anew: %s", error)
        return None


def _write(path: Path, data: PreparedData, key: str, scores: StoredScores) -> None:
    """For later starts, whole or not at all; ``perce_scores`` reads it, too."""
    lengths = np.diff(data.response_offsets)
    record = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    start = np.repeat(data.response_offsets[:-1], lengths)
    table = pa.table(
        {
            "record": record,
            "id": pa.array(data.record_ids, pa.string()).dictionary_encode().take(pa.array(record)),
            "user": pa.array(data.user_ids, pa.string()).dictionary_encode().take(pa.array(record)),
            "position": (np.arange(len(record)) - start).astype(np.int32),
            "token_id": np.asarray(data.response_ids),
            "logp_with": scores.logp_with,
            "logp_without": scores.logp_without,
            "pir": scores.logp_with - scores.logp_without,
        }
    )
    about = json.dumps({"data": data.meta["key"], "reference": key})
    with writing(path.name), replacing(path) as scratch:
        pq.write_table(table.replace_schema_metadata({_KEY: about}), scratch)


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()
