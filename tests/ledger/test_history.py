"""What the journals tell: visits in order, when tokens became personal, how PIR was distributed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_runs import DictLedger, Ranks, Step, batch, deal, values
from perce.errors import OptionError
from perce.ledger import History, ScoreLedger, Visits
from perce.ledger.distribution import BINS, Distribution
from perce.ledger.layout import CHECKPOINT_FILE
from perce.ledger.personal import became_personal
from perce.ledger.ragged import repeats, token_index
from perce.ledger.summary import summarise
from perce.tokens import PreparedData

RECORDS = 12
THRESHOLDS = (0.0, 0.5, 2.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_token_index(rows: list[tuple[int, int]]) -> None:
    starts, lengths = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    expected = [start + i for start, length in rows for i in range(length)]
    assert token_index(starts, lengths).tolist() == expected


@given(st.lists(st.integers(0, 4), max_size=20))
def test_repeats(values: list[int]) -> None:
    expected = [values[:i].count(value) for i, value in enumerate(values)]
    assert repeats(np.array(values, dtype=np.int64)).tolist() == expected


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, data: PreparedData) -> ScoreLedger:
    """A run of three ranks and three epochs, opened; the plan is drawn once, with a fixed seed."""
    folder = tmp_path_factory.mktemp("run")
    Ranks.create(folder / "ledger", data, 3, 0.75).run(PLAN).close()
    return ScoreLedger.open(folder, data)


def fixed_plan() -> list[Step]:
    draw = np.random.default_rng(0)
    found = []
    for _ in range(3):
        batches = deal(draw.permutation(RECORDS).tolist(), [1, 2])
        for group in deal(batches, [6]):
            found.append(Step(len(found) + 1, [group[rank::3] for rank in range(3)], True))
    return found


PLAN = fixed_plan()


@pytest.mark.parametrize("block_tokens", [1, 30, 1 << 20])
def test_the_history_is_every_visit_in_order(
    place: ScoreLedger, data: PreparedData, block_tokens: int
) -> None:
    oracle = DictLedger(data, 0.75).run(PLAN)
    visits = []
    for block in History(place.folder, block_tokens=block_tokens):
        assert np.all(np.diff(block.steps.astype(np.int64)) >= 0)
        ends = np.cumsum(block.lengths)
        for i in range(len(block)):
            one = block.part(i, i + 1)
            pir, logp = values(int(one.steps[0]), int(one.records[0]), data)
            np.testing.assert_array_equal(one.pir, pir)
            np.testing.assert_array_equal(one.logp_without, logp)
            assert one.lengths.tolist() == [len(pir)]
            visits.append((int(one.steps[0]), int(one.records[0])))
        assert ends[-1] == len(block.pir) == len(block.logp_without)
    assert sorted(visits) == sorted(oracle.history)
    assert [step for step, _ in visits] == [step for step, _ in oracle.history]


def test_a_history_can_be_cut_at_both_ends(place: ScoreLedger) -> None:
    whole = [step for block in History(place.folder) for step in block.steps.tolist()]
    part = [s for b in History(place.folder, after=2, last_step=4) for s in b.steps.tolist()]
    assert part == [step for step in whole if 2 < step <= 4]


@pytest.mark.parametrize("block_tokens", [1, 30, 1 << 20])
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_when_tokens_became_personal(
    place: ScoreLedger, data: PreparedData, block_tokens: int, threshold: float
) -> None:
    oracle = DictLedger(data, 0.75).run(PLAN, THRESHOLDS)
    n = int(data.response_offsets[-1])
    expected = [oracle.since.get((token, threshold), -1) for token in range(n)]
    assert len(set(expected)) > 3
    assert place.became_personal(threshold).tolist() == expected
    in_blocks = became_personal(
        History(place.folder, block_tokens=block_tokens),
        data.response_offsets,
        np.full(n, np.nan, np.float32),
        decay=0.75,
        threshold=threshold,
    )
    assert in_blocks.tolist() == expected


def test_an_average_at_the_threshold_is_not_above_it(data: PreparedData, tmp_path: Path) -> None:
    n = int(data.response_offsets[1])
    zeros = np.zeros(n, np.float32)
    with ScoreLedger.create(tmp_path / "ledger", data) as ledger:
        ledger.update(1, np.array([0]), zeros + np.float32(0.5), zeros)
        ledger.update(2, np.array([0]), zeros + np.float32(0.75), zeros)
    opened = ScoreLedger.open(tmp_path)
    assert set(opened.became_personal(0.5)[:n].tolist()) == {2}
    assert set(opened.became_personal(0.625)[:n].tolist()) == {-1}
    assert summarise(opened, threshold=0.625).total.personal == 0
    assert [part.personal for part in opened.quantiles(threshold=0.5)] == [0, n]


def test_tokens_that_were_personal_before_the_history(
    data: PreparedData, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old, new = tmp_path_factory.mktemp("old"), tmp_path_factory.mktemp("new")
    oracle = DictLedger(data, 0.5)
    (old / "checkpoint-3").mkdir()
    snapshot = old / "checkpoint-3" / CHECKPOINT_FILE
    with ScoreLedger.create(old / "ledger", data) as ledger:
        for step in (1, 2, 3):
            ledger.update(*batch(step, range(RECORDS), data))
            oracle.update(step, range(RECORDS))
        ledger.write_snapshot(snapshot, 3)
    before = {token for token, pir in oracle.pir.items() if pir > 0.5}
    with ScoreLedger.resume(new / "ledger", data, snapshot=snapshot) as ledger:
        for step in (4, 5):
            ledger.update(*batch(step, range(RECORDS), data))
            oracle.update(step, range(RECORDS), (0.5,))
    since = ScoreLedger.open(new, data).became_personal().tolist()
    later = {token: step for (token, _), step in oracle.since.items()}
    expected = [3 if t in before else later.get(t, -1) for t in range(len(since))]
    assert since == expected
    assert {3, 4, 5, -1} == set(since)
    # A checkpoint knows nothing of what came after it.
    at_three = ScoreLedger.open(snapshot.parent, data).became_personal()
    assert set(np.flatnonzero(at_three >= 0).tolist()) >= before
    assert at_three.max() == 3
    # One from before the history began stands for itself.
    (new / "checkpoint-3").mkdir()
    snapshot.rename(new / "checkpoint-3" / CHECKPOINT_FILE)
    alone = ScoreLedger.open(new / "checkpoint-3", data).became_personal()
    assert alone.tolist() == [3 if t in before else -1 for t in range(len(since))]


def figures(part: Distribution) -> tuple[int, int, int, int, int]:
    return part.first_step, part.last_step, part.visits, part.tokens, part.personal


def expected_figures(pairs: list[tuple[int, int]], data: PreparedData) -> tuple[tuple, np.ndarray]:
    pir = np.concatenate([values(step, record, data)[0] for step, record in pairs])
    steps_ = [step for step, _ in pairs]
    found = (min(steps_), max(steps_), len(pairs), len(pir), int((pir > 0.5).sum()))
    return found, pir


@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_quantiles_over_steps(place: ScoreLedger, data: PreparedData, every: int) -> None:
    visits = DictLedger(data, 0.75).run(PLAN).history
    expected = [
        expected_figures(part, data)
        for start in range(1, PLAN[-1].number + 1, every)
        if (part := [(s, r) for s, r in visits if start <= s < start + every])
    ]
    check_distributions(place.quantiles(every=every), expected)


def test_quantiles_over_visits(place: ScoreLedger, data: PreparedData) -> None:
    visits = DictLedger(data, 0.75).run(PLAN).history
    seen = [sum(r == record for _, r in visits[:i]) for i, (_, record) in enumerate(visits)]
    expected = [
        expected_figures([visit for visit, n in zip(visits, seen, strict=True) if n == time], data)
        for time in range(3)
    ]
    check_distributions(place.quantiles(), expected)


def check_distributions(ours: list[Distribution], expected: list[tuple[tuple, np.ndarray]]) -> None:
    q = np.array([0.01, 0.25, 0.5, 0.9, 1.0])
    assert [figures(part) for part in ours] == [numbers for numbers, _ in expected]
    for part, (_, pir) in zip(ours, expected, strict=True):
        exact = np.quantile(pir.astype(np.float64), q, method="inverted_cdf")
        np.testing.assert_allclose(part.quantiles(q), exact, rtol=5e-3, atol=1e-6)
        assert part.personal_share == np.mean(pir > 0.5)
        assert part.counts.shape == (BINS,)
        assert part.counts.sum() == len(pir)


def test_an_impossible_range(place: ScoreLedger) -> None:
    with pytest.raises(OptionError, match="every: 0 is below 1"):
        place.quantiles(every=0)


def test_a_range_longer_than_any_run(place: ScoreLedger) -> None:
    (all_steps,) = place.quantiles(every=10**30)
    (as_long,) = place.quantiles(every=2**31)
    np.testing.assert_array_equal(all_steps.counts, as_long.counts)


def test_a_reader_tells_of_one_moment_while_the_run_goes_on(
    data: PreparedData, tmp_path: Path
) -> None:
    with ScoreLedger.create(tmp_path / "ledger", data) as writer:
        writer.update(*batch(1, [0, 1], data))
        reader = ScoreLedger.open(tmp_path)
        every_token = -1e9
        before = reader.became_personal(every_token)
        writer.update(*batch(1, [2], data))
        writer.update(*batch(2, [0, 3], data))
        np.testing.assert_array_equal(reader.became_personal(every_token), before)
        assert (ScoreLedger.open(tmp_path).became_personal(every_token) != before).any()


@given(st.data())
def test_rounds_keep_the_order_and_repeat_no_record(
    data: PreparedData, draw: st.DataObject
) -> None:
    records = draw.draw(st.lists(st.integers(0, RECORDS - 1), min_size=1, max_size=12))
    parts = [values(step, record, data) for step, record in enumerate(records)]
    visits = Visits(
        np.arange(len(records), dtype=np.uint32),
        np.array(records, dtype=np.int64),
        np.array([len(pir) for pir, _ in parts], dtype=np.int64),
        np.concatenate([pir for pir, _ in parts]),
        np.concatenate([logp for _, logp in parts]),
    )
    seen = []
    for part in visits.rounds():
        assert len(set(part.records.tolist())) == len(part)
        ends = np.cumsum(part.lengths)
        for i, step in enumerate(part.steps.tolist()):
            pir, logp = values(step, records[step], data)
            np.testing.assert_array_equal(part.pir[ends[i] - len(pir) : ends[i]], pir)
            np.testing.assert_array_equal(part.logp_without[ends[i] - len(pir) : ends[i]], logp)
            seen.append((step, int(part.records[i])))
    for record in set(records):
        mine = [step for step, r in seen if r == record]
        assert mine == sorted(mine)
    assert sorted(seen) == list(enumerate(records))
