"""``perce-serve`` end to end, with vLLM on the CPU: one start, stock clients, a store that changes.

Answers name the version that gave them in their field ``model``.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="make test-serving has it")

import openai

from engine.site_of_tests import Site, say, until
from engine.tiny_models import CONTEXT
from perce_serving.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from perce_serving.users import adapter_name

# transformers and peft deprecate things of each other's.
pytestmark = pytest.mark.filterwarnings("default")


def content(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def test_the_stock_client_works_streaming_too(site: Site) -> None:
    version = site.publish("ann", 1)
    ann = site.client("ann")
    whole = say(ann)
    assert whole.model == adapter_name("ann", version)
    assert whole.usage.completion_tokens == 12
    with say(ann, stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == content(whole)
    assert len(pieces) > 2
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    prompt = ann.completions.create(model="me", prompt="hello", max_tokens=3)
    assert prompt.model == adapter_name("ann", version)
    assert [model.id for model in ann.models.list()] == ["me", adapter_name("ann", version)]


def test_each_user_gets_their_own_and_nobody_elses(site: Site) -> None:
    names = {user: adapter_name(user, site.publish(user, seed)) for user, seed in USERS.items()}
    clients = {user: site.client(user) for user in (*USERS, "nobody")}
    answers = {user: say(client) for user, client in clients.items()}
    assert {user: answers[user].model for user in USERS} == names
    assert answers["nobody"].model == "tiny"
    assert len({content(answer) for answer in answers.values()}) == len(answers)
    for asked in (names["bob"], "tiny", "user-bob@me", str(site.model), "../store"):
        with pytest.raises(openai.NotFoundError):
            say(clients["ann"], model=asked)
    with pytest.raises(openai.AuthenticationError):
        say(openai.OpenAI(base_url=f"{site.url}/v1", api_key="perce-none", max_retries=0))


USERS = {"ann": 1, "bob": 2}


def test_the_routes_that_runtime_loading_opens_are_closed(site: Site) -> None:
    body = json.dumps({"lora_name": "x", "lora_path": str(site.adapter(1))}).encode()
    for key in (site.operator, site.client("ann").api_key):
        for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/invocations"):
            assert site.ask(path, method="POST", key=key, body=body)[0] == 404


def test_a_new_version_is_the_next_requests_while_the_old_one_finishes(site: Site) -> None:
    old = site.publish("eve", 3)
    eve = site.client("eve")
    wanted = say(eve, max_tokens=1500, extra_body={"ignore_eos": True})
    assert wanted.model == adapter_name("eve", old)
    site.adapter(4)  # made now: while the stream runs, nothing is to take long

    ended = threading.Event()
    chunks: list[Any] = []
    with say(eve, max_tokens=1500, extra_body={"ignore_eos": True}, stream=True) as stream:
        chunks.append(next(stream))

        def read() -> None:
            chunks.extend(stream)
            ended.set()

        reading = threading.Thread(target=read)
        reading.start()
        new = site.publish("eve", 4)
        assert say(eve).model == adapter_name("eve", new)
        site.store.rollback("eve")
        assert say(eve).model == adapter_name("eve", old)
        site.store.rollback("eve", to=new)
        site.store.retire("eve", old)
        assert say(eve).model == adapter_name("eve", new)
        with pytest.raises(openai.NotFoundError):
            say(eve, model=adapter_name("eve", old))
        if ended.is_set():
            pytest.fail("the stream was over too soon to show anything: have it longer")
        reading.join()
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert {chunk.model for chunk in chunks} == {adapter_name("eve", old)}
    assert text == content(wanted)
    # With the last request for it, the version goes.
    until(lambda: [kept.version for kept in site.store.versions("eve")] == [new])


def damage(site: Site, kind: str, folder: Path) -> Path:
    """Copy an adapter with one fault that vLLM alone would serve, or fail on."""
    folder.mkdir()
    config = json.loads((site.adapter(5) / CONFIG_FILE).read_text())
    weights = bytearray((site.adapter(5) / WEIGHTS_FILE).read_bytes())
    if kind == "not a number":
        weights[-4:] = b"\x00\x00\xc0\x7f"
    elif kind == "truncated":
        del weights[-100:]
    elif kind == "another base":
        config["base_model_name_or_path"] = "Org/Other"
    elif kind == "DoRA":
        config["use_dora"] = True
    elif kind == "another rank":
        config["r"] = 4
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    (folder / WEIGHTS_FILE).write_bytes(weights)
    return folder


def exact(client: openai.OpenAI) -> tuple[str, list[float]]:
    """What a user is answered, and how probable each token was, to the last bit."""
    answer = say(client, "what do I like?", logprobs=True)
    return content(answer), [token.logprob for token in answer.choices[0].logprobs.content]


@pytest.mark.parametrize(
    "kind", ["not a number", "truncated", "another base", "DoRA", "another rank"]
)
def test_a_bad_adapter_is_a_404_and_its_neighbours_notice_nothing(
    kind: str, site: Site, tmp_path: Path
) -> None:
    for user, seed in USERS.items():
        site.publish(user, seed)
    neighbours = [site.client(user) for user in USERS]
    before = [exact(client) for client in neighbours]
    site.store.publish("bad", damage(site, kind, tmp_path / "bad"), check=lambda folder: None)
    bad = site.client("bad")
    for _ in range(2):
        with pytest.raises(openai.NotFoundError):
            say(bad)
        assert [exact(client) for client in neighbours] == before
    assert site.get("/health")[0] == 200


def test_a_version_that_is_evicted_retired_and_gone_does_not_kill_the_engine(site: Site) -> None:
    old = site.publish("gus", 6)
    gus = site.client("gus")
    say(gus)
    evicted = series(site, "perce_adapter_evictions_total")
    for user, seed in USERS.items():  # as many as the engine has room for
        site.publish(user, seed)
        say(site.client(user))
    until(lambda: series(site, "perce_adapter_evictions_total") > evicted)
    new = site.publish("gus", 7)
    site.store.retire("gus", old)
    until(lambda: [kept.version for kept in site.store.versions("gus")] == [new])
    with pytest.raises(openai.NotFoundError):
        say(gus, model=adapter_name("gus", old))
    assert say(gus).model == adapter_name("gus", new)
    site.store.erase("gus")
    assert say(gus).model == "tiny"
    until(lambda: "gus" not in site.store.users())
    assert site.get("/health")[0] == 200


def cached(answer: Any) -> int:
    details = answer.usage.prompt_tokens_details
    return 0 if details is None else int(details.cached_tokens or 0)


def test_the_prefix_cache_is_nobody_elses(site: Site) -> None:
    """Neither on the base model nor on one's own adapter does another's prompt show."""
    prompt = "my own words, long enough for blocks of the cache; " * 10
    assert len(prompt) < CONTEXT // 2
    site.publish("ann", 1)
    for first, second in (("hal", "ida"), ("ann", "hal")):
        one, two = site.client(first), site.client(second)
        assert cached(say(one, first + prompt)) == 0
        assert cached(say(one, first + prompt)) > 0
        assert cached(say(two, first + prompt)) == 0


def test_the_operator_sees_figures_and_no_users(site: Site) -> None:
    site.publish("ann", 1)
    say(site.client("ann"))
    status, text = site.get("/metrics")
    assert status == 200
    for name in (
        "perce_adapters_resident",
        'perce_adapter_loads_total{result="loaded"}',
        "perce_gate_wait_seconds_count",
        "perce_adapters_collected_total",
        "vllm:generation_tokens_total",
    ):
        assert name in text
    assert "user-" not in text
    assert site.ask("/metrics", method="GET", key=site.client("ann").api_key)[0] == 404


def series(site: Site, name: str) -> float:
    (line,) = [line for line in site.get("/metrics")[1].splitlines() if line.startswith(name + " ")]
    return float(line.split()[-1])
