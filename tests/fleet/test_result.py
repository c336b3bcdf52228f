"""The summary over users against plain Python, and results through JSON."""

from __future__ import annotations

import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from perce.fleet import Figures, FleetReport, UserResult, print_report
from perce.fleet.table import to_markdown

nlls = st.floats(0.1, 9.0)


@st.composite
def trained(draw: st.DrawFn) -> UserResult:
    tokens = draw(st.integers(1, 500))
    personal = draw(st.integers(0, tokens))

    def figures() -> Figures:
        return Figures(draw(nlls), draw(nlls) if personal else None)

    return UserResult(
        state="trained",
        folder="users/x",
        records=5,
        held_out=2,
        tokens=tokens,
        personal_tokens=personal,
        before=figures(),
        after=figures(),
    )


others = st.builds(UserResult, state=st.sampled_from(["skipped", "failed"]), reason=st.just("why"))
# Any id at all: bars, line breaks, control characters.
fleets = st.dictionaries(st.text(min_size=1, max_size=8), trained() | others, max_size=8)


def report_of(users: dict[str, UserResult], **settings: object) -> FleetReport:
    given = {"data": "d/train", "held_out": "d/val", "start": "s", "threshold": 0.5, **settings}
    return FleetReport(users=users, **given)


@given(fleets)
def test_the_summary_is_the_sum_over_users(users: dict[str, UserResult]) -> None:
    report = report_of(users)
    mine = [result for result in users.values() if result.state == "trained"]
    for kind, count in (("nll", "tokens"), ("nll_personal", "personal_tokens")):
        having = [r for r in mine if getattr(r, count)]
        summary = report.summary(kind, resamples=20)
        if not having:
            assert summary is None
            continue
        total = sum(getattr(r, count) for r in having)

        def mean(side: str, rows=having, total=total, kind=kind, count=count) -> float:
            values = [getattr(getattr(r, side), kind) * getattr(r, count) for r in rows]
            return math.fsum(values) / total

        assert summary.before == pytest.approx(mean("before"), rel=1e-12)
        assert summary.after == pytest.approx(mean("after"), rel=1e-12)
        assert summary.difference.value == pytest.approx(
            mean("after") - mean("before"), rel=1e-9, abs=1e-12
        )
        better = sum(getattr(r.after, kind) < getattr(r.before, kind) for r in having)
        assert (summary.users, summary.tokens, summary.better) == (len(having), total, better)
        assert summary.share.value == pytest.approx(better / len(having), rel=1e-12)
        if len(having) > 1:
            assert 0 <= summary.share.low <= summary.share.value <= summary.share.high <= 1


@given(fleets)
def test_results_survive_json(users: dict[str, UserResult]) -> None:
    stored = json.loads(json.dumps(report_of(users).to_dict()))["users"]
    assert {user: UserResult.from_dict(result) for user, result in stored.items()} == users


@given(fleets)
def test_every_user_is_one_line_of_the_table(users: dict[str, UserResult]) -> None:
    text = to_markdown(report_of(users, warnings=["look out"]))
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    tables = 1 + sum(bool(report_of(users).of(s)) for s in ("trained", "skipped", "failed"))
    assert len(rows) == tables + 2 + len(users)
    assert "Caution: look out" in text


@pytest.mark.parametrize("state", ["trained", "failed"])
def test_an_id_cannot_write_to_the_terminal(state: str) -> None:
    figures = {"before": Figures(3.0, None), "after": Figures(2.0, None), "tokens": 1}
    result = UserResult(state=state, **(figures if state == "trained" else {}))
    out = io.StringIO()
    hostile = report_of({"a\x1b]0;title\x07\u202e": result}, data="d\x1b[31m/train")
    print_report(hostile, console=Console(file=out, width=160, force_terminal=True))
    assert "⟨U+001B⟩]0;title⟨U+0007⟩⟨U+202E⟩" in out.getvalue()
    assert not set("\x07\u202e") & set(out.getvalue())


def test_the_terminal_shows_the_first_users_and_counts_the_rest() -> None:
    def user(gain: float) -> UserResult:
        return UserResult(
            state="trained",
            tokens=10,
            personal_tokens=1,
            before=Figures(3.0, 4.0),
            after=Figures(3.0 - gain, 4.5),
        )

    users = {f"user{i}": user(0.01 * i - 0.005) for i in range(25)}
    users["broken"] = UserResult(state="failed", reason="the loss is not finite")
    out = io.StringIO()
    print_report(report_of(users), console=Console(file=out, width=160))
    text = out.getvalue()
    assert "user24" in text, "who gained most comes first"
    assert "user0 " not in text
    assert "and 5 more users" in text
    assert "96% [88%, 100%] (24 of 25)" in text
    assert "0% [0%, 0%] (0 of 25)" in text
    assert "failed: broken: the loss is not finite" in text
