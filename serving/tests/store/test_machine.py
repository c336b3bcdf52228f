"""The store against a model of it, through any sequence of changes, some killed half-way."""

from __future__ import annotations

import copy
import itertools
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from perce_serving.adapter_files import CONFIG_FILE, WEIGHTS_FILE, read_content
from perce_serving.errors import StoreError, ValidationError
from perce_serving.faults import Fault
from perce_serving.store import LocalStore
from processes import KillAt, in_child, outcome

USERS = ["alice", "../alice", "名前"]
CONTENTS = range(4)
MOST_STEPS = 6


@dataclass
class Known:
    """What the model knows of one user."""

    history: list[str] = field(default_factory=list)
    retired: dict[str, bool] = field(default_factory=dict)
    """Whether it is retired, by version, in the order of publishing."""

    @property
    def erased(self) -> bool:
        return not self.history

    def served(self, version: str) -> bool:
        return self.retired.get(version) is False


Model = dict[str, Known]


def publish(model: Model, user: str, version: str) -> None:
    known = model.setdefault(user, Known())
    known.retired[version] = False
    known.history = [version, *(other for other in known.history if other != version)]


def rollback(model: Model, user: str, to: str | None) -> None:
    known = model.get(user, Known())
    history = known.history if to is not None else known.history[1:]
    history = [version for version in history if known.served(version)]
    if to is None:
        if not history:
            raise StoreError
    elif not known.served(to):
        raise StoreError
    else:
        history = history[history.index(to) :] if to in history else [to, *history]
    known.history = history


def retire(model: Model, user: str, version: str) -> None:
    known = model.get(user, Known())
    if version not in known.retired or version in known.history[:1]:
        raise StoreError
    known.retired[version] = True


def collect(model: Model, user: str, version: str) -> None:
    if not model.get(user, Known()).retired.get(version):
        raise StoreError
    del model[user].retired[version]
    if model[user].erased and not model[user].retired:
        del model[user]


def erase(model: Model, user: str) -> None:
    if user in model:
        model[user] = Known(retired=dict.fromkeys(model[user].retired, True))


def halfway(model: Model, user: str, version: str) -> None:
    """A publishing killed when the version is there and not yet current."""
    if user in model:
        model[user].retired[version] = model[user].erased


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        root = Path(self.place.name)
        self.sources = []
        for content in CONTENTS:
            folder = root / f"source{content}"
            folder.mkdir()
            (folder / CONFIG_FILE).write_text(f"config {content}")
            (folder / WEIGHTS_FILE).write_text(f"weights {content}")
            self.sources.append(folder)
        self.names = [read_content(folder).version for folder in self.sources]
        self.ticks = itertools.count()
        self.root = root / "store"
        self.store = LocalStore(self.root, clock=lambda: next(self.ticks))
        self.model: Model = {}

    def teardown(self) -> None:
        self.place.cleanup()

    def both(self, on_store: Callable[[], object], on_model: Callable[[], object]) -> None:
        """The store and the model agree on whether this may be done."""
        try:
            on_model()
        except StoreError:
            with pytest.raises(StoreError):
                on_store()
        else:
            on_store()

    @rule(user=st.sampled_from(USERS), content=st.sampled_from(CONTENTS))
    def publish(self, user: str, content: int) -> None:
        version = self.store.publish(user, self.sources[content], check=lambda folder: None)
        assert (version.user, version.version) == (user, self.names[content])
        publish(self.model, user, version.version)

    @rule(user=st.sampled_from(USERS), content=st.sampled_from(CONTENTS))
    def publish_what_is_refused(self, user: str, content: int) -> None:
        def refuse(folder: Path) -> None:
            raise ValidationError(Fault.NAN, "of no use")

        with pytest.raises(ValidationError, match="of no use"):
            self.store.publish(user, self.sources[content], check=refuse)

    @rule(user=st.sampled_from(USERS), to=st.none() | st.sampled_from(CONTENTS))
    def rollback(self, user: str, to: int | None) -> None:
        version = None if to is None else self.names[to]
        self.both(
            lambda: self.store.rollback(user, version),
            lambda: rollback(self.model, user, version),
        )

    @rule(user=st.sampled_from(USERS), content=st.sampled_from(CONTENTS))
    def retire(self, user: str, content: int) -> None:
        version = self.names[content]
        self.both(
            lambda: self.store.retire(user, version), lambda: retire(self.model, user, version)
        )

    @rule(user=st.sampled_from(USERS), content=st.sampled_from(CONTENTS))
    def collect(self, user: str, content: int) -> None:
        version = self.names[content]
        self.both(
            lambda: self.store.collect(user, version), lambda: collect(self.model, user, version)
        )

    @precondition(lambda self: len(self.model) > 1)
    @rule(user=st.sampled_from(USERS), delete=st.booleans())
    def erase(self, user: str, delete: bool) -> None:
        assert self.store.erase(user, delete=delete) == (user in self.model)
        if delete:
            self.model.pop(user, None)
        else:
            erase(self.model, user)

    @rule(
        user=st.sampled_from(USERS),
        content=st.sampled_from(CONTENTS),
        change=st.sampled_from(
            ["publish", "publish", "rollback", "retire", "collect", "erase", "delete"]
        ),
        step=st.integers(0, MOST_STEPS),
    )
    def killed(self, user: str, content: int, change: str, step: int) -> None:
        version = self.names[content]
        clock = next(self.ticks)
        store = LocalStore(self.root, clock=lambda: clock, step=KillAt(step))
        on_store: dict[str, Callable[[], object]] = {
            "publish": lambda: store.publish(
                user, self.sources[content], check=lambda folder: None
            ),
            "rollback": lambda: store.rollback(user, version),
            "retire": lambda: store.retire(user, version),
            "collect": lambda: store.collect(user, version),
            "erase": lambda: store.erase(user),
            "delete": lambda: store.erase(user, delete=True),
        }
        on_model: dict[str, list[Callable[[Model], object]]] = {
            "publish": [
                lambda model: publish(model, user, version),
                lambda model: halfway(model, user, version),
            ],
            "rollback": [lambda model: rollback(model, user, version)],
            "retire": [lambda model: retire(model, user, version)],
            "collect": [lambda model: collect(model, user, version)],
            "erase": [lambda model: erase(model, user)],
            "delete": [lambda model: model.pop(user, None)],
        }
        allowed = [self.model]
        for apply in on_model[change]:
            model = copy.deepcopy(self.model)
            try:
                apply(model)
            except StoreError:
                continue
            allowed.append(model)
        code = outcome(in_child(on_store[change]))
        assert code in (-signal.SIGKILL, 0) or len(allowed) == 1
        self.model = next(model for model in reversed(allowed) if self.agrees(model))

    def agrees(self, model: Model) -> bool:
        if not self.root.exists():
            return not model
        return self.store.users() == sorted(model) and all(
            {v.version: v.retired for v in self.store.versions(user)} == known.retired
            and self.store.current(user) == next(iter(known.history), None)
            for user, known in model.items()
        )

    @invariant()
    def readers_see_the_model(self) -> None:
        assert self.agrees(self.model)
        for user in USERS:
            known = self.model.get(user, Known())
            served = [version for version in known.retired if known.served(version)]
            current = known.history[:1]
            others = sorted(version for version in served if version not in current)
            assert self.store.served(user) == [*current, *others]
        for user, content in itertools.product(USERS, CONTENTS):
            version = self.names[content]
            known = self.model.get(user, Known())
            assert self.store.has(user, version) == known.served(version)
            if known.served(version):
                assert read_content(self.store.open(user, version)).version == version
            else:
                with pytest.raises(StoreError, match="not served"):
                    self.store.open(user, version)
            if version in known.retired:
                folder = self.store.open(user, version, retired=True)
                assert read_content(folder).version == version
            else:
                with pytest.raises(StoreError, match="not stored"):
                    self.store.open(user, version, retired=True)
            if user not in self.model:
                assert self.store.current(user) is None
                assert self.store.versions(user) == []

    @invariant()
    def nothing_is_damaged(self) -> None:
        if self.model:
            assert not any(finding.damage for finding in self.store.verify())


TestStore = StoreMachine.TestCase
TestStore.settings = settings(stateful_step_count=20)
