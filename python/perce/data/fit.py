"""Make a record's two prefixes fit the model: only profile items are ever dropped or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from perce.data.encode import TextEncoder
from perce.data.prompts import PromptTemplate
from perce.data.record import ProfileItem, Record
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
    """

    def __init__(
        self,
        template: PromptTemplate,
        tokenizer: PreTrainedTokenizerFast,
        *,
        max_length: int,
        max_profile_length: int | None = None,
    ) -> None:
        self.template = template
        self.max_length = max_length
        self.max_profile_length = max_length if max_profile_length is None else max_profile_length
        self.encode = TextEncoder(tokenizer)
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
                drafts[index] = _Draft(self.template, record, items)
            except RecordError as error:
                results[index] = RecordError(error.message, record=record.id, field=error.field)
        self._measure(list(drafts.values()))
        for index, draft in list(drafts.items()):
            draft.room = self.max_length - len(draft.prefix_without) - len(draft.response)
            if draft.room < 0:
                results[index] = RecordError(
                    f"the prompt without a profile takes {len(draft.prefix_without)} tokens and "
                    f"the response {len(draft.response)}, together over max_length "
                    f"{self.max_length}: raise max_length or leave the record out",
                    record=draft.record.id,
                )
                del drafts[index]
            draft.room = min(draft.room, self.max_profile_length)
        self._shorten(list(drafts.values()))
        for index, draft in drafts.items():
            results[index] = draft.finish()
        return [result for result in results if result is not None]

    def _measure(self, drafts: list[_Draft]) -> None:
        """Tokenise what no profile can change, and the prompts with whole profiles."""
        responses = [self.template.neutralise(draft.record.response) for draft in drafts]
        ids = self.encode([*(draft.text_without for draft in drafts), *responses])
        end = list(self.template.end_token_ids)
        for index, draft in enumerate(drafts):
            draft.prefix_without = ids[index]
            draft.response = ids[len(drafts) + index] + end
        self._encode_with(drafts)

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
    """A record being fitted: ``whole`` items are left, and ``cut`` tokens of the next."""

    __slots__ = (
        "cut", "ends", "items", "prefix_with", "prefix_without", "record", "response", "room",
        "text_with", "text_without", "texts", "whole",
    )  # fmt: skip

    def __init__(
        self, template: PromptTemplate, record: Record, items: Sequence[ProfileItem]
    ) -> None:
        self.record = record
        self.items = items
        self.texts = [template.neutralise(item.text) for item in items]
        self.text_without = template.render(record.messages)
        self.text_with = self.text_without
        self.whole = len(items)
        self.cut = 0
        self.room = 0  # most tokens that the profile may add
        self.ends: list[list[int]] = []  # for each item, where each of its tokens ends in its text
        self.prefix_without: list[int] = []
        self.prefix_with: list[int] = []
        self.response: list[int] = []

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
        items = [
            replace(item, text=text) for item, text in zip(self.items, self.shown(), strict=False)
        ]
        self.text_with = (
            template.render(self.record.messages, items) if items else self.text_without
        )

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

    def finish(self) -> FittedRecord:
        """The result, with the fate of each item."""
        shown = self.shown()
        items = []
        for index, (item, text) in enumerate(zip(self.items, self.texts, strict=True)):
            left = shown[index] if index < len(shown) else ""
            status: Status = "dropped" if not left else "kept" if left == text else "cut"
            items.append(FittedItem(item, status, left))
        return FittedRecord(
            record=self.record,
            items=tuple(items),
            text_with=self.text_with,
            prefix_with=self.prefix_with,
            prefix_without=self.prefix_without,
            response=self.response,
        )
