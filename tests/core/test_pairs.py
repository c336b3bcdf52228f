"""PairLoader: every record once, both variants aligned, exact resume."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import skip_first_batches
from hypothesis import given
from hypothesis import strategies as st
from stores import Rows, example, rows

from perce.errors import OptionError, PackingError
from perce.pairs import PackedStream, PairBatch, PairLoader


def tensors(batch: PairBatch) -> dict[str, list[int] | int]:
    """A batch as plain data, which later batches in a ring cannot change."""

    def plain(value: object) -> object:
        return value.tolist() if isinstance(value, torch.Tensor) else value

    flat = {}
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, PackedStream):
            for part in dataclasses.fields(value):
                flat[f"{field.name}.{part.name}"] = plain(getattr(value, part.name))
        else:
            flat[field.name] = plain(value)
    return flat


def expected(data: Rows, records: list[int], *, ignore: bool) -> dict[str, list[int] | int]:
    """What a batch of these records is, one token at a time."""
    batch: dict = {"labels": [], "segment": [], "ledger_index": [], "records": records}
    starts = [0, *itertools.accumulate(len(response) for response in data.response)]
    for name, prefixes in [
        ("with_profile", data.prefix_with),
        ("without_profile", data.prefix_without),
    ]:
        ids, positions, cu_seqlens, predicting = [], [], [0], []
        for record in records:
            prefix, response = prefixes[record], data.response[record]
            for position, token in enumerate(prefix + response):
                if position >= len(prefix):
                    predicting.append(len(ids) - 1)
                ids.append(token)
                positions.append(position)
            cu_seqlens.append(len(ids))
        batch |= {
            f"{name}.input_ids": ids,
            f"{name}.position_ids": positions,
            f"{name}.cu_seqlens": cu_seqlens,
            f"{name}.rows": predicting,
            f"{name}.max_seqlen": max(b - a for a, b in itertools.pairwise(cu_seqlens)),
        }
    for segment, record in enumerate(records):
        for j, token in enumerate(data.response[record]):
            batch["labels"].append(-100 if ignore else token)
            batch["segment"].append(segment)
            batch["ledger_index"].append(-1 if ignore else starts[record] + j)
    return batch


@st.composite
def plans(draw: st.DrawFn) -> tuple[Rows, dict]:
    """Records and options that hold them, in both ways to batch."""
    data = draw(rows())
    options = {
        "seed": draw(st.integers(0, 2**64 - 1)),
        "shuffle": draw(st.booleans()),
        "ring_size": draw(st.none() | st.integers(1, 3)),
    }
    if draw(st.booleans()):
        longest = max(data.lengths()[0])
        options |= {
            "max_tokens": draw(st.integers(longest, 4 * longest)),
            "short_ratio": draw(st.floats(0.01, 10)),
        }
    else:
        options |= {"packing": False, "per_device_train_batch_size": draw(st.integers(1, 25))}
    return data, options


@given(plan=plans(), world_size=st.integers(1, 5), epoch=st.integers(0, 3))
def test_every_record_once_an_epoch_over_all_ranks(
    plan: tuple[Rows, dict], world_size: int, epoch: int
) -> None:
    data, options = plan
    store = data.store()
    seen: collections.Counter[int] = collections.Counter()
    ledger: list[int] = []
    lengths = set()
    for rank in range(world_size):
        loader = PairLoader(store, rank=rank, world_size=world_size, **options)
        loader.set_epoch(epoch)
        lengths.add(len(loader))
        batches = 0
        for batch in loader:
            batches += 1
            records = batch.records.tolist()
            repeat = batch.num_items == 0
            assert tensors(batch) == expected(data, records, ignore=repeat)
            if not repeat:
                seen.update(records)
                ledger += batch.ledger_index.tolist()
            if "max_tokens" in options:
                assert len(batch.with_profile.input_ids) <= options["max_tokens"]
            else:
                assert len(records) <= options["per_device_train_batch_size"]
        assert batches == len(loader)
    assert lengths == {-(-loader.n_bins // world_size)}
    assert seen == dict.fromkeys(range(len(data)), 1)
    assert sorted(ledger) == list(range(store.n_response_tokens))


@given(plan=plans())
def test_both_streams_predict_the_same_response(plan: tuple[Rows, dict]) -> None:
    data, options = plan
    for batch in PairLoader(data.store(), **options):
        for stream in (batch.with_profile, batch.without_profile):
            assert torch.equal(stream.input_ids[stream.rows + 1], batch.labels)
        response = [token for record in batch.records for token in data.response[record]]
        assert batch.labels.tolist() == response


@given(plan=plans(), data=st.data())
def test_resume_is_exact(plan: tuple[Rows, dict], data: st.DataObject) -> None:
    source, options = plan
    store = source.store()
    epoch = data.draw(st.integers(0, 2))
    loader = PairLoader(store, **options)
    cut = data.draw(st.integers(0, len(loader)))
    loader.set_epoch(epoch)
    whole = [tensors(batch) for batch in loader]

    # As the Trainer does it: a new loader, the skip before the epoch is set.
    fresh = PairLoader(store, **options)
    assert fresh.plan_hash == loader.plan_hash
    rest = skip_first_batches(fresh, cut)
    rest.batch_sampler.batch_sampler.set_epoch(epoch)
    assert len(rest) == len(loader) - cut
    assert [tensors(batch) for batch in rest] == whole[cut:]


def test_epochs_differ_in_order_and_not_in_length() -> None:
    loader = PairLoader(example().store(), max_tokens=64)
    orders = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        orders.append([batch.records.tolist() for batch in loader])
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_without_shuffle_every_epoch_has_the_fixed_order() -> None:
    loader = PairLoader(
        example(7).store(), packing=False, per_device_train_batch_size=3, shuffle=False
    )
    for epoch in range(2):
        loader.set_epoch(epoch)
        assert [b.records.tolist() for b in loader] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_repeat_counts_nothing() -> None:
    store = example(7).store()
    options = {"packing": False, "per_device_train_batch_size": 3, "world_size": 2}
    first, second = (list(PairLoader(store, rank=rank, **options)) for rank in range(2))
    assert [batch.num_items > 0 for batch in first] == [True, True]
    assert [batch.num_items > 0 for batch in second] == [True, False]
    assert second[1].labels.unique().tolist() == [-100]
    assert second[1].ledger_index.unique().tolist() == [-1]
    # It still runs through the model: real ids, so that nothing but its counting is special.
    assert torch.equal(second[1].with_profile.input_ids, first[0].with_profile.input_ids)


def test_a_ring_keeps_the_last_batches_and_reuses_the_memory() -> None:
    data = example(40)
    fresh = [tensors(b) for b in PairLoader(data.store(), max_tokens=64)]
    loader = PairLoader(data.store(), max_tokens=64, ring_size=3)
    held: collections.deque[PairBatch] = collections.deque(maxlen=3)
    for number, batch in enumerate(loader):
        held.append(batch)
        first = number + 1 - len(held)
        assert [tensors(b) for b in held] == fresh[first : number + 1]
    addresses = [b.labels.untyped_storage().data_ptr() for b in loader]
    assert len(set(addresses)) == 3
    assert addresses[3:] == addresses[:-3]


def test_a_write_to_one_part_of_a_batch_is_none_to_the_others() -> None:
    # The parts share their memory; autograd would refuse a saved tensor whose version had moved on.
    (batch,) = PairLoader(example(3).store())
    before = tensors(batch)
    batch.labels.fill_(-1)
    assert tensors(batch) == before | {"labels": [-1] * len(batch.labels)}
    assert [t._version for t in (batch.with_profile.input_ids, batch.ledger_index)] == [0, 0]


def test_fresh_batches_stay_valid_and_are_writable() -> None:
    data = example(40)
    loader = PairLoader(data.store(), max_tokens=64)
    batches = list(loader)
    before = [tensors(batch) for batch in batches]
    for batch in batches:
        batch.records.fill_(-1)
        batch.labels.fill_(-1)
    assert [tensors(batch) for batch in loader] == before


def test_iterating_leaves_the_global_generator_alone() -> None:
    loader = PairLoader(example().store(), max_tokens=64)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    list(loader)
    list(skip_first_batches(loader, 2))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_plan_hash_covers_what_a_resume_depends_on() -> None:
    store = example().store()
    base = {"max_tokens": 64, "seed": 1}
    variants = [
        base,
        base | {"max_tokens": 65},
        base | {"seed": 2},
        base | {"shuffle": False},
        base | {"short_ratio": 3.0},
        base | {"packing": False},
        base | {"packing": False, "per_device_train_batch_size": 5},
    ]
    hashes = [PairLoader(store, **options).plan_hash for options in variants]
    hashes.append(PairLoader(example(seed=1).store(), **base).plan_hash)
    assert len(set(hashes)) == len(hashes)
    same = [
        PairLoader(store, **base, ring_size=2),
        PairLoader(SimpleNamespace(core=store), **base),
        PairLoader(example().store(), **base),
    ]
    assert {loader.plan_hash for loader in same} == {hashes[0]}


@given(plan=plans(), world_size=st.integers(2, 5), epoch=st.integers(0, 3))
def test_any_number_of_ranks_shares_one_plan(
    plan: tuple[Rows, dict], world_size: int, epoch: int
) -> None:
    data, options = plan
    store = data.store()

    def bins(rank: int, world_size: int) -> list[list[int]]:
        loader = PairLoader(store, rank=rank, world_size=world_size, **options)
        assert loader.plan_hash == alone.plan_hash
        loader.set_epoch(epoch)
        return [batch.records.tolist() for batch in loader]

    alone = PairLoader(store, **options)
    order = bins(0, 1)
    ranks = [bins(rank, world_size) for rank in range(world_size)]
    dealt = [bin_ for step in zip(*ranks, strict=True) for bin_ in step]
    assert dealt[: len(order)] == order


def test_a_plan_never_changes_between_releases() -> None:
    lengths = range(12)
    data = Rows(
        [[1] * (1 + 5 * n % 7) for n in lengths], [[1]] * 12, [[2] * (1 + n % 3) for n in lengths]
    )
    loader = PairLoader(data.store(), max_tokens=16, seed=3)
    # A run that resumes under a new release must go on in the old order.
    assert [batch.records.tolist() for batch in loader] == [
        [9, 11],
        [0, 3, 6],
        [2, 4],
        [7, 8, 10],
        [1, 5],
    ]
    assert loader.plan_hash == "bc9a6ece796f8b35a7bce4c993fffa9d5f0bfe259836961e9846818a95ce4c45"


def test_fill_is_the_share_of_capacity_in_use() -> None:
    data = example(200)
    loader = PairLoader(data.store(), max_tokens=100, short_ratio=2.0)
    long, short = (np.array(lengths) for lengths in data.lengths())
    capacity = np.ceil(100 * short.mean() / long.mean() * 2.0)
    assert loader.fill.with_profile == pytest.approx(long.sum() / loader.n_bins / 100)
    assert loader.fill.without_profile == pytest.approx(short.sum() / loader.n_bins / capacity)
    assert 0.9 < loader.fill.with_profile <= 1
    grouped = PairLoader(data.store(), packing=False, per_device_train_batch_size=1)
    assert grouped.fill.with_profile == pytest.approx(long.mean() / long.max())


def test_batches_move_to_a_device() -> None:
    (batch,) = PairLoader(example(3).store())
    moved = batch.to("meta")
    assert isinstance(moved, PairBatch)
    assert moved.with_profile.max_seqlen == batch.with_profile.max_seqlen
    devices = {
        str(value.device)
        for part in (moved, moved.with_profile, moved.without_profile)
        for value in (getattr(part, field.name) for field in dataclasses.fields(part))
        if isinstance(value, torch.Tensor)
    }
    assert devices == {"meta"}
    assert batch.to("cpu").labels is batch.labels


def test_dtypes_are_those_of_the_contract() -> None:
    (batch,) = PairLoader(example(3).store())
    for part in (batch, batch.with_profile, batch.without_profile):
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if isinstance(value, torch.Tensor):
                wanted = torch.int32 if field.name == "cu_seqlens" else torch.int64
                assert (value.dtype, value.ndim) == (wanted, 1), field.name


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", 64.0),
        ("per_device_train_batch_size", 0),
        ("short_ratio", 0.0),
        ("short_ratio", float("nan")),
        ("short_ratio", float("inf")),
        ("seed", -1),
        ("seed", 2**64),
        ("seed", "1"),
        ("world_size", 0),
        ("rank", 1),
        ("rank", -1),
        ("ring_size", 0),
    ],
)
def test_an_option_out_of_range_is_named(option: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"^{option}: ") as caught:
        PairLoader(example(3).store(), **{option: value})
    assert caught.value.option == option


def test_extreme_options_are_fine_or_named() -> None:
    store = example().store()
    assert len(PairLoader(store, short_ratio=1e308, max_tokens=2**31 - 1)) == 1
    assert len(PairLoader(store, packing=False, per_device_train_batch_size=2**70)) == 1
    with pytest.raises(PackingError, match="out of range"):
        PairLoader(store, max_tokens=2**31)
    with pytest.raises(OptionError, match=r"^epoch: -1 is not"):
        PairLoader(store).set_epoch(-1)


def test_records_that_cannot_be_packed_are_named() -> None:
    data = Rows([[1], [1] * 9], [[1], [1]], [[2], [2]])
    with pytest.raises(PackingError, match="record 1: 10 tokens with profile do not fit") as caught:
        PairLoader(data.store(), max_tokens=9)
    assert caught.value.record == 1
    with pytest.raises(PackingError, match="no records"):
        PairLoader(Rows([], [], []).store())
