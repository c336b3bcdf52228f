"""A ledger as a table of tokens, in Parquet or Arrow IPC, written in blocks of records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from perce.errors import OptionError
from perce.ledger.files import replacing
from perce.ledger.personal import NEVER, THRESHOLD
from perce.ledger.ragged import token_index

if TYPE_CHECKING:
    from perce.ledger.ledger import ScoreLedger

Pieces = Callable[[Sequence[int]], list[str]]
"""Turns the token ids of one response into the text of each, as
:func:`perce.contrast.pieces` does with a tokenizer."""

BLOCK_TOKENS = 1 << 20
"""Tokens that are written at a time: a row group."""

_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("record", pa.int32()),
        ("id", _NAME),
        ("user", _NAME),
        ("position", pa.int32()),
        ("token_id", pa.int32()),
        ("piece", pa.string()),
        ("pir", pa.float32()),
        ("logp_without", pa.float32()),
        ("visits", pa.uint32()),
        ("last_step", pa.uint32()),
        ("personal_since", pa.int64()),
    ]
)
"""One row a response token, in the order of the data. ``pir`` is the moving average; it and
``logp_without`` are null before the first visit, ``last_step`` and ``personal_since`` where there
was no such step."""

SUFFIXES = (".parquet", ".arrow")


def token_blocks(
    ledger: ScoreLedger, *, threshold: float = THRESHOLD, pieces: Pieces | None = None
) -> Iterator[pa.RecordBatch]:
    """The ledger's tokens, block after block, whole records in each.

    Args:
        ledger: what to export.
        threshold: of ``personal_since``, in nats.
        pieces: fills ``piece``, which is null without it.
    """
    data, offsets = ledger.data, ledger.data.response_offsets
    since = ledger.became_personal(threshold)
    pir, visits, last_step = ledger.pir(), ledger.visits(), ledger.last_step()
    ids, users = (_dictionary(names) for names in (data.record_ids, data.user_ids))
    total = int(offsets[-1])
    # Whole records, and never none: a record of several blocks' tokens is one block.
    borders = np.unique(np.searchsorted(offsets, [*range(0, total, BLOCK_TOKENS), total]))
    for first, last in pairwise(borders.tolist()):
        lengths = np.diff(offsets[first : last + 1])
        record = np.repeat(np.arange(first, last, dtype=np.int32), lengths)
        tokens = slice(int(offsets[first]), int(offsets[last]))
        index = np.arange(tokens.start, tokens.stop)
        token_ids = data.response_ids[tokens]
        texts: Any = pa.nulls(len(record), pa.string())
        if pieces is not None:
            rows = np.split(token_ids, np.cumsum(lengths)[:-1])
            texts = [text for row in rows for text in pieces(row.tolist())]
        columns = {
            "record": record,
            "id": ids.take(pa.array(record)),
            "user": users.take(pa.array(record)),
            "position": token_index(np.zeros_like(lengths), lengths),
            "token_id": token_ids,
            "piece": texts,
            "pir": pa.array(pir[tokens], from_pandas=True),
            "logp_without": pa.array(ledger.logp_without(index), from_pandas=True),
            "visits": visits[record],
            "last_step": pa.array(last_step[record], mask=visits[record] == 0),
            "personal_since": pa.array(since[tokens], mask=since[tokens] == NEVER),
        }
        yield pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


def export(
    ledger: ScoreLedger,
    path: str | Path,
    *,
    threshold: float = THRESHOLD,
    pieces: Pieces | None = None,
) -> int:
    """Write the ledger's tokens as a table of :data:`SCHEMA`, whole or not at all.

    Args:
        ledger: what to export.
        path: the file; ``.parquet`` or ``.arrow`` (Arrow IPC) says which format.
        threshold: of ``personal_since``, in nats.
        pieces: fills ``piece``, which is null without it.

    Returns:
        The number of rows.

    Raises:
        LedgerError: the file cannot be written.
        OptionError: a file of another kind.
    """
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise OptionError(str(path), f"is of no known kind; name a file {' or '.join(SUFFIXES)}")
    rows = 0
    with (
        replacing(target) as scratch,
        # A file of Python's own: its errors are the system's, in the system's words.
        scratch.open("wb") as stream,
        _writer(target.suffix, stream) as writer,
    ):
        for block in token_blocks(ledger, threshold=threshold, pieces=pieces):
            writer.write_batch(block)
            rows += block.num_rows
    return rows


def _writer(suffix: str, stream: BinaryIO) -> Any:
    if suffix == ".parquet":
        return pq.ParquetWriter(stream, SCHEMA)
    return pa.ipc.new_file(stream, SCHEMA)


def _dictionary(names: list[str]) -> pa.DictionaryArray:
    return pa.array(names, pa.string()).dictionary_encode()
