"""Routes: an exact list, and no spelling of anything else that gets through."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi import Shelf, Tenancy
from perce_serving.tenant.routes import OPERATOR_ROUTES, USER_ROUTES, Route

# What vLLM 0.32 answers and nobody gets at, but for the operator's few.
OTHERS = [
    "/ping",
    "/invocations",
    "/tokenize",
    "/detokenize",
    "/tokenizer_info",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/responses",
    "/v1/responses/resp_1",
    "/v1/responses/resp_1/cancel",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/chat/completions/batch",
    "/v1/chat/completions/render",
    "/v1/chat/completions/derender",
    "/v1/completions/render",
    "/v1/completions/derender",
    "/v1/messages/render",
    "/v1/responses/render",
    "/inference/v1/generate",
    "/v1/embeddings",
    "/v2/embed",
    "/pooling",
    "/classify",
    "/score",
    "/v1/score",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/generative_scoring",
    "/v1/systemone",
    "/cohere/v2/chat",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/start_profile",
    "/stop_profile",
    "/fault_tolerance/apply",
    "/scale_elastic_ep",
    "/is_scaling_elastic_ep",
    "/server_info",
    "/reset_prefix_cache",
    "/collective_rpc",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/pause",
    "/resume",
    "/abort_requests",
    "/update_weights",
    "/kv_event_sources",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/",
    "/v1",
    "/v1/models/me",
]


@st.composite
def disguises(draw: st.DrawFn) -> str:
    """A path like one of the list, spelled otherwise."""
    path = draw(st.sampled_from([route.path for route in Route] + OTHERS))
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, len(path)))
        insert = draw(
            st.sampled_from(
                ["/", "//", ".", "/.", "/..", "/../", ";", ";x=1", " ", "\t", "\0", "\n", "?", "#",
                 "%2f", "%2F", "%2e", "%00", "\\", "é", "&", ":", "http://x"]
            )
        )  # fmt: skip
        path = path[:position] + insert + path[position:]
    if draw(st.booleans()):
        position = draw(st.integers(0, len(path) - 1))
        path = path[:position] + path[position].swapcase() + path[position + 1 :]
    return path


@given(
    path=disguises() | st.text(max_size=30).map("/{}".format),
    method=st.sampled_from(
        ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "get", "PATCH", "TRACE"]
    ),
    key=st.sampled_from(["ann", "root"]),
    encoded=st.booleans(),
)
def test_only_the_list_gets_through(path: str, method: str, key: str, encoded: bool) -> None:
    """As servers do, the path is handed over decoded, and as sent."""
    raw = quote(path, safe="/%") if encoded else path
    tenancy = Tenancy(Shelf())
    answer = tenancy.ask(
        unquote(raw), key=key, method=method, raw_path=raw.encode("utf-8", "surrogatepass")
    )
    allowed = OPERATOR_ROUTES if key == "root" else USER_ROUTES
    if (method, path) in {route.value for route in allowed}:
        assert answer.status == 200
    else:
        assert answer.status in (404, 405)
        assert tenancy.server.seen == []


@pytest.mark.parametrize("path", OTHERS)
@pytest.mark.parametrize("key", ["ann", "root"])
def test_what_else_vllm_answers_does_not_exist(path: str, key: str) -> None:
    tenancy = Tenancy(Shelf())
    for method in ("GET", "POST"):
        assert tenancy.ask(path, key=key, method=method).status == 404
    assert tenancy.server.seen == []


@pytest.mark.parametrize(
    "target",
    [
        b"/V1/chat/completions",
        b"//v1/chat/completions",
        b"/v1//chat/completions",
        b"/v1/chat/completions/",
        b"/v1/chat/completions.",
        b"/v1/chat/completions;x=1",
        b"/v1/./chat/completions",
        b"/x/../v1/chat/completions",
        b"/v1%2Fchat/completions",
        b"/%76%31/chat/completions",
        b"/v1/chat/completions%00",
        b"/v1/chat/completions%20",
        b"http://server/v1/chat/completions",
        b"*",
        b"",
    ],
)
def test_a_known_path_spelled_otherwise_is_none(target: bytes) -> None:
    tenancy = Tenancy(Shelf())
    path = unquote(target.decode())
    answer = tenancy.ask(path, raw_path=target)
    assert (answer.status, answer.error["code"]) == (404, "route")
    assert tenancy.server.seen == []


@pytest.mark.parametrize("path", ["/prefix/v1/chat/completions", "/v1/chat/completions"])
def test_a_prefix_of_the_server_is_taken_off_and_not_passed_on(path: str) -> None:
    tenancy = Tenancy(Shelf())
    for prefix in ("/prefix", "/prefix/"):
        assert tenancy.ask(path, root_path=prefix).status == 200
    for scope, _ in tenancy.server.seen:
        assert scope["path"] == "/v1/chat/completions"
        assert scope["raw_path"] == b"/v1/chat/completions"
        assert scope["root_path"] == ""


@pytest.mark.parametrize(
    "path", ["/prefixv1/chat/completions", "/prefix/prefix/v1/chat/completions"]
)
def test_what_only_resembles_the_prefix_is_no_route(path: str) -> None:
    assert Tenancy(Shelf()).ask(path, root_path="/prefix").status == 404


def test_a_known_path_by_another_method_says_which() -> None:
    answer = Tenancy(Shelf()).ask(method="GET")
    assert (answer.status, answer.error["code"]) == (405, "method")
    assert "POST" in answer.error["message"]


def test_operators_and_users_see_each_others_routes_no_more_than_unknown_ones() -> None:
    tenancy = Tenancy(Shelf())
    unknown = tenancy.ask("/nothing").body
    for route in OPERATOR_ROUTES - USER_ROUTES:
        assert tenancy.ask(route.path, method="GET").body == unknown
    for route in USER_ROUTES - OPERATOR_ROUTES:
        assert tenancy.ask(route.path, key="root").body == unknown
    assert tenancy.server.seen == []


def test_an_operator_gets_at_the_servers_own_answers() -> None:
    tenancy = Tenancy(Shelf(ann=["0" * 64]))
    for route in sorted(OPERATOR_ROUTES, key=str):
        answer = tenancy.ask(route.path, key="root", method="GET")
        assert answer.status == 200
        assert answer.headers == {b"x-a": b"1"}
    assert len(tenancy.server.seen) == len(OPERATOR_ROUTES)


def test_no_path_is_twice_in_a_list() -> None:
    for routes in (USER_ROUTES, OPERATOR_ROUTES):
        assert len({route.path for route in routes}) == len(routes)


def test_without_a_key_all_routes_look_alike() -> None:
    tenancy = Tenancy(Shelf())
    answers = {
        tenancy.ask(path, key=key, method=method).body
        for path in ["/health", "/metrics", "/nothing", *(route.path for route in Route)]
        for key in (None, "", "Bearer wrong")
        for method in ("GET", "POST", "OPTIONS")
    }
    assert [json.loads(body)["error"]["code"] for body in answers] == ["key"]
    assert tenancy.server.seen == []
