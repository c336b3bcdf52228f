"""Retrieve, render and fit chunks of records, here or in other processes; in order either way."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perce.data.fit import FittedRecord, Fitter
from perce.data.prompts import PromptTemplate
from perce.data.record import ProfileItem, Record
from perce.data.retrieval import retrieve
from perce.errors import RecordError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Chunk = list[Record]
Fitted = list[FittedRecord | RecordError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that a process needs to know to fit records.

    Attributes:
        tokenizer: The fast tokenizer.
        template: :meth:`PromptTemplate.to_dict`.
        max_length: As :class:`~perce.data.fit.Fitter` takes it.
        max_profile_length: As :class:`~perce.data.fit.Fitter` takes it.
        method: As :func:`~perce.data.retrieval.retrieve` takes it.
        k: As :func:`~perce.data.retrieval.retrieve` takes it.
        seed: As :func:`~perce.data.retrieval.retrieve` takes it.
    """

    tokenizer: PreTrainedTokenizerFast
    template: dict[str, Any]
    max_length: int
    max_profile_length: int | None
    method: str
    k: int | None
    seed: int


class Worker:
    """Fits chunks by a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.fitter = Fitter(
            PromptTemplate.from_dict(recipe.template),
            recipe.tokenizer,
            max_length=recipe.max_length,
            max_profile_length=recipe.max_profile_length,
        )

    def fit(self, chunk: Chunk) -> Fitted:
        """A result for each record, in order."""
        return self.fitter.fit([(record, self._retrieve(record)) for record in chunk])

    def _retrieve(self, record: Record) -> tuple[ProfileItem, ...]:
        recipe = self.recipe
        return retrieve(
            record.profile,
            record.search_query,
            method=recipe.method,
            k=recipe.k,
            seed=recipe.seed,
        )


def fit_all(
    worker: Worker, chunks: Iterable[Chunk], num_proc: int = 1
) -> Generator[Fitted, None, None]:
    """The results of each chunk, in order; with ``num_proc`` above 1 from so many processes.

    A few chunks a process are read ahead, no more. Leaving early stops the processes.

    Raises:
        MissingExtraError: the retrieval method needs a package that is not installed.
    """
    # Found out here: not every error can travel from one process to another.
    retrieve((), "", method=worker.recipe.method)
    if num_proc == 1:
        yield from map(worker.fit, chunks)
        return
    # Started afresh: a fork of a process whose libraries run threads may hang.
    pool = ProcessPoolExecutor(
        num_proc, multiprocessing.get_context("spawn"), _start, (worker.recipe,)
    )
    try:
        waiting: deque[Future[Fitted]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(_fit, chunk))
            if len(waiting) > 2 * num_proc:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


_worker: Worker


def _start(recipe: Recipe) -> None:
    global _worker
    _worker = Worker(recipe)


def _fit(chunk: Chunk) -> Fitted:
    return _worker.fit(chunk)
