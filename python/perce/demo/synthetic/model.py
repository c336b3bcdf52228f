"""The task's model, a tiny Llama, and what a model does at the slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from perce.demo.synthetic.task import Slots
from perce.modeling.attention import packed_attention
from perce.modeling.check import check_model
from perce.modeling.head import plain_logits
from perce.modeling.modes import evaluation_mode
from perce.pairs import PairLoader
from perce.tokens import PreparedData

_MAX_TOKENS = 4096


def new_model(vocabulary: int, *, seed: int) -> Any:
    """A Llama of two layers and 0.4 million random weights.

    Tied embeddings and a wide start: with the usual 0.02 it takes many hundred steps before
    anything is copied from a profile, with these about sixty.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=128,
                intermediate_size=384,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=128,
                initializer_range=0.06,
                tie_word_embeddings=True,
                pad_token_id=None,
                bos_token_id=None,
                eos_token_id=None,
            )
        )


@dataclass(frozen=True, slots=True)
class SlotFigures:
    """What a model does at held-out slots, teacher-forced: each letter's own text comes before.

    Attributes:
        probability: mean probability of the user's own value.
        accuracy: share of slots at which that value is the likeliest token.
        nll: nats, mean negative log-probability of the value that stands there.
    """

    probability: float
    accuracy: float
    nll: float


def measure_slots(model: Any, data: PreparedData, slots: Slots) -> SlotFigures:
    """Read a model's distribution at every slot of a split."""
    place = np.full(data.core.n_response_tokens, -1, np.int64)
    place[slots.index] = np.arange(len(slots.index))
    own, held = torch.from_numpy(slots.own), torch.from_numpy(slots.held)
    found: list[torch.Tensor] = []
    with packed_attention(model), evaluation_mode(model), torch.no_grad():
        check = check_model(model)
        for batch in PairLoader(data, max_tokens=_MAX_TOKENS, shuffle=False):
            here = torch.from_numpy(place)[batch.ledger_index]
            logits = plain_logits(model, batch.with_profile, check=check)[here >= 0]
            here = here[here >= 0]
            logp = logits.double().log_softmax(1)
            mine = own[here]
            found.append(
                torch.stack(
                    [
                        logp.gather(1, mine[:, None])[:, 0].exp(),
                        (logits.argmax(1) == mine).double(),
                        -logp.gather(1, held[here][:, None])[:, 0],
                    ]
                )
            )
    return SlotFigures(*torch.cat(found, 1).mean(1).tolist())
