"""``perce fleet`` from the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perce.cli.fleet import HELP
from perce.fleet import FleetArguments, FleetReport, UserResult
from perce.fleet import run_script as train
from perce.fleet.script import DEFAULTS
from perce.training.run import LORA_LEARNING_RATE, make_parser, parse_arguments
from tiny import tiny_data, tiny_records

Run = Callable[..., tuple[int, str, str]]


def test_from_the_command_line(place: Path, tmp_path: Path, run: Run) -> None:
    tiny_data(tmp_path / "prepared", tiny_records(24))
    (tmp_path / "users").write_text("u1\n")
    (tmp_path / "fleet.yaml").write_text(
        f"model: {place / 'model'}\ndata: {tmp_path / 'prepared'}\nmax_tokens: 150\nlora_r: 2\n"
        "max-steps: 1\nuse_cpu: true\n"
    )
    command = ("fleet", "--config", tmp_path / "fleet.yaml", "--out", tmp_path / "adapters")
    code, out, err = run(*command, "--users", tmp_path / "users")
    assert code == 0, err
    assert "1 users trained, 0 skipped, 0 failed" in " ".join(out.split())
    assert "held-out NLL" in out
    told = json.loads((tmp_path / "adapters" / "fleet.json").read_text())
    assert list(told["users"]) == ["u1"]
    assert told["made_with"]["learning_rate"] == str(LORA_LEARNING_RATE)
    folder = tmp_path / "adapters" / told["users"]["u1"]["folder"]
    assert (folder / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--data", "x"), "out: is missing"),
        (("--output_dir", "x"), "output_dir: leave it out"),
        (("--min_record", "3"), "did you mean min_records"),
        (("--qqqq", "3"), "see perce fleet --help"),
        (("--min_records", "many"), "invalid int value"),
    ],
)
def test_bad_input(fails: Callable[..., str], arguments: tuple[str, ...], told: str) -> None:
    assert told in fails("fleet", *arguments)


def test_exit_codes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = UserResult(state="failed", reason="the loss is not finite")
    report = FleetReport(data="d", held_out="h", start="s", threshold=0.5, users={"ana": failed})

    def failing(*args: object, **settings: object) -> FleetReport:
        return report

    def stopped(*args: object, **settings: object) -> FleetReport:
        raise KeyboardInterrupt

    monkeypatch.setattr("perce.fleet.run_script", failing)
    code, _, err = run("fleet", "--out", "x")
    assert (code, "1 users failed: ana" in err) == (1, True)
    monkeypatch.setattr("perce.fleet.run_script", stopped)
    code, _, err = run("fleet", "--out", "x")
    assert (code, "the same command goes on" in err) == (130, True)
    assert train is not failing


def test_the_help_names_options_that_exist_with_their_defaults() -> None:
    parser = make_parser(FleetArguments, prog="perce fleet")
    known = {option for action in parser._actions for option in action.option_strings}
    named = set(re.findall(r"--[a-z_0-9]+", HELP)) - {"--help_all", "--config", "--OPTION"}
    assert named <= known
    script, config, lora = parse_arguments([], FleetArguments, defaults=DEFAULTS)
    for part in (script, config, lora):
        for name, value in re.findall(r"--([a-z_0-9]+) ([0-9.e-]+)", HELP):
            if hasattr(part, name):
                assert getattr(part, name) == float(value), name


def test_help_comes_without_torch() -> None:
    code = (
        "import sys; from perce.cli import main; main(['fleet', '--help']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "perce fleet --base_adapter" in done.stdout
