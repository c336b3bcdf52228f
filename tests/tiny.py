"""Tiny random models, a byte tokenizer and prepared records, all built in a moment."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from perce._core import TokenStore
from perce.data.prompts import ProfileStyle
from perce.data.record import Message, ProfileItem, Record
from perce.pairs import PackedStream, PairBatch
from perce.prepare import PrepareOptions, prepare
from perce.tokens import PreparedData

VOCABULARY = 260
WINDOW = 6
"""Sliding window of the models that have one, far shorter than their segments."""

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}


def _config(family: str) -> transformers.PretrainedConfig:
    if family == "llama":
        return transformers.LlamaConfig(**_COMMON)
    if family == "smollm2":
        return transformers.LlamaConfig(**_COMMON, tie_word_embeddings=True)
    if family == "qwen3":
        return transformers.Qwen3Config(**_COMMON, head_dim=8)
    if family == "gemma3":
        return transformers.Gemma3TextConfig(
            **_COMMON,
            head_dim=8,
            sliding_window=WINDOW,
            layer_types=["sliding_attention", "full_attention"],
            final_logit_softcapping=3.0,
        )
    if family == "gpt2":
        return transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=512
        )
    if family == "phi":
        return transformers.PhiConfig(**{**_COMMON, "num_key_value_heads": 4})
    if family == "granite":
        return transformers.GraniteConfig(**_COMMON, logits_scaling=4.0)
    if family == "cohere":
        return transformers.CohereConfig(**_COMMON, logit_scale=0.25)
    if family == "mistral":
        return transformers.MistralConfig(**_COMMON, sliding_window=WINDOW)
    if family == "qwen3_moe":
        return transformers.Qwen3MoeConfig(
            **_COMMON,
            head_dim=8,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            output_router_logits=True,
            router_aux_loss_coef=0.5,
        )
    raise KeyError(family)


def tiny_model(family: str = "llama", *, seed: int = 0, spread: float = 4.0) -> Any:
    """A random model in float32, in evaluation mode; ``spread`` makes its logits differ."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(_config(family))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(spread)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.float().eval()


def tiny_tokenizer() -> Any:
    """One token a byte and four control tokens: any text, and characters of several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    for name in ("<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"):
        vocabulary[name] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        extra_special_tokens=["<|user|>", "<|assistant|>"],
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return tokenizer


class ListSource:
    """Records from a list, as a source of data."""

    name = "list"
    style = ProfileStyle()
    history_instruction = "{title}"

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = list(records)

    def splits(self) -> tuple[str, ...]:
        return ("train", "val")

    def records(self, split: str, *, on_bad: Any = None) -> Iterator[Record]:
        return iter(self._records)

    def fingerprint(self, split: str) -> str:
        return repr(self._records)


def tiny_records(n: int = 12, *, seed: int = 0, empty_profiles: bool = False) -> list[Record]:
    """Short records of four users, of unequal lengths, with non-ASCII text among them."""
    draw = random.Random(seed)
    words = ["tea", "café", "sea", "stone", "né", "to", "walk", "again", "日本", "x"]

    def text(most: int) -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randint(1, most)))

    return [
        Record(
            id=f"r{i}",
            user_id=f"u{i % 4}",
            profile=()
            if empty_profiles
            else tuple(ProfileItem(text(4)) for _ in range(draw.randint(1, 3))),
            messages=(Message("user", text(4)),),
            response=text(5),
        )
        for i in range(n)
    ]


def tiny_data(
    out: Path, records: Sequence[Record] | None = None, *, split: str = "train"
) -> PreparedData:
    """Records prepared with the tiny tokenizer."""
    source = ListSource(tiny_records() if records is None else records)
    options = PrepareOptions(retrieval="recency", max_length=400)
    return prepare(source, split, tiny_tokenizer(), out, options=options)


def random_store(lengths: Sequence[tuple[int, int, int]], *, seed: int = 0) -> TokenStore:
    """A store of random ids; each record is (prefix with, prefix without, response) lengths."""
    generator = np.random.default_rng(seed)
    columns: list[np.ndarray] = []
    for column in zip(*lengths, strict=True):
        offsets = np.concatenate([[0], np.cumsum(column)]).astype(np.int64)
        columns += [generator.integers(0, VOCABULARY, offsets[-1]).astype(np.int32), offsets]
    return TokenStore(*columns)


def segments(stream: PackedStream) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each segment's ids [L], and the positions in it that predict a response token."""
    edges = stream.cu_seqlens.tolist()
    found = []
    for start, stop in pairwise(edges):
        rows = stream.rows[(stream.rows >= start) & (stream.rows < stop)]
        found.append((stream.input_ids[start:stop], rows - start))
    return found


def unpacked_logp(model: Any, stream: PackedStream) -> torch.Tensor:
    """Oracle: log p of the response tokens, each segment alone through the model's own logits."""
    pieces = []
    for ids, rows in segments(stream):
        logits = model(input_ids=ids[None], use_cache=False).logits[0]
        every = logits.log_softmax(-1)
        pieces.append(every[rows, ids[rows + 1]])
    return torch.cat(pieces)


def reference_gradients(
    model: Any, batches: Sequence[PairBatch], weights: Sequence[torch.Tensor], divisor: float
) -> dict[str, torch.Tensor]:
    """Oracle: gradients of -sum(w * log p) / divisor over unpacked segments, by parameter name."""
    model.zero_grad()
    for batch, weight in zip(batches, weights, strict=True):
        logp = unpacked_logp(model, batch.with_profile)
        (-(weight.to(logp.dtype) * logp).sum() / divisor).backward()
    found = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    model.zero_grad()
    return found
