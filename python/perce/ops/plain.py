"""The twin of the ops on whole logits, for models whose head cannot be taken apart."""

from __future__ import annotations

import torch
from torch import Tensor

from perce.errors import OptionError
from perce.objectives import Normalize, Objective, Signals
from perce.ops.head import IGNORE_INDEX
from perce.ops.interface import WeightedCE, check_rows, choose_objective, finish
from perce.ops.labels import check_labels
from perce.ops.weighing import check_given_weights, loss_sum


def weighted_ce(
    logits: Tensor,
    labels: Tensor,
    *,
    objective: str | Objective | None = None,
    weights: Tensor | None = None,
    logp_without: Tensor | None = None,
    logp_reference: Tensor | None = None,
    segment: Tensor | None = None,
    num_items: float | Tensor | None = None,
    normalize: Normalize | None = None,
) -> WeightedCE:
    """Weighted cross-entropy from logits [N, V], by plain autograd.

    Everything else is as in :func:`perce.ops.linear_weighted_ce`. The logits are taken as they
    come, scale and softcap included, upcast to float32 and held whole: at a large vocabulary that
    is most of the memory of a step.
    """
    check_rows(
        labels,
        weights=weights,
        logp_without=logp_without,
        logp_reference=logp_reference,
        segment=segment,
    )
    if logits.dim() != 2 or len(logits) != len(labels) or not logits.is_floating_point():
        raise OptionError(
            "logits",
            f"floating [{len(labels)}, V] is needed, got {logits.dtype} {list(logits.shape)}",
        )
    check_labels(labels, logits.shape[1])
    chosen, normalize = choose_objective(objective, weights, normalize)
    ignored = labels == IGNORE_INDEX
    with torch.autocast(logits.device.type, enabled=False):
        every = torch.log_softmax(logits.float(), dim=1)
        logp = every.gather(1, labels.masked_fill(ignored, 0)[:, None]).squeeze(1)
        logp = logp.masked_fill(ignored, 0.0)
        without = None if logp_without is None else logp_without.detach().float()
        with torch.no_grad():
            if weights is not None:
                check_given_weights(weights)
                used = weights.detach().float()
            else:
                assert chosen is not None
                entropy = None
                if "entropy" in chosen.needs:
                    entropy = torch.special.entr(every.exp()).sum(1)
                used = chosen(
                    Signals(
                        logp_with=logp,
                        logp_without=without,
                        logp_reference=None if logp_reference is None else logp_reference.float(),
                        entropy=entropy,
                        segment=None if segment is None else segment.masked_fill(ignored, -1),
                    )
                )
            used = used.masked_fill(ignored, 0.0)
            pir = None if without is None else (logp - without).masked_fill(ignored, 0.0)
        return finish(loss_sum(used, logp), logp.detach(), pir, used, labels, normalize, num_items)
