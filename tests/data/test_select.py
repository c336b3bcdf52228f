"""A selection of prepared data against the records that it was made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce.errors import OptionError
from perce.pairs import PairLoader
from perce.tokens import PreparedData
from tiny import tiny_data, tiny_records, tiny_tokenizer

N = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return tiny_data(tmp_path_factory.mktemp("whole"), tiny_records(N))


indices = st.permutations(range(N)).flatmap(
    lambda order: st.integers(1, N).map(lambda count: order[:count])
)


def equal(left: PreparedData, right: PreparedData) -> bool:
    """Whether all that anything reads of them is the same."""
    ours, theirs = ([d.record(i) for i in range(len(d))] for d in (left, right))
    streams = ("prefix_with_ids", "prefix_without_ids", "response_ids")
    return (
        (left.meta, left.path, left.record_ids, left.user_ids)
        == (right.meta, right.path, right.record_ids, right.user_ids)
        and [r.record for r in ours] == [r.record for r in theirs]
        and all(
            np.array_equal(getattr(a, name), getattr(b, name))
            for a, b in zip(ours, theirs, strict=True)
            for name in streams
        )
        and np.array_equal(left.response_ids, right.response_ids)
        and np.array_equal(left.response_offsets, right.response_offsets)
    )


@given(indices)
def test_record_i_is_the_one_asked_for(data: PreparedData, records: Sequence[int]) -> None:
    chosen = data.select(records)
    assert len(chosen) == len(records)
    assert chosen.record_ids == [data.record_ids[r] for r in records]
    assert chosen.user_ids == [data.user_ids[r] for r in records]
    for position, record in enumerate(records):
        ours, theirs = chosen.record(position), data.record(record)
        assert ours.record == theirs.record
        assert ours.shown == theirs.shown
        assert np.array_equal(ours.prefix_with_ids, theirs.prefix_with_ids)
        assert np.array_equal(ours.prefix_without_ids, theirs.prefix_without_ids)
        assert np.array_equal(ours.response_ids, theirs.response_ids)


@given(indices)
def test_core_and_meta_are_of_these_records(data: PreparedData, records: Sequence[int]) -> None:
    chosen = data.select(np.array(records))
    for ours, theirs in zip(chosen.core.lengths(), data.core.lengths(), strict=True):
        assert ours.tolist() == theirs[records].tolist()
    counts = chosen.meta["counts"]
    assert counts["records"] == len(records)
    assert counts["users"] == len({data.user_ids[r] for r in records})
    assert counts["tokens_response"] == chosen.core.n_response_tokens
    same = {"key", "counts"}
    assert {k: v for k, v in chosen.meta.items() if k not in same} == {
        k: v for k, v in data.meta.items() if k not in same
    }
    chosen.check_tokenizer(tiny_tokenizer())


@given(indices)
def test_a_loader_collates_the_same_tokens(data: PreparedData, records: Sequence[int]) -> None:
    """Through the core: every response token of these records once, and no other."""
    chosen = data.select(records)
    loader = PairLoader(chosen, max_tokens=400, shuffle=False)
    labels = np.full(chosen.core.n_response_tokens, -1)
    for batch in loader:
        labels[batch.ledger_index.numpy()] = batch.labels.numpy()
    expected = [data.record(record).response_ids for record in records]
    assert labels.tolist() == np.concatenate(expected).tolist()


@given(indices, indices)
def test_keys_tell_selections_apart(
    data: PreparedData, first: Sequence[int], second: Sequence[int]
) -> None:
    keys = [data.select(records).meta["key"] for records in (first, second)]
    assert (keys[0] == keys[1]) == (list(first) == list(second))
    assert data.meta["key"] not in keys


@given(indices, st.data())
def test_a_selection_of_a_selection_is_one_of_the_whole(
    data: PreparedData, records: Sequence[int], draw: st.DataObject
) -> None:
    inner = draw.draw(st.lists(st.integers(0, len(records) - 1), min_size=1, unique=True))
    nested = data.select(records).select(inner)
    assert equal(nested, data.select([records[i] for i in inner]))


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([], "none are chosen"),
        ([0, N], rf"{N} is not in 0\.\.{N - 1}"),
        ([-1], "-1 is not in"),
        ([3, 1, 3], "3 is given twice"),
        ([0.5], "give a row of indices"),
        ([[0, 1]], "give a row of indices"),
        ([True] * N, "give a row of indices"),
        (["0"], "give a row of indices"),
    ],
)
def test_what_cannot_be_selected(data: PreparedData, records: list, told: str) -> None:
    with pytest.raises(OptionError, match=f"records: .*{told}"):
        data.select(records)


def test_indices_of_a_selection_are_its_own(data: PreparedData) -> None:
    chosen = data.select([7, 8])
    with pytest.raises(OptionError, match=r"2 is not in 0\.\.1"):
        chosen.select([2])
    with pytest.raises(OptionError, match=r"2 is not in 0\.\.1"):
        chosen.record(2)
