"""The ledger's binding against float32 NumPy: state, journal, snapshot and histogram."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce import _core
from perce.errors import LedgerError

LENGTHS = np.array([3, 1, 5, 2], np.int64)
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])
DECAY = np.float32(0.3)

Batch = tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]


@st.composite
def runs(draw: st.DrawFn, max_batches: int = 8) -> list[Batch]:
    """Batches of distinct records at steps that never go back."""
    visited = draw(
        st.lists(st.lists(st.integers(0, 3), max_size=4, unique=True), max_size=max_batches)
    )
    pauses = draw(st.lists(st.integers(0, 2), min_size=len(visited), max_size=len(visited)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    batches = []
    for step, records in zip(np.cumsum(pauses).tolist(), visited, strict=True):
        index = np.array(records, np.int64)
        pir, logp = rng.normal(size=(2, int(LENGTHS[index].sum()))).astype(np.float32)
        batches.append((step, index, pir, logp))
    return batches


class Oracle:
    """The state as one NumPy expression a batch."""

    def __init__(self) -> None:
        self.pir = np.full(OFFSETS[-1], np.nan, np.float32)
        self.logp_without = np.full(OFFSETS[-1], np.nan, np.float32)
        self.visits = np.zeros(len(LENGTHS), np.uint32)
        self.last_step = np.zeros(len(LENGTHS), np.uint32)

    def update(self, batch: Batch) -> None:
        step, records, pir, logp_without = batch
        if not len(records):
            return
        tokens = np.concatenate([np.arange(OFFSETS[r], OFFSETS[r + 1]) for r in records])
        old = self.pir[tokens]
        self.pir[tokens] = np.where(np.isnan(old), pir, DECAY * old + (1 - DECAY) * pir)
        self.logp_without[tokens] = logp_without
        self.visits[records] += 1
        self.last_step[records] = step


def scores() -> _core.Scores:
    return _core.Scores(OFFSETS, float(DECAY))


def same(state: _core.Scores, other: _core.Scores | Oracle) -> bool:
    """Equal bit for bit."""
    if isinstance(other, _core.Scores):
        arrays = (other.pir(), other.logp_without(), other.visits(), other.last_step())
    else:
        arrays = (other.pir, other.logp_without, other.visits, other.last_step)
    own = (state.pir(), state.logp_without(), state.visits(), state.last_step())
    return all(
        a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(own, arrays, strict=True)
    )


def write(path: Path, batches: list[Batch], *, keep_to: int | None = None) -> list[bytes]:
    journal = _core.JournalWriter(path, keep_to=keep_to)
    frames = [
        journal.append(step, records, LENGTHS[records], pir, logp)
        for step, records, pir, logp in batches
    ]
    journal.close()
    return frames


def replayed(*paths: Path, **options: int | None) -> _core.Scores:
    state = scores()
    for block in _core.JournalReader(paths, block_tokens=4, **options):
        state.replay(*block)
    return state


@given(runs())
def test_state_is_that_of_numpy_bit_for_bit(batches: list[Batch]) -> None:
    state, oracle = scores(), Oracle()
    for batch in batches:
        state.update(*batch)
        oracle.update(batch)
    assert same(state, oracle)
    index = np.array([*range(OFFSETS[-1]), -1], np.int64)
    expected = np.append(oracle.logp_without, np.float32(0))
    np.testing.assert_array_equal(state.gather_logp_without(index), expected)


@given(runs(), st.integers(0, 16))
def test_journal_snapshot_and_exchange_lead_to_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, batches: list[Batch], last: int
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    journal, snapshot = folder / "journal", folder / "snapshot"
    state, early, exchanged = scores(), scores(), scores()
    for batch in batches:
        state.update(*batch)
        if batch[0] <= last:
            early.update(*batch)
    frames = write(journal, batches)
    assert exchanged.apply_frames(b"".join(frames)) == sum(len(batch[1]) for batch in batches)
    assert same(exchanged, state)
    assert same(replayed(journal), state)

    # A checkpoint's snapshot with the journal up to another step.
    early.write_snapshot(snapshot, last)
    restored, step = _core.Scores.read_snapshot(snapshot, OFFSETS)
    assert (step, len(restored), restored.decay) == (last, len(LENGTHS), float(DECAY))
    for block in _core.JournalReader([journal], after=last):
        restored.replay(*block)
    assert same(restored, state)
    assert same(replayed(journal, through=last), early)

    # Going back to the checkpoint drops the later visits from the file itself.
    later = [batch for batch in batches if batch[0] > last]
    writer = _core.JournalWriter(journal, keep_to=last)
    assert writer.dropped_frames == sum(len(batch[1]) for batch in later)
    assert same(replayed(journal), early)


def test_journals_of_ranks_are_merged_by_step(tmp_path: Path) -> None:
    ones = np.ones(1, np.float32)
    record = np.array([1], np.int64)
    write(tmp_path / "0", [(1, record, ones, ones), (5, record, 5 * ones, ones)])
    write(tmp_path / "1", [(3, record, 3 * ones, ones), (5, record, 7 * ones, ones)])
    steps, records, lengths, pir, _ = next(_core.JournalReader([tmp_path / "0", tmp_path / "1"]))
    assert [array.tolist() for array in (steps, records, lengths, pir)] == [
        [1, 3, 5, 5],
        [1, 1, 1, 1],
        [1, 1, 1, 1],
        [1, 3, 5, 7],
    ]


def test_a_torn_tail_is_dropped_and_counted(tmp_path: Path) -> None:
    path, ones = tmp_path / "journal", np.ones(1, np.float32)
    write(path, [(step, np.array([1], np.int64), ones, ones) for step in (1, 2)])
    path.write_bytes(path.read_bytes()[:-3])
    reader = _core.JournalReader([path])
    assert [steps.tolist() for steps, *_ in reader] == [[1]]
    assert reader.torn_bytes.tolist() == [29]
    writer = _core.JournalWriter(path)
    assert (writer.dropped_bytes, writer.dropped_frames) == (29, 0)
    assert path.stat().st_size == 16 + 32


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path) -> None:
    path, snapshot = tmp_path / "journal", tmp_path / "snapshot"
    batch = (np.array([2, 0], np.int64), np.array([5, 3], np.int64), *np.ones((2, 8), np.float32))
    state = scores()
    state.write_snapshot(snapshot, 1)
    journal = _core.JournalWriter(path)
    journal.append(1, *batch)
    before, old_snapshot = path.read_bytes(), snapshot.read_bytes()
    with files_up_to(len(before) + 20):
        with pytest.raises(LedgerError, match=r"cannot append to .*journal: ") as caught:
            journal.append(2, *batch)
        with pytest.raises(LedgerError, match=r"cannot write .*snapshot: ") as refused:
            state.write_snapshot(snapshot, 2)
    assert (caught.value.path, refused.value.path) == (str(path), str(snapshot))
    assert path.read_bytes() == before
    assert snapshot.read_bytes() == old_snapshot
    assert {file.name for file in tmp_path.iterdir()} == {"journal", "snapshot"}
    # With room again it goes on where it was.
    frames = journal.append(2, *batch)
    journal.close()
    assert path.read_bytes() == before + frames


def test_errors_name_file_or_record(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_text("something else")
    ones = np.ones(3, np.float32)
    nans = np.array([1, np.nan, 1], np.float32)
    records = np.array([0], np.int64)
    for call, file, record, text in [
        (lambda: _core.JournalWriter(path), path, None, "does not start as a journal"),
        (lambda: _core.JournalReader([path]), path, None, "does not start as a journal"),
        (lambda: _core.JournalReader([tmp_path / "none"]), tmp_path / "none", None, "cannot open"),
        (lambda: _core.Scores.read_snapshot(path, OFFSETS), path, None, "as a snapshot does"),
        (lambda: scores().update(1, records, nans, ones), None, 0, "pir at position 1"),
        (lambda: scores().update(1, records + 9, ones, ones), None, 9, "not among"),
        (lambda: scores().apply_frames(b"abc"), None, None, "damaged at byte 0"),
        (lambda: _core.Scores(OFFSETS[1:], 0.5), None, None, "response_offsets"),
        (lambda: _core.Scores(np.array([0, 2**62]), 0.5), None, None, "do not fit into memory"),
        (lambda: _core.Scores(OFFSETS, 1.0), None, None, "decay 1 is out of range"),
    ]:
        with pytest.raises(LedgerError, match=text) as caught:
            call()
        assert (caught.value.path, caught.value.record) == (file and str(file), record)
    with pytest.raises(TypeError, match="pir must be a contiguous 1-D numpy array of float32"):
        scores().update(1, records, ones.astype(np.float64), ones)
    assert path.read_text() == "something else"


def test_a_snapshot_of_other_data_is_refused(tmp_path: Path) -> None:
    scores().write_snapshot(tmp_path / "snapshot", 1)
    shifted = OFFSETS.copy()
    shifted[1] += 1
    with pytest.raises(LedgerError, match="is of other data"):
        _core.Scores.read_snapshot(tmp_path / "snapshot", shifted)


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("normal", lambda rng: rng.normal(0.1, 1.0, 20_000)),
        ("laplace", lambda rng: rng.laplace(0.0, 0.01, 20_000)),
        ("long right tail", lambda rng: rng.lognormal(-4.0, 3.0, 20_000)),
        ("mostly zero", lambda rng: rng.normal(0, 2, 20_000) * (rng.random(20_000) < 0.3)),
        ("two levels", lambda rng: rng.choice([-0.3, 5.0], 20_000)),
    ],
)
def test_quantiles_are_within_half_a_percent(name: str, draw) -> None:
    values = np.clip(draw(np.random.default_rng(0)), -600, 600).astype(np.float32)
    q = np.array([0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1])
    parts = np.zeros((2, 4097), np.int64)
    _core.histogram(values[:7_000], parts[0])
    _core.histogram(values[7_000:], parts[1])
    found = _core.quantiles(parts.sum(axis=0), q)
    exact = np.quantile(values.astype(np.float64), q, method="inverted_cdf")
    np.testing.assert_allclose(found, exact, rtol=0.005, atol=2.0**-20)


def test_histogram_counts_in_place_and_skips_nan() -> None:
    counts = np.ones(4097, np.int64)
    _core.histogram(np.array([0, np.nan, np.inf, -np.inf, 1], np.float32), counts)
    assert counts[[0, 2048, 2049 + 1400, 4096]].tolist() == [2, 2, 2, 2]
    assert counts.sum() == 4097 + 4
    assert np.isnan(_core.quantiles(np.zeros(4097, np.int64), np.array([0.5]))[0])
    with pytest.raises(LedgerError, match="counts has length 5, not 4097"):
        _core.histogram(np.zeros(1, np.float32), counts[:5])
    with pytest.raises(LedgerError, match=r"quantile 1.5 is out of range"):
        _core.quantiles(counts, np.array([1.5]))
