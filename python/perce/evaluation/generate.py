"""Greedy generations for prepared records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from perce.modeling.modes import evaluation_mode
from perce.tokens import PreparedData

DEFAULT_NEW_TOKENS = 256

Progress = Callable[[int, int], None]
"""Called with the records done and the records there are."""


def generate_responses(
    model: Any,
    tokenizer: Any,
    data: PreparedData,
    records: Sequence[int],
    *,
    max_new_tokens: int = DEFAULT_NEW_TOKENS,
    batch_size: int = 8,
    with_profile: bool = True,
    progress: Progress | None = None,
) -> list[str]:
    """Generate a response to each record's prompt, greedily.

    Prompts are padded on the left, so that every response starts right after its prompt; those of
    like length share a batch.

    Args:
        model: causal LM of transformers, PEFT-wrapped or not, on the device to use.
        tokenizer: the model's; decodes, and lends its padding token.
        data: prepared data.
        records: indices into ``data``.
        max_new_tokens: most tokens of a response.
        batch_size: prompts at once.
        with_profile: show the user's profile in the prompt.
        progress: called after each batch.

    Returns:
        One text a record, in the order of ``records``, without special tokens.
    """
    from transformers import GenerationConfig

    end = int(data.template.end_token_ids[-1])
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    # A configuration of our own: the model's may sample.
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=end,
        pad_token_id=pad,
    )
    prompts = [
        record.prefix_with_ids if with_profile else record.prefix_without_ids
        for record in map(data.record, records)
    ]
    texts = [""] * len(prompts)
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    device = next(model.parameters()).device
    with evaluation_mode(model), torch.no_grad():
        for start in range(0, len(by_length), batch_size):
            batch = by_length[start : start + batch_size]
            width = max(len(prompts[i]) for i in batch)
            ids = torch.full((len(batch), width), pad, dtype=torch.int64)
            mask = torch.zeros_like(ids)
            for row, i in enumerate(batch):
                ids[row, width - len(prompts[i]) :] = torch.from_numpy(prompts[i].astype("int64"))
                mask[row, width - len(prompts[i]) :] = 1
            out = model.generate(
                input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=config
            )
            for row, i in enumerate(batch):
                response = out[row, width:].tolist()
                if end in response:
                    response = response[: response.index(end)]
                texts[i] = tokenizer.decode(response, skip_special_tokens=True).strip()
            if progress is not None:
                progress(start + len(batch), len(by_length))
    return texts
