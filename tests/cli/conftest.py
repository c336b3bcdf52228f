"""A tiny model, adapters and prepared splits on disk; the command line run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from perce.cli import main
from tiny import tiny_data, tiny_model, tiny_records, tiny_tokenizer


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model``, ``ce``, ``perce`` and ``prepared/{train,val}``."""
    folder = tmp_path_factory.mktemp("cli")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    for seed, name in enumerate(["ce", "perce"]):
        model = tiny_model()
        torch.manual_seed(seed)
        config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(model, config).save_pretrained(folder / name)
    tiny_data(folder / "prepared", tiny_records(6), split="train")
    tiny_data(folder / "prepared", tiny_records(9, seed=1), split="val")
    return folder


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run ``perce`` with these arguments; exit code, standard output and standard error."""
    # In a narrow terminal a table's cells would break into lines.
    monkeypatch.setenv("COLUMNS", "120")

    def called(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


@pytest.fixture
def fails(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Run ``perce`` with bad input: exit code 2 and one line, which is returned."""

    def called(*arguments: object) -> str:
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), (code, out, err)
        # Progress may stand before it; the error itself is the last line.
        line = err.rstrip("\n").splitlines()[-1]
        assert line.startswith(f"perce {arguments[0]}: ")
        assert "Traceback" not in err
        return line

    return called
