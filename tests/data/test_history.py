from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce.data import Message, ProfileItem, Record, expand_history
from perce.data.history import HistorySource
from perce.data.sources import KnownTruthSource, LongLaMPSource
from perce.errors import OptionError

WORD = st.sampled_from(["", "Tea", "tea ", "sea", "Sea  and tea", "walks"])


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    records = []
    for number in range(draw(st.integers(1, 4))):
        items = []
        for _ in range(draw(st.integers(0, 5))):
            title, content = draw(WORD), draw(WORD)
            items.append(ProfileItem(f"{title}: {content}", title=title, content=content))
        user = draw(st.sampled_from(["ana", "bo"]))
        records.append(Record(str(number), user, tuple(items), (Message("user", "?"),), "!"))
    return records


def normal(text: str) -> str:
    return " ".join(text.casefold().split())


@given(records=histories())
def test_a_target_is_never_in_its_profile(records: list[Record]) -> None:
    for made in expand_history(records):
        for item in made.profile:
            assert normal(made.response) != normal(item.content)
            assert normal(made.response) not in normal(item.text)
            assert normal(made.retrieval_query) != normal(item.title)


@given(records=histories())
def test_each_item_with_title_and_content_is_a_target_once(records: list[Record]) -> None:
    made = Counter(
        (r.user_id, normal(r.retrieval_query), normal(r.response)) for r in expand_history(records)
    )
    expected = {
        (r.user_id, normal(i.title), normal(i.content))
        for r in records
        for i in r.profile
        if i.title.strip() and i.content.strip()
    }
    assert made == Counter(expected)


def test_the_others_are_the_profile_in_their_order() -> None:
    items = tuple(ProfileItem(f"on {t}: {t} text", title=t, content=f"{t} text") for t in "abc")
    record = Record("7", "ana", items, (Message("user", "?"),), "!")
    made = list(expand_history([record], instruction="Write {title} for {x}"))
    assert [(r.id, r.query, r.response) for r in made][1] == ("7/1", "Write b for {x}", "b text")
    assert made[1].profile == (items[0], items[2])


@given(records=histories(), dated=st.booleans(), draw=st.data())
def test_earlier_profiles_never_show_what_is_asked_for_later(
    records: list[Record], dated: bool, draw: st.DataObject
) -> None:
    if dated:
        dates = st.sampled_from(["1999", "2001-05", "2003-01-01"])
        records = [
            replace(r, profile=tuple(replace(i, date=draw.draw(dates)) for i in r.profile))
            for r in records
        ]
    made = list(expand_history(records, earlier=True))
    assert Counter(r.response for r in made) == Counter(
        r.response for r in expand_history(records)
    ), "the same targets, each once"
    for user in ("ana", "bo"):
        mine = [r for r in made if r.user_id == user]
        for position, record in enumerate(mine):
            later = {(normal(r.retrieval_query), normal(r.response)) for r in mine[position:]}
            shown = {(normal(i.title), normal(i.content)) for i in record.profile}
            assert not later & shown


def test_earlier_goes_by_date_where_all_have_one() -> None:
    def titles(dates: list[str]) -> list[list[str]]:
        items = tuple(
            ProfileItem(t, title=t, content=f"{t} text", date=date)
            for t, date in zip("abc", dates, strict=True)
        )
        record = Record("7", "ana", items, (Message("user", "?"),), "!")
        made = expand_history([record], earlier=True)
        return [[*(item.title for item in r.profile), r.retrieval_query] for r in made]

    assert titles(["2003", "2001", "2002"]) == [["b"], ["b", "c"], ["b", "c", "a"]]
    assert titles(["2003", "", "2002"]) == [["a"], ["a", "b"], ["a", "b", "c"]]


def test_an_instruction_must_hold_the_title() -> None:
    with pytest.raises(OptionError, match=r"does not hold \{title\}"):
        list(expand_history([], instruction="Write."))


def test_on_real_abstracts(shared_data) -> None:  # type: ignore[no-untyped-def]
    source = HistorySource(LongLaMPSource("abstract", path=shared_data / "acl"))
    made = list(source.records("val"))
    assert len(made) > 900
    assert made[0].query.startswith('Generate an abstract for the title "')
    for record in made:
        assert all(normal(record.response) not in normal(item.text) for item in record.profile)


def test_a_source_without_titles_gives_nothing() -> None:
    source = HistorySource(KnownTruthSource())
    assert list(source.records("gallery")) == []
    assert source.fingerprint("gallery") != KnownTruthSource().fingerprint()
