"""Fields of a body: which go on, and how much one request may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi import SECRET, Shelf, Tenancy
from perce_serving.tenant.fields import DROPPED, FORWARDED
from perce_serving.tenant.limits import Limits
from perce_serving.tenant.models import cache_salt
from perce_serving.tenant.routes import Route

CHAT, COMPLETIONS = Route.CHAT.path, Route.COMPLETIONS.path


@given(st.sampled_from([Route.CHAT, Route.COMPLETIONS]), st.data())
def test_fields_of_the_list_go_on_unchanged_and_dropped_ones_do_not(route, data) -> None:
    bounded = {
        "max_completion_tokens",
        "max_tokens",
        "n",
        "response_format",
        "tool_choice",
        "tools",
    }
    known = sorted(FORWARDED[route] - {"messages", "prompt"} - bounded)
    fields = data.draw(st.dictionaries(st.sampled_from(known), st.integers() | st.text("ab")))
    dropped = data.draw(st.dictionaries(st.sampled_from(sorted(DROPPED)), st.text("ab")))
    tenancy = Tenancy(Shelf())
    assert tenancy.ask(route.path, {"model": "me", **fields, **dropped}).status == 200
    ((_, arrived),) = tenancy.server.seen
    assert arrived.pop("cache_salt") == cache_salt(SECRET, "ann")
    assert arrived.pop("model")
    assert arrived == (fields | {"max_tokens": 1024} if route is Route.CHAT else fields)


@pytest.mark.parametrize(
    ("path", "fields", "passes"),
    [
        (CHAT, {"n": 4}, True),
        (CHAT, {"n": 5}, False),
        (CHAT, {"n": None}, True),
        (CHAT, {"n": 0}, False),
        (CHAT, {"n": -1}, False),
        (CHAT, {"n": True}, False),
        (CHAT, {"n": "2"}, False),
        (CHAT, {"n": 2.0}, False),
        (CHAT, {"n": 10**30}, False),
        (COMPLETIONS, {"prompt": "text"}, True),
        (COMPLETIONS, {"prompt": ["text"] * 4}, True),
        (COMPLETIONS, {"prompt": ["text"] * 5}, False),
        (COMPLETIONS, {"prompt": ["text"] * 2, "n": 2}, True),
        (COMPLETIONS, {"prompt": ["text"] * 2, "n": 3}, False),
        (COMPLETIONS, {"prompt": [1, 2, 3, 4, 5, 6]}, True),
        (COMPLETIONS, {"prompt": [[1], [2], [3], [4]]}, True),
        (COMPLETIONS, {"prompt": [[1], [2], [3], [4], [5]]}, False),
        (COMPLETIONS, {"prompt": []}, True),
    ],
)
def test_one_request_is_not_many(path: str, fields: dict, passes: bool) -> None:
    tenancy = Tenancy(Shelf(), limits=Limits(sequences=4, rate=1e6, burst=1e6))
    answer = tenancy.ask(path, {"model": "me", **fields})
    assert answer.status == (200 if passes else 400)
    if not passes:
        assert (answer.error["code"], answer.error["param"]) == ("field", "n")


@pytest.mark.parametrize(
    ("content", "passes"),
    [
        ("text", True),
        (None, True),
        ([], True),
        ([{"type": "text", "text": "a"}], True),
        ([{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}], False),
        ([{"image_url": "file:///etc/passwd"}], False),
        ([{"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {}}], False),
        ([{"type": "text", "text": "a", "image_url": "http://x"}], False),
        ([{"text": "a"}], False),
        (["text"], False),
        ([["text"]], False),
        ([{"type": "text", "text": {"image_url": "http://x"}}], False),
        ({"type": "image_url", "image_url": {"url": "http://x"}}, False),
        (1, False),
    ],
)
def test_content_is_text_and_nothing_for_the_server_to_fetch(content, passes: bool) -> None:
    tenancy = Tenancy(Shelf())
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": content}]
    answer = tenancy.ask(body={"model": "me", "messages": messages})
    assert answer.status == (200 if passes else 400)
    if passes:
        assert tenancy.server.seen[0][1]["messages"] == messages
    else:
        assert answer.error["param"] == "messages"
        assert "messages[1]" in answer.error["message"]


@pytest.mark.parametrize(
    ("more", "passes"),
    [
        ({"name": "ann", "tool_calls": [], "refusal": None}, True),
        ({"audio": None, "function_call": None}, True),  # as clients send an answer back
        ({"audio": {"id": "1"}}, False),
        ({"image_url": "http://x"}, False),
    ],
)
def test_a_message_has_no_other_place_for_content(more: dict, passes: bool) -> None:
    message = {"role": "assistant", "content": "a", **more}
    answer = Tenancy(Shelf()).ask(body={"model": "me", "messages": [message]})
    assert answer.status == (200 if passes else 400)


SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"pattern": "(a|a)*b"}}}
TOOL = {"type": "function", "function": {"name": "a", "parameters": {"pattern": "(a|a)*b"}}}


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"stop": "a" * 5}, True),
        ({"stop": "a" * 6}, False),
        ({"stop": ["a"] * 3}, True),
        ({"stop": ["a"] * 4}, False),
        ({"stop": ["a", "a" * 6]}, False),
        ({"bad_words": ["a"] * 4}, False),
        ({"logit_bias": {str(token): 1 for token in range(2)}}, True),
        ({"logit_bias": {str(token): 1 for token in range(3)}}, False),
        ({"allowed_token_ids": [1, 2, 3]}, False),
        ({"stop_token_ids": [1, 2, 3]}, False),
        ({"stop_token_ids": None, "stop": None, "response_format": None, "tools": None}, True),
        ({"max_tokens": 7}, True),
        ({"max_tokens": 8}, False),
        ({"max_tokens": 0}, False),
        ({"max_tokens": 7.0}, False),
        ({"max_tokens": True}, False),
        ({"max_tokens": 1, "max_completion_tokens": 8}, False),
        ({"response_format": {"type": "text"}}, True),
        ({"response_format": {"type": "json_object"}}, True),
        ({"response_format": {"type": "json_object", "json_schema": SCHEMA}}, False),
        ({"response_format": SCHEMA}, False),
        ({"response_format": {"type": "structural_tag", "format": {"type": "regex"}}}, False),
        ({"response_format": "text"}, False),
        ({"tools": [TOOL]}, False),
        ({"tool_choice": "required"}, False),
    ],
)
def test_a_field_asks_for_no_more_than_may_be(fields: dict, passes: bool) -> None:
    limits = Limits(texts=3, text_chars=5, token_ids=2, tokens=7)
    tenancy = Tenancy(Shelf(), limits=limits)
    answer = tenancy.ask(body={"model": "me", **fields})
    assert answer.status == (200 if passes else 400)
    if not passes:
        assert answer.error["param"] in fields
        assert answer.error["message"].startswith(answer.error["param"])


@pytest.mark.parametrize("field", ["prompt_logprobs", "echo"])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_nothing_asks_for_figures_of_the_whole_prompt(path: str, field: str) -> None:
    answer = Tenancy(Shelf()).ask(path, {"model": "me", field: 1})
    assert (answer.status, answer.error["param"]) == (400, field)


@pytest.mark.parametrize("fields", [{"response_format": SCHEMA}, {"tools": [TOOL]}])
def test_schemas_are_for_the_operator_to_offer(fields: dict) -> None:
    tenancy = Tenancy(Shelf(), limits=Limits(schemas=True))
    assert tenancy.ask(body={"model": "me", **fields}).status == 200
    ((_, arrived),) = tenancy.server.seen
    assert arrived.items() >= fields.items()


@pytest.mark.parametrize(
    ("path", "given", "arrives"),
    [
        (CHAT, {}, {"max_tokens": 9}),
        (CHAT, {"max_tokens": None}, {"max_tokens": 9}),
        (CHAT, {"max_tokens": 3}, {"max_tokens": 3}),
        (CHAT, {"max_completion_tokens": 3, "max_tokens": None}, {"max_completion_tokens": 3}),
        (COMPLETIONS, {"max_tokens": 9}, {"max_tokens": 9}),
        (COMPLETIONS, {"max_tokens": None}, {}),
    ],
)
def test_no_answer_is_without_a_most(path: str, given: dict, arrives: dict) -> None:
    tenancy = Tenancy(Shelf(), limits=Limits(tokens=9))
    assert tenancy.ask(path, {"model": "me", **given}).status == 200
    ((_, arrived),) = tenancy.server.seen
    assert {name: value for name, value in arrived.items() if name.startswith("max_")} == arrives


@pytest.mark.parametrize("messages", ["text", 1, None, ["text"], [None], {"role": "user"}])
def test_messages_of_another_shape_are_left_to_the_server(messages) -> None:
    tenancy = Tenancy(Shelf())
    assert tenancy.ask(body={"model": "me", "messages": messages}).status == 200


def test_what_both_routes_have_is_not_what_only_one_has() -> None:
    tenancy = Tenancy(Shelf())
    assert tenancy.ask(CHAT, {"model": "me", "prompt": "a"}).error["param"] == "prompt"
    assert tenancy.ask(COMPLETIONS, {"model": "me", "messages": []}).error["param"] == "messages"
