"""The back end in plain PyTorch: any device, one chunk of float32 logits in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from perce.objectives import Objective
from perce.ops.head import (
    IGNORE_INDEX,
    Head,
    RowStatistics,
    exponentiate_rows,
    gradient_rows,
)
from perce.ops.labels import check_labels
from perce.ops.rows import Outcome, Rows, Wanted
from perce.ops.weighing import (
    check_given_weights,
    check_made_weights,
    influence,
    loss_sum,
    make_weights,
)

CHUNK_BYTES = 128 << 20
"""Float32 logits in memory at once, unless ``chunk_rows`` says otherwise: 220 rows of a vocabulary
of 152k."""


def _targets(labels: Tensor, vocab: int) -> tuple[Tensor, Tensor, Tensor]:
    """Columns that are safe to read, ignored rows, rows whose label cannot be."""
    ignored = labels == IGNORE_INDEX
    target = labels.clamp(0, max(vocab - 1, 0))
    return target, ignored, (target != labels) & ~ignored


def _mask(values: Tensor, ignored: Tensor, bad: Tensor) -> Tensor:
    return values.masked_fill(bad, torch.nan).masked_fill(ignored, 0.0)


def _chunks(
    head: Head, rows: Rows, *, entropy: bool = False
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor, RowStatistics]]:
    """Yield (rows, float32 hidden, exponentials, target, statistics); one buffer serves all."""
    vocab = len(head.weight)
    n = len(rows.labels)
    target, ignored, bad = _targets(rows.labels, vocab)
    buffer = torch.empty(
        (min(rows.chunk_rows, n), vocab), dtype=torch.float32, device=rows.hidden.device
    )
    for start in range(0, n, rows.chunk_rows):
        part = slice(start, min(start + rows.chunk_rows, n))
        hidden = rows.hidden[part].float()
        logits = buffer[: len(hidden)]
        head.logits_into(hidden, logits)
        statistics = exponentiate_rows(logits, target[part], entropy=entropy)
        masks = ignored[part], bad[part]
        statistics = statistics._replace(
            logp=_mask(statistics.logp, *masks),
            entropy=None if statistics.entropy is None else _mask(statistics.entropy, *masks),
        )
        yield part, hidden, logits, target[part], statistics


def logp(head: Head, rows: Rows) -> Tensor:
    """Log-probability of each row's label, float32 [N]; 0 where ignored."""
    out = torch.zeros(len(rows.labels), dtype=torch.float32, device=rows.hidden.device)
    for part, _, _, _, statistics in _chunks(head, rows):
        out[part] = statistics.logp
    return out


def _record_weights(head: Head, rows: Rows, objective: Objective) -> Tensor:
    """Weights that depend on whole records, which chunks cut: a pass of its own for the signals."""
    n = len(rows.labels)
    needs_entropy = "entropy" in objective.needs
    logp, entropy = torch.zeros((2, n), dtype=torch.float32, device=rows.hidden.device)
    for part, _, _, _, statistics in _chunks(head, rows, entropy=needs_entropy):
        logp[part] = statistics.logp
        if statistics.entropy is not None:
            entropy[part] = statistics.entropy
    return make_weights(objective, rows, slice(None), logp, entropy if needs_entropy else None)


def weighted_ce(head: Head, rows: Rows, wanted: Wanted) -> Outcome:
    """Weighted cross-entropy and the wanted gradients of its sum, in one pass over the chunks."""
    check_labels(rows.labels, len(head.weight))
    n, width = rows.hidden.shape
    new = rows.hidden.new_zeros
    ignored = rows.labels == IGNORE_INDEX
    objective, given = rows.objective, rows.weights
    if given is not None:
        check_given_weights(given)
        given = given.float().masked_fill(ignored, 0.0)
    elif objective is not None and objective.scope == "record":
        given = _record_weights(head, rows, objective)

    logp, weights = (new(n, dtype=torch.float32) for _ in range(2))
    grad_hidden = new((n, width) if wanted.hidden else 0, dtype=torch.float32)
    grad_weight = new(head.weight.shape if wanted.weight else 0, dtype=torch.float32)
    grad_bias = new(len(head.weight) if wanted.bias else 0, dtype=torch.float32)
    needs_entropy = given is None and objective is not None and "entropy" in objective.needs
    for part, hidden, logits, target, statistics in _chunks(head, rows, entropy=needs_entropy):
        logp[part] = statistics.logp
        if given is not None:
            weights[part] = given[part]
        elif objective is not None:
            weights[part] = make_weights(objective, rows, part, statistics.logp, statistics.entropy)
        if not any(wanted):
            continue
        gradient_rows(head, logits, target, statistics, weights[part])
        if wanted.hidden:
            for columns, slice_ in head.weight_slices():
                grad_hidden[part].addmm_(logits[:, columns], slice_)
        if wanted.weight:
            grad_weight.addmm_(logits.t(), hidden)
        if wanted.bias:
            grad_bias += logits.sum(0)

    if objective is not None:
        check_made_weights(weights, objective)
    return Outcome(
        loss_sum(weights, logp),
        logp,
        influence(rows, logp),
        weights,
        grad_hidden,
        grad_weight,
        grad_bias,
    )
