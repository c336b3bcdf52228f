"""Help of every command, quickly."""

from __future__ import annotations

import subprocess
import sys

import pytest

from perce.cli import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_help_opens_with_a_command_that_could_work(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main([command, "--help"])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    text = capsys.readouterr().out
    assert code == 0
    assert f"perce {command}" in text


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys\n"
        "from perce.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'peft', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'{heavy} loaded' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert command in done.stdout


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["paint"])
    assert stopped.value.code == 2
    assert "paint" in capsys.readouterr().err
