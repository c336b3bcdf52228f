"""Scores and texts joined into views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perce.data import Message, ProfileItem, Record
from perce.errors import StoreError
from perce.report import record_views, summarise


@dataclass
class FewRecords:
    """The part of PreparedData that a report reads."""

    records: list[Any]

    def __len__(self) -> int:
        return len(self.records)

    def record(self, index: int) -> Any:
        return self.records[index]


@dataclass
class Prepared:
    record: Record
    kept: tuple[ProfileItem, ...]
    cut: tuple[ProfileItem, ...]
    dropped: tuple[ProfileItem, ...]
    response_ids: np.ndarray


def prepared(index: int, tokens: int) -> Prepared:
    return Prepared(
        record=Record(f"r{index}", f"u{index}", (), (Message("user", "a query"),), "a response"),
        kept=(ProfileItem("kept"),),
        cut=(ProfileItem("cut"),),
        dropped=(ProfileItem("dropped"),),
        response_ids=np.arange(tokens, dtype=np.int32),
    )


def scores(records: list[int], pir: list[float] | None = None) -> pa.Table:
    figures = np.array(pir if pir is not None else [0.1] * len(records), np.float32)
    return pa.table(
        {
            "record": pa.array(records, pa.int32()),
            "piece": pa.array([f" t{i}" for i in range(len(records))]),
            "logp_with": pa.array(figures - 2),
            "logp_without": pa.array(np.full(len(records), -2, np.float32)),
            "pir": pa.array(figures),
        }
    )


def test_views_join_scores_with_texts_in_the_table_s_order() -> None:
    data = FewRecords([prepared(0, 2), prepared(1, 3), prepared(2, 1)])
    table = scores([1, 1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4, 0.5])
    views = list(record_views(table, data))  # type: ignore[arg-type]
    assert [(view.id, view.user_id) for view in views] == [("r1", "u1"), ("r0", "u0")]
    assert views[0].pieces == (" t0", " t1", " t2")
    np.testing.assert_array_equal(views[1].pir, np.array([0.4, 0.5], np.float32))
    np.testing.assert_array_equal(views[1].logp_with, np.array([-1.6, -1.5], np.float32))
    assert [(item.text, item.status) for item in views[0].profile] == [
        ("kept", "kept"),
        ("cut", "cut"),
        ("dropped", "dropped"),
    ]
    assert views[0].messages == (Message("user", "a query"),)


def test_scores_of_other_data_are_refused() -> None:
    data = FewRecords([prepared(0, 2)])
    with pytest.raises(StoreError, match="record 3"):
        list(record_views(scores([3]), data))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="2 response tokens and 1 scores"):
        list(record_views(scores([0]), data))  # type: ignore[arg-type]


def test_a_table_without_figures_is_refused() -> None:
    table = scores([0, 0])
    empty = table.set_column(table.column_names.index("pir"), "pir", pa.nulls(2, pa.float32()))
    with pytest.raises(StoreError, match="contrast"):
        summarise(empty)
    with pytest.raises(StoreError, match="nan in row 1"):
        summarise(scores([0, 0], [0.1, float("nan")]))
    with pytest.raises(StoreError, match="no tokens"):
        summarise(table.slice(0, 0))
    for column in ("record", "piece", "logp_with", "logp_without", "pir"):
        with pytest.raises(StoreError, match=column):
            summarise(table.drop_columns([column]))


def test_summary_counts_what_is_above_the_threshold() -> None:
    summary = summarise(scores([0, 0, 1, 2], [0.5, 0.6, -1.0, 2.0]), threshold=0.5)
    assert (summary.records, summary.tokens, summary.personal_share) == (3, 4, 0.5)
    assert summary.mean_pir == pytest.approx(0.525, abs=1e-6)
    assert str(summary) == "3 records, 4 tokens, 50.0% personal (PIR > 0.5), mean PIR +0.525"
