"""Attention over packed rows: many segments in one row, none of which sees another.

One attention function, ``perce_packed``, is registered with transformers. With ``cu_seq_lens_q``
among the model's keyword arguments (transformers' own name for segment borders) it keeps segments
apart; without it, it is plain SDPA, so that ``generate()`` works on the same model. It stays
selected instead of being swapped in around a forward, because gradient checkpointing calls it again
in the backward pass.

On CPU it loops SDPA over the segments: equal to unpacked rows to rounding, and 1.5-2.7x faster than
a dense block mask. On CUDA in half precision it calls ``torch.nn.attention.varlen``; where that
does not apply (float32, attention dropout, a head wider than 256 or of another width for values),
it loops.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from perce.errors import ModelError
from perce.modeling.unwrap import base_model

if TYPE_CHECKING:
    from perce.pairs import PackedStream

logger = logging.getLogger(__name__)

PACKED_ATTENTION = "perce_packed"
"""Name under which the function is registered with transformers."""

_PACKABLE_LAYERS = frozenset({"full_attention", "sliding_attention", "attention"})
_VARLEN_MAX_HEAD = 256

_no_mask: ContextVar[bool] = ContextVar("perce_no_mask", default=False)


def packed_inputs(stream: PackedStream) -> dict[str, Any]:
    """Keyword arguments for ``model(**inputs)`` over one packed stream of T tokens.

    ``use_cache`` is False always: left at its default it silently switches packing off in
    transformers.

    Args:
        stream: the packed row; ``cu_seqlens`` int32 [S+1] are its segment borders.

    Returns:
        ``input_ids`` and ``position_ids`` int64 [1, T], the four FlashAttention keyword arguments,
        ``use_cache``.
    """
    return {
        "input_ids": stream.input_ids.unsqueeze(0),
        "position_ids": stream.position_ids.unsqueeze(0),
        "cu_seq_lens_q": stream.cu_seqlens,
        "cu_seq_lens_k": stream.cu_seqlens,
        "max_length_q": stream.max_seqlen,
        "max_length_k": stream.max_seqlen,
        "use_cache": False,
    }


def use_packed_attention(model: torch.nn.Module) -> str:
    """Select packed attention, for good; without segment borders the model behaves as with sdpa.

    Args:
        model: a causal language model of transformers, PEFT-wrapped or not.

    Returns:
        The name of the attention implementation it replaces.

    Raises:
        ModelError: the architecture cannot be packed (attention softcap, recurrent or chunked
            layers, an encoder).
    """
    base = base_model(model)
    _refuse_unpackable(base)
    AttentionInterface.register(PACKED_ATTENTION, packed_attention_forward)
    AttentionMaskInterface.register(PACKED_ATTENTION, _packed_mask)
    former = str(base.config._attn_implementation or "eager")
    if former != PACKED_ATTENTION:
        base.set_attn_implementation(PACKED_ATTENTION)
    return former


@contextmanager
def packed_attention(model: torch.nn.Module) -> Iterator[None]:
    """Packed attention inside the block, the former implementation after it.

    For passes without gradient: a checkpointed backward outside the block would recompute with the
    former one.
    """
    former = use_packed_attention(model)
    try:
        yield
    finally:
        if former != PACKED_ATTENTION:
            base_model(model).set_attn_implementation(former)


@contextmanager
def without_mask() -> Iterator[None]:
    """Build no T x T mask in the forward passes inside: segment borders alone tell segments apart.

    Only for a model known to hand its keyword arguments through to attention (``check_model`` finds
    out). Outside, the model builds a dense block mask of its own from the position ids, which costs
    T^2 bytes and is otherwise harmless.
    """
    token = _no_mask.set(True)
    try:
        yield
    finally:
        _no_mask.reset(token)


def _packed_mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    if _no_mask.get():
        return None
    mask: torch.Tensor | None = sdpa_mask(*args, **kwargs)
    return mask


def packed_attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within segments, in transformers' attention interface.

    Args:
        module: the attention module that calls.
        query: [1, Hq, T, D].
        key: [1, Hkv, T, D]; Hq is a multiple of Hkv.
        value: [1, Hkv, T, D].
        attention_mask: ignored where segment borders are given, else handed to SDPA.
        dropout: probability, 0 outside training.
        scaling: factor on the scores; D ** -0.5 by default.
        sliding_window: a query sees this many keys, itself included; None for all.
        **kwargs: ``cu_seq_lens_q`` int32 [S+1] and ``max_length_q`` for packed rows; the rest is
            the model's.

    Returns:
        The output [1, T, Hq, D], and None for the attention weights.
    """
    borders: torch.Tensor | None = kwargs.get("cu_seq_lens_q")
    if borders is None:
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output
    for extra in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(extra) is not None:
            raise ModelError(
                f"{type(module).__name__} uses {extra} in its attention: packed rows have none"
            )
    varlen = _varlen_attention() if query.is_cuda else None
    if varlen is not None and dropout == 0.0 and _fits_varlen(query, value):
        longest = int(kwargs["max_length_q"])
        packed = varlen(
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            borders,
            borders,
            longest,
            longest,
            scale=scaling,
            window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return packed.unsqueeze(0), None
    return _segment_loop(query, key, value, borders, dropout, scaling, sliding_window), None


def _fits_varlen(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Half precision, heads of at most 256, and values as wide as queries (MLA's are not)."""
    half = query.dtype in (torch.float16, torch.bfloat16)
    return half and query.shape[-1] <= _VARLEN_MAX_HEAD and value.shape[-1] == query.shape[-1]


def _segment_loop(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: torch.Tensor,
    dropout: float,
    scaling: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    edges = borders.tolist()
    pieces = []
    for start, stop in pairwise(edges):
        length = stop - start
        mask = None
        if sliding_window is not None and length > sliding_window:
            mask = torch.ones(length, length, dtype=torch.bool, device=query.device)
            mask = mask.tril_().triu_(1 - sliding_window)
        piece = F.scaled_dot_product_attention(
            query[:, :, start:stop],
            key[:, :, start:stop],
            value[:, :, start:stop],
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        pieces.append(piece.transpose(1, 2))
    return torch.cat(pieces, dim=1)


_varlen: list[Callable[..., torch.Tensor] | None] = []


def _varlen_attention() -> Callable[..., torch.Tensor] | None:
    """The varlen_attn of torch, or None where it has none; looked up and reported once."""
    if not _varlen:
        try:
            module = importlib.import_module("torch.nn.attention.varlen")
            _varlen.append(module.varlen_attn)
        except (ImportError, AttributeError) as error:
            logger.warning(
                "packed attention loops over segments: no varlen_attn in torch (%s)", error
            )
            _varlen.append(None)
    return _varlen[0]


def _refuse_unpackable(model: Any) -> None:
    name = type(model).__name__
    config = getattr(model, "config", None)
    if config is None or not hasattr(model, "set_attn_implementation"):
        raise ModelError(f"{name} is not a transformers model: packed rows need one")
    text = config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{name} has an encoder: perce trains decoder-only models")
    if getattr(text, "attn_logit_softcapping", None):
        raise ModelError(
            f"{name} caps its attention scores (attn_logit_softcapping, as Gemma 2 does), which no "
            "fast attention reproduces: use a model without it"
        )
    foreign = sorted(set(getattr(text, "layer_types", None) or ()) - _PACKABLE_LAYERS)
    if foreign:
        raise ModelError(
            f"{name} has layers of kind {', '.join(foreign)}, whose state would leak from one "
            "segment into the next: use a model with full or sliding-window attention only"
        )
    if getattr(model, "_is_stateful", False):
        raise ModelError(
            f"{name} is recurrent (Mamba-like): its state would leak from one segment into the next"
        )
    if getattr(text, "use_bidirectional_attention", None):
        raise ModelError(f"{name} attends to both sides: perce trains causal models")
    if not getattr(model, "_supports_attention_backend", False):
        raise ModelError(
            f"{name} does not take its attention from transformers' interface, as packed rows need"
        )
