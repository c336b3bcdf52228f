"""Publishing into a real store: once, beforehand, and by hand after a failure."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from perce_serving.cli import main as perce_adapters
from perce_serving.errors import StoreError
from perce_serving.store import LocalStore
from perce_serving.validate import DEFAULT_RANK

from perce.errors import MissingExtraError, OptionError, PublishError, RefusedAdapterError
from perce.modeling.loading import load_model
from perce.publishing import MAX_LORA_RANK, Publisher, publish
from tiny import tiny_model


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model`` and the adapters ``a0``, ``a1`` and, of rank 65, ``big``."""
    folder = tmp_path_factory.mktemp("publishing")
    tiny_model().save_pretrained(folder / "model")
    for seed, (name, rank) in enumerate([("a0", 2), ("a1", 2), ("big", 65)]):
        torch.manual_seed(seed)
        adapted(folder, r=rank).save_pretrained(folder / name)
    return folder


def adapted(place: Path, **options: Any) -> Any:
    """The base model of this folder with a new adapter, none of whose values is 0."""
    settings = {"target_modules": "all-linear", "task_type": "CAUSAL_LM", **options}
    config = LoraConfig(**{"r": 2, "init_lora_weights": False, **settings})
    return get_peft_model(load_model(place / "model", device="cpu"), config)


def publisher(place: Path, store: Path, **options: Any) -> Publisher:
    return Publisher(store=store, base=str(place / "model"), **options)


def test_what_is_published_is_the_user_s_current_adapter(place: Path, tmp_path: Path) -> None:
    version = publish(store=tmp_path, user="alice", folder=place / "a0")
    store = LocalStore(tmp_path)
    assert store.current("alice") == version.version
    stored = store.open("alice", version.version)
    name = "adapter_model.safetensors"
    assert (stored / name).read_bytes() == (place / "a0" / name).read_bytes()
    assert publish(store=tmp_path, user="alice", folder=place / "a0") == version
    base = str(place / "model")
    other = publish(store=tmp_path, user="alice", folder=str(place / "a1"), base=base)
    assert [v.version for v in store.versions("alice")] != [version.version]
    assert store.current("alice") == other.version


CHANGES = st.lists(
    st.tuples(st.sampled_from(["publish", "rollback", "retire", "collect"]), st.sampled_from("01")),
    max_size=6,
)


@given(changes=CHANGES, which=st.sampled_from("01"))
def test_once_means_once_whatever_came_after(
    place: Path,
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[str, str]],
    which: str,
) -> None:
    root = tmp_path_factory.mktemp("once")
    publishes = publisher(place, root)
    store = LocalStore(root)
    names = {
        digit: publisher(place, root / "names").publish("x", place / f"a{digit}").version
        for digit in "01"
    }
    for change, digit in changes:
        try:
            if change == "publish":
                publishes.publish("alice", place / f"a{digit}")
            else:
                getattr(store, change)("alice", names[digit])
        except StoreError:
            pass  # there is nothing to change
    before = state(store)
    version = publishes.publish_once("alice", place / f"a{which}")
    assert version.version == names[which]
    if names[which] in before[1]:
        assert state(store) == before
    else:
        assert state(store) == (names[which], {*before[1], names[which]})


def state(store: LocalStore) -> tuple[str | None, set[str]]:
    return store.current("alice"), {version.version for version in store.versions("alice")}


def test_perce_does_without_perce_serving() -> None:
    program = (
        "import sys\nsys.modules['perce_serving'] = None\n"
        "import perce.publishing, perce.training.run, perce.fleet\n"
        "from perce.errors import MissingExtraError\n"
        "for call in (perce.publishing.publish, perce.publishing.Publisher):\n"
        "    more = {'user': 'u', 'folder': 'f'} if call is perce.publishing.publish else {}\n"
        "    try:\n        call(store='s', base='m', **more)\n"
        "    except MissingExtraError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "perce-serving is not installed: pip install perce-serving\n" * 2


def test_a_broken_perce_serving_is_not_an_absent_one(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "perce_serving.store.scratch", raising=False)
    for name in [name for name in sys.modules if name.startswith("perce_serving.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(ModuleNotFoundError, match="fcntl") as error:
        publisher(place, tmp_path)
    assert not isinstance(error.value, MissingExtraError)


def test_the_default_rank_is_the_store_s() -> None:
    assert MAX_LORA_RANK == DEFAULT_RANK


def file_as_store(place: Path, root: Path) -> Path:
    root.write_text("")
    return root


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        (lambda place, root: {"max_lora_rank": 12}, OptionError, "max_lora_rank: 12: must be one"),
        (lambda place, root: {"store": file_as_store(place, root)}, PublishError, "cannot be publ"),
        (lambda place, root: {"base": "Org/Unknown"}, PublishError, "not on this machine"),
        (lambda place, root: {"base": quantised(place, root)}, PublishError, "quantised"),
    ],
)
def test_what_can_be_told_without_an_adapter(
    place: Path, tmp_path: Path, options: Callable[..., dict[str, Any]], error: type, told: str
) -> None:
    given = {"store": tmp_path / "store", "base": str(place / "model")}
    with pytest.raises(error, match=told) as raised:
        Publisher(**given | options(place, tmp_path / "other"))
    assert "\n" not in str(raised.value)


def quantised(place: Path, folder: Path) -> str:
    config = json.loads((place / "model" / "config.json").read_text())
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    return str(folder)


@pytest.mark.parametrize("user", ["", "a\nb", "x" * 257])
def test_users_no_store_takes(place: Path, tmp_path: Path, user: str) -> None:
    with pytest.raises(PublishError, match="user"):
        publisher(place, tmp_path).check_user(user)


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        ({"r": 65}, "must be 1 to 64"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
    ],
)
def test_a_rehearsal_refuses_what_publishing_would(
    place: Path, tmp_path: Path, lora: dict[str, Any], told: str
) -> None:
    publishes = publisher(place, tmp_path)
    model = adapted(place, **lora)
    with pytest.raises(RefusedAdapterError, match=told):
        publishes.rehearse(model.save_pretrained)
    publishes.rehearse(adapted(place).save_pretrained)
    assert LocalStore(tmp_path).users() == []


def test_a_rank_that_the_server_takes(place: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedAdapterError, match="must be 1 to 64"):
        publisher(place, tmp_path).publish("alice", place / "big")
    publisher(place, tmp_path, max_lora_rank=128).publish("alice", place / "big")


@pytest.mark.parametrize("options", [{}, {"max_lora_rank": 128}])
def test_the_command_in_the_error_publishes(
    place: Path, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "my store"
    publishes = publisher(place, root, **options)
    folder = place / ("big" if options else "a0")
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "publish", full_disk)
        with pytest.raises(PublishError, match="No space left") as error:
            publishes.publish_once("the user's", folder)
    assert f"the adapter is in {folder}" in str(error.value)
    found = re.search("`(.*)`", str(error.value))
    assert found is not None
    program, *words = shlex.split(found[1])
    assert program == "perce-adapters"
    assert perce_adapters(words) == 0
    assert LocalStore(root).users() == ["the user's"]


def full_disk(*given: object, **named: object) -> None:
    raise OSError(28, "No space left on device")


def test_an_adapter_without_files(place: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedAdapterError, match=r"adapter_config\.json: there is no such file"):
        publish(store=tmp_path, user="alice", folder=tmp_path / "nothing")
