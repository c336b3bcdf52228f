"""Evaluation during training: plain CE, and apart for what the base model finds personal.

The exam is set by the base model once, before the first step, so that no arm of a comparison
chooses its own: a token is personal if its PIR under the base model is above a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from perce.modeling.check import check_stream
from perce.modeling.head import ModelCheck, response_logp
from perce.pairs import PairBatch

METRICS = ("loss", "nll_personal", "nll_other")
"""Metrics, all in nats a token, that a best model can be chosen by."""

Step = Callable[[], None]
"""Called after each batch, for the progress bar."""


def personal_tokens(
    model: nn.Module,
    batches: Iterable[PairBatch],
    n_tokens: int,
    *,
    threshold: float,
    check: ModelCheck,
    device: torch.device,
    step: Step,
) -> Tensor:
    """Which response tokens are personal under this model.

    Args:
        model: the base model, in evaluation mode.
        batches: the evaluation data, or one rank's share of it.
        n_tokens: response tokens of the whole evaluation data.
        threshold: PIR in nats above which a token is personal.
        check: how to run the model.
        device: where to run it.
        step: called after each batch.

    Returns:
        bool [n_tokens] on the CPU, False for what was not in ``batches``.

    Raises:
        ModelError: the model cannot take the data (:func:`perce.modeling.check.check_stream`).
    """
    personal = torch.zeros(n_tokens, dtype=torch.bool)
    for batch in batches:
        check_stream(model, batch.with_profile)
        here = batch.to(device)
        logp_with = response_logp(model, here.with_profile, here.labels, check=check)
        logp_without = response_logp(model, here.without_profile, here.labels, check=check)
        counted = batch.labels != -100
        personal[batch.ledger_index[counted]] = (logp_with - logp_without > threshold).cpu()[
            counted
        ]
        step()
    return personal


def nll_sums(
    model: nn.Module,
    batches: Iterable[PairBatch],
    personal: Tensor,
    *,
    check: ModelCheck,
    device: torch.device,
    step: Step,
) -> Tensor:
    """Sums that the metrics are made of; they add up over ranks.

    Args:
        model: the model to evaluate, in evaluation mode.
        batches: the evaluation data, or one rank's share of it.
        personal: bool [n_tokens], from :func:`personal_tokens`.
        check: how to run the model.
        device: where to run it.
        step: called after each batch.

    Returns:
        float64 [4]: NLL over personal tokens, their number, NLL over the others, their number.
    """
    sums = torch.zeros(4, dtype=torch.float64)
    for batch in batches:
        here = batch.to(device)
        nll = -response_logp(model, here.with_profile, here.labels, check=check).cpu().double()
        counted = batch.labels != -100
        mine = torch.zeros_like(counted)
        mine[counted] = personal[batch.ledger_index[counted]]
        other = counted & ~mine
        sums += torch.stack([nll[mine].sum(), mine.sum(), nll[other].sum(), other.sum()])
        step()
    return sums


def nll_metrics(sums: Tensor, prefix: str) -> dict[str, float]:
    """The metrics of evaluation, from sums over all ranks.

    Args:
        sums: float64 [4], of :func:`nll_sums`.
        prefix: in front of each name, "eval" usually.

    Returns:
        ``<prefix>_loss`` (plain CE over all response tokens), ``<prefix>_nll_personal`` and
        ``<prefix>_nll_other``, in nats a token, each absent where there are no such tokens, and
        ``<prefix>_personal_share``.
    """
    personal, n_personal, other, n_other = sums.tolist()
    n = n_personal + n_other
    metrics = {f"{prefix}_loss": (personal + other) / n}
    if n_personal:
        metrics[f"{prefix}_nll_personal"] = personal / n_personal
    if n_other:
        metrics[f"{prefix}_nll_other"] = other / n_other
    metrics[f"{prefix}_personal_share"] = n_personal / n
    return metrics
