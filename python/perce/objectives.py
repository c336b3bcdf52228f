"""Token weightings: how much each response token counts in the loss.

An objective is a pure function of the signals of N response tokens, with a declaration beside it:
what it needs, the bounds of its weights, its scope, the input it is monotone in, and what the loss
is divided by. :func:`perce.testing.check_objective` holds any objective to its declaration.
``docs/guides/objectives.md`` has the formulas with their sources.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from perce.errors import ObjectiveError

Scope = Literal["token", "record"]
Monotone = Literal["pir", "entropy", "logp_with", "p_gap"]
Normalize = Literal["tokens", "weight"]
Function = Callable[..., object]
Bound = float | str
"""A number, or the name of the option that is the bound."""

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "logp_without": "log-probabilities of the same response without the profile: "
        "linear_logp over the profile-free stream",
        "logp_reference": "log-probabilities under a frozen reference model with the profile: "
        "linear_logp with that model's hidden states",
        "entropy": "the entropy of the model's prediction at each position: the ops compute it",
        "segment": "the record each row belongs to, int64 [N]: PairBatch.segment",
    }
)
"""How to get each optional signal; what the error about a missing one says."""

NEEDS = ("logp_without", "logp_reference", "entropy")
"""Signals that an objective may declare. ``segment`` comes with the scope "record"."""


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What is known about N response tokens; each tensor has shape [N] and is detached here.

    Attributes:
        logp_with: float32, log p(token | profile, query, tokens before), in nats.
        logp_without: float32, the same without the profile, or None.
        logp_reference: float32, with the profile under a frozen reference model, or None.
        entropy: float32, entropy of the model's prediction with the profile, in nats, or None.
        segment: int64, the record each token belongs to, or None. Negative: no record (an ignored
            row).
    """

    logp_with: Tensor
    logp_without: Tensor | None = None
    logp_reference: Tensor | None = None
    entropy: Tensor | None = None
    segment: Tensor | None = None

    def __post_init__(self) -> None:
        # Weights are constants to the gradient; detaching here means no objective can forget it.
        object.__setattr__(self, "logp_with", self.logp_with.detach())
        object.__setattr__(self, "logp_without", _detached(self.logp_without))
        object.__setattr__(self, "logp_reference", _detached(self.logp_reference))
        object.__setattr__(self, "entropy", _detached(self.entropy))

    def require(self, name: str) -> Tensor:
        """Return the signal, or raise ObjectiveError that says how to get it."""
        tensor = getattr(self, name)
        if tensor is None:
            raise ObjectiveError(f"signal {name!r} is missing: pass {REMEDIES[name]}")
        return cast("Tensor", tensor)

    @property
    def pir(self) -> Tensor:
        """Personal Influence Ratio (arXiv 2603.06595), nats [N]. Needs ``logp_without``."""
        return self.logp_with - self.require("logp_without")

    @property
    def p_gap(self) -> Tensor:
        """p_with - p_without, float32 [N]. Needs ``logp_without``."""
        return self.logp_with.exp() - self.require("logp_without").exp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A token weighting with its declaration and option values. Made by the registry, not by hand.

    Attributes:
        name: Its name in the table, as ``--objective`` takes it.
        function: ``f(signals, **options) -> Tensor [N]``, pure.
        options: Option values in the order of the function's signature.
        needs: Optional signals it reads.
        declared_bounds: Lower and upper bound of a weight; a string names the option that is the
            bound.
        scope: "token": a weight depends on its own token alone. "record": on the tokens of its
            record.
        monotone_in: The signal its weights never fall in when only that signal rises, or None.
        normalize: What the loss is divided by: "tokens" (their number) or "weight" (the sum of
            weights).
        check: Raises ObjectiveError for option values that cannot work, or None.
    """

    name: str
    function: Function = field(repr=False)
    options: Mapping[str, float] = field(default_factory=dict, hash=False)
    needs: frozenset[str] = frozenset()
    declared_bounds: tuple[Bound, Bound] = (0.0, math.inf)
    scope: Scope = "token"
    monotone_in: Monotone | None = None
    normalize: Normalize = "tokens"
    check: Callable[..., None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for option, value in self.options.items():
            if not math.isfinite(value):
                raise ObjectiveError(
                    f"objective {self.name!r}: {option} is {value}: give a finite number"
                )
        if self.check is not None:
            self.check(**self.options)
        low, high = self.bounds
        if not 0.0 <= low <= high:
            names = [f"{b} " if isinstance(b, str) else "" for b in self.declared_bounds]
            raise ObjectiveError(
                f"objective {self.name!r}: bounds {names[0]}{low:g} and {names[1]}{high:g}: "
                "weights need 0 <= lower <= upper"
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest weight there can be, with this objective's option values."""
        low, high = (
            self.options[b] if isinstance(b, str) else float(b) for b in self.declared_bounds
        )
        return low, high

    def with_options(self, **options: float) -> Objective:
        """Return a copy with these options changed.

        Raises:
            ObjectiveError: An option is unknown (the message lists the known ones) or its value
                cannot work.
        """
        for option, value in options.items():
            if option not in self.options:
                known = ", ".join(self.options) or "none"
                raise ObjectiveError(
                    f"objective {self.name!r}: no option {option!r}; options: {known}"
                )
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ObjectiveError(
                    f"objective {self.name!r}: {option} is {value!r}: give a number"
                )
        values = {**self.options, **{name: float(value) for name, value in options.items()}}
        return replace(self, options=values)

    def __call__(self, signals: Signals) -> Tensor:
        """Return the weights, float32 [N], detached.

        Raises:
            ObjectiveError: A needed signal is missing, or the function returned something that is
                not one weight a token.
        """
        for name in sorted(self.needs) + (["segment"] if self.scope == "record" else []):
            if getattr(signals, name) is None:
                raise ObjectiveError(f"objective {self.name!r} needs {name}: pass {REMEDIES[name]}")
        weights = self.function(signals, **self.options)
        if not isinstance(weights, Tensor) or weights.shape != signals.logp_with.shape:
            got = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
            raise ObjectiveError(
                f"objective {self.name!r} returned {got}: return one weight a token, "
                f"shape {tuple(signals.logp_with.shape)}"
            )
        if weights.requires_grad:
            raise ObjectiveError(
                f"objective {self.name!r} returned weights that require grad: "
                "weights are constants, detach every tensor it reads besides its signals"
            )
        return weights.to(torch.float32)


_TABLE: dict[str, Objective] = {}


def objective_names() -> tuple[str, ...]:
    """Names of all registered objectives, in the order of registration."""
    return tuple(_TABLE)


def get_objective(name: str, **options: float) -> Objective:
    """Look an objective up by name and set its options.

    Raises:
        ObjectiveError: The name or an option is unknown, or an option's value cannot work.
    """
    objective = _TABLE.get(name)
    if objective is None:
        raise ObjectiveError(f"no objective {name!r}; objectives: {', '.join(_TABLE)}")
    return objective.with_options(**options) if options else objective


def register_objective(
    name: str,
    *,
    needs: Iterable[str] = (),
    bounds: tuple[Bound, Bound] = (0.0, math.inf),
    scope: Scope = "token",
    monotone_in: Monotone | None = None,
    normalize: Normalize = "tokens",
    check: Callable[..., None] | None = None,
    replace: bool = False,
) -> Callable[[Function], Function]:
    """Decorator that puts ``f(signals, **options) -> Tensor [N]`` into the table of objectives.

    The function's keyword parameters are its options; each needs a number as default. It must be
    pure: results that depend on anything but signals and options would differ between a run and its
        resumption.

    Args:
        name: The name for ``--objective`` and :func:`get_objective`.
        needs: Optional signals it reads, of "logp_without", "logp_reference", "entropy".
        bounds: Lower and upper bound of a weight, each a number or the name of an option.
        scope: "token" or "record"; see :class:`Objective`.
        monotone_in: "pir", "entropy", "logp_with", "p_gap" or None.
        normalize: "tokens" or "weight".
        check: Called with the options; raises ObjectiveError if their values cannot work.
        replace: Take the place of a registered objective of the same name.

    Raises:
        ObjectiveError: The name is taken, or the declaration makes no sense.
    """

    def complain(message: str) -> None:
        raise ObjectiveError(f"objective {name!r}: {message}")

    def decorate(function: Function) -> Function:
        if name in _TABLE and not replace:
            complain("the name is taken: choose another, or pass replace=True")
        needed = frozenset([needs] if isinstance(needs, str) else needs)
        if not needed <= set(NEEDS):
            complain(f"needs {', '.join(sorted(needed - set(NEEDS)))}; signals: {', '.join(NEEDS)}")
        for label, value, known in (
            ("scope", scope, get_args(Scope)),
            ("monotone_in", monotone_in, (None, *get_args(Monotone))),
            ("normalize", normalize, get_args(Normalize)),
        ):
            if value not in known:
                complain(f"{label} is {value!r}; values: {', '.join(map(str, known))}")
        options: dict[str, float] = {}
        for option, parameter in list(inspect.signature(function).parameters.items())[1:]:
            default = parameter.default
            if isinstance(default, bool) or not isinstance(default, int | float):
                complain(f"option {option!r} has no number as default")
            options[option] = float(default)
        for bound in bounds:
            if isinstance(bound, str) and bound not in options:
                complain(f"bound {bound!r} is no option of the function")
        _TABLE[name] = Objective(
            name=name,
            function=function,
            options=options,
            needs=needed,
            declared_bounds=bounds,
            scope=scope,
            monotone_in=monotone_in,
            normalize=normalize,
            check=check,
        )
        return function

    return decorate


def perce_weights(
    logp_with: Tensor, logp_without: Tensor, *, clip_min: float = 0.8, clip_max: float = 5.0
) -> Tensor:
    """PerCE's token weights, clip(PIR, m, M), as one function for any loop (arXiv 2603.06595).

    Args:
        logp_with: Log-probability of each response token with the profile, in nats, any shape.
        logp_without: The same without the profile.
        clip_min: m, the weight of tokens that the profile does not help.
        clip_max: M.

    Returns:
        float32, the shape of ``logp_with``, detached.

    Raises:
        ObjectiveError: Not 0 <= clip_min <= clip_max.
    """
    get_objective("perce", clip_min=clip_min, clip_max=clip_max)
    pir = logp_with.detach().float() - logp_without.detach().float()
    return pir.clamp(clip_min, clip_max)


@register_objective("ce", bounds=(1.0, 1.0))
def _ce(signals: Signals) -> Tensor:
    """1: plain cross-entropy, the baseline everything is compared with."""
    return torch.ones_like(signals.logp_with)


@register_objective(
    "perce", needs=["logp_without"], bounds=("clip_min", "clip_max"), monotone_in="pir"
)
def _perce(signals: Signals, clip_min: float = 0.8, clip_max: float = 5.0) -> Tensor:
    """clip(PIR, m, M): PerCE (arXiv 2603.06595)."""
    return signals.pir.clamp(clip_min, clip_max)


def _check_gamma(gamma: float) -> None:
    if gamma <= 0:
        raise ObjectiveError(f"objective 'longce': gamma is {gamma:g}: give a number above 0")


@register_objective(
    "longce", needs=["logp_without"], bounds=(0.0, "gamma"), monotone_in="pir", check=_check_gamma
)
def _longce(signals: Signals, gamma: float = 5.0) -> Tensor:
    """min(exp(PIR), gamma): LongCE (ICLR 2025, arXiv 2410.23771), its long context the profile."""
    return signals.pir.exp().clamp(max=gamma)


def _check_top_k(top_k: float) -> None:
    if not 0 < top_k <= 100:
        raise ObjectiveError(
            f"objective 'lossce': top_k is {top_k:g}: give a percentage above 0 and up to 100"
        )


@register_objective(
    "lossce", needs=["logp_reference"], bounds=(0.0, 1.0), scope="record", check=_check_top_k
)
def _lossce(signals: Signals, top_k: float = 60.0) -> Tensor:
    """1 on each record's top_k % tokens by excess loss over a reference, else 0: Rho-1.

    arXiv 2404.07965. A record of n tokens keeps ceil(top_k % of n) of them and every token tied
    with the last of these, so that the choice does not depend on the tokens' order.
    """
    excess = signals.require("logp_reference") - signals.logp_with
    segment = signals.require("segment")
    by_excess = torch.argsort(excess, descending=True, stable=True)
    order = by_excess[torch.argsort(segment[by_excess], stable=True)]
    grouped = segment[order]
    first = torch.searchsorted(grouped, grouped)
    count = torch.searchsorted(grouped, grouped, right=True) - first
    kept = torch.ceil(count.double() * top_k / 100).long()
    ranked = excess[order]
    weights = torch.empty_like(excess)
    weights[order] = (ranked >= ranked[first + kept - 1]).to(excess.dtype)
    return weights


@register_objective("entce", needs=["entropy"], monotone_in="entropy")
def _entce(signals: Signals) -> Tensor:
    """The entropy of the model's prediction, in nats: uncertain positions count more."""
    # The smallest entropies are differences that rounding can put below zero.
    return signals.require("entropy").clamp(min=0.0)


@register_objective("dft", bounds=(0.0, 1.0), monotone_in="logp_with")
def _dft(signals: Signals) -> Tensor:
    """p(token): Dynamic Fine-Tuning (arXiv 2508.05629)."""
    return signals.logp_with.exp().clamp(max=1.0)


def _check_nextquill(alpha: float, threshold: float) -> None:  # noqa: ARG001 - options come by name
    if not 0.5 <= alpha <= 1:
        raise ObjectiveError(
            f"objective 'nextquill': alpha is {alpha:g}: give a number between 0.5 and 1"
        )


@register_objective(
    "nextquill",
    needs=["logp_without"],
    bounds=(0.0, 1.0),
    monotone_in="p_gap",
    normalize="weight",
    check=_check_nextquill,
)
def _nextquill(signals: Signals, alpha: float = 0.9, threshold: float = 0.05) -> Tensor:
    """Alpha where p_with - p_without > threshold, else 1 - alpha: NextQuill (arXiv 2506.02368)."""
    personal = signals.p_gap > threshold
    return torch.where(personal, alpha, 1.0 - alpha).to(torch.float32)
