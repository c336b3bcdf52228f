"""Batched greedy generation against one record at a time, token by token."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from perce.contrast import score_dataset
from perce.evaluation import generate_responses
from perce.tokens import PreparedData
from tiny import tiny_model, tiny_tokenizer


def plain_greedy(
    model: Any, data: PreparedData, record: int, most: int, *, with_profile: bool = True
) -> str:
    """The definition: no padding, no cache, the likeliest token each time."""
    tokenizer = tiny_tokenizer()
    prepared = data.record(record)
    ids = (prepared.prefix_with_ids if with_profile else prepared.prefix_without_ids).tolist()
    start = len(ids)
    for _ in range(most):
        with torch.no_grad():
            likeliest = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if likeliest == data.template.end_token_ids[-1]:
            break
        ids.append(likeliest)
    text: str = tokenizer.decode(ids[start:], skip_special_tokens=True)
    return text.strip()


@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_batches_write_what_single_records_would(data: PreparedData, batch_size: int) -> None:
    model = tiny_model(seed=2)
    records = [7, 0, 3, 11, 19]
    texts = generate_responses(
        model, tiny_tokenizer(), data, records, max_new_tokens=12, batch_size=batch_size
    )
    assert texts == [plain_greedy(model, data, record, 12) for record in records]
    assert len(set(texts)) > 1, "equal texts could not tell a mix-up"


def test_the_profile_can_be_left_out(data: PreparedData) -> None:
    model = tiny_model(seed=2)
    records = [7, 0, 3]

    def texts(with_profile: bool) -> list[str]:
        return generate_responses(
            model, tiny_tokenizer(), data, records, max_new_tokens=8, with_profile=with_profile
        )

    plain = [plain_greedy(model, data, record, 8, with_profile=False) for record in records]
    assert texts(False) == plain
    assert texts(True) != plain


def test_generation_stops_at_the_end_token(data: PreparedData) -> None:
    model = tiny_model()
    end = data.template.end_token_ids[-1]
    with torch.no_grad():
        model.lm_head.weight.zero_()
        bias = torch.zeros(model.lm_head.weight.shape[0])
        bias[end] = 1.0
        model.lm_head.bias = torch.nn.Parameter(bias)
    assert generate_responses(model, tiny_tokenizer(), data, [0, 1], max_new_tokens=5) == ["", ""]


def test_scoring_before_does_not_change_what_is_generated(data: PreparedData) -> None:
    model = tiny_model(seed=2)
    before = generate_responses(model, tiny_tokenizer(), data, [0, 1, 2], max_new_tokens=8)
    score_dataset(model, data)
    assert generate_responses(model, tiny_tokenizer(), data, [0, 1, 2], max_new_tokens=8) == before


def test_progress_and_mode(data: PreparedData) -> None:
    model = tiny_model()
    model.train()
    told: list[tuple[int, int]] = []
    generate_responses(
        model,
        tiny_tokenizer(),
        data,
        [0, 1, 2],
        max_new_tokens=2,
        batch_size=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(2, 3), (3, 3)]
    assert model.training
