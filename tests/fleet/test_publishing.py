"""``perce fleet --publish``: each adapter when it is done, once, and the rest on resuming."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from perce_serving.errors import ValidationError
from perce_serving.store import LocalStore

from fleets import USERS, fresh_slot, run, weights
from perce.cli import main
from perce.errors import OptionError, PublishError, RefusedAdapterError
from perce.fleet import AdapterSlot, FleetArguments
from perce.fleet import run as module
from perce.fleet.folder import folder_name
from perce.modeling.loading import load_model
from perce.publishing import Publisher
from perce.tokens import PreparedData
from tiny import tiny_data, tiny_records


@pytest.fixture
def slot(place: Path) -> AdapterSlot:
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    return AdapterSlot.fresh(load_model(place / "model", device="cpu"), lora, seed=1)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def publisher(place: Path, store: LocalStore) -> Publisher:
    return Publisher(store=store.root, base=str(place / "model"))


def served(store: LocalStore, user: str) -> bytes:
    version = store.current(user)
    assert version is not None
    return (store.open(user, version) / "adapter_model.safetensors").read_bytes()


def test_each_finished_user_is_published(
    data: PreparedData, tmp_path: Path, slot: AdapterSlot, publisher: Publisher, store: LocalStore
) -> None:
    out = tmp_path / "out"
    report = run(data, out, slot=slot, publisher=publisher)
    assert store.users() == sorted(report.published) == list(USERS)
    for user in USERS:
        assert served(store, user) == weights(out, user)
        assert report.published[user] == store.current(user)
    assert report.unpublished == {}


def test_skipped_users_are_not_published(
    data: PreparedData, tmp_path: Path, slot: AdapterSlot, publisher: Publisher, store: LocalStore
) -> None:
    report = run(data, tmp_path / "out", slot=slot, publisher=publisher, min_records=100)
    assert [result.state for result in report.users.values()] == ["skipped"] * len(USERS)
    assert (store.users(), report.published) == ([], {})


def test_what_was_finished_before_is_published_once(
    data: PreparedData, tmp_path: Path, slot: AdapterSlot, publisher: Publisher, store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    run(data, out, slot=slot, users=("u0", "u1"))
    assert store.users() == []
    run(data, out, slot=slot, publisher=publisher, users=("u0",))
    assert store.users() == ["u0"]
    monkeypatch.setattr(module, "train_user", None)  # nobody is trained from here on
    # Something newer was published since: going on with the fleet does not take it back.
    publisher.publish("u0", out / "users" / folder_name("u1"))
    before = store.current("u0")
    report = run(data, out, slot=slot, publisher=publisher, users=("u0", "u1"))
    assert store.users() == sorted(report.published) == ["u0", "u1"]
    assert store.current("u0") == before


def test_a_killed_fleet_publishes_the_rest_when_it_goes_on(
    data: PreparedData, tmp_path: Path, slot: AdapterSlot, publisher: Publisher, store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Killed between a user's end and the publishing: the adapter is there, and not yet served."""
    out = tmp_path / "out"

    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "publish_once", killed)
        with pytest.raises(KeyboardInterrupt):
            run(data, out, slot=slot, publisher=publisher)
    before = weights(out, "u0")
    assert store.users() == []
    run(data, out, slot=slot, publisher=publisher)
    assert store.users() == list(USERS)
    assert served(store, "u0") == weights(out, "u0") == before


def test_a_refused_adapter_is_told_and_the_others_go_on(
    data: PreparedData, tmp_path: Path, slot: AdapterSlot, publisher: Publisher, store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    real: Callable[..., Any] = LocalStore.publish

    def refused(self: LocalStore, user: str, *given: Any, **named: Any) -> Any:
        if user == "u1":
            raise ValidationError("too_large", "it changes too much")
        return real(self, user, *given, **named)

    monkeypatch.setattr(LocalStore, "publish", refused)
    report = run(data, tmp_path / "out", slot=slot, publisher=publisher)
    assert store.users() == sorted(report.published) == ["u0", "u2"]
    assert list(report.unpublished) == ["u1"]
    assert "perce-adapters publish" in report.unpublished["u1"]
    assert "it changes too much" in report.unpublished["u1"]
    assert report.users["u1"].state == "trained"


def test_a_full_store_stops_the_fleet_and_loses_nothing(
    data: PreparedData, tmp_path: Path, slot: AdapterSlot, publisher: Publisher, store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "out"

    def full_disk(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "publish", full_disk)
        with pytest.raises(PublishError, match="No space left on device"):
            run(data, out, slot=slot, publisher=publisher)
    assert weights(out, "u0")
    run(data, out, slot=slot, publisher=publisher)
    assert store.users() == list(USERS)


def test_what_cannot_be_published_is_not_trained(
    data: PreparedData, tmp_path: Path, slot: AdapterSlot, publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "train_user", None)
    # Its base model has no name.
    with pytest.raises(RefusedAdapterError, match="base_model_name_or_path"):
        run(data, tmp_path / "out", slot=fresh_slot(), publisher=publisher)
    strange = tiny_data(tmp_path / "strange", [_renamed(r) for r in tiny_records(8)])
    with pytest.raises(PublishError, match=r"U\+000A"):
        run(strange, tmp_path / "out", slot=slot, publisher=publisher, users=("u\n0",))


def _renamed(record: Any) -> Any:
    return type(record)(
        id=record.id, user_id=record.user_id.replace("u", "u\n"), profile=record.profile,
        messages=record.messages, response=record.response,
    )  # fmt: skip


def test_options_go_together() -> None:
    with pytest.raises(OptionError, match="store: is missing"):
        FleetArguments(publish=True)
    with pytest.raises(OptionError, match="means nothing without publish"):
        FleetArguments(store="adapters")


def test_from_the_command_line(place: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["fleet", "--model", str(place / "model"), "--data", str(place / "prepared")]
    words += ["--out", "out", "--max_tokens", "150", "--max_steps", "1", "--use_cpu", "--lora-r"]
    words += ["2", "--publish", "--store", "adapters", "--min-records", "2"]
    assert main(words) == 0
    assert "published into adapters: 4 adapters" in capsys.readouterr().out
    store = LocalStore(Path("adapters"))
    assert store.users() == ["u0", "u1", "u2", "u3"]

    def refused(*given: object, **named: object) -> None:
        raise ValidationError("nan", "a value is not a number")

    monkeypatch.setattr(LocalStore, "publish", refused)
    assert main([*words[:-4], "--store", "other", "--min_records", "2"]) == 1
    err = capsys.readouterr().err
    assert "perce fleet: user u0: " in err
    assert "a value is not a number" in err
