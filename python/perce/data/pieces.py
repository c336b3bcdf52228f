"""The text that each token adds to a response. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from perce.errors import ModelError

TOKENIZER_FILE = "tokenizer.json"


class TokenizerFile:
    """A saved tokenizer, loaded without transformers: it turns ids into text, no more.

    Args:
        folder: where a model or adapter was saved with its tokenizer.

    Attributes:
        name_or_path: the folder, as transformers' tokenizers call it.
        backend_tokenizer: of tokenizers.

    Raises:
        ModelError: there is none, or it is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.name_or_path = str(folder)
        try:
            self.backend_tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:  # noqa: BLE001 - tokenizers raises no other
            raise ModelError(f"{folder}: cannot load {TOKENIZER_FILE}: {error}") from None

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        """Text of some ids, special tokens and all."""
        text: str = self.backend_tokenizer.decode(ids, skip_special_tokens=False)
        return text


def pieces(tokenizer: Any, ids: Iterable[int]) -> list[str]:
    """Text that each token adds to a response; joined, they are the decoded response.

    A token alone does not always decode to its text: leading spaces get lost, and one character can
    be spread over several byte tokens. Such a character goes to the token that completes it, the
    others get the empty string.

    Args:
        tokenizer: of transformers, or a :class:`TokenizerFile`.
        ids: the token ids of one response, in order.

    Returns:
        One string a token.
    """
    ids = list(ids)
    texts: list[str] = []
    # Only a short window is decoded each time: [start, read) is the context that settles leading
    # spaces, [read, i] is what has not become text yet.
    start = read = 0
    before = ""
    for i in range(len(ids)):
        after = _decode(tokenizer, ids[start : i + 1])
        if after.endswith("\ufffd") and i + 1 < len(ids):
            texts.append("")
            continue
        texts.append(after[len(before) :])
        start, read = read, i + 1
        before = _decode(tokenizer, ids[start:read])
    return texts


def _decode(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
