"""The table of two writers: what it says is what its figures say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce.demo.writers import SHARED, WritersSource, WritersTable
from perce.errors import StoreError
from tiny import ListSource, tiny_records

nlls = st.fixed_dictionaries({"A": st.floats(0, 9), "B": st.floats(0, 9)})


def table(nll: dict[str, dict[str, float]]) -> WritersTable:
    return WritersTable(
        writers=("A", "B"),
        records={"A": 3, "B": 4},
        nll=nll,
        request="Write.",
        texts={name: f"by {name}" for name in nll},
    )


@given(nlls, nlls, nlls)
def test_the_verdict_counts_what_the_table_shows(shared, a, b) -> None:
    made = table({SHARED: shared, "A": a, "B": b})
    on_writer = (a["A"] < b["A"]) + (b["B"] < a["B"])
    own_first = (shared["A"] - a["A"] > shared["B"] - a["B"]) + (
        shared["B"] - b["B"] > shared["A"] - b["A"]
    )
    assert f"On {on_writer} of the 2 writers" in made.verdict()
    assert f"{own_first} of the 2 adapters" in made.verdict()
    assert WritersTable.from_json(made.to_json()) == made


def test_the_markdown_shows_every_figure_and_text() -> None:
    nll = {SHARED: {"A": 3.0, "B": 2.0}, "A": {"A": 2.5, "B": 1.9}, "B": {"A": 2.9, "B": 1.25}}
    text = table(nll).to_markdown()
    assert "| A's adapter | 2.500 | 1.900 |" in text
    assert "| shared adapter | 3.000 | 2.000 |" in text
    assert "On 2 of the 2 writers" in text
    assert "**B's adapter**: by B" in text
    assert "3 of A, 4 of B" in text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"writers": ["A"]}'])
def test_something_else_is_no_table(text: str) -> None:
    with pytest.raises(StoreError, match="no table of writers"):
        WritersTable.from_json(text)


@given(st.sets(st.sampled_from(["u0", "u1", "u2", "u3"]), min_size=1), st.integers(1, 5))
def test_the_source_gives_the_first_records_of_each_writer(writers: set[str], each: int) -> None:
    records = tiny_records(14)
    source = WritersSource(ListSource(records), sorted(writers), {"train": each})
    expected = []
    for record in records:
        mine = [other for other in expected if other.user_id == record.user_id]
        if record.user_id in writers and len(mine) < each:
            expected.append(record)
    assert list(source.records("train")) == expected
    assert source.splits() == ("train",)
    assert source.fingerprint("train") != WritersSource(
        ListSource(records), sorted(writers), {"train": each + 1}
    ).fingerprint("train")
