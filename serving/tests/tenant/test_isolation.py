"""The promise of the tenant layer: whatever is sent, what arrives is the caller's own."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from asgi import BASE, SECRET, Shelf, Tenancy
from perce_serving.tenant.fields import DROPPED, FORWARDED
from perce_serving.tenant.models import cache_salt
from perce_serving.tenant.routes import Route
from perce_serving.users import adapter_name

OLD, NEW, BOBS = ("0" * 64, "1" * 64, "2" * 64)
SHELF = {"ann": [OLD, NEW], "bob": [BOBS]}
OWN = {
    "ann": {adapter_name("ann", OLD), adapter_name("ann", NEW)},
    "bob": {adapter_name("bob", BOBS)},
}

names = st.sampled_from(
    ["me", "ME", " me", "me\0", "", BASE, "ann", "bob", "user-bob", "../bob", "/etc", "http://x/y"]
) | st.sampled_from(sorted(OWN["ann"] | OWN["bob"])).flatmap(
    lambda name: st.sampled_from(
        [name, name.upper(), f"{name} ", f" {name}", f"./{name}", name.replace("@", "%40"),
         name.replace("a", "%61", 1), f"{name}@{OLD}", name.split("@")[0]]
    )
)  # fmt: skip
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=8) | names
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "cache_salt", "text", "type"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
# What vLLM 0.32 reads beyond the list: each would name somebody else's, or reach past the caller.
REACHING = [
    "cache_salt", "kv_transfer_params", "ec_transfer_params", "vllm_xargs", "request_id",
    "session_id", "previous_response_id", "priority", "chat_template", "chat_template_kwargs",
    "documents", "prompt_embeds", "mm_processor_kwargs", "media_io_kwargs", "structured_outputs",
    "use_beam_search", "lora_request", "lora_name", "lora_path", "adapter", "perce", "Model",
]  # fmt: skip
known = sorted(FORWARDED[Route.CHAT] | FORWARDED[Route.COMPLETIONS])
bodies = st.builds(
    lambda fields, model: {**fields, "model": model},
    st.dictionaries(
        st.sampled_from(known) | st.sampled_from([*DROPPED, *REACHING]), values, max_size=3
    ),
    st.just("me") | names | values,
)


@given(
    caller=st.sampled_from(["ann", "bob"]),
    path=st.sampled_from([Route.CHAT.path, Route.COMPLETIONS.path]),
    body=bodies,
)
@example(caller="ann", path=Route.CHAT.path, body={"model": "me", "cache_salt": "bob's"})
@example(caller="ann", path=Route.CHAT.path, body={"model": adapter_name("bob", BOBS)})
@example(caller="ann", path=Route.CHAT.path, body={"model": ["me", adapter_name("bob", BOBS)]})
def test_what_arrives_is_the_callers_own(caller: str, path: str, body: dict) -> None:
    tenancy = Tenancy(Shelf(**SHELF))
    answer = tenancy.ask(path, body, key=caller)
    assert tenancy.gate.in_use() == frozenset()
    # The store is never asked about anybody else, so not even time tells who there is.
    assert set(tenancy.shelf.asked) <= {caller}
    if answer.status != 200:
        assert tenancy.server.seen == []
        assert answer.status in (400, 404)
        return
    ((scope, arrived),) = tenancy.server.seen
    assert arrived["model"] in OWN[caller]
    assert arrived["cache_salt"] == cache_salt(SECRET, caller)
    assert arrived.keys() <= FORWARDED[Route.CHAT] | FORWARDED[Route.COMPLETIONS] | {
        "model",
        "cache_salt",
    }
    assert not arrived.keys() & (set(REACHING) - {"cache_salt"})
    assert scope["path"] == path


@given(st.data())
def test_every_field_that_is_not_in_the_list_is_refused_by_name(data: st.DataObject) -> None:
    route = data.draw(st.sampled_from([Route.CHAT, Route.COMPLETIONS]))
    harmless = FORWARDED[route] | DROPPED | {"model"}
    field = data.draw(
        (st.text(max_size=20) | st.sampled_from(REACHING)).filter(lambda name: name not in harmless)
    )
    tenancy = Tenancy(Shelf(**SHELF))
    answer = tenancy.ask(route.path, {"model": "me", field: "x"})
    assert (answer.status, answer.error["code"]) == (400, "field")
    assert answer.error["param"] == field
    assert tenancy.server.seen == []


def test_the_salt_differs_by_user_and_by_secret_and_is_one_that_vllm_takes() -> None:
    salts = {cache_salt(SECRET, "ann"), cache_salt(SECRET, "bob"), cache_salt(b"t" * 32, "ann")}
    assert len(salts) == 3
    for salt in salts:
        assert len(salt) <= 128
        assert not set("@/\\\0") & set(salt)


def test_another_users_adapter_and_one_that_never_was_are_told_in_the_same_words() -> None:
    tenancy = Tenancy(Shelf(**SHELF))
    there, absent = (
        tenancy.ask(body={"model": adapter_name("bob", version)}) for version in (BOBS, "9" * 64)
    )
    assert there.status == absent.status == 404
    assert there.body.replace(BOBS.encode(), b"") == absent.body.replace(b"9" * 64, b"")


def test_all_of_a_list_of_models_shows_is_the_callers() -> None:
    tenancy = Tenancy(Shelf(**SHELF))
    for caller in ("ann", "bob"):
        answer = tenancy.ask("/v1/models", key=caller, method="GET")
        ids = [model["id"] for model in json.loads(answer.body)["data"]]
        assert ids == ["me", *(adapter_name(caller, version) for version in SHELF[caller][::-1])]
    assert tenancy.server.seen == []


def test_headers_that_choose_a_replica_a_priority_or_anothers_request_do_not_arrive() -> None:
    tenancy = Tenancy(Shelf(**SHELF))
    reaching = [b"X-Request-Id", b"x-session-id", b"X-Vllm-Priority", b"X-data-parallel-rank"]
    tenancy.ask(
        headers=[
            (b"content-type", b"application/json"),
            (b"user-agent", b"mine"),
            *((name, b"1") for name in reaching),
        ]
    )
    ((scope, _),) = tenancy.server.seen
    arrived = dict(scope["headers"])
    assert arrived.keys() == {b"user-agent", b"content-type", b"content-length"}
    assert scope["query_string"] == b""
