from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from perce._core import TokenStore
from perce.modeling.attention import use_packed_attention
from perce.modeling.check import check_model
from perce.modeling.head import find_head, response_logp, weighted_loss
from perce.objectives import get_objective
from perce.ops import weighted_ce
from perce.pairs import PairBatch, PairLoader
from tiny import VOCABULARY, random_store, tiny_model, unpacked_logp

FAMILIES = ("llama", "qwen3", "gemma3", "gpt2", "phi", "granite", "cohere")
RECORDS = [(9, 3, 5), (1, 1, 1), (4, 2, 11), (12, 6, 2), (3, 3, 6)]


def batches_of(size: int = 99, seed: int = 0) -> list[PairBatch]:
    store = random_store(RECORDS, seed=seed)
    return list(PairLoader(store, packing=False, per_device_train_batch_size=size, shuffle=False))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_agrees_with_the_models_own_logits(family: str) -> None:
    model = tiny_model(family)
    check = check_model(model)
    assert (check.path, check.attention) == ("linear", "segments")
    (batch,) = batches_of()
    with torch.no_grad():
        expected = unpacked_logp(model, batch.with_profile)
    got = response_logp(model, batch.with_profile, batch.labels, check=check)
    torch.testing.assert_close(got, expected, atol=3e-5, rtol=0)
    head = find_head(model)
    assert (head.logit_scale, head.logit_softcap) != (1.0, None) or family in (
        "llama",
        "qwen3",
        "gpt2",
        "phi",
    )


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "gpt2"])
def test_loss_and_gradients_equal_an_unpacked_float64_reference(family: str) -> None:
    """Packed, unpacked and in another order: one loss, one gradient, that of float64."""
    model = tiny_model(family, spread=6.0)
    check = check_model(model)
    objective = get_objective("perce", clip_min=0.05)
    n = sum(response for _, _, response in RECORDS)
    (whole,) = batches_of()
    logp_without = response_logp(model, whole.without_profile, whole.labels, check=check)
    logp_with = response_logp(model, whole.with_profile, whole.labels, check=check)
    weights = (logp_with - logp_without).clamp(0.05, 5.0).double()
    assert weights.std() > 0.01

    double = tiny_model(family, spread=6.0).double()
    logp = unpacked_logp(double, whole.with_profile)
    loss = -(weights * logp).sum() / n
    loss.backward()
    expected = {name: p.grad for name, p in double.named_parameters()}

    for batches in (batches_of(), batches_of(1), batches_of(2)[::-1]):
        model.zero_grad()
        total = 0.0
        for batch in batches:
            without = response_logp(model, batch.without_profile, batch.labels, check=check)
            result = weighted_loss(
                model,
                batch.with_profile,
                batch.labels,
                objective=objective,
                logp_without=without,
                num_items=n,
                check=check,
            )
            result.loss.backward()
            total += float(result.loss.detach())
        assert total == pytest.approx(float(loss.detach()), abs=1e-5)
        for name, parameter in model.named_parameters():
            scale = float(expected[name].abs().max()) + 1e-3
            gap = float((parameter.grad - expected[name]).abs().max()) / scale
            assert gap < 2e-4, f"{name}: {gap}"


def test_ce_equals_the_models_own_loss() -> None:
    model = tiny_model("qwen3")
    use_packed_attention(model)
    for batch in batches_of(1):
        ids = batch.with_profile.input_ids[None]
        labels = torch.full_like(ids, -100)
        labels[0, batch.with_profile.rows + 1] = batch.labels
        expected = model(input_ids=ids, labels=labels, use_cache=False).loss
        got = weighted_loss(model, batch.with_profile, batch.labels, objective="ce").loss
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)


def shared_prefixes(lengths: list[tuple[int, int, int]], empty: list[bool]) -> TokenStore:
    """Records of which those with an empty profile have the same prefix in both variants."""
    draw = torch.Generator().manual_seed(len(lengths))
    columns: list[list[list[int]]] = [[], [], []]
    for (with_profile, without, response), alike in zip(lengths, empty, strict=True):
        ids = torch.randint(VOCABULARY, (with_profile + response,), generator=draw).tolist()
        prefix = ids[:with_profile]
        columns[0].append(prefix)
        columns[1].append(prefix if alike else prefix[-without:])
        columns[2].append(ids[with_profile:])
    arrays: list[np.ndarray] = []
    for column in columns:
        arrays.append(np.array([i for ids in column for i in ids], np.int32))
        arrays.append(np.cumsum([0, *map(len, column)], dtype=np.int64))
    return TokenStore(*arrays)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("path", ["linear", "plain"])
def test_pir_is_zero_where_the_profile_is_empty(family: str, path: str) -> None:
    """Exactly, if all are; to rounding beside records with a profile, whose streams are shifted."""
    model = tiny_model(family, spread=6.0)
    check = dataclasses.replace(check_model(model), path=path)

    def pir(empty: list[bool]) -> torch.Tensor:
        (batch,) = PairLoader(shared_prefixes(RECORDS, empty), shuffle=False)
        logp = response_logp(model, batch.without_profile, batch.labels, check=check)
        result = weighted_loss(
            model, batch.with_profile, batch.labels, logp_without=logp, check=check
        )
        assert result.pir is not None
        return torch.stack([p.abs().max() for p in result.pir.split([r for _, _, r in RECORDS])])

    assert not pir([True] * 5).any()
    mixed = pir([False, True, False, True, True])
    assert mixed[[1, 3, 4]].max() < 1e-5
    assert mixed[[0, 2]].min() > 1e-2


@pytest.mark.parametrize("path", ["linear", "plain"])
def test_log_probs_under_autocast_come_from_float32_logits(path: str) -> None:
    """Rounding of the trunk is left, rounding of the logits is not: float32 log-softmax to 1e-5."""
    model = tiny_model("llama", spread=6.0)
    check = check_model(model)
    (batch,) = batches_of()
    captured: list[torch.Tensor] = []
    hook = model.lm_head.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = response_logp(model, batch.with_profile, batch.labels, check=check)
        if path == "plain":
            plain = model.lm_head(captured[0])[0]
            got_plain = weighted_ce(plain, batch.labels, objective="ce").logp
    hook.remove()
    exact = torch.nn.functional.linear(captured[0][0].float(), model.lm_head.weight)
    expected = exact.log_softmax(-1).gather(1, batch.labels[:, None])[:, 0]
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
    if path == "plain":
        assert (got_plain - expected).abs().max() > 1e-3, "the tolerance could not fail"


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("how", ["lora", "trained copy"])
def test_an_adapted_head_takes_the_plain_path_and_says_why(family: str, how: str) -> None:
    name = "lm_head"
    settings = (
        {"target_modules": [name]}
        if how == "lora"
        else {
            "target_modules": "all-linear",
            "modules_to_save": [name],
        }
    )
    model = get_peft_model(tiny_model(family), LoraConfig(r=2, task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key or "modules_to_save" in key:
                parameter.add_(0.1 * torch.randn_like(parameter))
    check = check_model(model)
    assert check.path == "plain"
    assert "not nn.Linear" in check.reason
    (batch,) = batches_of()
    model.eval()
    with torch.no_grad():
        expected = unpacked_logp(model, batch.with_profile)
    got = response_logp(model, batch.with_profile, batch.labels, check=check)
    torch.testing.assert_close(got, expected, atol=3e-5, rtol=0)
    weighted_loss(model, batch.with_profile, batch.labels, objective="ce").loss.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_lora_on_the_layers_keeps_the_op_in_the_head() -> None:
    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(tiny_model(), config)
    assert check_model(model).path == "linear"


def test_a_head_that_disagrees_falls_back_with_the_reason(caplog) -> None:
    model = tiny_model()
    model.config.logit_scale = 0.5  # a rule that this family's forward does not follow
    check = check_model(model)
    assert check.path == "plain"
    assert "differs from the model's own logits" in caplog.text


def test_gradient_checkpointing_changes_nothing() -> None:
    (batch,) = batches_of()
    gradients = []
    for checkpointed in (False, True):
        model = tiny_model("qwen3").train()
        check = check_model(model)
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        loss = weighted_loss(model, batch.with_profile, batch.labels, objective="ce", check=check)
        loss.loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_the_heads_forward_is_its_own_again_even_after_an_error() -> None:
    model = tiny_model()
    use_packed_attention(model)
    (batch,) = batches_of()
    with pytest.raises(Exception, match="label"):
        response_logp(model, batch.with_profile, batch.labels + 10_000)
    assert "forward" not in vars(model.lm_head)


def test_the_router_loss_is_added_with_its_weight() -> None:
    model = tiny_model("qwen3_moe")
    check = check_model(model)
    (batch,) = batches_of()
    losses = [
        weighted_loss(
            model,
            batch.with_profile,
            batch.labels,
            objective="ce",
            router_weight=weight,
            check=check,
        ).loss
        for weight in (0.0, 0.5, 1.0)
    ]
    first, second = losses[1] - losses[0], losses[2] - losses[1]
    assert first > 0.1
    torch.testing.assert_close(first, second)
