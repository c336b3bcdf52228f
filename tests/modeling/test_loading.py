from __future__ import annotations

import json
import socket

import pytest
import torch
from peft import LoraConfig, get_peft_model

from perce.errors import ModelError
from perce.modeling.loading import load_adapter, load_model, load_tokenizer
from tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to connect fails, as on a machine without a network."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def folder(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def one_line(error: pytest.ExceptionInfo[ModelError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("dtype", [None, torch.float32, "bfloat16"])
def test_a_local_folder_loads_without_a_network(folder, no_network, dtype) -> None:
    model = load_model(folder, dtype=dtype, device="cpu")
    assert model.dtype == (torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    assert not model.training
    ids = load_tokenizer(folder)("tea")["input_ids"]
    assert ids == tiny_tokenizer()("tea")["input_ids"]


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_folder_that_is_no_model(tmp_path, no_network, load) -> None:
    with pytest.raises(ModelError) as error:
        load(tmp_path)
    assert str(tmp_path) in one_line(error)


def test_a_config_that_is_broken(tmp_path, no_network) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError) as error:
        load_model(tmp_path)
    assert str(tmp_path) in one_line(error)


def test_a_path_that_does_not_exist(tmp_path, no_network) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        load_model(tmp_path / "nothing")


def test_a_hub_name_without_a_network(tmp_path, no_network, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ModelError) as error:
        load_model("nobody/no-such-model")
    assert "nobody/no-such-model" in one_line(error)


def test_an_unknown_dtype(folder) -> None:
    with pytest.raises(ModelError, match="float33"):
        load_model(folder, dtype="float33")


def test_an_adapter_comes_back(folder, tmp_path) -> None:
    model = get_peft_model(load_model(folder), LoraConfig(r=2, target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model.save_pretrained(tmp_path / "adapter")
    ids = torch.arange(9)[None]
    loaded = load_adapter(load_model(folder), tmp_path / "adapter")
    assert torch.equal(loaded(ids).logits, model.eval()(ids).logits)


def test_a_folder_that_is_no_adapter(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        load_adapter(tiny_model(), tmp_path)


def test_an_adapter_of_another_model(tmp_path) -> None:
    config = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    get_peft_model(tiny_model("gpt2"), config).save_pretrained(tmp_path)
    with pytest.raises(ModelError) as error:
        load_adapter(tiny_model(), tmp_path)
    assert "does not fit" in one_line(error)


@pytest.mark.parametrize(
    ("trained_on", "given", "warns"),
    [
        ("models/one", "models/two", True),
        ("org/Model", "/elsewhere/model", False),  # a folder that moved
        ("/old/place/model/", "model", False),
        ("C:\\models\\one", "one", False),
        ("", "models/two", False),  # unnamed: nothing to compare
        ("models/one", "", False),
    ],
)
def test_an_adapter_of_another_model_of_the_same_shapes_is_told(
    tmp_path, caplog, trained_on: str, given: str, warns: bool
) -> None:
    lora = LoraConfig(r=2, target_modules="all-linear")
    get_peft_model(tiny_model(), lora).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = trained_on
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    model = tiny_model(seed=1)
    model.config._name_or_path = given
    load_adapter(model, tmp_path)
    told = [record.getMessage() for record in caplog.records if "was trained on" in record.message]
    assert bool(told) == warns
    if warns:
        assert f"trained on {trained_on}, this model is {given}" in told[0]
