"""Property tests for objectives, yours as well as ours, and Hypothesis strategies for perce's data.

``check_objective("mine")`` is the whole test of an objective: it holds the function to what it
declared at registration. Needs Hypothesis: ``pip install 'perce[testing]'``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perce.errors import MissingExtraError, ObjectiveError
from perce.objectives import Objective, Signals, get_objective

try:
    import hypothesis
    from hypothesis import strategies as st
except ImportError as error:
    raise MissingExtraError("hypothesis", "testing") from error

if TYPE_CHECKING:
    from perce.data import Record
    from perce.pairs import PairBatch

TOLERANCE = 1e-5
"""Relative difference at which weights count as equal: a vectorised exp varies in its last bit."""


def _numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """float32 numbers, half of them on a coarse grid: ties are where orderings go wrong."""
    grid = st.integers(int(low * 4), int(high * 4)).map(lambda i: i / 4)
    return grid | st.floats(low, high, width=32)


def pir_arrays(*, max_tokens: int = 64) -> st.SearchStrategy[npt.NDArray[np.float32]]:
    """Arrays of Personal Influence Ratios, float32 [1 to ``max_tokens``], in nats, with ties."""
    return st.lists(_numbers(-30.0, 30.0), min_size=1, max_size=max_tokens).map(
        lambda values: np.array(values, dtype=np.float32)
    )


@st.composite
def signals(draw: st.DrawFn, *, max_tokens: int = 16, max_records: int = 4) -> Signals:
    """All signals of up to ``max_records`` records' tokens, with ties and extremes.

    Log-probabilities lie in [-50, 0], so PIR reaches +-50 nats, where its exponential overflows
    nothing but squares do; entropies lie in [0, 12], the logarithm of a vocabulary of 160k.
    """
    lengths = draw(
        st.lists(
            st.integers(1, max(1, max_tokens // max_records)), min_size=1, max_size=max_records
        )
    )
    n = sum(lengths)

    def column(low: float, high: float) -> Tensor:
        return torch.tensor(draw(st.lists(_numbers(low, high), min_size=n, max_size=n)))

    return Signals(
        logp_with=column(-50.0, 0.0),
        logp_without=column(-50.0, 0.0),
        logp_reference=column(-50.0, 0.0),
        entropy=column(0.0, 12.0),
        segment=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
    )


def _texts(*, max_size: int) -> st.SearchStrategy[str]:
    # Half of a surrogate pair is no text: nothing can encode it.
    characters = st.characters(exclude_categories=["Cs"])
    return st.text(characters, min_size=1, max_size=max_size).filter(
        lambda text: bool(text.strip())
    )


@st.composite
def records(draw: st.DrawFn, *, max_profile: int = 5, max_text: int = 40) -> Record:
    """Valid :class:`perce.data.Record` s, in any script, with empty profiles and many turns."""
    from perce.data import Message, ProfileItem, Record

    text = _texts(max_size=max_text)
    optional = text | st.just("")
    dates = st.just("") | st.dates().map(lambda day: day.isoformat())
    items = st.builds(
        ProfileItem, text=text, title=optional, content=optional, date=dates, search_text=optional
    )
    roles = st.sampled_from(["user", "assistant"])
    turns = draw(st.lists(st.builds(Message, role=roles, content=text), max_size=3))
    system = draw(st.lists(st.builds(Message, role=st.just("system"), content=text), max_size=1))
    return Record(
        id=draw(text),
        user_id=draw(text),
        profile=tuple(draw(st.lists(items, max_size=max_profile))),
        messages=(*system, *turns, Message(role="user", content=draw(text))),
        response=draw(text),
        retrieval_query=draw(optional),
    )


@st.composite
def packed_batches(
    draw: st.DrawFn, *, max_records: int = 6, max_length: int = 12, vocab_size: int = 64
) -> PairBatch:
    """A :class:`perce.pairs.PairBatch` as training sees it, made by the real packing and collation.

    The token ids are drawn from [0, ``vocab_size``); any batch of the plan, repeats included.
    """
    from perce._core import TokenStore
    from perce.pairs import PairLoader

    ids = st.lists(st.integers(0, vocab_size - 1), min_size=1, max_size=max_length)
    rows = draw(st.lists(st.tuples(ids, ids, ids), min_size=1, max_size=max_records))

    def column(index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        parts = [row[index] for row in rows]
        offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return np.array([i for part in parts for i in part], dtype=np.int32), offsets

    store = TokenStore(*column(0), *column(1), *column(2))
    longest = max(len(row[0]) + len(row[2]) for row in rows)
    world_size = draw(st.integers(1, 3))
    loader = PairLoader(
        store,
        packing=draw(st.booleans()),
        max_tokens=draw(st.integers(longest, 2 * longest)),
        per_device_train_batch_size=draw(st.integers(1, max_records)),
        seed=draw(st.integers(0, 2**32)),
        rank=draw(st.integers(0, world_size - 1)),
        world_size=world_size,
    )
    batches: list[PairBatch] = list(loader)
    return batches[draw(st.integers(0, len(batches) - 1))]


@dataclass(frozen=True, slots=True)
class _Case:
    """Signals to try an objective on, and what to do with them."""

    signals: Signals
    order: tuple[int, ...]
    rise: float


@st.composite
def _cases(draw: st.DrawFn) -> _Case:
    drawn = draw(signals())
    order = draw(st.permutations(range(len(drawn.logp_with))))
    return _Case(drawn, tuple(order), draw(st.sampled_from([0.125, 0.5, 1.0])))


def _show(value: Signals) -> str:
    columns = ((field.name, getattr(value, field.name)) for field in fields(value))
    return ", ".join(f"{name}={column.tolist()}" for name, column in columns if column is not None)


def _select(value: Signals, rows: Tensor) -> Signals:
    columns = {field.name: getattr(value, field.name) for field in fields(value)}
    chosen: dict[str, Any] = {name: None if c is None else c[rows] for name, c in columns.items()}
    return Signals(**chosen)


def _clone(value: Signals) -> Signals:
    return _select(value, torch.arange(len(value.logp_with)))


class _Promise:
    """Evaluates one objective on one case and words what it finds wrong."""

    def __init__(self, objective: Objective, case: _Case) -> None:
        self.objective = objective
        self.case = case
        optional = set(objective.needs) | ({"segment"} if objective.scope == "record" else set())
        undeclared = {"logp_without", "logp_reference", "entropy", "segment"} - optional
        # mypy cannot see that the names are the fields.
        self.declared = replace(case.signals, **dict.fromkeys(undeclared))  # type: ignore[arg-type]

    def broken(self, promise: str, signals: Signals) -> ObjectiveError:
        return ObjectiveError(
            f"objective {self.objective.name!r} breaks its promise: {promise}; "
            f"found with {_show(signals)}"
        )

    def weights(self, signals: Signals, what: str = "to work with its declared signals") -> Tensor:
        before = _clone(signals)
        try:
            weights = self.objective(signals)
        except Exception as error:
            raise self.broken(f"{what}, but it raised {error!r}", signals) from error
        for field in fields(signals):
            old, new = getattr(before, field.name), getattr(signals, field.name)
            if old is not None and not torch.equal(old, new):
                raise self.broken(f"not to modify its inputs, but {field.name} changed", before)
        return weights

    def expect_equal(self, promise: str, found: Tensor, wanted: Tensor, signals: Signals) -> None:
        if not torch.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE):
            raise self.broken(f"{promise}: {wanted.tolist()} became {found.tolist()}", signals)


def _check_values(promise: _Promise) -> None:
    weights = promise.weights(promise.declared)
    if not bool(weights.isfinite().all()):
        raise promise.broken(f"finite weights, got {weights.tolist()}", promise.declared)
    if bool((weights < 0).any()):
        raise promise.broken(f"weights of at least 0, got {weights.tolist()}", promise.declared)
    low, high = torch.tensor(promise.objective.bounds, dtype=torch.float32)
    if bool(((weights < low) | (weights > high)).any()):
        bounds = f"within the bounds {float(low):g} and {float(high):g}"
        raise promise.broken(f"weights {bounds}, got {weights.tolist()}", promise.declared)


def _check_pure(promise: _Promise) -> None:
    weights = promise.weights(promise.declared)
    if not torch.equal(weights, promise.weights(promise.declared)):
        raise promise.broken("deterministic, but a second call differed", promise.declared)
    promise.expect_equal(
        "to read its declared signals alone",
        promise.weights(promise.case.signals),
        weights,
        promise.case.signals,
    )


def _check_order(promise: _Promise) -> None:
    declared = promise.declared
    weights = promise.weights(declared)
    order = torch.tensor(promise.case.order)
    promise.expect_equal(
        "not to depend on the order of tokens",
        promise.weights(_select(declared, order)),
        weights[order],
        declared,
    )
    if promise.objective.scope == "token":
        groups = torch.arange(len(weights))
        alone = "a token's weight not to depend on other tokens (scope 'token')"
    else:
        groups = declared.require("segment")
        alone = "a record's weights not to depend on other records (scope 'record')"
        renamed = replace(declared, segment=groups.max() + 7 - groups)
        promise.expect_equal(
            "not to depend on how records are numbered", promise.weights(renamed), weights, declared
        )
    for group in sorted(set(groups.tolist())):
        rows = (groups == group).nonzero().squeeze(1)
        promise.expect_equal(
            alone, promise.weights(_select(declared, rows)), weights[rows], declared
        )


def _raised(signals: Signals, monotone_in: str, rise: float, rows: Tensor) -> Signals:
    """The signals with one of them raised at some rows, within its range."""
    if monotone_in in ("pir", "p_gap"):
        # Lowering logp_without raises both and leaves logp_with, a signal of its own, alone.
        return replace(signals, logp_without=signals.require("logp_without") - 8 * rise * rows)
    if monotone_in == "entropy":
        return replace(signals, entropy=signals.require("entropy") + 8 * rise * rows)
    return replace(signals, logp_with=signals.logp_with * (1 - rise * rows))


def _check_monotone(promise: _Promise) -> None:
    monotone_in = promise.objective.monotone_in
    if monotone_in is None:
        return
    weights = promise.weights(promise.declared)
    rows = torch.ones_like(weights)
    if promise.objective.scope == "record":
        # Tokens of a record compete: raise one at a time.
        rows = torch.zeros_like(weights)
        rows[promise.case.order[0]] = 1.0
    higher = _raised(promise.declared, monotone_in, promise.case.rise, rows)
    changed = promise.weights(higher)
    fell = (changed < weights - TOLERANCE * weights.abs().clamp(min=1.0)) & (rows > 0)
    if bool(fell.any()):
        raise promise.broken(
            f"monotone in {monotone_in}, but weights {weights.tolist()} fell to "
            f"{changed.tolist()} with {_show(higher)}",
            promise.declared,
        )


_CHECKS: tuple[Callable[[_Promise], None], ...] = (
    _check_values,
    _check_pure,
    _check_order,
    _check_monotone,
)


def _violation(objective: Objective, case: _Case) -> ObjectiveError | None:
    promise = _Promise(objective, case)
    try:
        for check in _CHECKS:
            check(promise)
    except ObjectiveError as error:
        return error
    return None


def _simplest(objective: Objective, case: _Case, error: ObjectiveError) -> ObjectiveError:
    """Leave tokens out for as long as something stays broken.

    Hypothesis's own shrinking tries hundreds of inputs for numbers a little rounder.
    """
    n = len(case.order)
    for dropped in range(n if n > 1 else 0):
        rows = torch.tensor([i for i in range(n) if i != dropped])
        order = tuple(i - (i > dropped) for i in case.order if i != dropped)
        smaller = _Case(_select(case.signals, rows), order, case.rise)
        found = _violation(objective, smaller)
        if found is not None:
            return _simplest(objective, smaller, found)
    return error


def check_objective(objective: str | Objective, *, max_examples: int = 100) -> None:
    """Hold an objective to its declaration on many generated inputs, always the same ones.

    Checked: one float32 weight a token, detached, finite, at least 0 and within the bounds;
    deterministic; inputs unmodified; works with its declared signals and reads no others; weights
    of a token (scope "token") or of a record (scope "record") depend on nothing else, neither on
    order nor on what shares the batch; never falling in the declared signal.

    Args:
        objective: A registered name, or an objective with options of your choice.
        max_examples: Inputs to try. A hundred take one to three seconds.

    Raises:
        ObjectiveError: Names the broken promise and a small input that breaks it.
    """
    checked = get_objective(objective) if isinstance(objective, str) else objective

    @hypothesis.settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(_cases())
    def run(case: Any) -> None:
        error = _violation(checked, case)
        if error is not None:
            raise _simplest(checked, case, error)

    try:
        run()
    except hypothesis.errors.Flaky as error:
        raise ObjectiveError(
            f"objective {checked.name!r} breaks its promise: deterministic, but an input that "
            "broke another promise passed when tried again"
        ) from error
