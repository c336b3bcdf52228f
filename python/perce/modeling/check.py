"""Trust a model only after trying it: packed rows against single ones, the op against logits."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from perce.errors import ModelError
from perce.modeling.attention import use_packed_attention
from perce.modeling.head import ModelCheck, find_head, plain_logits, response_logp
from perce.modeling.modes import evaluation_mode
from perce.modeling.unwrap import base_model
from perce.pairs import PackedStream

logger = logging.getLogger(__name__)

_SEGMENTS = (11, 5, 8)
_TOLERANCE = 1e-3
"""Largest difference in nats allowed in float32, where the two ways differ by about 1e-5."""
_HALF_TOLERANCE = 0.1
"""Mean difference allowed in half precision; rounding alone gives 0.01-0.05, mixed-up segments 0.5
and more.
"""


def check_model(model: nn.Module) -> ModelCheck:
    """Run a few random tokens through the model and decide how it is to be run.

    Selects packed attention, then compares log-probabilities of a row of three segments with those
    of each segment alone, and the op inside the head with the model's own logits. Costs five
    forward passes over 24 tokens.

    Args:
        model: causal LM, PEFT-wrapped or not, on the device it will run on. Its modes and weights
            are left as they are.

    Returns:
        The paths to take. The plain head path is logged as a warning with its reason.

    Raises:
        ModelError: the model cannot be packed, or packed rows give other log-probabilities even
            with a dense mask.
    """
    use_packed_attention(model)
    head = find_head(model)
    stream, labels = _trial(model)
    _warn_of_rounding(labels.device)
    with evaluation_mode(model), torch.no_grad():
        alone = _alone(model, stream)
        if alone.isnan().any():
            raise ModelError(
                f"{type(base_model(model)).__name__} gives NaN for ordinary tokens: its weights "
                "are broken, or its dtype is too narrow (try float32)"
            )
        attention_gap = float("inf")
        for attention in ("segments", "dense"):
            trial = ModelCheck("plain", attention, "")
            attention_gap = _gap(plain_logits(model, stream, check=trial).log_softmax(-1), alone)
            if attention_gap <= _tolerance(model):
                break
        else:
            raise ModelError(
                f"{type(base_model(model)).__name__}: packed rows differ from single ones by "
                f"{attention_gap:.2g} nats: its layers look across segment borders, and perce "
                "cannot train it"
            )
        if head.linear is None:
            check = ModelCheck("plain", attention, head.reason)
        else:
            own = alone.gather(1, labels[:, None])[:, 0]
            trial = ModelCheck("linear", attention, "")
            head_gap = _gap(response_logp(model, stream, labels, check=trial), own)
            if head_gap <= _tolerance(model):
                check = ModelCheck("linear", attention, f"agrees with its logits to {head_gap:.1e}")
            else:
                reason = f"the op differs from the model's own logits by {head_gap:.2g} nats"
                check = ModelCheck("plain", attention, reason)
    logger.log(logging.INFO if check.path == "linear" else logging.WARNING, "%s", check)
    return check


def check_stream(model: nn.Module, stream: PackedStream) -> None:
    """Refuse a row that the model would misread, which on a GPU could end the process.

    Args:
        model: a transformers model, wrapped or not.
        stream: the row, on the CPU.

    Raises:
        ModelError: a token id without an embedding, as the data was prepared for another model; or
            a segment so long that the model changes its rotary embedding, and for the whole row.
    """
    base = base_model(model)
    vocabulary = int(base.get_input_embeddings().weight.shape[0])
    highest = int(stream.input_ids.max())
    if highest >= vocabulary:
        raise ModelError(
            f"the data has token id {highest}, the model's vocabulary ends at {vocabulary - 1}: "
            "prepare the data with this model's tokenizer"
        )
    longest = _longest_of_one_rope(base.config.get_text_config())
    if longest is not None and stream.max_seqlen > longest:
        raise ModelError(
            f"a record has {stream.max_seqlen} tokens: past {longest}, {type(base).__name__} "
            "changes its rotary embedding for every record of the row: prepare the data with "
            f"max_length {longest}"
        )


def _longest_of_one_rope(config: Any) -> int | None:
    """Tokens up to which the rotary embedding does not depend on the longest segment of a row."""
    rope = getattr(config, "rope_parameters", None) or {}
    # Families with several kinds of layers have one dictionary a kind.
    kinds = [kind for kind in rope.values() if isinstance(kind, dict)] or [rope]
    limits = []
    for kind in kinds:
        name = str(kind.get("rope_type"))
        if name == "longrope":
            limits.append(int(kind["original_max_position_embeddings"]))
        elif "dynamic" in name:
            limits.append(int(config.max_position_embeddings))
    return min(limits, default=None)


def _warn_of_rounding(device: torch.device) -> None:
    """PIR is a difference of float32 logits; torch can be told to round their products."""
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    precision = backend.matmul.fp32_precision
    if precision not in ("none", "ieee"):
        logger.warning(
            "float32 products are rounded to %s, and PIR with them: call "
            "torch.set_float32_matmul_precision('highest')",
            precision,
        )


def _trial(model: nn.Module) -> tuple[PackedStream, Tensor]:
    base = base_model(model)
    device = base.get_input_embeddings().weight.device
    total = sum(_SEGMENTS)
    vocabulary = base.get_input_embeddings().weight.shape[0]
    # Its own generator: a check must not move the run's random state.
    ids = torch.randint(vocabulary, (total,), generator=torch.Generator().manual_seed(0))
    borders = torch.tensor([0, *_SEGMENTS]).cumsum(0)
    rows = torch.cat([torch.arange(stop - 4, stop - 1) for stop in borders[1:].tolist()])
    stream = PackedStream(
        input_ids=ids,
        position_ids=torch.cat([torch.arange(length) for length in _SEGMENTS]),
        cu_seqlens=borders.to(torch.int32),
        rows=rows,
        max_seqlen=max(_SEGMENTS),
    )
    return stream.to(device), ids[rows + 1].to(device)


def _alone(model: nn.Module, stream: PackedStream) -> Tensor:
    logits = []
    edges = stream.cu_seqlens.tolist()
    for start, stop in pairwise(edges):
        output = model(input_ids=stream.input_ids[None, start:stop], use_cache=False)
        inside = (stream.rows >= start) & (stream.rows < stop)
        logits.append(output.logits[0, stream.rows[inside] - start])
    return torch.cat(logits).float().log_softmax(-1)


def _gap(got: Tensor, expected: Tensor) -> float:
    difference = (got.float() - expected).abs()
    return float(difference.max() if got.dtype.itemsize >= 4 else difference.mean())


def _tolerance(model: nn.Module) -> float:
    weight: Tensor = base_model(model).get_input_embeddings().weight
    return _TOLERANCE if weight.dtype.itemsize >= 4 else _HALF_TOLERANCE
