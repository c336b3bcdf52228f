from __future__ import annotations

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from perce.errors import ModelError
from perce.modeling.attention import (
    PACKED_ATTENTION,
    _fits_varlen,
    packed_attention,
    packed_attention_forward,
    packed_inputs,
    use_packed_attention,
    without_mask,
)
from perce.pairs import PairLoader
from tiny import WINDOW, random_store, tiny_model, unpacked_logp

FAMILIES = ("llama", "qwen3", "gemma3", "gpt2", "mistral")
LENGTHS = [(WINDOW + 9, 3, 5), (1, 1, 1), (4, 2, WINDOW + 3), (2, 2, 7)]


def batch_of(lengths: list[tuple[int, int, int]], seed: int = 0):
    store = random_store(lengths, seed=seed)
    (batch,) = PairLoader(store, packing=False, per_device_train_batch_size=99, shuffle=False)
    return batch


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mask", ["none", "dense"])
def test_packed_rows_equal_single_ones(family: str, mask: str) -> None:
    model = tiny_model(family)
    stream = batch_of(LENGTHS).with_profile
    with torch.no_grad():
        expected = unpacked_logp(model, stream)
        use_packed_attention(model)
        if mask == "none":
            with without_mask():
                logits = model(**packed_inputs(stream)).logits[0]
        else:
            logits = model(**packed_inputs(stream)).logits[0]
    got = logits.log_softmax(-1)[stream.rows, stream.input_ids[stream.rows + 1]]
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=0)
    mixed = logits.log_softmax(-1)[stream.rows - 1, stream.input_ids[stream.rows + 1]]
    assert (mixed - expected).abs().max() > 1e-2


@given(
    lengths=st.lists(
        st.tuples(st.integers(1, 20), st.integers(1, 5), st.integers(1, 9)), min_size=1, max_size=5
    ),
    seed=st.integers(0, 9),
)
def test_no_segment_sees_another(lengths: list[tuple[int, int, int]], seed: int) -> None:
    model = tiny_model("gemma3")
    use_packed_attention(model)
    stream = batch_of(lengths, seed).with_profile
    with torch.no_grad():
        expected = unpacked_logp(model, stream)
        with without_mask():
            got = model(**packed_inputs(stream)).logits[0].log_softmax(-1)
    got = got[stream.rows, stream.input_ids[stream.rows + 1]]
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=0)


def test_the_window_is_counted_as_transformers_counts_it() -> None:
    """Against a mask written out: a query sees ``window`` keys, itself included."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 12, 8) for heads in (4, 2, 2))
    borders = torch.tensor([0, 9, 12], dtype=torch.int32)
    module = torch.nn.Identity()
    got, _ = packed_attention_forward(
        module, query, key, value, None, sliding_window=3, cu_seq_lens_q=borders, max_length_q=9
    )
    position = torch.arange(12)
    segment = (position >= 9).long()
    distance = position[:, None] - position[None]
    seen = (distance >= 0) & (distance < 3) & (segment[:, None] == segment[None])
    scores = query @ key.repeat_interleave(2, 1).transpose(2, 3) * 8**-0.5
    expected = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value.repeat_interleave(2, 1)
    torch.testing.assert_close(got, expected.transpose(1, 2), atol=1e-6, rtol=0)


def test_generation_works_with_packed_attention_selected() -> None:
    model = tiny_model("gemma3")
    ids = torch.arange(20)[None]
    settings = {"max_new_tokens": 12, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    expected = model.generate(ids, **settings)
    use_packed_attention(model)
    assert torch.equal(model.generate(ids, **settings), expected)


def test_the_block_restores_the_former_implementation() -> None:
    model = tiny_model()
    former = model.config._attn_implementation
    with packed_attention(model):
        assert model.config._attn_implementation == PACKED_ATTENTION
    assert model.config._attn_implementation == former != PACKED_ATTENTION


def test_the_choice_is_not_saved_with_the_model(tmp_path) -> None:
    model = tiny_model()
    use_packed_attention(model)
    model.save_pretrained(tmp_path)
    assert PACKED_ATTENTION not in (tmp_path / "config.json").read_text()


REFUSED = {
    "attn_logit_softcapping": lambda: transformers.Gemma2Config(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=16,
    ),
    "linear_attention": lambda: transformers.MambaConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1
    ),
    "attention from transformers": lambda: transformers.BloomConfig(
        vocab_size=64, hidden_size=16, n_layer=1, n_head=2
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_models_that_cannot_be_packed_are_refused_by_name(reason: str) -> None:
    model = transformers.AutoModelForCausalLM.from_config(REFUSED[reason]())
    with pytest.raises(ModelError, match=f"{type(model).__name__}.*{reason}"):
        use_packed_attention(model)


def test_a_module_that_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match="not a transformers model"):
        use_packed_attention(torch.nn.Linear(2, 2))


def test_attention_sinks_are_refused() -> None:
    query = torch.randn(1, 2, 4, 8)
    with pytest.raises(ModelError, match="s_aux"):
        packed_attention_forward(
            torch.nn.Identity(),
            query,
            query,
            query,
            None,
            cu_seq_lens_q=torch.tensor([0, 4]),
            s_aux=torch.zeros(2),
        )


def test_values_of_another_width_than_queries_take_the_loop() -> None:
    """As in multi-head latent attention, of which varlen kernels know nothing."""
    torch.manual_seed(0)
    borders = torch.tensor([0, 3, 9], dtype=torch.int32)
    query, key = torch.randn(2, 1, 2, 9, 8)
    value = torch.randn(1, 2, 9, 4)
    assert not _fits_varlen(query.bfloat16(), value.bfloat16())
    assert _fits_varlen(query.bfloat16(), key.bfloat16())
    assert not _fits_varlen(query, key)
    output, _ = packed_attention_forward(
        torch.nn.Identity(), query, key, value, None, cu_seq_lens_q=borders, max_length_q=6
    )
    for start, stop in ((0, 3), (3, 9)):
        q, k, v = (tensor[0, :, start:stop].double() for tensor in (query, key, value))
        scores = q @ k.transpose(1, 2) * 8**-0.5
        mask = torch.ones(stop - start, stop - start, dtype=torch.bool).tril()
        expected = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v
        got = output[0, start:stop].transpose(0, 1).double()
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)
