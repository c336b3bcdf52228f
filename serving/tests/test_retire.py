"""Collection, against a model of a vLLM server that dies when it loads what is gone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from perce_serving.retire import View, plan

NAMES = [f"version {number}" for number in range(5)]
sets = st.sets(st.sampled_from(NAMES))


@given(retired=sets, served=sets, in_use=sets, frontend=sets, engine=sets)
def test_each_version_has_one_next_step_and_only_what_is_free_has_any(**sides) -> None:
    steps = plan(View(**sides))
    parts = [steps.drop, steps.remove, steps.delete]
    free = sides["retired"] - sides["served"] - sides["in_use"]
    assert frozenset().union(*parts) == free
    assert sum(map(len, parts)) == len(free)
    assert steps.drop <= sides["frontend"]
    assert steps.remove <= sides["engine"] - sides["frontend"]
    assert not steps.delete & (sides["frontend"] | sides["engine"])


class Server(RuleBasedStateMachine):
    """Requests, retirement, evictions and collection in any order; plans are carried out late."""

    def __init__(self) -> None:
        super().__init__()
        self.files = set(NAMES)
        self.served = set(NAMES)
        self.retired: set[str] = set()
        self.running: list[str] = []
        self.frontend: set[str] = set()
        self.registered: set[str] = set()
        self.loaded: set[str] = set()
        self.plans: list[tuple[str, str]] = []

    def load(self, name: str) -> None:
        assert name in self.files, "the engine dies: it loads an adapter whose folder is gone"
        self.loaded.add(name)
        self.registered.add(name)

    @rule(name=st.sampled_from(NAMES))
    def request(self, name: str) -> None:
        if name in self.served:  # otherwise the tenant layer answers 404
            self.running.append(name)
            self.frontend.add(name)
            self.load(name)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """The engine runs a request: an evicted adapter is loaded once more."""
        self.load(data.draw(st.sampled_from(self.running)))

    @precondition(lambda self: self.registered)
    @rule(data=st.data())
    def reload(self, data: st.DataObject) -> None:
        """The engine may load again whatever it still knows."""
        self.load(data.draw(st.sampled_from(sorted(self.registered))))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.running.remove(data.draw(st.sampled_from(self.running)))

    @rule(name=st.sampled_from(NAMES))
    def evict(self, name: str) -> None:
        self.loaded.discard(name)

    @precondition(lambda self: self.served)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.served)))
        self.served.remove(name)
        self.retired.add(name)

    def view(self) -> View:
        return View(
            retired=self.retired & self.files,
            served=self.served,
            in_use=set(self.running),
            frontend=self.frontend,
            engine=self.registered,
        )

    @rule()
    def collect(self) -> None:
        steps = plan(self.view())
        self.plans += [
            (action, name)
            for action in ("drop", "remove", "delete")
            for name in getattr(steps, action)
        ]

    @precondition(lambda self: self.plans)
    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        """One planned step is carried out, in any order, any time later."""
        action, name = self.plans.pop(data.draw(st.integers(0, len(self.plans) - 1)))
        if action == "drop":
            self.frontend.discard(name)
        elif action == "remove":
            self.loaded.discard(name)
            self.registered.discard(name)
        else:
            self.files.discard(name)

    @invariant()
    def nothing_that_may_be_asked_for_is_gone(self) -> None:
        assert self.files >= self.served | set(self.running) | self.frontend | self.registered

    def teardown(self) -> None:
        """With no requests left, three plans delete all that is retired."""
        self.running.clear()
        places = {"drop": self.frontend, "remove": self.registered, "delete": self.files}
        for _ in range(3):
            self.collect()
            for action, name in self.plans:
                places[action].discard(name)
            self.plans.clear()
        assert not self.files & self.retired


TestServer = Server.TestCase
TestServer.settings = settings(stateful_step_count=30)
