r"""Regular expressions of adapters' configurations, matched in time linear in the name.

Python's own ``re`` backtracks, so that whoever writes a pattern could make it take for ever. Here
all ways through a pattern are followed at once, a character at a time (K. Thompson, "Regular
expression search algorithm", CACM 11(6), 1968). What that can do is all that names of layers need:
literals, ``.``, classes, groups, ``|``, repeats (greedy or not is the same for a whole match),
``^``, ``$``, ``\b``. Look-around, back-references and flags are refused.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass

MOST_STATES = 1000
"""Steps of the longest pattern, repeats written out; with names of 100 characters, milliseconds."""
_MOST_DEPTH = 50

_Test = Callable[[str], bool]
_Place = Callable[[str, int], bool]


class PatternError(ValueError):
    """A pattern is none, or not one that is matched here."""


@dataclass(frozen=True, slots=True)
class _Chars:
    """Takes one character that passes."""

    test: _Test


@dataclass(frozen=True, slots=True)
class _At:
    """Takes nothing, at a place that passes."""

    test: _Place


@dataclass(slots=True)
class _Split:
    """Goes on at either of two states; at one, if they are the same."""

    first: int
    second: int


@dataclass(frozen=True, slots=True)
class _Repeat:
    body: _Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of several sequences; a sequence is a choice of one."""

    branches: tuple[tuple[_Node, ...], ...]


_Node = _Chars | _At | _Repeat | _Choice
_State = _Chars | _At | _Split


class Pattern:
    """A pattern, ready to match.

    Args:
        text: the regular expression.

    Raises:
        PatternError: it is no regular expression, not one of those matched here, or too long.
    """

    def __init__(self, text: str) -> None:
        self._states: list[_State] = []
        self._emit(_Parser(text).parse())

    def matches(self, name: str) -> bool:
        """Whether the whole name is matched, as by ``re.fullmatch``."""
        places = self._reached({0}, name, 0)
        for position, character in enumerate(name):
            taken = {
                place + 1
                for place in places
                if place < len(self._states)
                and isinstance(state := self._states[place], _Chars)
                and state.test(character)
            }
            places = self._reached(taken, name, position + 1)
        return len(self._states) in places

    def _reached(self, places: set[int], name: str, position: int) -> set[int]:
        """All states that these lead to without a character."""
        reached: set[int] = set()
        left = list(places)
        while left:
            place = left.pop()
            if place in reached:
                continue
            reached.add(place)
            state = self._states[place] if place < len(self._states) else None
            if isinstance(state, _Split):
                left += [state.first, state.second]
            elif isinstance(state, _At) and state.test(name, position):
                left.append(place + 1)
        return reached

    def _add(self, state: _State) -> None:
        if len(self._states) == MOST_STATES:
            raise PatternError(f"has over {MOST_STATES} steps, repeats written out")
        self._states.append(state)

    def _emit(self, node: _Node) -> None:
        if isinstance(node, _Choice):
            self._emit_choice(node)
        elif isinstance(node, _Repeat):
            self._emit_repeat(node)
        else:
            self._add(node)

    def _emit_choice(self, node: _Choice) -> None:
        ends: list[_Split] = []
        for number, branch in enumerate(node.branches):
            fork = _Split(0, 0)
            last = number == len(node.branches) - 1
            if not last:
                self._add(fork)
                fork.first = len(self._states)
            for part in branch:
                self._emit(part)
            if not last:
                end = _Split(0, 0)
                self._add(end)
                ends.append(end)
                fork.second = len(self._states)
        for end in ends:
            end.first = end.second = len(self._states)

    def _emit_repeat(self, node: _Repeat) -> None:
        for _ in range(node.least):
            self._emit(node.body)
        forks: list[_Split] = []
        for _ in range(1 if node.most is None else node.most - node.least):
            fork = _Split(len(self._states) + 1, 0)
            self._add(fork)
            forks.append(fork)
            start = len(self._states) - 1
            self._emit(node.body)
            if node.most is None:
                self._add(_Split(start, start))
        for fork in forks:
            fork.second = len(self._states)


_REPEAT = re.compile(r"\{(?!\})(?P<least>[0-9]*)(?P<comma>,?)(?P<most>[0-9]*)\}")
_SIMPLE = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_GROUP = re.compile(r"\((?:\?:|\?P<[A-Za-z_][A-Za-z0-9_]*>|(?!\?))")


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _at_start(name: str, position: int) -> bool:
    del name
    return position == 0


def _at_border(name: str, position: int) -> bool:
    before = position > 0 and _is_word(name[position - 1])
    after = position < len(name) and _is_word(name[position])
    return before != after


_CLASSES: dict[str, _Test] = {
    "d": str.isdecimal,
    "D": lambda character: not character.isdecimal(),
    "w": _is_word,
    "W": lambda character: not _is_word(character),
    "s": str.isspace,
    "S": lambda character: not character.isspace(),
}
_PLACES: dict[str, _Place] = {
    "b": _at_border,
    "B": lambda name, position: not _at_border(name, position),
    "A": _at_start,
    "Z": lambda name, position: position == len(name),
}


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._depth = 0

    def parse(self) -> _Node:
        node = self._choice()
        if self._position < len(self._text):
            raise PatternError("a parenthesis is closed that is not open")
        return node

    def _choice(self) -> _Node:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise PatternError(f"groups stand in groups over {_MOST_DEPTH} deep")
        branches = [self._sequence()]
        while self._next() == "|":
            self._position += 1
            branches.append(self._sequence())
        self._depth -= 1
        return _Choice(tuple(branches))

    def _sequence(self) -> tuple[_Node, ...]:
        nodes: list[_Node] = []
        while self._next() not in ("", "|", ")"):
            node = self._atom()
            bounds = self._bounds()
            if bounds is not None:
                if isinstance(node, _At):
                    raise PatternError("there is nothing to repeat")
                if self._next() == "?":
                    self._position += 1
                elif self._next() == "+":
                    raise PatternError("possessive repeats are not matched here")
                node = _Repeat(node, *bounds)
                if self._bounds() is not None:
                    raise PatternError("a repeat is repeated")
            nodes.append(node)
        return tuple(nodes)

    def _atom(self) -> _Node:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return _Chars(self._class())
        if character == "\\":
            return self._escape()
        if character == ".":
            return _Chars(lambda taken: taken != "\n")
        if character == "^":
            return _At(_at_start)
        if character == "$":
            return _At(lambda name, position: name[position:] in ("", "\n"))
        if character in _SIMPLE:
            raise PatternError("there is nothing to repeat")
        return _Chars(character.__eq__)

    def _group(self) -> _Node:
        found = _GROUP.match(self._text, self._position - 1)
        if found is None:
            raise PatternError("look-around, flags and the like are not matched here")
        self._position = found.end()
        node = self._choice()
        if self._take() != ")":
            raise PatternError("a parenthesis is open at the end")
        return node

    def _escape(self) -> _Node:
        character = self._take()
        if character in _PLACES:
            return _At(_PLACES[character])
        return _Chars(_CLASSES.get(character) or self._escaped(character).__eq__)

    def _escaped(self, character: str) -> str:
        if character == "" or character in string.ascii_letters + string.digits:
            raise PatternError(f"\\{character} is not matched here")
        return character

    def _class(self) -> _Test:
        negated = self._next() == "^"
        self._position += negated
        tests: list[_Test] = []
        first = True
        while first or self._next() != "]":
            first = False
            low = self._member()
            if (
                isinstance(low, str)
                and self._text[self._position :][:1] == "-"
                and (self._text[self._position + 1 :][:1] not in ("]", ""))
            ):
                self._position += 1
                tests.append(_range(low, self._member()))
            else:
                tests.append(low.__eq__ if isinstance(low, str) else low)
        self._position += 1
        return lambda taken: any(test(taken) for test in tests) != negated

    def _member(self) -> str | _Test:
        character = self._take()
        if character == "":
            raise PatternError("a class is open at the end")
        if character != "\\":
            return character
        character = self._take()
        return _CLASSES.get(character) or self._escaped(character)

    def _bounds(self) -> tuple[int, int | None] | None:
        """Least and most of a repeat, if one stands here."""
        if self._next() in _SIMPLE:
            return _SIMPLE[self._take()]
        found = _REPEAT.match(self._text, self._position)
        if found is None:
            return None
        self._position = found.end()
        least = _number(found["least"]) or 0
        most = _number(found["most"]) if found["comma"] else least
        if most is not None and most < least:
            raise PatternError("a repeat's most is below its least")
        return least, most

    def _next(self) -> str:
        return self._text[self._position : self._position + 1]

    def _take(self) -> str:
        character = self._next()
        self._position += 1
        return character


def _number(digits: str) -> int | None:
    if len(digits) > len(str(MOST_STATES)):
        raise PatternError(f"repeats over {MOST_STATES} times")
    return int(digits) if digits else None


def _range(low: str, high: str | _Test) -> _Test:
    if not isinstance(high, str) or high < low:
        raise PatternError("a range of characters has no end, or one before its beginning")
    return lambda taken: low <= taken <= high
