"""Patterns against Python's own, and against what makes that one take for ever."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perce_serving.validate.pattern import MOST_STATES, Pattern, PatternError

NAMES = st.text("ab1._\n ", max_size=8)
ATOMS = st.sampled_from(
    ["a", "b", "1", "_", r"\.", ".", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", "[ab]", "[^a]",
     "[a-b_]", r"[\d_]", r"[^\w.]", "[]a]", "[a-]", "[^]]", r"[\]-]", "{", "a{", "}", "]", "-"]
)  # fmt: skip
PLACES = st.sampled_from(["^", "$", r"\b", r"\B", r"\A", r"\Z", ""])
REPEATS = st.sampled_from(["", "*", "+", "?", "{2}", "{1,2}", "{,2}", "{1,}", "{,}", "{0}", "{}"])
LAZY = st.sampled_from(["", "?"])


def bigger(smaller: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = st.sampled_from(["(", "(?:", "(?P<x>"])
    # The same name for two groups would be an error of Python's own.
    grouped = st.builds("{}{})".format, group, smaller).map(lambda text: text.replace("?P<x>", ""))
    repeated = st.builds("{}{}".format, ATOMS | grouped, REPEATS)
    lazy = st.builds("{}{}?".format, ATOMS | grouped, st.sampled_from(["*", "+", "{1,2}"]))
    return (
        grouped | repeated | lazy
        | st.builds("{}{}".format, smaller, smaller)
        | st.builds("{}|{}".format, smaller, smaller)
    )  # fmt: skip


PATTERNS = st.recursive(ATOMS | PLACES, bigger, max_leaves=8)


def python_s(text: str) -> re.Pattern[str] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a later Python may read otherwise
        try:
            return re.compile(text)
        except (re.error, OverflowError):
            return None


@given(PATTERNS, st.lists(NAMES, min_size=5, max_size=5))
def test_as_python_matches(text: str, names: list[str]) -> None:
    theirs = python_s(text)
    if theirs is None:
        with pytest.raises(PatternError):
            Pattern(text)
        return
    ours = Pattern(text)
    for name in names:
        assert ours.matches(name) == bool(theirs.fullmatch(name)), name


@given(st.text(r"ab.\d[](){}|*+?^$-,:P<=!>1", max_size=12), NAMES)
@example("a{2}{3}", "aaaaaa")
@example("a*+", "a")
@example("(?i)a", "A")
@example("[", "")
@example("a{,2}", "aa")
def test_what_is_taken_is_matched_as_python_matches(text: str, name: str) -> None:
    try:
        ours = Pattern(text)
    except PatternError:
        return
    theirs = python_s(text)
    assert theirs is not None
    assert ours.matches(name) == bool(theirs.fullmatch(name))


LLAMA = "model.layers.{}.{}"
UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
    r"(?:k_proj|v_proj|q_proj|o_proj|gate_proj|up_proj|down_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}"
    r"\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\.(?:(?:k_proj|v_proj|q_proj|o_proj"
    r"|gate_proj|up_proj|down_proj)))"
)


@pytest.mark.parametrize(
    ("text", "matched"),
    [
        (r".*\.(q_proj|v_proj)", {"self_attn.q_proj"}),
        (r"model\.layers\.(1[0-9])\.mlp\..*", {"mlp.up_proj"}),
        (UNSLOTH, {"self_attn.q_proj", "mlp.up_proj"}),
    ],
)
def test_patterns_that_people_write(text: str, matched: set[str]) -> None:
    ours, theirs = Pattern(text), re.compile(text)
    for name in ("self_attn.q_proj", "mlp.up_proj", "norm"):
        module = LLAMA.format(12, name)
        assert ours.matches(module) == bool(theirs.fullmatch(module)) == (name in matched)


@pytest.mark.parametrize(
    "text", ["(a+)+b", "(a|a)*b", "(a|aa)+b", "(.*)*.*.*.*b", "(a?){60}a{60}b"]
)
def test_what_would_take_for_ever_does_not(text: str) -> None:
    assert not Pattern(text).matches("a" * 200)
    assert Pattern(text).matches("a" * 60 + "b")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("(?=a)a", "look-around"),
        ("(?!a)b", "look-around"),
        ("(?<=a)b", "look-around"),
        (r"(a)\1", r"\\1 is not matched"),
        ("(?i)a", "flags"),
        ("a++", "possessive"),
        ("a" * (MOST_STATES + 1), "over 1000 steps"),
        ("((a{30}){30}){30}", "over 1000 steps"),
        ("a{99999}", "over 1000 times"),
        ("(" * 60 + ")" * 60, "over 50 deep"),
        ("(a", "open at the end"),
        ("a)", "not open"),
        ("\\", "is not matched"),
        ("[z-a]", "range"),
        (r"[a-\d]", "range"),
        ("*", "nothing to repeat"),
        ("^*", "nothing to repeat"),
        ("a{3,2}", "below its least"),
    ],
)
def test_what_is_not_matched_here(text: str, told: str) -> None:
    with pytest.raises(PatternError, match=told):
        Pattern(text)
