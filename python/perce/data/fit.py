"""Make a record's two prefixes, or a prompt, fit: only profile items are ever dropped or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from perce.data.encode import TextEncoder
from perce.data.prompts import PromptTemplate
from perce.data.record import Message, ProfileItem, Record
from perce.errors import RecordError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Status = Literal["kept", "cut", "dropped"]
"""What became of a profile item on its way into the prompt."""


@dataclass(frozen=True, slots=True)
class FittedItem:
    """A retrieved item and what the prompt shows of it.

    Attributes:
        item: As retrieved.
        status: ``kept`` whole, ``cut`` at its end, or ``dropped``.
        shown: The text in the prompt; empty when dropped.
    """

    item: ProfileItem
    status: Status
    shown: str


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """A conversation and what it shows of a profile.

    Attributes:
        items: The retrieved items, most relevant first: kept ones, at most one cut, dropped ones.
        turns: Messages, by :meth:`PromptTemplate.turns`, with the profile that is left.
        text_with: The prompt that the chat template makes of them.
        prefix_with: Its ids.
        prefix_without: Ids of the prompt without a profile.
    """

    items: tuple[FittedItem, ...]
    turns: list[dict[str, str]]
    text_with: str
    prefix_with: list[int]
    prefix_without: list[int]


@dataclass(frozen=True, slots=True)
class FittedRecord:
    """A record ready to be stored.

    Attributes:
        record: The record.
        items: Its retrieved items, most relevant first: kept ones, at most one cut, dropped ones.
        text_with: The prompt with the profile that is left.
        prefix_with: Its ids.
        prefix_without: Ids of the prompt without a profile.
        response: Ids of the response and what ends it.
    """

    record: Record
    items: tuple[FittedItem, ...]
    text_with: str
    prefix_with: list[int]
    prefix_without: list[int]
    response: list[int]


class Fitter:
    """Renders and tokenises records in bulk, and shortens profiles that are too long.

    Args:
        template: How to render.
        tokenizer: The fast tokenizer that the template was built from.
        max_length: Most tokens of prefix and response together, with the profile.
        max_profile_length: Most tokens that the profile may add to the prefix; None for no limit
            of its own.
        encoder: Encodes with ``tokenizer``; a new one by default.
    """

    def __init__(
        self,
        template: PromptTemplate,
        tokenizer: PreTrainedTokenizerFast,
        *,
        max_length: int,
        max_profile_length: int | None = None,
        encoder: TextEncoder | None = None,
    ) -> None:
        self.template = template
        self.max_length = max_length
        self.max_profile_length = max_length if max_profile_length is None else max_profile_length
        self.encode = encoder or TextEncoder(tokenizer)
        """Ids of each of a list of texts, nothing added in front or behind."""
        self._tokenizer = tokenizer
        style = template.style
        self._frame, self._separator = map(
            len, self.encode([style.intro + style.end, style.separator])
        )

    def fit(
        self, records: Sequence[tuple[Record, Sequence[ProfileItem]]]
    ) -> list[FittedRecord | RecordError]:
        """Fit records with their retrieved items, most relevant first.

        The least relevant items go first; the item at the border is cut at a token's end. A
        record whose query and response alone are too long, or whose conversation the chat
        template refuses, gives an error in its place.
        """
        results: list[FittedRecord | RecordError | None] = [None] * len(records)
        drafts: dict[int, _Draft] = {}
        for index, (record, items) in enumerate(records):
            try:
                drafts[index] = _Draft(self.template, record.messages, items)
            except RecordError as error:
                results[index] = RecordError(error.message, record=record.id, field=error.field)
        self._measure(list(drafts.values()))
        responses = self._responses({index: records[index][0].response for index in drafts})
        for index, draft in list(drafts.items()):
            room = self.max_length - len(draft.prefix_without) - len(responses[index])
            if room < 0:
                results[index] = RecordError(
                    f"the prompt without a profile takes {len(draft.prefix_without)} tokens and "
                    f"the response {len(responses[index])}, together over max_length "
                    f"{self.max_length}: raise max_length or leave the record out",
                    record=records[index][0].id,
                )
                del drafts[index]
            draft.room = min(room, self.max_profile_length)
        self._shorten(list(drafts.values()))
        for index, draft in drafts.items():
            results[index] = FittedRecord(
                record=records[index][0],
                items=draft.finish(),
                text_with=draft.text_with,
                prefix_with=draft.prefix_with,
                prefix_without=draft.prefix_without,
                response=responses[index],
            )
        return [result for result in results if result is not None]

    def fit_prompt(
        self, messages: Sequence[Message], items: Sequence[ProfileItem], *, most: int
    ) -> FittedPrompt:
        """Fit a conversation whose response is not known, with retrieved items.

        Args:
            messages: The conversation; the next turn is the assistant's.
            items: Retrieved, most relevant first.
            most: Most tokens of the prompt.

        Raises:
            RecordError: The chat template refuses the conversation, or it takes over ``most``
                tokens without any profile.
        """
        draft = _Draft(self.template, messages, items)
        self._measure([draft])
        room = most - len(draft.prefix_without)
        if room < 0:
            raise RecordError(
                f"take {len(draft.prefix_without)} tokens without a profile, and {most} is the "
                "most for a prompt: shorten them",
                field="messages",
            )
        draft.room = min(room, self.max_profile_length)
        self._shorten([draft])
        return FittedPrompt(
            items=draft.finish(),
            turns=self.template.turns(messages, draft.left()),
            text_with=draft.text_with,
            prefix_with=draft.prefix_with,
            prefix_without=draft.prefix_without,
        )

    def _measure(self, drafts: list[_Draft]) -> None:
        """Tokenise what no profile can change, and the prompts with whole profiles."""
        ids = self.encode([draft.text_without for draft in drafts])
        for draft, prefix in zip(drafts, ids, strict=True):
            draft.prefix_without = prefix
        self._encode_with(drafts)

    def _responses(self, texts: dict[int, str]) -> dict[int, list[int]]:
        """Ids of responses, with those of their end."""
        end = list(self.template.end_token_ids)
        ids = self.encode([self.template.neutralise(text) for text in texts.values()])
        return {index: found + end for index, found in zip(texts, ids, strict=True)}

    def _encode_with(self, drafts: list[_Draft]) -> None:
        for draft in drafts:
            draft.render(self.template)
        changed = [draft for draft in drafts if draft.whole or draft.cut]
        ids = self.encode([draft.text_with for draft in changed])
        for draft in drafts:
            draft.prefix_with = draft.prefix_without
        for draft, prefix in zip(changed, ids, strict=True):
            draft.prefix_with = prefix

    def _shorten(self, drafts: list[_Draft]) -> None:
        """Cut profiles down until every whole prompt, tokenised as it is, fits."""
        over = [draft for draft in drafts if draft.excess > 0]
        if not over:
            return
        texts = [text for draft in over for text in draft.texts]
        offsets = iter(
            self._tokenizer(
                texts,
                add_special_tokens=False,
                return_attention_mask=False,
                return_offsets_mapping=True,
                verbose=False,
            )["offset_mapping"]
        )
        for draft in over:
            draft.ends = [[end for _, end in next(offsets)] for _ in draft.texts]
            draft.keep(draft.room - self._frame, self._separator)
        # The estimate adds up items tokenised alone; in the whole they may take a token more or
        # less, so the truth is measured and each round takes off at least what was too much.
        self._encode_with(over)
        while over := [draft for draft in over if draft.excess > 0]:
            for draft in over:
                draft.drop_tokens(draft.excess)
            self._encode_with(over)


class _Draft:
    """A prompt being fitted: ``whole`` items are left, and ``cut`` tokens of the next."""

    __slots__ = (
        "cut", "ends", "items", "messages", "prefix_with", "prefix_without", "room",
        "text_with", "text_without", "texts", "whole",
    )  # fmt: skip

    def __init__(
        self,
        template: PromptTemplate,
        messages: Sequence[Message],
        items: Sequence[ProfileItem],
    ) -> None:
        self.messages = messages
        self.items = items
        self.texts = [template.neutralise(item.text) for item in items]
        self.text_without = template.render(messages)
        self.text_with = self.text_without
        self.whole = len(items)
        self.cut = 0
        self.room = 0  # most tokens that the profile may add
        self.ends: list[list[int]] = []  # for each item, where each of its tokens ends in its text
        self.prefix_without: list[int] = []
        self.prefix_with: list[int] = []

    @property
    def excess(self) -> int:
        """Tokens by which the profile is too long."""
        return len(self.prefix_with) - len(self.prefix_without) - self.room

    def shown(self) -> list[str]:
        """The texts of the items that are left."""
        texts = self.texts[: self.whole]
        if self.cut:
            end = self.ends[self.whole][self.cut - 1]
            texts.append(self.texts[self.whole][:end].rstrip())
        return texts

    def render(self, template: PromptTemplate) -> None:
        """Render the prompt with what is left of the profile."""
        while self.cut and not self.shown()[-1]:  # only white space is left of the cut item
            self.cut -= 1
        items = self.left()
        self.text_with = template.render(self.messages, items) if items else self.text_without

    def left(self) -> list[ProfileItem]:
        """The items that are left, as they are shown."""
        return [
            replace(item, text=text) for item, text in zip(self.items, self.shown(), strict=False)
        ]

    def keep(self, tokens: int, separator: int) -> None:
        """Keep what fits into ``tokens``, a separator of so many tokens between two items."""
        self.whole = self.cut = 0
        for ends in self.ends:
            if len(ends) > tokens:
                self.cut = max(tokens, 0)
                return
            self.whole += 1
            tokens -= len(ends) + separator

    def drop_tokens(self, count: int) -> None:
        """Take ``count`` tokens off the end of what is left."""
        while count > 0 and (self.cut or self.whole):
            if not self.cut:
                self.whole -= 1
                self.cut = len(self.ends[self.whole])
            step = min(count, self.cut)
            self.cut -= step
            count -= step

    def finish(self) -> tuple[FittedItem, ...]:
        """The fate of each item."""
        shown = self.shown()
        items = []
        for index, (item, text) in enumerate(zip(self.items, self.texts, strict=True)):
            left = shown[index] if index < len(shown) else ""
            status: Status = "dropped" if not left else "kept" if left == text else "cut"
            items.append(FittedItem(item, status, left))
        return tuple(items)
