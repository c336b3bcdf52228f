"""Letters of users whose preferences are known: which tokens are personal is known, too.

A user has one value of each of four kinds, and the profile states them. A letter names one of each
kind, the user's own with probability ``follow``, else any of the others. So at a *slot*, the token
after a kind's name, the truth with the profile is ``follow`` for the user's value, and without it
one over the number of values for each. About a tenth of a letter's tokens are slots.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from perce.data.prompts import ProfileStyle
from perce.data.record import Message, ProfileItem, Record
from perce.data.sources.base import OnBad
from perce.tokens import PreparedData

KINDS: dict[str, tuple[str, ...]] = {
    "town": (
        *("oslo", "lima", "cairo", "perth", "kyoto", "quito", "turin", "delhi"),
        *("sofia", "porto", "accra", "hanoi", "izmir", "tampa", "lagos", "basel"),
    ),
    "dish": (
        *("ramen", "paella", "borscht", "tacos", "pho", "lasagne", "dosa", "goulash"),
        *("falafel", "poutine", "ceviche", "kimchi", "risotto", "tagine", "fondue", "gumbo"),
    ),
    "hobby": (
        *("chess", "rowing", "pottery", "judo", "baking", "sailing", "origami", "archery"),
        *("surfing", "knitting", "fencing", "hiking", "juggling", "carpentry", "diving", "yoga"),
    ),
    "colour": (
        *("red", "green", "blue", "amber", "violet", "teal", "pink", "brown"),
        *("grey", "white", "black", "orange", "silver", "indigo", "beige", "lime"),
    ),
}
VALUES = 16
"""Values of each kind, equally likely over users."""

_OPENINGS = (
    "once more i wrote about the",
    "all my friends know about the",
    "nobody ever asks me about the",
    "let me say something about the",
    "today i keep thinking of the",
    "there is nothing quite like the",
    "every letter of mine praises the",
    "in spring i dream about the",
)
_ROUNDS = 3
"""How often a list of ``pretrain`` goes through the kinds; so it is as long as a letter."""

_QUERY = "please write me a letter"
_STYLE = ProfileStyle(intro="about me : ", separator=" ; ", end=" . ")
_CONTROLS = ("<|user|>", "<|assistant|>", "<|end|>")
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def task_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    texts = (*_OPENINGS, _QUERY, _STYLE.intro, _STYLE.separator, _STYLE.end)
    words = [word for text in texts for word in text.split()]
    words += [word for kind, values in KINDS.items() for word in (kind, *values)]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(["?", *words, *_CONTROLS]))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|end|>",
        pad_token="<|end|>",
        extra_special_tokens=["<|user|>", "<|assistant|>"],
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


class TaskSource:
    """Letters as a source of records: the splits pretrain, train and val have users of their own.

    Every second one of ``pretrain`` is a list instead, nothing but kinds and values, from which a
    model learns sooner to look them up.

    Args:
        sizes: records of each split.
        follow: how often a slot holds the user's own value; exactly so over each split.
        seed: of everything that is drawn.
        without_profile: share of ``pretrain`` whose profile is not shown, so that a model learns to
            do without.
    """

    name = "synthetic"
    style = _STYLE
    history_instruction = "{title}"

    def __init__(
        self, sizes: dict[str, int], *, follow: float, seed: int, without_profile: float = 0.15
    ) -> None:
        self._sizes = sizes
        self._follow = follow
        self._seed = seed
        self._without_profile = without_profile

    def splits(self) -> tuple[str, ...]:
        """The splits there are."""
        return tuple(self._sizes)

    def fingerprint(self, split: str) -> str:
        """Everything the letters depend on."""
        return repr((self._sizes[split], self._follow, self._seed, self._without_profile))

    def records(self, split: str, *, on_bad: OnBad | None = None) -> Iterator[Record]:
        """One letter a user."""
        del on_bad  # none is bad
        draw = random.Random(f"{self._seed} {split}")
        records = self._sizes[split]
        pretrain = split == "pretrain"
        hides = self._shuffled(draw, records, self._without_profile if pretrain else 0.0)
        most = len(KINDS) * (_ROUNDS if pretrain else 1)
        follows = self._shuffled(draw, records * most, self._follow)
        for i, hidden in enumerate(hides):
            own = {kind: draw.choice(values) for kind, values in KINDS.items()}
            profile = [ProfileItem(f"{kind} {value}") for kind, value in own.items()]
            draw.shuffle(profile)
            is_list = pretrain and i % 2 == 1
            kinds = [
                kind
                for _ in range(_ROUNDS if is_list else 1)
                for kind in draw.sample(list(KINDS), len(KINDS))
            ]
            sentences = []
            for kind, follows_profile in zip(kinds, follows[i::records], strict=False):
                others = [value for value in KINDS[kind] if value != own[kind]]
                value = own[kind] if follows_profile else draw.choice(others)
                opening = "" if is_list else f"{draw.choice(_OPENINGS)} "
                sentences.append(f"{opening}{kind} {value} .")
            yield Record(
                id=f"{split}-{i}",
                user_id=f"{split}-{i}",
                profile=() if hidden else tuple(profile),
                messages=(Message("user", _QUERY),),
                response=" ".join(sentences),
            )

    @staticmethod
    def _shuffled(draw: random.Random, length: int, share: float) -> list[bool]:
        """So many flags of which exactly this share is set: one thing less to vary by chance."""
        flags = [i < round(share * length) for i in range(length)]
        draw.shuffle(flags)
        return flags


@dataclass(frozen=True)
class Slots:
    """Where a prepared split's slots are, and what truth they hold.

    Attributes:
        index: int64 [S], index of each slot among all response tokens of the data.
        own: int64 [S], token id of the user's own value.
        held: int64 [S], token id that stands there.
    """

    index: npt.NDArray[np.int64]
    own: npt.NDArray[np.int64]
    held: npt.NDArray[np.int64]

    @cached_property
    def follow(self) -> float:
        """Share of slots that hold the user's own value."""
        return float((self.own == self.held).mean())


def find_slots(data: PreparedData, tokenizer: Any) -> Slots:
    """Find the slots of a split whose profiles are shown."""
    kinds = {tokenizer.convert_tokens_to_ids(kind): kind for kind in KINDS}
    index, own, held = [], [], []
    start = 0
    for i in range(len(data)):
        record = data.record(i)
        values = dict(item.text.split() for item in record.shown)
        ids = record.response_ids.tolist()
        for position, (cue, value) in enumerate(itertools.pairwise(ids), start=1):
            if cue in kinds:
                index.append(start + position)
                own.append(tokenizer.convert_tokens_to_ids(values[kinds[cue]]))
                held.append(value)
        start += len(ids)
    return Slots(*(np.array(column, np.int64) for column in (index, own, held)))
