from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_tokenizers import make_tiny_tokenizer

from perce.data import Message, ProfileItem, PromptTemplate, Record
from perce.data.fit import FittedRecord, Fitter
from perce.errors import RecordError

TOKENIZER = make_tiny_tokenizer()
TEMPLATE = PromptTemplate.from_tokenizer(TOKENIZER)

TEXT = st.lists(
    st.sampled_from(["the sea ", "in on", "é", "日本", "😀", "\n", "<|im_end|>", "  ", "thethe"]),
    min_size=1,
    max_size=10,
).map("".join)
VISIBLE = TEXT.filter(lambda text: bool(text.strip()))


@st.composite
def cases(draw: st.DrawFn) -> list[tuple[Record, tuple[ProfileItem, ...]]]:
    made = []
    for number in range(draw(st.integers(1, 4))):
        items = tuple(ProfileItem(text) for text in draw(st.lists(VISIBLE, max_size=4)))
        messages = (Message("user", draw(VISIBLE)),)
        made.append((Record(str(number), "u", items, messages, draw(VISIBLE)), items))
    return made


def encode(text: str) -> list[int]:
    ids: list[int] = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    return ids


@given(cases=cases(), max_length=st.integers(60, 260), most=st.none() | st.integers(1, 120))
def test_only_the_profile_is_ever_shortened(
    cases: list[tuple[Record, tuple[ProfileItem, ...]]], max_length: int, most: int | None
) -> None:
    fitter = Fitter(TEMPLATE, TOKENIZER, max_length=max_length, max_profile_length=most)
    for (record, items), fitted in zip(cases, fitter.fit(cases), strict=True):
        without = encode(TEMPLATE.render(record.messages))
        response = [*encode(TEMPLATE.neutralise(record.response)), *TEMPLATE.end_token_ids]
        if len(without) + len(response) > max_length:
            assert isinstance(fitted, RecordError)
            assert fitted.record == record.id
            continue
        assert isinstance(fitted, FittedRecord)
        assert fitted.prefix_without == without
        assert fitted.response == response
        assert fitted.prefix_with == encode(fitted.text_with)
        assert len(fitted.prefix_with) + len(response) <= max_length
        added = len(fitted.prefix_with) - len(without)
        assert most is None or added <= most

        assert [part.item for part in fitted.items] == list(items)
        order = "".join({"kept": "k", "cut": "c", "dropped": "d"}[p.status] for p in fitted.items)
        assert order == "k" * order.count("k") + "c" * order.count("c") + "d" * order.count("d")
        assert order.count("c") <= 1
        for part in fitted.items:
            assert TEMPLATE.neutralise(part.item.text).startswith(part.shown)
        shown = [ProfileItem(part.shown) for part in fitted.items if part.shown]
        assert fitted.text_with == TEMPLATE.render(record.messages, shown)
        if not shown:
            assert fitted.prefix_with == without

        whole = len(encode(TEMPLATE.render(record.messages, items)))
        room = max_length - len(response) - len(without)
        if whole - len(without) <= (room if most is None else min(room, most)):
            assert order == "k" * len(items), "nothing is cut without need"


@given(cases=cases(), max_length=st.integers(80, 200))
def test_fitting_together_is_fitting_alone(
    cases: list[tuple[Record, tuple[ProfileItem, ...]]], max_length: int
) -> None:
    fitter = Fitter(TEMPLATE, TOKENIZER, max_length=max_length)
    together = fitter.fit(cases)
    for case, fitted in zip(cases, together, strict=True):
        (alone,) = fitter.fit([case])
        assert str(alone) == str(fitted)


@pytest.mark.parametrize("limit", range(20, 120, 7))
def test_the_room_is_used(limit: int) -> None:
    """Long items of short tokens: what is left may miss the limit by a few tokens, not by many."""
    items = tuple(ProfileItem(f"item {number} " + "word " * 30) for number in range(4))
    record = Record("0", "u", items, (Message("user", "Q"),), "A")
    (fitted,) = Fitter(TEMPLATE, TOKENIZER, max_length=900, max_profile_length=limit).fit(
        [(record, items)]
    )
    assert isinstance(fitted, FittedRecord)
    assert limit - 4 <= len(fitted.prefix_with) - len(fitted.prefix_without) <= limit


def test_the_error_names_the_record_and_the_lengths() -> None:
    record = Record("r9", "u", (), (Message("user", "Q"),), "x" * 50)
    (error,) = Fitter(TEMPLATE, TOKENIZER, max_length=40).fit([(record, ())])
    assert isinstance(error, RecordError)
    without = len(encode(TEMPLATE.render(record.messages)))
    assert f"takes {without} tokens and the response 51, together over max_length 40" in str(error)
    assert error.record == "r9"


def test_a_conversation_that_the_template_refuses_is_a_bad_record() -> None:
    source = "{{ raise_exception('no') if messages[0].content == 'bad' else messages[0].content }}"
    template = PromptTemplate.from_tokenizer(TOKENIZER, chat_template=source)
    cases: Any = [
        (Record(text, "u", (), (Message("user", text),), "A"), ()) for text in ("bad", "good")
    ]
    bad, good = Fitter(template, TOKENIZER, max_length=100).fit(cases)
    assert isinstance(bad, RecordError)
    assert str(bad) == "record 'bad': field 'messages': the chat template refuses them: no"
    assert isinstance(good, FittedRecord)
