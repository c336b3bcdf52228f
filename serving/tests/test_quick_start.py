"""The README's quick start: its commands, options and targets exist, and its request passes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import perce_serving
from perce_serving.cli import build_parser
from perce_serving.engine import options
from perce_serving.tenant.bounds import bounded
from perce_serving.tenant.fields import forwarded
from perce_serving.tenant.limits import Limits
from perce_serving.tenant.routes import Route

README = Path(perce_serving.__file__).parent.parent / "README.md"
MAKEFILE = README.parent.parent / "Makefile"


def quick_start() -> str:
    """The quick start's code."""
    (section,) = re.findall(r"^## Quick start\n(.*?)^## ", README.read_text(), re.M | re.S)
    return "\n".join(re.findall(r"^ {4}(.*)$", section, re.M))


def commands(program: str) -> list[list[str]]:
    """The words after each of the quick start's commands of a program, without redirections."""
    lines = quick_start().replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]
    assert found, f"the quick start has no {program}"
    return [words[1 : words.index(">") if ">" in words else None] for words in found]


def test_the_store_s_commands_are_some() -> None:
    parser = build_parser()
    parsed = [parser.parse_args(words) for words in commands("perce-adapters")]
    assert len({args.run for args in parsed}) == 3  # to publish, to roll back, to make keys


def test_the_server_s_options_are_some() -> None:
    (words,) = commands("perce-serve")
    args, rest = options.parse(words)
    assert (str(args.store), str(args.keys), rest) == ("adapters", "keys.json", [])


def test_the_targets_are_some() -> None:
    if not MAKEFILE.exists():
        pytest.skip("outside the repository")
    for (target,) in commands("make"):
        assert re.search(rf"^{target}:", MAKEFILE.read_text(), re.M), target


def test_the_request_is_one_that_passes() -> None:
    (body,) = re.findall(r"-d '(.*?)'", quick_start(), re.S)
    asked = json.loads(body)
    assert asked["model"] == "me"
    assert Route.CHAT.path in quick_start()
    content = bounded(Route.CHAT, forwarded(Route.CHAT, asked), Limits())
    assert content == {name: value for name, value in asked.items() if name != "model"}
