from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from perce.cli import main
from perce.cli.train import HELP
from perce.errors import ObjectiveError, OptionError
from perce.training.run import LORA_LEARNING_RATE, make_parser, parse_arguments
from tiny import tiny_data, tiny_model, tiny_records, tiny_tokenizer


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("run")
    tiny_model().save_pretrained(root / "model")
    tiny_tokenizer().save_pretrained(root / "model")
    tiny_data(root / "prepared")
    tiny_data(root / "prepared", tiny_records(4, seed=3), split="val")
    return root


def config_file(tmp_path, text: str) -> list[str]:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    return ["--config", str(path)]


def test_the_command_line_goes_over_the_file(tmp_path) -> None:
    arguments = config_file(
        tmp_path, "max_tokens: 100\nlearning-rate: 3e-5\npacking: no\nuse_peft: true\nseed:\n"
    )
    script, config, lora = parse_arguments([*arguments, "--max-tokens", "7", "--model=m"])
    assert (config.max_tokens, config.learning_rate, config.packing) == (7, 3e-5, False)
    assert lora.use_peft
    assert script.model == "m"
    assert config.seed == 42


def test_a_wrong_value_on_the_command_line_is_not_blamed_on_the_file(tmp_path) -> None:
    arguments = config_file(tmp_path, "refresh_every: 2\n")
    with pytest.raises(OptionError) as error:
        parse_arguments([*arguments, "--refresh_every", "0"])
    assert "train.yaml" not in str(error.value)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bars_are_for_terminals(monkeypatch, terminal: bool) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    assert parse_arguments([])[1].disable_tqdm is not terminal
    assert parse_arguments(["--disable_tqdm", "false"])[1].disable_tqdm is False


def test_mappings_and_lists_in_the_file(tmp_path) -> None:
    text = "objective: longce\nobjective_options: {gamma: 3}\nlora_target_modules: [a, b]\n"
    _, config, lora = parse_arguments(config_file(tmp_path, text))
    assert config.make_objective().options["gamma"] == 3.0
    assert lora.lora_target_modules == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_tokns: 4", r"max_tokns: unknown option in .*train\.yaml; did you mean max_tokens\?"),
        ("qqqq: 4", "unknown option"),
        ("max_tokens: 2.5", r"max_tokens: invalid int value: '2.5' \(in .*train\.yaml\)"),
        ("optim: nothing", r"optim: invalid choice: 'nothing' .* \(in .*train\.yaml\)"),
        ("packing: perhaps", r"packing: Truthy value expected.* \(in .*train\.yaml\)"),
        ("refresh_every: 0", r"refresh_every: 0: give .* \(in .*train\.yaml\)"),
        ("seed: [1]", "seed.*give one value"),
        ("- a", "holds no options"),
        ("a: : b", "is not YAML"),
        ("lora_r: 0", "lora_r"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_in_one_line(tmp_path, text: str, told: str) -> None:
    with pytest.raises(OptionError, match=told) as error:
        parse_arguments(config_file(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--objectiv", "ce"], "did you mean objective"),
        (["stray"], "unknown option"),
        (["--config"], "give a YAML file"),
        (["--config", "missing.yaml"], r"cannot read missing\.yaml"),
        (["--max_tokens", "many"], "invalid int value"),
    ],
)
def test_what_is_wrong_on_the_command_line(arguments: list[str], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        parse_arguments(arguments)


def test_an_unknown_objective_lists_the_known() -> None:
    with pytest.raises(ObjectiveError, match="objectives: ce, perce"):
        parse_arguments(["--objective", "nothing"])


def test_adapters_learn_faster_unless_told_otherwise(tmp_path) -> None:
    assert parse_arguments(["--use_peft"])[1].learning_rate == LORA_LEARNING_RATE
    assert parse_arguments(["--use_peft", "--learning-rate", "1e-3"])[1].learning_rate == 1e-3
    text = "use_peft: true\nlearning_rate: 3e-5\n"
    assert parse_arguments(config_file(tmp_path, text))[1].learning_rate == 3e-5


def test_the_help_names_options_that_exist() -> None:
    parser = make_parser()
    known = {option for action in parser._actions for option in action.option_strings}
    named = set(re.findall(r"--[a-z_0-9]+", HELP)) - {"--help_all"}
    assert named <= known


def test_help_comes_without_torch() -> None:
    code = (
        "import sys; from perce.cli import main; main(['train', '--help']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "perce train --model M" in done.stdout


def test_train_from_the_command_line_and_resume(folders, tmp_path, capsys) -> None:
    arguments = [
        "train",
        *config_file(tmp_path, "max_tokens: 200\nuse_cpu: true\ndisable_tqdm: true\nlora_r: 2\n"),
        *("--model", str(folders / "model"), "--data", str(folders / "prepared")),
        *("--output-dir", str(tmp_path / "out"), "--use_peft", "--save_steps", "1"),
        *("--eval_strategy", "epoch", "--max_steps"),
    ]
    assert main([*arguments, "2"]) == 0
    assert f"saved to {tmp_path / 'out'}" in capsys.readouterr().out
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert any("eval_loss" in entry for entry in history)
    assert main([*arguments, "3", "--resume_from_checkpoint", "True"]) == 0
    assert (tmp_path / "out" / "checkpoint-3").is_dir()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"--model": None}, "model: is missing"),
        ({"--data": None}, "data: is missing"),
        ({"--model": "nothing/at/all"}, "no such folder"),
        ({"--data": "nothing"}, "nothing"),
        ({"--eval_data": "nothing"}, "nothing"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folders, tmp_path, capsys, change, told) -> None:
    settings = {
        "--model": str(folders / "model"),
        "--data": str(folders / "prepared"),
        "--output_dir": str(tmp_path),
        **change,
    }
    arguments = [word for pair in settings.items() if pair[1] is not None for word in pair]
    assert main(["train", *arguments]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("perce train: ")
    assert told in errors[0]
