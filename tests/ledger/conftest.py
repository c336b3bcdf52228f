"""Prepared data for ledgers: a dozen records of four users, two of them with hostile ids."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perce.tokens import PreparedData
from tiny import tiny_data, tiny_records

HOSTILE = {
    "u2": '[red]u2[/red]\n"../..,\x1b[31m\u202e',
    "u3": "日" * 80,
}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    records = [
        replace(record, user_id=HOSTILE.get(record.user_id, record.user_id))
        for record in tiny_records()
    ]
    return tiny_data(tmp_path_factory.mktemp("ledger") / "prepared", records)
