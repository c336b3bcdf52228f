from __future__ import annotations

import pytest
import torch
import transformers

from perce.errors import ModelError
from perce.modeling.attention import packed_inputs, use_packed_attention
from perce.modeling.check import check_model, check_stream
from perce.pairs import PairBatch, PairLoader
from tiny import VOCABULARY, random_store, tiny_model, unpacked_logp

LIMIT = 24


def batch_of(longest: int) -> PairBatch:
    """A record of so many tokens between two short ones."""
    (batch,) = PairLoader(random_store([(5, 2, 4), (longest - 4, 2, 4), (3, 2, 9)]))
    return batch


def model_of(rope: str):
    """Rotary embeddings that change with the longest segment of a row, past LIMIT tokens."""
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if rope == "dynamic":
        parameters = {"rope_type": rope, "rope_theta": 1e4, "factor": 4.0}
        config = transformers.LlamaConfig(
            **common, max_position_embeddings=LIMIT, rope_parameters=parameters
        )
    else:
        factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "factor": 4.0}
        config = transformers.Phi3Config(
            **common,
            original_max_position_embeddings=LIMIT,
            max_position_embeddings=4 * LIMIT,
            rope_parameters={"rope_type": rope, "rope_theta": 1e4, **factors},
        )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0)
    return model.float().eval()


def gap(model, batch: PairBatch) -> float:
    """Nats between packed and single rows."""
    stream = batch.with_profile
    use_packed_attention(model)
    with torch.no_grad():
        logits = model(**packed_inputs(stream)).logits[0].log_softmax(-1)
        packed = logits[stream.rows, batch.labels]
        return float((packed - unpacked_logp(model, stream)).abs().max())


def test_a_vocabulary_smaller_than_the_data() -> None:
    (batch,) = PairLoader(random_store([(3, 2, 200)]))
    model = tiny_model()
    check_stream(model, batch.with_profile)
    model.resize_token_embeddings(100, mean_resizing=False)
    with pytest.raises(ModelError, match="ends at 99"):
        check_stream(model, batch.with_profile)


@pytest.mark.parametrize("rope", ["longrope", "dynamic"])
def test_segments_past_which_the_rotary_embedding_changes_are_refused(rope: str) -> None:
    model = model_of(rope)
    check_model(model)
    within, past = batch_of(LIMIT), batch_of(3 * LIMIT)
    check_stream(model, within.with_profile)
    assert gap(model, within) < 2e-5
    # What a short trial cannot find: the neighbours of a long record come out differently.
    assert gap(model, past) > 1e-2
    with pytest.raises(ModelError, match=f"72 tokens: past {LIMIT}, .* with max_length {LIMIT}$"):
        check_stream(model, past.with_profile)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_other_models_take_segments_of_any_length(family: str) -> None:
    check_stream(tiny_model(family), batch_of(500).with_profile)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_rounded_float32_products_are_told(caplog, precision: str) -> None:
    former = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        check_model(tiny_model())
    finally:
        torch.set_float32_matmul_precision(former)
    assert ("products are rounded" in caplog.text) == (precision != "highest")
