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
    known = sorted(FORWARDED[route] - {"n", "messages", "prompt"})
    fields = data.draw(st.dictionaries(st.sampled_from(known), st.integers() | st.text("ab")))
    dropped = data.draw(st.dictionaries(st.sampled_from(sorted(DROPPED)), st.text("ab")))
    tenancy = Tenancy(Shelf())
    assert tenancy.ask(route.path, {"model": "me", **fields, **dropped}).status == 200
    ((_, arrived),) = tenancy.server.seen
    assert arrived.pop("cache_salt") == cache_salt(SECRET, "ann")
    assert arrived.pop("model")
    assert arrived == fields


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


@pytest.mark.parametrize("messages", ["text", 1, None, ["text"], [None], {"role": "user"}])
def test_messages_of_another_shape_are_left_to_the_server(messages) -> None:
    tenancy = Tenancy(Shelf())
    assert tenancy.ask(body={"model": "me", "messages": messages}).status == 200


def test_what_both_routes_have_is_not_what_only_one_has() -> None:
    tenancy = Tenancy(Shelf())
    assert tenancy.ask(CHAT, {"model": "me", "prompt": "a"}).error["param"] == "prompt"
    assert tenancy.ask(COMPLETIONS, {"model": "me", "messages": []}).error["param"] == "messages"
