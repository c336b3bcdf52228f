"""What keeps ``perce-serve`` from starting, said before vLLM is imported; and what it sets."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perce_serving.engine import command, versions
from perce_serving.engine.middleware import PATH
from perce_serving.engine.parts import parts
from perce_serving.engine.settings import VARIABLE
from perce_serving.errors import StartError
from perce_serving.store import LocalStore
from perce_serving.tenant.identity import Caller
from perce_serving.tenant.keys import KeyFile
from validate.adapters import write_base


@pytest.fixture(autouse=True)
def _of_its_own(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Environment, parts and metrics of this test alone, and no vLLM."""
    monkeypatch.setattr("perce_serving.engine.parts.Metrics", lambda: None)
    for name in (VARIABLE, "VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        monkeypatch.setenv(name, "")  # put back afterwards, whatever the command makes of it
    monkeypatch.setitem(sys.modules, "vllm", None)
    parts.cache_clear()
    yield
    parts.cache_clear()


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    write_base(tmp_path / "Tiny")
    LocalStore(tmp_path / "store").check_writable()
    KeyFile(tmp_path / "keys.json").create(Caller(user="ann"))
    return [
        f"--model={tmp_path / 'Tiny'}",
        f"--store={tmp_path / 'store'}",
        f"--keys={tmp_path / 'keys.json'}",
    ]


def spoil_keys(root: Path) -> None:
    (root / "keys.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "keys.json").unlink(), "there is no file of keys"),
        (spoil_keys, "keys.json"),
        (lambda root: (root / "store").rename(root / "moved"), "there is no store of adapters"),
        (lambda root: (root / "Tiny" / "config.json").unlink(), "there is no such file"),
        (lambda root: (root / "Tiny").rename(root / "Other"), "not a folder on this machine"),
        (lambda root: None, "vLLM cannot be imported"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    spoil: Callable[[Path], None],
    said: str,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(tmp_path)
    assert command.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("perce-serve: ")
    assert said in error
    assert error.count("\n") == 1


def test_the_environment_opens_the_resolver_and_nothing_else() -> None:
    environment = {"VLLM_SKIP_MODEL_NAME_VALIDATION": "1", "VLLM_PLUGINS": "platform"}
    command.prepare(environment)
    assert environment == {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_PLUGINS": "platform,perce",
    }
    command.prepare(environment)
    assert environment["VLLM_PLUGINS"] == "platform,perce"
    with pytest.raises(StartError, match="VLLM_API_KEY"):
        command.prepare({"VLLM_API_KEY": "key"})


FINE: dict[str, Any] = {
    "model": "/m",
    "api_server_count": None,
    "data_parallel_size": 1,
    "headless": False,
    "grpc": False,
    "lora_modules": None,
    "api_key": None,
    "default_mm_loras": None,
    "middleware": ["other.Middleware", PATH],
}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("model", "/other", "--model is an option of perce-serve itself"),
        ("api_server_count", 2, "--api-server-count 2 is not offered: .*one frontend"),
        ("data_parallel_size", 2, "--data-parallel-size 2 .*one engine"),
        ("headless", True, "--headless"),
        ("grpc", True, "--grpc"),
        ("lora_modules", ["a=b"], "--lora-modules"),
        ("default_mm_loras", {"audio": "x"}, "--default-mm-loras"),
        ("api_key", ["key"], "--api-key"),
        ("middleware", [PATH, "other.Middleware"], "has to be the last"),
        ("middleware", [], "has to be the last"),
    ],
)
def test_options_that_go_past_the_tenant_layer_are_refused(
    name: str, value: Any, said: str
) -> None:
    command.check(FINE, {"model": "/m"})
    with pytest.raises(StartError, match=said):
        command.check({**FINE, name: value}, {"model": "/m"})


@pytest.mark.parametrize("version", ["0.32.0", "0.32.1+cpu"])
def test_nothing_is_said_of_the_tested_release(version: str) -> None:
    assert versions.remark(version) is None


@pytest.mark.parametrize(
    ("version", "said"),
    [("0.33.0", "compared"), ("0.34.0", "not known"), ("1.0", "not known"), ("dev", "not known")],
)
def test_something_is_said_of_every_other(version: str, said: str) -> None:
    remark = versions.remark(version)
    assert remark is not None
    assert said in remark
    assert version in remark
