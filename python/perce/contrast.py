"""PerContrast: the Personal Influence Ratio of every response token (arXiv 2603.06595).

    PIR_i = log p(y_i | profile, query, y_<i) - log p(y_i | query, y_<i)          in nats

Two passes of one model over prepared data, through the very same logits path, which the ops compute
in float32. In somebody else's loop::

    for scores in score_batches(model, PairLoader(data, shuffle=False)):
        print(scores.pir, scores.batch.records)

Costs one forward over each stream; nothing is kept on the device between batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor, nn

from perce.data.pieces import pieces
from perce.errors import ModelError, OptionError
from perce.modeling.attention import packed_attention
from perce.modeling.check import check_model, check_stream
from perce.modeling.head import ModelCheck, response_logp
from perce.modeling.modes import evaluation_mode
from perce.pairs import PairBatch, PairLoader
from perce.tokens import PreparedData

Progress = Callable[[int, int], None]
"""Called with the batches done and the batches there are."""


@dataclass(frozen=True, slots=True)
class BatchScores:
    """Scores of one batch's N response tokens, on the model's device.

    Attributes:
        batch: the batch, on the model's device; ``ledger_index`` int64 [N] tells which token is
            which.
        logp_with: float32 [N], in nats, with the profile.
        logp_without: float32 [N] without it, or None when only one pass was asked for.
    """

    batch: PairBatch
    logp_with: Tensor
    logp_without: Tensor | None

    @property
    def pir(self) -> Tensor:
        """float32 [N], in nats.

        Raises:
            OptionError: the profile-free pass was left out.
        """
        if self.logp_without is None:
            raise OptionError("contrast", "False leaves out the profile-free pass that PIR needs")
        return self.logp_with - self.logp_without


def score_batches(
    model: nn.Module,
    batches: Iterable[PairBatch],
    *,
    contrast: bool = True,
    check: ModelCheck | None = None,
) -> Iterator[BatchScores]:
    """Score batch after batch, without gradient; the model's modes are as before after each.

    Args:
        model: causal LM of transformers, PEFT-wrapped or not.
        batches: a :class:`perce.pairs.PairLoader`, or batches from anywhere.
        contrast: also run the profile-free pass.
        check: what :func:`perce.modeling.check.check_model` said; by default it is asked.

    Yields:
        One :class:`BatchScores` a batch, in the order of ``batches``.

    Raises:
        ModelError: the model cannot be run on packed rows.
    """
    device = next(model.parameters()).device
    with packed_attention(model):
        if check is None:
            check = check_model(model)
        for batch in batches:
            check_stream(model, batch.with_profile)
            on_device = batch.to(device)
            labels = on_device.labels
            # Entered anew for each batch: the caller's code between two batches sees the model as
            # it left it.
            with evaluation_mode(model):
                logp_with = response_logp(model, on_device.with_profile, labels, check=check)
                logp_without = None
                if contrast:
                    logp_without = response_logp(
                        model, on_device.without_profile, labels, check=check
                    )
            yield BatchScores(on_device, logp_with, logp_without)


def score_dataset(
    model: nn.Module,
    data: PreparedData,
    *,
    tokenizer: Any = None,
    max_tokens: int = 4096,
    contrast: bool = True,
    progress: Progress | None = None,
) -> pa.Table:
    """PIR of every response token of prepared data, as a table.

    Args:
        model: causal LM of transformers, PEFT-wrapped or not, on the device to use.
        data: prepared data.
        tokenizer: fills ``piece``; checked against the data. Without it the pieces are empty.
        max_tokens: tokens of the long stream in a micro-batch; raised to the longest record where
            that is longer.
        contrast: False skips the profile-free pass: ``logp_without`` and ``pir`` are null.
        progress: called after each batch.

    Returns:
        One row a response token, in the order of the records whatever the packing: ``record``
        int32, ``id`` and ``user`` (dictionary-encoded strings), ``position`` int32 within the
        response, ``token_id`` int32, ``piece``, ``logp_with``, ``logp_without`` and ``pir`` float32
        in nats.

    Raises:
        ModelError: the model cannot be run on packed rows, its vocabulary is too small, or it gives
            a log-probability that is not finite.
        OptionError: ``max_tokens`` is below 1.
        StoreError: the data was prepared with another tokenizer.
    """
    if max_tokens < 1:
        raise OptionError("max_tokens", f"{max_tokens} is below 1")
    if tokenizer is not None:
        data.check_tokenizer(tokenizer)
    longest = int(data.core.lengths()[0].max())
    loader = PairLoader(data, max_tokens=max(max_tokens, longest), shuffle=False)
    columns = _Columns(data.core.n_response_tokens)
    for done, scores in enumerate(score_batches(model, loader, contrast=contrast), start=1):
        columns.put(scores)
        if progress is not None:
            progress(done, len(loader))
    columns.check(data.record_ids, contrast)
    return columns.table(data, contrast, tokenizer)


class _Columns:
    """One entry a response token of the data, in its order, filled in the order of the batches."""

    def __init__(self, n: int) -> None:
        self.record: npt.NDArray[np.int32] = np.empty(n, dtype=np.int32)
        self.token_id: npt.NDArray[np.int32] = np.empty(n, dtype=np.int32)
        self.logp_with: npt.NDArray[np.float32] = np.empty(n, dtype=np.float32)
        self.logp_without: npt.NDArray[np.float32] = np.empty(n, dtype=np.float32)

    def put(self, scores: BatchScores) -> None:
        batch = scores.batch.to("cpu")
        index = batch.ledger_index.numpy()
        self.record[index] = batch.records[batch.segment].numpy()
        self.token_id[index] = batch.labels.numpy()
        self.logp_with[index] = scores.logp_with.cpu().numpy()
        if scores.logp_without is not None:
            self.logp_without[index] = scores.logp_without.cpu().numpy()

    def check(self, record_ids: list[str], contrast: bool) -> None:
        for name, logp in (("with", self.logp_with), ("without", self.logp_without)):
            broken = np.flatnonzero(~np.isfinite(logp))
            if len(broken) and (contrast or name == "with"):
                record = record_ids[self.record[broken[0]]]
                raise ModelError(
                    f"log p {name} the profile is {logp[broken[0]]} in record {record!r}: the "
                    "model's weights are broken, or its dtype is too narrow (try float32)"
                )

    def table(self, data: PreparedData, contrast: bool, tokenizer: Any) -> pa.Table:
        starts = np.flatnonzero(np.diff(self.record, prepend=-1))
        lengths = np.diff(starts, append=len(self.record))
        position = np.arange(len(self.record)) - np.repeat(starts, lengths)
        texts = [""] * len(self.record)
        if tokenizer is not None:
            responses = np.split(self.token_id, starts[1:])
            texts = [text for ids in responses for text in pieces(tokenizer, ids.tolist())]
        missing = pa.nulls(len(self.record), pa.float32())
        return pa.table(
            {
                "record": self.record,
                "id": _dictionary(self.record, data.record_ids),
                "user": _dictionary(self.record, data.user_ids),
                "position": position.astype(np.int32),
                "token_id": self.token_id,
                "piece": pa.array(texts, pa.string()),
                "logp_with": self.logp_with,
                "logp_without": self.logp_without if contrast else missing,
                "pir": self.logp_with - self.logp_without if contrast else missing,
            }
        )


def _dictionary(record: npt.NDArray[np.int32], names: list[str]) -> pa.DictionaryArray:
    encoded = pa.array(names, pa.string()).dictionary_encode()
    return encoded.take(pa.array(record))
