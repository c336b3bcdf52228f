"""What may be asked of the prompt, and that nothing is rewritten for those who do not ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi import BASE, Shelf, Tenancy, refusal
from perce_serving.errors import StoreError
from perce_serving.refusal import refuse
from perce_serving.tenant.prompts import Asked, Turn, asked, conversation
from perce_serving.users import AdapterName, adapter_name

OLD, NEW = "0" * 64, "1" * 64
QUESTION = [{"role": "user", "content": "Q"}]
ASKING = {"model": "me", "messages": QUESTION, "perce": {"profile": True}}


@dataclass
class Writer:
    """A renderer that says what it was asked; ``then`` happens while it works."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    then: Callable[[], object] = lambda: None

    async def render(
        self, user: str, adapter: AdapterName | None, conversation: Sequence[Turn],
        asked: Asked, *, answer_tokens: int,
    ) -> list[dict[str, str]]:  # fmt: skip
        self.calls.append((user, adapter, list(conversation), asked.query, answer_tokens))
        await asyncio.sleep(0)
        self.then()
        return [{"role": "user", "content": f"profile of {user} for {adapter}"}]


def test_the_profile_is_the_caller_s_and_the_way_the_adapter_s() -> None:
    tenancy = Tenancy(Shelf(ann=[OLD]), renderer=(writer := Writer()))
    body = {**ASKING, "perce": {"profile": True, "query": "sea"}, "max_tokens": 7}
    assert tenancy.ask(body=body).status == 200
    assert writer.calls == [("ann", AdapterName("ann", OLD), [Turn("user", "Q")], "sea", 7)]
    _, sent = tenancy.server.seen[0]
    assert sent["model"] == adapter_name("ann", OLD)
    assert sent["messages"] == [
        {"role": "user", "content": f"profile of ann for {writer.calls[0][1]}"}
    ]
    assert "perce" not in sent


def test_without_an_adapter_it_is_the_shared_one_s_or_the_base_s() -> None:
    tenancy = Tenancy(Shelf(all=[OLD]), shared="all", renderer=(writer := Writer()))
    tenancy.ask(body={**ASKING, "max_completion_tokens": 9})
    assert writer.calls[0][:2] == ("ann", AdapterName("all", OLD))
    assert writer.calls[0][4] == 9
    tenancy = Tenancy(Shelf(), renderer=(writer := Writer()))
    tenancy.ask(body=ASKING)
    assert writer.calls[0][:2] == ("ann", None)
    assert writer.calls[0][4] == tenancy.limits.tokens
    assert tenancy.server.seen[0][1]["model"] == BASE


@given(
    content=st.text()
    | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})),
    wish=st.sampled_from([None, {}, {"profile": False}, {"query": "q"}]),
)
def test_without_the_wish_nothing_is_rewritten(content: Any, wish: Any) -> None:
    tenancy = Tenancy(Shelf(ann=[OLD]), renderer=(writer := Writer()))
    messages = [{"role": "tool", "content": content, "name": "x"}]
    body = {"model": "me", "messages": messages, "max_tokens": 3}
    plain = tenancy.ask(body=body)
    wished = tenancy.ask(body={**body, "perce": wish})
    if plain.status == 200:
        assert tenancy.server.seen[0][1] == tenancy.server.seen[1][1]
        assert tenancy.server.seen[0][1]["messages"] == messages
    assert plain.status == wished.status
    assert writer.calls == []


def test_what_is_published_while_it_renders_is_rendered_for() -> None:
    shelf = Shelf(ann=[OLD])
    writer = Writer(then=lambda: shelf.versions.update(ann=[OLD, NEW]))
    tenancy = Tenancy(shelf, renderer=writer)
    tenancy.ask(body=ASKING)
    assert [call[1].version for call in writer.calls] == [OLD, NEW]
    # What was sent is of one piece, and the adapter was served when the request came to the gate.
    _, sent = tenancy.server.seen[0]
    assert sent["model"] == adapter_name("ann", NEW)
    assert NEW in sent["messages"][0]["content"]


def test_what_is_retired_while_it_renders_is_not_asked_for() -> None:
    shelf = Shelf(ann=[OLD, NEW])
    tenancy = Tenancy(shelf, renderer=Writer(then=lambda: shelf.versions.update(ann=[NEW])))
    answer = tenancy.ask(body={**ASKING, "model": adapter_name("ann", OLD)})
    assert (answer.status, answer.error["code"]) == (404, "model")
    assert tenancy.server.seen == []


def fail(error: Exception) -> Callable[[], object]:
    def failing() -> None:
        raise error

    return failing


def test_what_goes_wrong_is_answered() -> None:
    tenancy = Tenancy(Shelf(), renderer=Writer(then=fail(StoreError("of the operator's concern"))))
    answer = tenancy.ask(body=ASKING)
    assert (answer.status, answer.error["code"]) == (503, "store")
    assert b"concern" not in answer.body
    tenancy = Tenancy(Shelf(), renderer=Writer(then=fail(refuse("profile", "no such", param="p"))))
    answer = tenancy.ask(body=ASKING)
    assert (answer.status, answer.error["code"]) == (400, "profile")
    assert tenancy.server.seen == []


def test_without_a_renderer_profiles_are_not_offered() -> None:
    tenancy = Tenancy(Shelf())
    answer = tenancy.ask(body=ASKING)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "profile", "perce")
    assert tenancy.ask(body={**ASKING, "perce": {"profile": False}}).status == 200


def test_completions_have_no_profile() -> None:
    tenancy = Tenancy(Shelf(), renderer=Writer())
    body = {"model": "me", "prompt": "P", "perce": {"profile": True}}
    answer = tenancy.ask("/v1/completions", body)
    assert (answer.status, answer.error["param"]) == (400, "perce")


def test_a_user_s_prompts_at_once_are_bounded() -> None:
    async def many() -> list[int | None]:
        going = asyncio.Event()

        class Slow(Writer):
            async def render(self, *args: Any, **kwargs: Any) -> list[dict[str, str]]:
                await going.wait()
                return await super().render(*args, **kwargs)

        tenancy = Tenancy(Shelf(), renderer=Slow())
        asks = [asyncio.create_task(tenancy.request(body=ASKING)) for _ in range(9)]
        for _ in range(200):  # turns of the loop, more than enough for all to come as far as may be
            await asyncio.sleep(0)
        other = asyncio.create_task(tenancy.request(body={**ASKING, "perce": None}, key="bob"))
        statuses = [(await other).status]
        going.set()
        return statuses + [(await ask).status for ask in asks]

    assert asyncio.run(many()) == [200, *[200] * 8, 429]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "an object is expected"),
        ([], "an object is expected"),
        ({"profile": 1}, "profile: true or false"),
        ({"profile": None}, "profile: true or false"),
        ({"profile": True, "query": 1}, "query: a text"),
        ({"query": "\ud800"}, "query: a text"),
        ({"profile": True, "user": "bob"}, "'user' is not offered"),
    ],
)
def test_wishes_that_make_no_sense(value: Any, said: str) -> None:
    error = refusal(lambda: asked(value))
    assert error is not None
    assert (error.code, error.param) == ("field", "perce")
    assert said in str(error)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"add_generation_prompt": False}, "add_generation_prompt: changes the prompt"),
        ({"add_generation_prompt": 1}, "add_generation_prompt: changes the prompt"),
        ({"add_special_tokens": True}, "add_special_tokens: changes the prompt"),
        ({"continue_final_message": True}, "continue_final_message: changes the prompt"),
        ({"reasoning_effort": "none"}, "reasoning_effort: changes the prompt"),
        ({"tools": [{}]}, "tools: changes the prompt"),
        ({"tool_choice": "auto"}, "tool_choice: changes the prompt"),
        ({"truncate_prompt_tokens": 3}, "truncate_prompt_tokens: changes the prompt"),
        ({"messages": None}, "a list of messages"),
        ({"messages": []}, "a list of messages"),
        ({"messages": ["Q"]}, "messages[0].role"),
        ({"messages": [{"role": "developer", "content": "Q"}]}, "messages[0].role"),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "A"}]}, "the last one"),
        ({"messages": [{"role": "user"}]}, "messages[0].content: a text"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content: a text"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content: a text"),
        ({"messages": [{"role": "user", "content": "Q", "name": "N"}]}, "messages[0].name"),
        (
            {"messages": [{"role": "system", "content": "x-anthropic-billing-header: 1\nS"},
                          *QUESTION]},
            "a line that the server would drop",
        ),
    ],
)  # fmt: skip
def test_conversations_that_training_does_not_have(change: dict[str, Any], said: str) -> None:
    error = refusal(lambda: conversation({"messages": QUESTION, **change}))
    assert error is not None
    assert error.code == "profile"
    assert said in str(error)


def test_conversations_as_clients_send_them() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "system", "content": parts},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "A", "refusal": None, "annotations": [], "tool_calls": []},
        {"role": "user", "content": "Q"},
    ]  # fmt: skip
    content = {"messages": messages, "tools": None, "add_generation_prompt": True, "n": 2}
    assert conversation(content) == [
        Turn("system", "a\nb"), Turn("user", ""), Turn("assistant", "A"), Turn("user", "Q")
    ]  # fmt: skip
