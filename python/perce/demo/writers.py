"""Two writers, an adapter each: whose text does each find likely, and what does each write?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from perce.contrast import score_dataset
from perce.data.record import Record
from perce.data.sources import Source
from perce.data.sources.base import OnBad
from perce.errors import StoreError
from perce.evaluation import generate_responses
from perce.modeling.loading import load_adapter
from perce.tokens import PreparedData

SHARED = "shared"
"""Name of the adapter that both writers' start from."""

Tell = Callable[[str, int, int], None]


class WritersSource:
    """The first records of some writers of another source.

    Args:
        source: where the records come from.
        writers: their user ids.
        each: most records of one writer in a split.
    """

    def __init__(self, source: Source, writers: Sequence[str], each: Mapping[str, int]) -> None:
        self._source = source
        self._writers = tuple(writers)
        self._each = dict(each)
        self.name = f"{source.name}+writers"
        self.style = source.style
        self.history_instruction = source.history_instruction

    def splits(self) -> tuple[str, ...]:
        """The splits that ``each`` names."""
        return tuple(self._each)

    def records(self, split: str, *, on_bad: OnBad | None = None) -> Iterator[Record]:
        """The writers' records of a split, in the source's order."""
        most = self._each[split]
        taken: Counter[str] = Counter()
        for record in self._source.records(split, on_bad=on_bad):
            if record.user_id in self._writers and taken[record.user_id] < most:
                taken[record.user_id] += 1
                yield record
            if all(taken[writer] >= most for writer in self._writers):
                return

    def fingerprint(self, split: str) -> str:
        """The source's, and which records are taken."""
        return f"writers({self._source.fingerprint(split)}, {self._writers}, {self._each[split]})"


@dataclass(frozen=True, slots=True)
class WritersTable:
    """Each adapter on each writer's held-out records.

    Attributes:
        writers: the writers.
        records: held-out records of each.
        nll: adapter name to writer to NLL in nats a token; adapters are ``shared`` and, by the
            writers' names, their own.
        request: what the adapters were asked to write, without any profile.
        texts: adapter name to what it wrote.
    """

    writers: tuple[str, ...]
    records: Mapping[str, int]
    nll: Mapping[str, Mapping[str, float]]
    request: str
    texts: Mapping[str, str]

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> WritersTable:
        """Read :meth:`to_json` back.

        Raises:
            StoreError: the text is no such table.
        """
        try:
            content = json.loads(text)
            return cls(**{**content, "writers": tuple(content["writers"])})
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"this is no table of writers: {error!r}") from None

    def gain(self, adapter: str, writer: str) -> float:
        """Nats a token by which an adapter is better than the shared one on a writer's text."""
        return self.nll[SHARED][writer] - self.nll[adapter][writer]

    def verdict(self) -> str:
        """What the table says, in words; writers differ in how hard their text is for any model."""
        one, two = self.writers
        on_writer = sum(self.nll[w][w] < self.nll[o][w] for w, o in ((one, two), (two, one)))
        of_adapter = sum(self.gain(w, w) > self.gain(w, o) for w, o in ((one, two), (two, one)))
        return (
            f"On {on_writer} of the 2 writers the own adapter is better than the other writer's; "
            f"{of_adapter} of the 2 adapters gain more over the shared one on their own writer "
            "than on the other."
        )

    def to_markdown(self) -> str:
        """The table, the verdict, and what each adapter wrote."""
        counts = ", ".join(f"{self.records[writer]} of {writer}" for writer in self.writers)
        lines = ["### Two writers, an adapter each", ""]
        lines += [_row(["NLL of the text of", *self.writers]), _row(["---", "---:", "---:"])]
        for name, cells in self.nll.items():
            lines.append(_row([_label(name), *(f"{cells[w]:.3f}" for w in self.writers)]))
        lines += ["", f"Nats a token on held-out records: {counts}. {self.verdict()}", ""]
        lines.append(f"Asked, without any profile: {self.request}")
        for name, text in self.texts.items():
            lines += ["", f"**{_label(name)}**: {text}"]
        return "\n".join(lines) + "\n"


def compare_writers(
    model: Any,
    tokenizer: Any,
    adapters: Mapping[str, Path],
    data: PreparedData,
    *,
    request: int,
    max_tokens: int,
    max_new_tokens: int,
    tell: Tell,
) -> WritersTable:
    """Measure each adapter on each writer's records, and let each write to the same request.

    Args:
        model: the base model; adapters are put on and taken off again.
        tokenizer: the model's.
        adapters: ``shared`` and the writers' names to folders of PEFT adapters.
        data: held-out records of both writers.
        request: index of the record whose request the adapters answer, without its profile: what
            differs between their texts is then the adapters' doing alone.
        max_tokens: tokens in a micro-batch.
        max_new_tokens: most tokens of a generation.
        tell: told about each batch.

    Raises:
        ModelError: an adapter does not fit.
    """
    writers = tuple(name for name in adapters if name != SHARED)
    of_writer = {w: np.array([user == w for user in data.user_ids]) for w in writers}
    nll: dict[str, dict[str, float]] = {}
    texts: dict[str, str] = {}
    for name, folder in adapters.items():
        adapted = load_adapter(model, folder)
        try:
            table = score_dataset(
                adapted,
                data,
                max_tokens=max_tokens,
                contrast=False,
                progress=partial(tell, f"scoring {name}"),
            )
            logp = table.column("logp_with").to_numpy().astype(np.float64)
            records = table.column("record").to_numpy()
            nll[name] = {w: float(-logp[mine[records]].mean()) for w, mine in of_writer.items()}
            [texts[name]] = generate_responses(
                adapted,
                tokenizer,
                data,
                [request],
                max_new_tokens=max_new_tokens,
                with_profile=False,
            )
        finally:
            adapted.unload()
    return WritersTable(
        writers=writers,
        records={writer: int(mine.sum()) for writer, mine in of_writer.items()},
        nll=nll,
        request=data.record(request).record.messages[-1].content,
        texts=texts,
    )


def _label(name: str) -> str:
    return "shared adapter" if name == SHARED else f"{name}'s adapter"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
