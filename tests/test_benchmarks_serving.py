"""The parts of the serving benchmark that need no server: what it asks, and when."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import math
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perce_serving.validate import BaseModel, Validator

ROOT = Path(__file__).resolve().parent.parent


def _module(path: str) -> ModuleType:
    """A file outside the packages; their folders on the path would hide other tests' helpers."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


load = _module("benchmarks/serving_load.py")
models = _module("benchmarks/serving_models.py")
simulate = _module("serving/tests/simulation.py").simulate


def request(user: str = "ann", tokens: int = 2) -> Any:
    return load.Request(model="me", key=user, prompt=[5], tokens=tokens)


class Server:
    """Answers after a second, with a token a second, and remembers who was in flight together."""

    def __init__(self, *, broken: str | None = None, short: bool = False) -> None:
        self.broken = broken
        self.short = short
        self.running: Counter[str] = Counter()
        self.seen: list[tuple[str, float, dict[str, int]]] = []

    async def __call__(self, asked: Any) -> AsyncIterator[dict[str, Any]]:
        self.running[asked.key] += 1
        self.seen.append((asked.key, asyncio.get_running_loop().time(), dict(self.running)))
        try:
            if asked.key == self.broken:
                raise load.BrokenError("500: no more")
            given = asked.tokens - self.short
            for _ in range(given):
                await asyncio.sleep(1)
                yield {"choices": [{"text": "w"}]}
            yield {"choices": [], "usage": {"completion_tokens": given}}
        finally:
            self.running[asked.key] -= 1


@given(st.lists(st.floats(0, 1e6) | st.just(math.inf), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_the_least_that_so_many_are_within(
    values: list[float], share: float
) -> None:
    found = load.percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


@given(st.integers(1, 9), st.integers(0, 40))
def test_in_turn_is_even(names: int, count: int) -> None:
    users = [str(number) for number in range(names)]
    turns = list(load.in_turn(users, count))
    assert len(turns) == count
    often = Counter(turns)
    assert max(often[user] for user in users) - min(often[user] for user in users) <= 1
    assert list(itertools.islice(load.in_turn(users), count)) == turns


def test_prompts_differ_and_can_be_had_again() -> None:
    drawn = [list(itertools.islice(load.prompts(1000, 8), 50)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(map(tuple, drawn[0]))) == 50
    assert all(3 <= token < 1000 for prompt in drawn[0] for token in prompt)


def test_an_answer_has_its_times() -> None:
    answer = simulate(load.ask(Server(), request(tokens=3), longest=2))
    assert (answer.wait, answer.end - answer.begin, answer.tokens) == (1, 3, 3)
    assert load.whole(answer) is answer


@pytest.mark.parametrize(
    ("server", "longest", "error", "seconds"),
    [
        (Server(), 0.5, "no token within 0.5 s", 0.5),
        (Server(broken="ann"), math.inf, "500: no more", 0),
        (Server(short=True), math.inf, "1 tokens, not 2", 1),
    ],
)
def test_what_is_not_whole_is_no_answer(
    server: Server, longest: float, error: str, seconds: float
) -> None:
    answer = simulate(load.ask(server, request(), longest=longest))
    assert (answer.error, answer.end - answer.begin) == (error, seconds)
    with pytest.raises(load.BrokenError, match=error):
        load.whole(answer)


def test_callers_ask_without_a_pause_and_no_more_of_them() -> None:
    server = Server()
    answers = simulate(load.keep_busy(server, (request() for _ in range(7)), callers=3))
    assert len(answers) == 7
    assert [time for _, time, _ in server.seen] == [0, 0, 0, 2, 2, 2, 4]
    assert max(running["ann"] for _, _, running in server.seen) == 3


def test_callers_stop_when_time_is_up() -> None:
    server = Server()
    endless = (request() for _ in itertools.count())
    answers = simulate(load.keep_busy(server, endless, callers=2, seconds=5))
    assert len(answers) == len(server.seen) == 6  # those that had begun are answered
    assert max(answer.end for answer in answers) == 6


def cold_waits(server: Server) -> list[Any]:
    hot = [map(request, itertools.repeat(user)) for user in ("hot0", "hot1")]
    cold = [request(f"cold{number}") for number in range(3)]
    return simulate(load.cold_waits(server, hot, cold, callers=2, every=1.5, longest=9))


def test_hot_users_are_busy_whenever_a_cold_one_comes() -> None:
    server = Server()
    answers = cold_waits(server)
    came = {user: (at, running) for user, at, running in server.seen if user.startswith("cold")}
    assert [came[f"cold{number}"][0] for number in range(3)] == [1.5, 3.0, 4.5]
    assert all(running["hot0"] == running["hot1"] == 2 for _, running in came.values())
    assert [answer.wait for answer in answers] == [1, 1, 1]
    assert server.running.total() == 0


def test_a_hot_user_s_failure_is_no_measurement() -> None:
    with pytest.raises(ExceptionGroup):
        cold_waits(Server(broken="hot1"))


def test_a_cold_user_s_failure_is_told() -> None:
    answers = cold_waits(Server(broken="cold1"))
    assert [answer.error for answer in answers] == [None, "500: no more", None]
    assert answers[1].wait == math.inf


def test_adapters_are_what_a_server_takes_and_differ(tmp_path: Path) -> None:
    base = BaseModel.read(models.write_model(tmp_path / "base", layers=10, quick=True))
    folders = [
        models.write_adapter(tmp_path / str(number), base.name, base.layers, seed=seed)
        for number, seed in enumerate([1, 1, 2])
    ]
    weights = []
    for folder in folders:
        Validator(base, max_rank=models.RANK).check(folder)
        weights.append((folder / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_the_adapters_change_what_the_model_says(tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = models.write_model(tmp_path / "base", layers=10, quick=True)
    base = BaseModel.read(folder)
    adapter = models.write_adapter(tmp_path / "adapter", base.name, base.layers, seed=1)
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder)("w5 w6 w7")["input_ids"]])
    assert ids.tolist() == [[8, 9, 10]]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        before = model(ids).logits
        after = PeftModel.from_pretrained(model, adapter)(ids).logits
    assert not torch.equal(before, after)
    assert torch.isfinite(after).all()
