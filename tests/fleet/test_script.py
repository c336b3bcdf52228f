"""From options to a fleet: what is given, what follows, what cannot go together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fleets import config
from perce.errors import ModelError, OptionError, StoreError
from perce.fleet import FleetArguments, run_script
from perce.fleet import script as module
from perce.fleet.slot import AdapterSlot
from perce.training import LoraArguments
from tiny import tiny_model


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``train_fleet`` is called with, in place of training."""
    taken: dict[str, Any] = {}

    def called(slot: AdapterSlot, data: Any, out: Any, **settings: Any) -> None:
        taken.update(slot=slot, data=data, out=out, **settings)

    monkeypatch.setattr(module, "train_fleet", called)
    return taken


def script(place: Path, **options: Any) -> FleetArguments:
    return FleetArguments(**{"data": str(place / "prepared"), "out": "adapters", **options})


def test_a_shared_adapter_names_its_base_model(place: Path, given: dict[str, Any]) -> None:
    run_script(script(place, base_adapter=str(place / "shared")), config())
    assert given["start"] == "the shared adapter shared"
    weights = given["slot"].model.state_dict()
    expected = AdapterSlot.shared(tiny_model(), place / "shared").model.state_dict()
    assert weights.keys() == expected.keys()
    assert all(weights[name].equal(expected[name]) for name in weights)
    assert any(p.requires_grad for p in given["slot"].model.parameters())
    assert given["users"] == ["u0", "u1", "u2", "u3"]
    assert given["eval_data"] is None


def test_new_adapters_take_the_options_shape(place: Path, given: dict[str, Any]) -> None:
    arguments = script(place, model=str(place / "model"), eval_data=str(place / "prepared"))
    run_script(arguments, config(), LoraArguments(use_peft=True, lora_r=3))
    assert given["start"] == "the base model"
    assert given["slot"].model.active_peft_config.r == 3
    assert given["eval_data"].path.name == "val"
    assert given["warnings"] == []


def test_an_adapter_of_the_same_records_is_told(
    place: Path, given: dict[str, Any], tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(place / "shared", adapter)
    run_script(script(place, base_adapter=str(adapter)), config())
    assert given["warnings"] == [], "its card does not say"
    meta = given["data"].meta
    told = {**meta["source"], "source": meta["source"]["name"], "records": 24}
    told["response tokens"] = given["data"].core.n_response_tokens
    (adapter / "perce.json").write_text(json.dumps({"data": told}))
    run_script(script(place, base_adapter=str(adapter)), config())
    assert "give eval_data" in given["warnings"][0]
    with_val = script(place, base_adapter=str(adapter), eval_data=str(place / "prepared"))
    run_script(with_val, config())
    assert given["warnings"] == []


@pytest.mark.parametrize(
    ("options", "lora", "error", "told"),
    [
        ({"data": None}, {}, OptionError, "data: is missing"),
        ({"out": None}, {}, OptionError, "out: is missing"),
        ({}, {}, OptionError, "model: is missing: give --model, or --base_adapter"),
        ({"base_adapter": "nothing"}, {}, OptionError, "nothing names none: give --model"),
        ({"model": "SAVED", "base_adapter": "nothing"}, {}, ModelError, "no PEFT adapter there"),
        ({"base_adapter": "SHARED"}, {"lora_r": 4}, OptionError, "lora_r: leave it out"),
        ({"model": "SAVED"}, {"use_peft": False}, OptionError, "use_peft: leave it out"),
        ({"model": "SAVED", "users": "none.txt"}, {}, OptionError, r"cannot read none\.txt"),
        ({"model": "SAVED", "eval_data": "none"}, {}, StoreError, "none holds no prepared data"),
    ],
)
def test_what_cannot_work(
    place: Path, given: dict[str, Any], options: dict, lora: dict, error: type, told: str
) -> None:
    folders = {"SAVED": str(place / "model"), "SHARED": str(place / "shared")}
    options = {name: folders.get(value, value) for name, value in options.items()}
    shape = LoraArguments(**{"use_peft": True, **lora})
    with pytest.raises(error, match=told):
        run_script(script(place, **options), config(), shape)
    assert not given


def test_a_fleet_is_of_lora_adapters(place: Path) -> None:
    from peft import IA3Config, get_peft_model

    adapted = get_peft_model(tiny_model(), IA3Config(task_type="CAUSAL_LM"))
    with pytest.raises(ModelError, match="a fleet trains LoRA adapters, not"):
        AdapterSlot(adapted)
