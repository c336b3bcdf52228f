"""Every help text opens with a command, and the commands run as they stand."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import perce_serving
from perce_serving.cli import build_parser

Said = Callable[..., str]
README = Path(perce_serving.__file__).parent.parent / "README.md"


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """All subcommands and theirs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield child
                yield from parsers(child)


def filled(command: str, good: Said) -> str:
    """A command with the names that a help text can only guess."""
    if "3f9a" in command:
        current, *_ = good("list --store adapters").split()
        served = [
            line.split()[0]
            for line in good("show --store adapters --user alice").splitlines()
            if not line.startswith(current)
        ]
        return command.replace("3f9a", served[0][:12])
    if "0123456789abcdef" in command:
        key, *_ = good("keys list --keys keys.json").split()
        return command.replace("0123456789abcdef", key)
    return command


def test_every_example_runs(good: Said) -> None:
    good("publish --store adapters --user alice runs/better")
    commands = []
    for parser in parsers(build_parser()):
        lines = (parser.description or "").splitlines()
        assert lines[0] == "example:"
        assert lines[1].strip().startswith(parser.prog)
        commands.append(lines[1].strip())
    # Erasing comes last, when all the others have run.
    for command in sorted(commands, key=lambda text: " erase " in text):
        if " rollback " in command:
            good("publish --store adapters --user alice runs/better")
        words = shlex.split(filled(command, good))
        assert words[0] == "perce-adapters"
        good(shlex.join(words[1:]))


def test_the_readme_s_commands_run(good: Said) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line]
    ours = [line for line in commands if line.startswith("perce-adapters ")]
    assert len(ours) > 3
    for command in ours:
        good(shlex.join(shlex.split(command, comments=True)[1:]))


def test_the_readme_s_example_runs(place: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    seen: dict[str, Any] = {}
    exec(example.replace("SmolLM2-135M", "Tiny"), seen)
    assert (seen["folder"] / "adapter_config.json").is_file()
