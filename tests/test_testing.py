"""check_objective catches every kind of broken promise; the strategies make what they say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from perce import objectives
from perce.errors import ObjectiveError
from perce.objectives import Signals, register_objective
from perce.ops import linear_logp, linear_weighted_ce
from perce.pairs import PairBatch
from perce.testing import check_objective, packed_batches, pir_arrays, records, signals


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    """Forget what a test registers."""
    before = dict(objectives._TABLE)
    yield
    objectives._TABLE.clear()
    objectives._TABLE.update(before)


def ones(signals: Signals) -> Tensor:
    return torch.ones_like(signals.logp_with)


PARAMETER = torch.ones((), requires_grad=True)
CALLS = itertools.count()


def records_mean(signals: Signals) -> Tensor:
    """The mean over the whole batch, whatever record a token is of."""
    return signals.logp_with.exp().mean() * ones(signals)


def by_segment_number(signals: Signals) -> Tensor:
    return signals.require("segment").float()


def first_of_record(signals: Signals) -> Tensor:
    segment = signals.require("segment")
    return torch.tensor([float(s not in segment[:i]) for i, s in enumerate(segment)])


PIR: dict[str, Any] = {"needs": ["logp_without"]}
BROKEN: dict[str, tuple[Callable[[Signals], Any], dict[str, Any], str]] = {
    "negative": (lambda s: s.pir, PIR, "weights of at least 0"),
    "infinite": (lambda s: (4 * s.pir).exp(), PIR, "finite weights"),
    "not a number": (lambda s: s.pir.log(), PIR, "finite weights"),
    "above its bound": (
        lambda s: s.pir.clamp(0, 5),
        {**PIR, "bounds": (0, 4)},
        "weights within the bounds 0 and 4",
    ),
    "below its bound": (lambda s: 0.4 * ones(s), {"bounds": (0.5, 1)}, "bounds 0.5 and 1"),
    "falling in pir": (
        lambda s: (5 - s.pir).clamp(0, 10),
        {**PIR, "monotone_in": "pir"},
        "monotone in pir",
    ),
    "a bump in pir": (
        lambda s: ((s.pir > 1) & (s.pir < 4)).float(),
        {**PIR, "monotone_in": "pir"},
        "monotone in pir",
    ),
    "falling in entropy": (
        lambda s: 1 / (1 + s.require("entropy")),
        {"needs": ["entropy"], "monotone_in": "entropy"},
        "monotone in entropy",
    ),
    "falling in p": (
        lambda s: 1 - s.logp_with.exp(),
        {"monotone_in": "logp_with"},
        "monotone in logp_with",
    ),
    "falling in p_gap": (
        lambda s: (s.p_gap < 0.1).float(),
        {**PIR, "monotone_in": "p_gap"},
        "monotone in p_gap",
    ),
    "cumulative": (lambda s: s.logp_with.exp().cumsum(0), {}, "not to depend on"),
    "position": (lambda s: torch.arange(len(s.logp_with)).float(), {}, "not to depend on"),
    "batch mean": (records_mean, {}, "not to depend on other tokens"),
    "batch mean in records": (
        records_mean,
        {"scope": "record"},
        "not to depend on other records",
    ),
    "record's number": (by_segment_number, {"scope": "record"}, "how records are numbered"),
    "first of record": (first_of_record, {"scope": "record"}, "order of tokens"),
    "record in token scope": (by_segment_number, {}, "to work with its declared signals"),
    "leaking grad": (lambda s: ones(s) * PARAMETER, {}, "require grad"),
    "undeclared need": (lambda s: s.pir.clamp(min=0), {}, "signal 'logp_without' is missing"),
    "undeclared entropy": (lambda s: s.entropy + 1, {}, "to work with its declared signals"),
    "undeclared reading": (
        lambda s: ones(s) if s.entropy is None else s.entropy,
        {},
        "to read its declared signals alone",
    ),
    "one weight for all": (lambda s: torch.tensor(1.0), {}, "return one weight a token"),
    "no tensor": (lambda s: [1.0] * len(s.logp_with), {}, "return one weight a token"),
    "random": (lambda s: torch.rand(len(s.logp_with)), {}, "deterministic"),
    "counting": (lambda s: ones(s) * next(CALLS), {}, "deterministic"),
    "writes its input": (lambda s: s.logp_with.neg_(), {}, "not to modify its inputs"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_catches_a_broken_promise(name: str) -> None:
    function, declaration, message = BROKEN[name]
    register_objective(name, **declaration)(function)
    with pytest.raises(ObjectiveError) as caught:
        check_objective(name, max_examples=60)
    assert str(caught.value).startswith(f"objective {name!r} breaks its promise: ")
    assert message in str(caught.value)


def test_shows_a_small_input() -> None:
    register_objective("odd", needs=["logp_without"])(lambda s: s.pir)
    with pytest.raises(ObjectiveError, match=r"found with logp_with=\[[^,]*\], logp_without=\["):
        check_objective("odd")


def test_finds_the_same_input_every_time() -> None:
    register_objective("odd", needs=["logp_without"])(lambda s: s.pir.clamp(-3))
    messages = set()
    for _ in range(2):
        with pytest.raises(ObjectiveError) as caught:
            check_objective("odd", max_examples=30)
        messages.add(str(caught.value))
    assert len(messages) == 1


@given(pir_arrays(max_tokens=9))
def test_pir_arrays(pir: np.ndarray) -> None:
    assert pir.dtype == np.float32
    assert 1 <= len(pir) <= 9
    assert np.isfinite(pir).all()


@given(signals())
def test_signals(drawn: Signals) -> None:
    n = len(drawn.logp_with)
    for name in ("logp_with", "logp_without", "logp_reference", "entropy", "segment"):
        assert drawn.require(name).shape == (n,)
    assert (drawn.logp_with <= 0).all()
    assert drawn.require("segment").diff().ge(0).all()


@given(records())
def test_records(record: Any) -> None:
    # Record checks itself; what is left is that the query is a user's.
    assert record.messages[-1].role == "user"
    assert record.query.strip()


@given(packed_batches(vocab_size=32))
def test_packed_batches_feed_the_ops(batch: PairBatch) -> None:
    """The rows of a batch are what the ops take; equal embeddings in both streams: PIR is 0."""
    torch.manual_seed(0)
    table, head = torch.randn(32, 4), torch.randn(32, 4)
    hidden = table[batch.labels.clamp(min=0)]
    assert len(batch.with_profile.rows) == len(batch.without_profile.rows) == len(hidden)
    without = linear_logp(hidden, head, batch.labels)
    result = linear_weighted_ce(
        hidden, head, batch.labels, logp_without=without, segment=batch.segment
    )
    assert result.pir is not None
    assert not result.pir.any()
    assert float(result.sum_weights) == pytest.approx(0.8 * batch.num_items, rel=1e-5)
