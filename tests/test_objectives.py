"""Objectives against a pure-Python oracle, their own declarations, and the registry's errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oracles import TokenSignals, objective_weights
from perce import objectives
from perce.errors import ObjectiveError, PerceError
from perce.objectives import (
    Signals,
    get_objective,
    objective_names,
    perce_weights,
    register_objective,
)
from perce.testing import check_objective, pir_arrays
from perce.testing import signals as signals_strategy

OWN = ("ce", "perce", "longce", "lossce", "entce", "dft", "nextquill")

OPTIONS = {
    "ce": st.just({}),
    "perce": st.tuples(st.floats(0, 3), st.floats(0, 3)).map(
        lambda b: {"clip_min": min(b), "clip_max": max(b)}
    ),
    "longce": st.floats(0.5, 20).map(lambda g: {"gamma": g}),
    "lossce": st.floats(0.5, 100).map(lambda k: {"top_k": k}),
    "entce": st.just({}),
    "dft": st.just({}),
    "nextquill": st.tuples(st.floats(0.5, 1), st.integers(-8, 8)).map(
        lambda o: {"alpha": o[0], "threshold": o[1] / 16}
    ),
}


@pytest.fixture
def table() -> Iterator[None]:
    """Forget what a test registers."""
    before = dict(objectives._TABLE)
    yield
    objectives._TABLE.clear()
    objectives._TABLE.update(before)


def test_names() -> None:
    assert objective_names()[: len(OWN)] == OWN


@pytest.mark.parametrize("name", OWN)
def test_keeps_its_promises(name: str) -> None:
    check_objective(name, max_examples=40)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("perce", {"clip_min": 0.0, "clip_max": 0.0}),
        ("perce", {"clip_min": 0.2, "clip_max": 8.0}),
        ("longce", {"gamma": 0.1}),
        ("lossce", {"top_k": 0.001}),
        ("lossce", {"top_k": 100}),
        ("nextquill", {"alpha": 0.5, "threshold": -2}),
    ],
)
def test_keeps_its_promises_with_options(name: str, options: dict[str, float]) -> None:
    check_objective(get_objective(name, **options), max_examples=20)


@pytest.mark.parametrize("name", OWN)
@given(data=st.data())
def test_equals_oracle(name: str, data: st.DataObject) -> None:
    signals = data.draw(signals_strategy())
    options = data.draw(OPTIONS[name])
    weights = get_objective(name, **options)(signals)
    columns = (
        signals.logp_with,
        signals.require("logp_without"),
        signals.require("logp_reference"),
        signals.require("entropy"),
    )
    tokens = [TokenSignals(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]
    if name == "lossce":
        # float32 makes ties that float64 does not: the oracle gets the rounded excess.
        excess = (columns[2] - columns[0]).tolist()
        tokens = [TokenSignals(0.0, logp_reference=e) for e in excess]
    wanted = objective_weights(name, tokens, signals.require("segment").tolist(), **options)
    torch.testing.assert_close(
        weights.double(), torch.tensor(wanted).double(), rtol=1e-5, atol=1e-6
    )


@given(pir=pir_arrays(), clip_min=st.floats(0, 4, width=32), width=st.floats(0, 4, width=32))
def test_perce_weights(pir: object, clip_min: float, width: float) -> None:
    values = torch.as_tensor(pir).requires_grad_()
    weights = perce_weights(
        values, torch.zeros(len(values)), clip_min=clip_min, clip_max=clip_min + width
    )
    assert weights.dtype == torch.float32
    assert not weights.requires_grad
    wanted = [min(max(v, clip_min), clip_min + width) for v in values.tolist()]
    assert weights.tolist() == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_perce_weights_defaults_are_the_papers() -> None:
    logp_with = torch.tensor([-0.1, -2.0, -1.0, -0.5])
    logp_without = torch.tensor([-9.0, -1.0, -1.0, -2.5])
    assert perce_weights(logp_with, logp_without).tolist() == pytest.approx([5.0, 0.8, 0.8, 2.0])


def test_lossce_counts_within_each_record_and_keeps_ties() -> None:
    signals = Signals(
        logp_with=torch.tensor([-9.0, -8.0, -7.0, -6.0, -1.0, -2.0, -2.0]),
        logp_reference=torch.zeros(7),
        segment=torch.tensor([3, 3, 3, 3, 1, 1, 1]),
    )
    assert get_objective("lossce", top_k=50)(signals).tolist() == [1, 1, 0, 0, 0, 1, 1]
    assert get_objective("lossce", top_k=1)(signals).tolist() == [1, 0, 0, 0, 0, 1, 1]


@given(signals_strategy())
def test_pir_is_zero_without_influence_and_every_weight_is_the_floor(signals: Signals) -> None:
    same = Signals(logp_with=signals.logp_with, logp_without=signals.logp_with)
    assert same.pir.eq(0).all()
    assert get_objective("perce")(same).eq(torch.tensor(0.8)).all()
    assert get_objective("longce")(same).eq(1).all()


def test_signals_are_detached_and_frozen() -> None:
    signals = Signals(logp_with=torch.zeros(2, requires_grad=True), logp_without=torch.ones(2))
    assert not signals.logp_with.requires_grad
    assert not get_objective("dft")(signals).requires_grad
    with pytest.raises(FrozenInstanceError):
        signals.logp_with = torch.ones(2)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("percy", {}, "no objective 'percy'; objectives: ce, perce, longce, lossce, entce, dft"),
        ("perce", {"clip": 1}, "no option 'clip'; options: clip_min, clip_max"),
        ("ce", {"gamma": 1}, "no option 'gamma'; options: none"),
        ("perce", {"clip_min": 2, "clip_max": 1}, "clip_min 2 and clip_max 1"),
        ("perce", {"clip_min": -1}, "clip_min -1 and clip_max 5"),
        ("perce", {"clip_max": float("inf")}, "clip_max is inf"),
        ("perce", {"clip_max": "5"}, "clip_max is '5': give a number"),
        ("longce", {"gamma": 0}, "gamma is 0"),
        ("lossce", {"top_k": 0}, "top_k is 0"),
        ("lossce", {"top_k": 100.5}, "top_k is 100.5"),
        ("nextquill", {"alpha": 0.4}, "alpha is 0.4"),
    ],
)
def test_bad_names_and_options(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(ObjectiveError) as caught:
        get_objective(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, PerceError)


@pytest.mark.parametrize(
    ("name", "signal", "remedy"),
    [
        ("perce", "logp_without", "linear_logp over the profile-free stream"),
        ("nextquill", "logp_without", "linear_logp over the profile-free stream"),
        ("lossce", "logp_reference", "frozen reference model"),
        ("entce", "entropy", "the ops compute it"),
    ],
)
def test_missing_signal(name: str, signal: str, remedy: str) -> None:
    with pytest.raises(ObjectiveError, match=f"'{name}' needs {signal}") as caught:
        get_objective(name)(Signals(logp_with=torch.zeros(3)))
    assert remedy in str(caught.value)


def test_lossce_needs_records() -> None:
    signals = Signals(logp_with=torch.zeros(3), logp_reference=torch.zeros(3))
    with pytest.raises(ObjectiveError, match=r"needs segment: .*PairBatch\.segment"):
        get_objective("lossce")(signals)


def test_own_objective_in_three_lines(table: None) -> None:
    @register_objective("half", needs=["logp_without"], bounds=(0.5, "top"), monotone_in="pir")
    def half(signals: Signals, top: float = 3.0) -> torch.Tensor:
        return (signals.pir / 2).clamp(0.5, top)

    objective = get_objective("half", top=1)
    assert objective.bounds == (0.5, 1.0)
    assert objective_names()[-1] == "half"
    check_objective(objective, max_examples=20)


def test_comparisons_are_weights(table: None) -> None:
    @register_objective("personal", needs=["logp_without"], bounds=(0, 1), monotone_in="pir")
    def personal(signals: Signals) -> torch.Tensor:
        return signals.pir > 1

    check_objective("personal", max_examples=20)


def test_a_name_is_taken_once(table: None) -> None:
    with pytest.raises(ObjectiveError, match="'ce': the name is taken"):
        register_objective("ce")(lambda signals: signals.logp_with)
    register_objective("ce", replace=True)(lambda signals: signals.logp_with * 0 + 2)
    assert get_objective("ce")(Signals(logp_with=torch.zeros(1))).tolist() == [2.0]


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ({"needs": ["logits"]}, "needs logits; signals: logp_without, logp_reference, entropy"),
        ({"needs": "perplexity"}, "needs perplexity"),
        ({"scope": "batch"}, "scope is 'batch'; values: token, record"),
        ({"monotone_in": "loss"}, "monotone_in is 'loss'"),
        ({"normalize": "mean"}, "normalize is 'mean'; values: tokens, weight"),
        ({"bounds": (0.0, "gamma")}, "bound 'gamma' is no option"),
        ({"bounds": (-1.0, 1.0)}, "weights need 0 <= lower <= upper"),
    ],
)
def test_bad_declarations(table: None, declaration: dict[str, object], message: str) -> None:
    with pytest.raises(ObjectiveError) as caught:
        register_objective("odd", **declaration)(lambda signals: signals.logp_with)
    assert message in str(caught.value)
    assert "odd" not in objective_names()


def test_options_need_numbers_as_defaults(table: None) -> None:
    with pytest.raises(ObjectiveError, match="option 'mode' has no number as default"):
        register_objective("odd")(lambda signals, mode="fast": signals.logp_with)


def test_returns_one_weight_a_token(table: None) -> None:
    register_objective("mean")(lambda signals: signals.logp_with.mean())
    register_objective("python")(lambda signals: 1.0)
    for name, got in (("mean", r"\(\)"), ("python", "float")):
        with pytest.raises(ObjectiveError, match=f"returned {got}: return one weight a token"):
            get_objective(name)(Signals(logp_with=torch.zeros(3)))
