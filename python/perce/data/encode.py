"""Token ids of many texts, every word tokenised once.

Texts of one kind repeat their words, and a dictionary is faster than a tokenizer. Byte-level BPE
never joins what stands before the space of " word" with what follows, so a text may be cut there,
each piece looked up, and the ids put one after the other: the same ids, several times sooner.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

from perce.errors import StoreError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MOST_PIECES = 2**18
"""Pieces remembered, some 50 MB; more of them start the memory afresh."""

# A space between two characters that are not white space. Were there more white space beside it,
# tokenizers would deal it out between their tokens in ways of their own.
_CUT = re.compile(r" (?=\S)(?<=\S )")

# How tokenizers with a pattern of their own split words. In none of these can a match that has
# begun with anything but white space go on over a space, and a space before a word is the word's.
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_MIXED_CASE = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
    r"|%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _REST
)
_LETTERS = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _REST
PATTERNS = frozenset(
    {
        _LETTERS % r"\p{N}{1,3}",  # Llama 3, SmolLM3, OLMo 2
        _LETTERS % r"\p{N}",  # Qwen 2 to 3
        _MIXED_CASE % (_CONTRACTIONS + "?", _CONTRACTIONS + "?", r"\p{N}{1,3}"),  # GPT-4o, Llama 4
        _MIXED_CASE % ("", "", r"\p{N}"),  # Mistral's tekken
    }
)
"""Split patterns known to be safe to cut; a tokenizer with another one encodes whole texts."""


class TextEncoder:
    """Encodes texts as they are, nothing added in front or behind.

    Args:
        tokenizer: A fast tokenizer. Where it is not one of those that can be cut (see
            :func:`may_cut`), every text is tokenised whole.
        remember: False to tokenise every text whole in any case: for a server, which has no
            business with the words of people who asked it before.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, remember: bool = True) -> None:
        self._tokenizer = tokenizer
        self._may_cut = remember and may_cut(tokenizer)
        self._first: dict[str, list[int]] = {}
        self._spaced: dict[str, list[int]] = {}  # without the space in front, ids with it

    def __call__(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text."""
        if not self._may_cut:
            return self._whole(texts)
        if len(self._first) + len(self._spaced) > MOST_PIECES:
            self._first.clear()
            self._spaced.clear()
        cut = [_CUT.split(text) for text in texts]
        self._learn(self._first, (pieces[0] for pieces in cut), "")
        self._learn(self._spaced, chain.from_iterable(pieces[1:] for pieces in cut), " ")
        first, spaced = self._first, self._spaced.__getitem__
        return [
            [*first[pieces[0]], *chain.from_iterable(map(spaced, pieces[1:]))] for pieces in cut
        ]

    def _learn(self, known: dict[str, list[int]], pieces: Iterable[str], front: str) -> None:
        new = sorted(set(pieces).difference(known))
        known.update(zip(new, self._whole([front + piece for piece in new]), strict=True))

    def _whole(self, texts: list[str]) -> list[list[int]]:
        # The tokenizer's own call would make a Python object of several lists for every text.
        backend = self._tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = self._tokenizer.split_special_tokens
        encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def tokenizer_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 over all that turns text into ids: vocabulary, merges, added tokens, normalisation.

    What does not matter here is left out: padding and truncation, which calls change, the decoder,
    and the post-processor, as prompts write their special tokens themselves. So a tokenizer
    saved and loaded again has the same hash.

    Raises:
        StoreError: It is no fast tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise StoreError(
            f"{type(tokenizer).__name__} is no fast tokenizer: load one with tokenizer.json"
        )
    parts = json.loads(backend.to_str())
    for name in ("version", "padding", "truncation", "decoder", "post_processor"):
        parts.pop(name, None)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def may_cut(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether a text may be cut before " word" without a change to its ids.

    So it is for byte-level BPE that splits words by a pattern known here (GPT-2's, Llama 3's and
    4's, Qwen's, Mistral's), has no normalisation but NFC, and no added token that reaches over a
    space.
    """
    if tokenizer.backend_tokenizer is None:
        return False
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    model, normalizer = parts["model"], parts["normalizer"]
    return (
        model["type"] == "BPE"
        and not model.get("dropout")
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
        and (normalizer is None or normalizer["type"] == "NFC")
        and _splits_words(parts["pre_tokenizer"])
        and not any(_reaches_over_a_space(token) for token in parts["added_tokens"])
    )


def _splits_words(pre_tokenizer: dict[str, Any] | None) -> bool:
    """Whether every step is known, and one of them starts a token at each " word"."""
    steps = [pre_tokenizer] if pre_tokenizer else []
    if pre_tokenizer and pre_tokenizer["type"] == "Sequence":
        steps = pre_tokenizer["pretokenizers"]
    splits = False
    for step in steps:
        if step["type"] == "ByteLevel" and not step["add_prefix_space"]:
            splits = splits or step["use_regex"]
        elif step["type"] == "Split":
            if step["pattern"].get("Regex") not in PATTERNS:
                return False
            if (step["behavior"], step["invert"]) not in (("Isolated", False), ("Removed", True)):
                return False
            splits = True
        elif step["type"] != "Digits":
            return False
    return splits


def _reaches_over_a_space(token: dict[str, Any]) -> bool:
    return token["rstrip"] or token["single_word"] or " " in token["content"]
