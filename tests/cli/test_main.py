"""What every subcommand shares: one-line errors, exit codes, a version, a closed pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perce.cli import main


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["inspect", "prepared", "--record", "seventeen"], "--record"),
        (["inspect"], "data"),
        (["score", "--no_such_option"], "score"),
        (["cook"], "cook"),
        ([], "COMMAND"),
    ],
)
def test_a_wrong_command_line_is_one_line(words: list[str], part: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert part in error
    assert error.count("\n") == 1
    assert "--help" in error


def test_version(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("perce 0.")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from perce.cli import main; raise SystemExit(main(['env']))"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode in (2, 120)  # 120: the interpreter could not flush at exit


def test_a_closed_pipe_is_quiet() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", "from perce.cli import main; raise SystemExit(main(['env']))"],
        stdout=write, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert done.returncode == 0
    assert done.stderr == ""
