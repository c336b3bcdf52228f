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
    known = sides["retired"] | sides["frontend"] | sides["engine"]
    free = known - sides["served"] - sides["in_use"]
    assert frozenset().union(*parts) == free
    assert sum(map(len, parts)) == len(free)
    assert steps.drop <= sides["frontend"]
    assert steps.remove <= sides["engine"] - sides["frontend"]
    assert not steps.delete & (sides["frontend"] | sides["engine"])
    assert steps.delete <= sides["retired"]


def test_what_the_store_has_forgotten_leaves_frontend_and_engine() -> None:
    known = {"retired": set(), "served": set(), "in_use": set()}
    first = plan(View(**known, frontend={"erased"}, engine={"erased"}))
    assert (first.drop, first.remove, first.delete) == ({"erased"}, set(), set())
    second = plan(View(**known, frontend=set(), engine={"erased"}))
    assert (second.drop, second.remove, second.delete) == (set(), {"erased"}, set())


class Server(RuleBasedStateMachine):
    """Requests, publishing, retirement, evictions and collection in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.files = set(NAMES)
        self.served = set(NAMES)
        self.retired: set[str] = set()
        self.running: list[str] = []
        self.frontend: set[str] = set()
        self.registered: set[str] = set()
        self.loaded: set[str] = set()

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

    @precondition(lambda self: self.retired & self.files)
    @rule(data=st.data())
    def publish_again(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.retired & self.files)))
        self.retired.remove(name)
        self.served.add(name)

    @rule()
    def collect(self) -> None:
        steps = plan(self.view())
        assert not steps.remove & set(self.running)
        self.frontend -= steps.drop
        self.registered -= steps.remove
        self.loaded -= steps.remove
        self.files -= steps.delete

    @invariant()
    def nothing_that_may_be_asked_for_is_gone(self) -> None:
        assert self.files >= self.served | set(self.running) | self.frontend | self.registered

    def teardown(self) -> None:
        """With no requests left, three plans delete all that is retired."""
        self.running.clear()
        for _ in range(3):
            self.collect()
        assert not self.files & self.retired


TestServer = Server.TestCase
TestServer.settings = settings(stateful_step_count=30)
