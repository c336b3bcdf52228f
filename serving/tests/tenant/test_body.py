"""Bodies: bounded, strict, and read as any JSON parser would."""

from __future__ import annotations

import asyncio
import json
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgi import Shelf, Tenancy, refusal
from perce_serving.errors import RequestError
from perce_serving.tenant.body import MAX_CONTAINERS, MAX_DEPTH, parse, read, write
from perce_serving.tenant.limits import Limits

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(texts, values, max_size=5)
JSON = (b"content-type", b"application/json")


@given(objects, st.booleans())
def test_what_is_written_is_what_was_read(content: dict, ascii_only: bool) -> None:
    assert parse(json.dumps(content, ensure_ascii=ascii_only).encode()) == content
    assert parse(write(content)) == content


@given(
    st.binary(max_size=60)
    | st.text('{}[]",:0123456789.eE+-truefalsn\\u d8', max_size=60).map(str.encode)
    | st.builds(
        lambda content, at, byte: content[:at] + bytes([byte]) + content[at + 1 :],
        objects.map(json.dumps).map(str.encode),
        st.integers(0, 60),
        st.integers(0, 255),
    )
)
@example(b'{"a": 1e999}')
@example(b'{"a": "\\ud800"}')
def test_any_bytes_are_read_strictly_or_refused(body: bytes) -> None:
    refused = refusal(lambda: write(parse(body)))
    if refused is None:
        assert json.loads(write(parse(body))) == json.loads(body)
    else:
        assert refused.code == "body"
        assert "\n" not in str(refused)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"model=me", "not JSON"),
        (b'{"model": "me"} {}', "not JSON"),
        (b'{"model": "me"', "not JSON"),
        (b"{'model': 'me'}", "not JSON"),
        (b'\xef\xbb\xbf{"model": "me"}', "not JSON"),
        ('{"model": "me"}'.encode("utf-16"), "not UTF-8"),
        (b'{"model": "me\xff"}', "not UTF-8"),
        (b'["model"]', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"model": "me", "model": "user-bob"}', "'model' appears twice"),
        (b'{"model": "me", "\\u006dodel": "user-bob"}', "'model' appears twice"),
        (b'{"model": "me", "messages": [{"role": "a", "role": "b"}]}', "'role' appears twice"),
        (b'{"model": "me", "top_p": NaN}', "NaN is not JSON"),
        (b'{"model": "me", "top_p": -Infinity}', "-Infinity is not JSON"),
        (b'{"model": "me", "top_p": 1e999}', "too large"),
        (b'{"model": "me", "seed": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b'{"model": "me", "stop": "\\ud800"}', "surrogate"),
        (b'{"model": "me", "stop": ' + b"[" * 100 + b"]" * 100 + b"}", "levels"),
        (b'{"model": "me", "stop": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "levels"),
        (b'{"a":' * 40_000, "levels"),
        (b'{"a":[' + b"{}," * 80_000 + b"{}]}", "objects and lists"),
        (b'{"a":[' + b"[]," * 80_000 + b"[]]}", "objects and lists"),
    ],
)
def test_a_body_that_two_parsers_may_read_differently_is_refused(body: bytes, says: str) -> None:
    tenancy = Tenancy(Shelf())
    answer = tenancy.ask(chunks=[body])
    assert (answer.status, answer.error["code"]) == (400, "body")
    assert says in answer.error["message"]
    assert tenancy.server.seen == []


def test_as_deep_as_may_be_passes_and_one_deeper_does_not() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    parse(nested(MAX_DEPTH))
    # As many brackets, but side by side.
    parse(b'{"a":[' + b",".join([b"{}"] * 1000) + b"]}")
    with pytest.raises(RequestError, match="levels"):
        parse(nested(MAX_DEPTH + 1))


def test_as_many_objects_and_lists_as_may_be_pass_and_braces_in_a_text_are_none() -> None:
    for item in (b"{}", b"[]"):
        for items, says in ((MAX_CONTAINERS - 2, None), (MAX_CONTAINERS - 1, "objects and lists")):
            body = b'{"a":[' + b",".join([item] * items) + b"]}"
            refused = refusal(lambda body=body: parse(body))
            assert refused is None if says is None else says in str(refused)
    parse(json.dumps({"prompt": "{[" * 50_000}).encode())


def test_an_answer_is_short_however_long_the_key_that_appears_twice() -> None:
    key = b'"' + b"\x7f" * 100_000 + b'"'
    answer = Tenancy(Shelf()).ask(chunks=[b"{" + key + b":1," + key + b":2}"])
    assert answer.status == 400
    assert len(answer.body) < 2000


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([], 415, "media"),
        ([(b"content-type", b"text/plain")], 415, "media"),
        ([(b"content-type", b"multipart/form-data; boundary=application/json")], 415, "media"),
        ([(b"content-type", b"application/x-www-form-urlencoded")], 415, "media"),
        ([JSON, JSON], 400, "header"),
        ([JSON, (b"Content-Encoding", b"gzip")], 415, "media"),
        ([JSON, (b"content-encoding", b"identity")], 415, "media"),
        ([JSON, (b"content-length", b"16")], 400, "header"),
        ([JSON, (b"content-length", b"14")], 400, "header"),
        ([JSON, (b"content-length", b"-1")], 400, "header"),
        ([JSON, (b"content-length", b"+15")], 400, "header"),
        ([JSON, (b"content-length", b"\xd9\xa1\xd9\xa5")], 400, "header"),
        ([JSON, (b"content-length", b"15"), (b"Content-Length", b"15")], 400, "header"),
        ([JSON, (b"content-length", b"104857600")], 413, "size"),
        ([JSON, (b"content-length", b"9" * 10_000)], 413, "size"),
        ([JSON, (b"content-length", b"15")], 200, None),
        ([(b"Content-Type", b"Application/JSON; charset=utf-8")], 200, None),
    ],
)
def test_what_headers_say_of_the_body(headers, status: int, code: str | None) -> None:
    tenancy = Tenancy(Shelf())
    answer = tenancy.ask(chunks=[b'{"model": "me"}'], headers=headers)
    assert answer.status == status
    if code is not None:
        assert answer.error["code"] == code
    assert len(tenancy.server.seen) == (code is None)


@given(st.lists(st.binary(max_size=5), max_size=8))
def test_chunks_of_any_size_make_one_body(cuts: list[bytes]) -> None:
    body = json.dumps({"model": "me", "stop": [cut.hex() for cut in cuts]}).encode()
    chunks = [body[at : at + 7] for at in range(0, len(body), 7)]
    tenancy = Tenancy(Shelf())
    assert tenancy.ask(chunks=[b"", *chunks, b""]).status == 200
    ((scope, arrived),) = tenancy.server.seen
    assert arrived["stop"] == [cut.hex() for cut in cuts]
    written = dict(scope["headers"])
    assert written[b"content-type"] == b"application/json"
    assert int(written[b"content-length"]) == len(write(arrived))


def test_a_hundred_megabytes_in_chunks_are_refused_without_being_held() -> None:
    tenancy = Tenancy(Shelf(), limits=Limits(body_bytes=1 << 16, rate=1e6, burst=1e6))
    chunk = b" " * (1 << 14)
    sent = 0

    def endless():
        nonlocal sent
        while sent < 100 << 20:
            sent += len(chunk)
            yield chunk

    tracemalloc.start()
    try:
        answer = tenancy.ask(chunks=endless())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, answer.error["code"]) == (413, "size")
    assert sent <= (1 << 16) + len(chunk)
    assert peak < 1 << 20


def test_a_body_in_tiny_chunks_is_held_once() -> None:
    text = json.dumps({"model": "me", "prompt": "a" * 100_000}).encode()
    pieces = iter(range(0, len(text), 2))

    async def receive() -> dict:
        at = next(pieces)
        return {"type": "http.request", "body": text[at : at + 2], "more_body": at + 2 < len(text)}

    tracemalloc.start()
    try:
        assert asyncio.run(read(receive, [JSON], limit=1 << 18, seconds=1e6)) == text
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(text)


def test_exactly_as_many_bytes_as_may_be_pass() -> None:
    body = b'{"model": "me"}'
    for limit, status in ((len(body), 200), (len(body) - 1, 413)):
        tenancy = Tenancy(Shelf(), limits=Limits(body_bytes=limit, rate=1e6, burst=1e6))
        assert tenancy.ask(chunks=[body]).status == status
