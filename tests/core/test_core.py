"""The binding: what goes in is borrowed, what is wrong is named, and nothing panics."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import Rows, example, ragged

from perce import _core
from perce.errors import PackingError, StoreError

ROWS = Rows([[1, 2], [3], [4, 5, 6]], [[7], [3], [9]], [[10], [11, 12], [13]])


def memory(store: _core.TokenStore, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    long, short, response, _, _ = store.measure(records)
    block = np.full(2 * (long + short) + 5 * response + len(records), -9, np.int64)
    return block, np.full(2 * (len(records) + 1), -9, np.int32)


def collate(store: _core.TokenStore, records: list[int], *, ignore: bool = False) -> list[list]:
    index = np.array(records, np.int64)
    block, cu_seqlens = memory(store, index)
    sizes = store.collate(index, block, cu_seqlens, ignore=ignore)
    assert sizes == store.measure(index)
    long, short, response, _, _ = sizes
    ends = np.cumsum([long, long, short, short, *[response] * 5])
    parts = [part.tolist() for part in np.split(block, ends)]
    cu_long, cu_short = (part.tolist() for part in np.split(cu_seqlens, 2))
    assert parts[9] == records
    return [
        [parts[0], parts[1], cu_long, parts[4]],
        [parts[2], parts[3], cu_short, parts[5]],
        parts[6:9],
    ]


def test_star_import_gives_all_names_of_the_stub() -> None:
    names: dict[str, object] = {}
    exec("from perce._core import *", names)
    assert {"Scores", "TokenStore", "histogram", "pack_pairs"} <= names.keys()


@pytest.mark.parametrize("entries", [2**60, 2**64 - 1])
def test_a_plan_of_absurd_size_is_an_error_not_a_panic(entries: int) -> None:
    with pytest.raises(PackingError, match=f"a plan of {entries} entries"):
        _core.epoch_order(entries, 0, 0)
    with pytest.raises(PackingError, match=f"a plan of {entries} entries"):
        _core.group_records(entries, 8)


def test_one_batch_written_out() -> None:
    store = ROWS.store()
    assert (len(store), store.n_response_tokens) == (3, 4)
    assert [lengths.tolist() for lengths in store.lengths()] == [[3, 3, 4], [2, 3, 2]]
    assert collate(store, [2, 1]) == [
        [[4, 5, 6, 13, 3, 11, 12], [0, 1, 2, 3, 0, 1, 2], [0, 4, 7], [2, 4, 5]],
        [[9, 13, 3, 11, 12], [0, 1, 0, 1, 2], [0, 2, 5], [0, 2, 3]],
        [[13, 11, 12], [0, 1, 1], [3, 1, 2]],
    ]
    assert collate(store, [2, 1], ignore=True)[2] == [[-100] * 3, [0, 1, 1], [-1] * 3]
    assert collate(store, []) == [[[], [], [0], []], [[], [], [0], []], [[], [], []]]


def test_memory_maps_stay_maps_and_may_be_read_only(tmp_path: Path) -> None:
    maps = []
    for number, array in enumerate(ROWS.arrays()):
        np.save(tmp_path / f"{number}.npy", array)
        maps.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    store = _core.TokenStore(*maps)
    del maps
    assert collate(store, [0, 1, 2]) == collate(ROWS.store(), [0, 1, 2])


def test_an_array_changed_under_the_store_is_an_error_not_a_panic() -> None:
    arrays = ROWS.arrays()
    store = _core.TokenStore(*arrays)
    arrays[5][2] = 99
    with pytest.raises(StoreError, match="record 1: response was changed") as caught:
        collate(store, [0, 1])
    assert caught.value.record == 1


@pytest.mark.parametrize(
    ("change", "record", "message"),
    [
        (lambda a: a.__setitem__(5, a[5][:0].copy()), None, "response_offsets is empty"),
        (lambda a: a[1].__setitem__(0, 1), None, "prefix_with_offsets starts at 1"),
        (lambda a: a[5].__setitem__(2, 0), 1, "record 1: response ends at offset 0"),
        (lambda a: a[3].__setitem__(2, 1), 1, "record 1: prefix_without has no tokens"),
        (lambda a: a.__setitem__(0, a[0][:-1].copy()), None, "ends at 6, but prefix_with holds 5"),
        (lambda a: a[4].__setitem__(2, -100), 1, "record 1: response has id -100 at position 1"),
        (lambda a: a.__setitem__(slice(2, 4), ragged([[1], [2]])), None, "holds 2 records"),
    ],
)
def test_a_corrupt_store_is_named(change, record: int | None, message: str) -> None:
    arrays = ROWS.arrays()
    change(arrays)
    with pytest.raises(StoreError, match=message) as caught:
        _core.TokenStore(*arrays)
    assert caught.value.record == record
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("record", [-1, 3, 2**63 - 1, -(2**63)])
def test_an_unknown_record_is_named(record: int) -> None:
    with pytest.raises(PackingError, match="is not in the store of 3 records") as caught:
        ROWS.store().measure(np.array([0, record]))
    assert caught.value.record == record


NOT_VECTORS = [
    ([1, 2], "not list"),
    (None, "not NoneType"),
    (np.zeros(2, np.float64), "not a contiguous 1-D array of float64"),
    (np.zeros((2, 2), np.int64), "not a contiguous 2-D array of int64"),
    (np.zeros(4, np.int64)[::2], "not a strided 1-D array of int64"),
    (np.zeros(2, ">i8"), "not a contiguous 1-D array of >i8"),
    (np.zeros(2, np.uint64), "not a contiguous 1-D array of uint64"),
    (np.zeros(17, np.int8)[1:].view(np.int64), "not a misaligned 1-D array of int64"),
]


@pytest.mark.parametrize(("value", "message"), NOT_VECTORS)
def test_other_arrays_are_a_type_error_that_names_the_argument(value, message: str) -> None:
    store, good = ROWS.store(), np.zeros(2, np.int64)
    calls = {
        "records": lambda: store.measure(value),
        "lengths_with": lambda: _core.pack_pairs(value, good, 8, 8),
        "lengths_without": lambda: _core.pack_pairs(good, value, 8, 8),
        "order": lambda: _core.rank_bins(value, 0, 1),
        "response_offsets": lambda: _core.TokenStore(*ROWS.arrays()[:5], value),
    }
    for name, call in calls.items():
        wanted = f"^{name} must be a contiguous 1-D numpy array of int64, {message}"
        with pytest.raises(TypeError, match=wanted):
            call()


def test_every_argument_of_the_store_is_checked() -> None:
    names = ("prefix_with", "prefix_without", "response")
    names = [name + end for name in names for end in ("", "_offsets")]
    for at, name in enumerate(names):
        arrays = ROWS.arrays()
        arrays[at] = arrays[at].astype(np.int16)
        with pytest.raises(TypeError, match=f"^{name} must be .* of int(32|64), not .* of int16"):
            _core.TokenStore(*arrays)


def test_every_buffer_is_checked_and_nothing_written_when_one_is_wrong() -> None:
    store, records = ROWS.store(), np.array([0, 1])
    for at, name in enumerate(("block", "cu_seqlens")):
        for spoil, error, message in [
            (lambda a: a[:-1].copy(), PackingError, f"buffer {name} has length"),
            (lambda a: a[:0].copy(), PackingError, f"buffer {name} has length 0"),
            (lambda a: a.astype(np.float32), TypeError, f"^{name} must be"),
            (read_only, TypeError, f"^{name} is read-only"),
        ]:
            arrays = list(memory(store, records))
            arrays[at] = spoil(arrays[at])
            with pytest.raises(error, match=message):
                store.collate(records, *arrays)
            assert all((array == -9).all() for array in arrays)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def test_buffers_that_overlap_are_refused() -> None:
    store, records = ROWS.store(), np.array([0, 1])
    block, _ = memory(store, records)
    with pytest.raises(TypeError, match="cu_seqlens is read-only or overlaps another argument"):
        store.collate(records, block, block.view(np.int32))
    with pytest.raises(TypeError, match="block is read-only or overlaps another argument"):
        store.collate(block[:2], block, np.zeros(6, np.int32))


@given(data=st.data())
def test_arrays_of_any_numbers_give_a_store_or_a_named_error(data: st.DataObject) -> None:
    ids = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5)
    offsets = st.lists(st.one_of(st.integers(-1, 6), st.integers(-(2**63), 2**63 - 1)), max_size=4)
    arrays = [
        np.array(data.draw(kind), dtype)
        for kind, dtype in [(ids, np.int32), (offsets, np.int64)] * 3
    ]
    try:
        store = _core.TokenStore(*arrays)
        collate(store, list(range(len(store))))
    except StoreError:
        pass


@given(
    lengths=st.lists(st.tuples(st.integers(-1, 9), st.integers(-1, 9)), max_size=6),
    capacities=st.tuples(st.integers(-1, 12), st.integers(-1, 12)),
)
def test_any_lengths_give_bins_or_a_named_error(lengths, capacities) -> None:
    arrays = [np.array([pair[k] for pair in lengths], np.int64) for k in range(2)]
    valid = min(capacities) > 0 and all(
        0 < length <= capacity
        for pair in lengths
        for length, capacity in zip(pair, capacities, strict=True)
    )
    if not valid:
        with pytest.raises(PackingError) as caught:
            _core.pack_pairs(*arrays, *capacities)
        assert caught.value.record is None or 0 <= caught.value.record < len(lengths)
        return
    offsets, records = _core.pack_pairs(*arrays, *capacities)
    assert offsets[0] == 0
    assert sorted(records.tolist()) == list(range(len(lengths)))


# From Python 3.12 on, forking warns where any library has threads; the core has none.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_collates() -> None:
    store = example(200).store()
    records = list(range(200))
    expected = collate(store, records)
    pid = os.fork()
    if pid == 0:
        # No pytest, no cleanup in the child: its exit status is the answer.
        try:
            os._exit(0 if collate(store, records) == expected else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_other_threads_run_while_the_core_works() -> None:
    lengths = np.random.default_rng(0).integers(1, 4096, 1_000_000)
    ticks = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    _core.pack_pairs(lengths, lengths, 4096, 4096)
    end = time.perf_counter()
    done.set()
    thread.join()
    # With the GIL held throughout there would be none, however long it took.
    assert sum(start < t < end for t in ticks) >= 3
