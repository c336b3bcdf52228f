"""Teams under ThreadSanitizer: nobody overwrites what another has yet to read."""

from __future__ import annotations

import subprocess

import pytest
from host_kernels import compiled

# How the sanitizer ends a program in which it saw a race.
RACE = 66


def _run(source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        program = compiled(source, "-g", "-fsanitize=thread")
    except subprocess.CalledProcessError:
        compiled(source)  # an error of our own shows here
        pytest.skip("the C++ compiler has no ThreadSanitizer: install libtsan")
    done = subprocess.run([program, *arguments], check=False, capture_output=True, text=True)
    if "unexpected memory mapping" in done.stderr:
        # Where addresses are randomised beyond what the sanitizer can follow.
        command = ["setarch", "-R", program, *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done


@pytest.mark.slow
def test_no_thread_overtakes_another() -> None:
    done = _run("race.cpp")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


@pytest.mark.slow
def test_the_sanitizer_sees_a_missing_wait() -> None:
    done = _run("race.cpp", "broken")
    assert done.returncode == RACE
    assert "data race" in done.stderr
    assert "write_tiles" in done.stderr


@pytest.mark.slow
def test_a_block_agrees_with_one_thread() -> None:
    """The device's own team, its warps and barriers played by host threads."""
    done = _run("block.cpp")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "done\n"
