"""Encoding by remembered words gives the ids of whole texts, or does not happen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_tokenizers import REAL, fast_tokenizer, make_tiny_tokenizer
from tokenizers import Tokenizer

from perce.data import encode
from perce.data.encode import TextEncoder, may_cut

PIECES = st.one_of(
    st.text(max_size=5),
    st.sampled_from([" ", "  ", "\n", "\n\n", " \n", "\t", "\r\n", "\u00a0", "\u3000", "\x1c"]),
    st.sampled_from([" the", "the", " don't", "I'LL", " 's", " 1234", "56", " .", "!\n\n", "/"]),
    st.sampled_from(["e\u0301", "\u0301", " \u0301", "\uac00", "\u1112\u1161", " \U0001f600"]),
    st.sampled_from(["<|im_end|>", " <|im_end|>", "<|im_start|>user\n", "<|eot_id|>", "[INST]"]),
)
TEXTS = st.lists(st.lists(PIECES, max_size=12).map("".join), max_size=6)


def whole(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [tokenizer.encode(text, add_special_tokens=False) for text in texts]


SLOW = ("llama3", "tekken", "sentencepiece")
"""Each takes seconds to convert."""


@pytest.fixture(
    scope="module",
    params=["tiny", *(pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in REAL)],
)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return make_tiny_tokenizer() if request.param == "tiny" else REAL[request.param]()


@given(batches=st.lists(TEXTS, max_size=3))
def test_ids_are_those_of_whole_texts(tokenizer: Any, batches: list[list[str]]) -> None:
    encoder = TextEncoder(tokenizer)
    for texts in batches:
        assert encoder(texts) == whole(tokenizer, texts)


def test_which_tokenizers_may_be_cut(tokenizer: Any) -> None:
    # Llama 2's family puts a space in front of every text: a piece would get one of its own.
    sentencepiece = tokenizer.backend_tokenizer.normalizer is not None
    assert may_cut(tokenizer) is not sentencepiece


def test_a_word_is_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TextEncoder(make_tiny_tokenizer())
    asked: list[str] = []
    real = encoder._whole
    monkeypatch.setattr(encoder, "_whole", lambda texts: asked.extend(texts) or real(texts))
    encoder(["the cat the cat", "the the"])
    encoder(["a cat"])
    assert sorted(asked) == [" cat", " the", "a", "the"]


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "MOST_PIECES", 10)
    tokenizer = make_tiny_tokenizer()
    encoder = TextEncoder(tokenizer)
    for start in range(0, 100, 5):
        texts = [" ".join(map(str, range(start, start + 5)))]
        assert encoder(texts) == whole(tokenizer, texts)
        assert len(encoder._first) + len(encoder._spaced) <= 15


def changed(**changes: Any) -> Any:
    """The tiny tokenizer with some parts of its description replaced."""
    parts = json.loads(make_tiny_tokenizer().backend_tokenizer.to_str())
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(parts[name], dict):
            parts[name] |= value
        else:
            parts[name] = value
    return fast_tokenizer(Tokenizer.from_str(json.dumps(parts)))


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
TOKEN = {"id": 300, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False}


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"add_prefix_space": True}},
        {"pre_tokenizer": {"use_regex": False}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split(r"[a-z ]+"), LEVEL]}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, LEVEL]}},
        {"normalizer": {"type": "NFKC"}},
        {"normalizer": {"type": "Lowercase"}},
        {"model": {"dropout": 0.5}},
        {"added_tokens": [{**TOKEN, "content": "New York", "special": False}]},
        {"added_tokens": [{**TOKEN, "content": "<x>", "special": True, "rstrip": True}]},
        {"added_tokens": [{**TOKEN, "content": "cat", "special": False, "single_word": True}]},
    ],
)
def test_what_might_reach_over_a_space_is_not_cut(changes: dict[str, Any]) -> None:
    assert may_cut(changed())
    tokenizer = changed(**changes)
    assert not may_cut(tokenizer)
    if "model" not in changes:
        texts = ["the New York <x> cat is in a cat", "a  the"]
        assert TextEncoder(tokenizer)(texts) == whole(tokenizer, texts)
