"""Profiles: a model of the store, kill -9 after every step, and readers at any moment."""

from __future__ import annotations

import itertools
import json
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from perce_serving.errors import DamagedError, ProfileError, StoreError, UserError
from perce_serving.profile import ProfileItem, profile_version
from perce_serving.store import LocalStore, ProfileStore
from perce_serving.store.profiles import PROFILES
from perce_serving.store.scratch import SCRATCH
from perce_serving.users import user_folder
from processes import KillAt, in_child, outcome
from strategies import profiles

Source = Callable[[str], Path]
Items = tuple[ProfileItem, ...]
USERS = ("alice", "bob", "../..")
SEA = (ProfileItem("Likes the sea."), ProfileItem("Sails.", date="2020"))
HILLS = (ProfileItem("Likes hills."),)


def accept(folder: Path) -> None:
    """Every adapter may be served."""


class Machine(RuleBasedStateMachine):
    """Set, clear and erase, killed at times, against a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.root = Path(self.place.name) / "store"
        self.ticks = itertools.count()
        self.store = LocalStore(self.root, clock=lambda: next(self.ticks))
        self.model: dict[str, Items] = {}

    def teardown(self) -> None:
        self.place.cleanup()

    @rule(user=st.sampled_from(USERS), items=profiles())
    def set(self, user: str, items: Items) -> None:
        profile = self.store.profiles.set(user, items)
        assert (profile.user, profile.version) == (user, profile_version(items))
        self.model[user] = items

    @rule(user=st.sampled_from(USERS))
    def set_what_is_none(self, user: str) -> None:
        with pytest.raises(ProfileError):
            self.store.profiles.set(user, [ProfileItem("a"), ProfileItem(" ")])

    @rule(user=st.sampled_from(USERS))
    def clear(self, user: str) -> None:
        assert self.store.profiles.clear(user) == (user in self.model)
        self.model.pop(user, None)

    @rule(user=st.sampled_from(USERS), delete=st.booleans())
    def erase(self, user: str, delete: bool) -> None:
        assert self.store.erase(user, delete=delete) == (user in self.model)
        self.model.pop(user, None)

    @rule(user=st.sampled_from(USERS), items=st.none() | profiles(), step=st.integers(0, 3))
    def killed(self, user: str, items: Items | None, step: int) -> None:
        doomed = LocalStore(self.root, step=KillAt(step)).profiles
        change = partial(doomed.clear, user) if items is None else partial(doomed.set, user, items)
        code = outcome(in_child(change))
        assert code in (0, -signal.SIGKILL)
        after = {user: items} if items is not None else {}
        done = {**{u: i for u, i in self.model.items() if u != user}, **after}
        if code == 0 or self.seen() == done:
            self.model = done

    def seen(self) -> dict[str, Items]:
        found = {user: self.store.profiles.read(user) for user in USERS}
        return {user: profile.items for user, profile in found.items() if profile is not None}

    @invariant()
    def readers_see_the_model(self) -> None:
        assert self.seen() == self.model
        if self.root.exists():
            findings = list(self.store.verify())
            assert not any(finding.damage for finding in findings)
            assert len(findings) == len(self.model)


TestProfiles = Machine.TestCase
TestProfiles.settings = settings(stateful_step_count=12)


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        (lambda store: store.profiles.set("alice", HILLS), 2),
        (lambda store: store.profiles.set("bob", HILLS), 2),
        (lambda store: store.profiles.clear("alice"), 1),
        (lambda store: store.erase("alice"), 3),
        (lambda store: store.erase("alice", delete=True), 3),
    ],
    ids=["next", "first", "clear", "erase", "delete"],
)
def test_killed_between_any_two_steps(
    tmp_path: Path, source: Source, change: Callable[[LocalStore], object], steps: int
) -> None:
    for step in itertools.count():
        root = tmp_path / f"store{step}"
        store = LocalStore(root)
        store.publish("alice", source("1"), check=accept)
        store.profiles.set("alice", SEA)
        code = outcome(in_child(partial(change, LocalStore(root, step=KillAt(step)))))
        for user in ("alice", "bob"):
            profile = store.profiles.read(user)
            assert profile is None or profile.items in (SEA, HILLS)
        assert not any(finding.damage for finding in store.verify())
        if code == 0:
            break
        assert code == -signal.SIGKILL
        # The next one finds no obstacle.
        change(store)
    assert step == steps
    assert not (root / SCRATCH / "file").exists()


def test_the_first_profile_makes_the_store(root: Path) -> None:
    for step, there in [(0, False), (0, False), (1, True)]:
        doomed = LocalStore(root, step=KillAt(step)).profiles
        assert outcome(in_child(partial(doomed.set, "alice", SEA))) == -signal.SIGKILL
        assert (LocalStore(root).profiles.read("alice") is not None) is there
    assert LocalStore(root).users() == []


def test_what_a_killed_change_left_is_cleared(root: Path) -> None:
    store = LocalStore(root)
    store.profiles.set("bob", SEA)
    doomed = LocalStore(root, step=KillAt(0))
    assert outcome(in_child(partial(doomed.profiles.set, "alice", HILLS))) == -signal.SIGKILL
    left = [path for path in root.rglob("*") if path.is_file() and b"hills" in path.read_bytes()]
    assert left == [root / SCRATCH / "file"]
    assert not store.erase("alice")
    assert not left[0].exists()


def test_a_reader_among_writers(root: Path) -> None:
    def write_often(first: int) -> None:
        store = LocalStore(root)
        for turn in range(30):
            store.profiles.set("alice", (SEA, HILLS)[(first + turn) % 2])

    store = LocalStore(root)
    store.profiles.set("alice", SEA)
    children = [in_child(partial(write_often, first)) for first in range(2)]
    for _ in range(300):
        profile = store.profiles.read("alice")
        assert profile is not None
        assert profile.items in (SEA, HILLS)
        assert profile.version == profile_version(profile.items)
    assert [outcome(child) for child in children] == [0, 0]


def test_what_lies_on_the_disk(store: LocalStore, root: Path, source: Source) -> None:
    offered: ProfileStore = store.profiles
    assert offered.read("alice") is None
    profile = offered.set("alice", SEA)
    assert profile.updated == "1970-01-01T00:00:00Z"
    assert offered.read("alice") == profile
    (path,) = (root / PROFILES).iterdir()
    assert path.name == f"{user_folder('alice')}.json"
    assert json.loads(path.read_text())["items"] == [
        {"text": "Likes the sea."}, {"text": "Sails.", "date": "2020"}
    ]  # fmt: skip
    assert store.users() == []
    store.publish("alice", source("1"), check=accept)
    assert store.erase("alice")
    assert offered.read("alice") is None
    assert list((root / PROFILES).iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not what was set"),
        ("{}", "not what was set"),
        ('{"format": 1, "user": "alice", "version": "v", "updated": "u", "items": []}', "not what"),
        ('{"format": 1, "user": "alice", "version": "v", "updated": "u", "items": 1}', "a list"),
    ],
)
def test_damage_is_told_and_mended(store: LocalStore, root: Path, text: str, said: str) -> None:
    store.profiles.set("alice", SEA)
    (path,) = (root / PROFILES).iterdir()
    path.write_text(text)
    with pytest.raises(DamagedError, match=said) as error:
        store.profiles.read("alice")
    assert str(path) in str(error.value)
    assert "set the profile again" in str(error.value)
    assert [(f.damage, f.text) for f in store.verify()] == [(True, str(error.value))]
    store.profiles.set("alice", SEA)
    assert [finding.damage for finding in store.verify()] == [False]


def test_another_user_s_file_is_damage(store: LocalStore, root: Path) -> None:
    store.profiles.set("alice", SEA)
    (path,) = (root / PROFILES).iterdir()
    path.rename(path.with_name(f"{user_folder('bob')}.json"))
    assert store.profiles.read("alice") is None
    with pytest.raises(DamagedError, match="is user 'alice''s"):
        store.profiles.read("bob")
    assert [finding.damage for finding in store.verify()] == [True]


def test_another_release_s_file_is_left_alone(store: LocalStore, root: Path) -> None:
    store.profiles.set("alice", SEA)
    (path,) = (root / PROFILES).iterdir()
    path.write_text('{"format": 2}')
    with pytest.raises(StoreError, match="not of format 1; use the release") as error:
        store.profiles.read("alice")
    assert not isinstance(error.value, DamagedError)


def test_ids_are_checked(store: LocalStore) -> None:
    for call in (store.profiles.read, store.profiles.clear, lambda u: store.profiles.set(u, SEA)):
        with pytest.raises(UserError):
            call("a\nb")
