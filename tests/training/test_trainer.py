from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback

from perce.errors import OptionError, StoreError, TrainingError
from perce.modeling.check import check_model
from perce.modeling.head import response_logp
from perce.objectives import get_objective, register_objective
from perce.training.config import PerCEConfig
from perce.training.trainer import PerCETrainer
from tiny import (
    reference_gradients,
    tiny_data,
    tiny_model,
    tiny_records,
    tiny_tokenizer,
    unpacked_logp,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory):
    return tiny_data(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("held_out")
    return tiny_data(out, tiny_records(6, seed=7), split="val")


def make(data, tmp_path: Path, *, model: Any = None, peft: Any = None, **options: Any):
    """A trainer of few steps that writes no checkpoint unless asked."""
    held_out = options.pop("eval_dataset", None)
    settings = {
        "output_dir": str(tmp_path / "run"),
        "max_steps": 1,
        "max_tokens": 150,
        "learning_rate": 0.0,
        "save_strategy": "no",
        "logging_steps": 1,
        "max_grad_norm": 0.0,
        "disable_tqdm": True,
        "use_cpu": True,
        **options,
    }
    return PerCETrainer(
        model if model is not None else tiny_model(spread=6.0),
        PerCEConfig(**settings),
        data,
        held_out,
        processing_class=tiny_tokenizer(),
        peft_config=peft,
    )


class Gradients(TrainerCallback):
    """Keeps each step's gradients, as the optimizer sees them."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, *, model, **kwargs) -> None:
        self.steps.append(
            {
                name: parameter.grad.clone()
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
        )


def train(trainer) -> list[dict[str, torch.Tensor]]:
    kept = Gradients()
    trainer.add_callback(kept)
    trainer.train()
    return kept.steps


def assert_gradients(got, expected, tolerance: float = 2e-4) -> None:
    assert got.keys() == expected.keys()
    for name, gradient in got.items():
        scale = float(expected[name].abs().max()) + 1e-3
        gap = float((gradient - expected[name]).abs().max()) / scale
        assert gap < tolerance, f"{name}: {gap}"


def micro_batches(data, **options: Any) -> list:
    from perce.pairs import PairLoader

    return list(PairLoader(data, max_tokens=150, seed=42, **options))


def oracle_weights(batches, low: float = 0.05) -> list[torch.Tensor]:
    """PerCE's weights in float64 from unpacked rows."""
    model = tiny_model(spread=6.0).double()
    weights = []
    with torch.no_grad():
        for batch in batches:
            pir = unpacked_logp(model, batch.with_profile) - unpacked_logp(
                model, batch.without_profile
            )
            weights.append(pir.clamp(low, 5.0))
    return weights


@pytest.mark.parametrize("accumulation", [1, 4])
def test_n_is_right_over_unequal_micro_batches(data, tmp_path, accumulation: int) -> None:
    batches = micro_batches(data)[:accumulation]
    counts = [batch.num_items for batch in batches]
    assert len(set(counts)) >= min(accumulation, 3)
    trainer = make(data, tmp_path, gradient_accumulation_steps=accumulation, perce_clip_min=0.05)
    (got,) = train(trainer)
    weights = oracle_weights(batches)
    double = tiny_model(spread=6.0).double()
    assert_gradients(got, reference_gradients(double, batches, weights, sum(counts)))
    wrong = reference_gradients(double, batches, weights, sum(counts) * 1.01)
    with pytest.raises(AssertionError):
        assert_gradients(got, wrong)


def test_normalised_by_weight_over_the_whole_step(data, tmp_path) -> None:
    batches = micro_batches(data)[:4]
    trainer = make(
        data,
        tmp_path,
        gradient_accumulation_steps=4,
        perce_clip_min=0.05,
        normalize="weight",
    )
    (got,) = train(trainer)
    weights = oracle_weights(batches)
    total = float(torch.cat(weights).sum())
    double = tiny_model(spread=6.0).double()
    assert_gradients(got, reference_gradients(double, batches, weights, total))
    with torch.no_grad():
        logp = [unpacked_logp(double, batch.with_profile) for batch in batches]
    loss = -float(sum((w * p).sum() for w, p in zip(weights, logp, strict=True))) / total
    assert trainer.state.log_history[0]["loss"] == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize("normalize", ["tokens", "weight"])
def test_one_large_micro_batch_equals_four_small_ones(data, tmp_path, normalize: str) -> None:
    steps = []
    for size, accumulation in ((12, 1), (3, 4)):
        trainer = make(
            data,
            tmp_path,
            packing=False,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            normalize=normalize,
            perce_clip_min=0.05,
        )
        (gradients,) = train(trainer)
        steps.append((gradients, trainer.state.log_history[0]["loss"]))
    assert_gradients(steps[0][0], steps[1][0])
    assert steps[0][1] == pytest.approx(steps[1][1], rel=1e-5)


def test_ce_equals_the_loss_of_transformers(data, tmp_path) -> None:
    trainer = make(data, tmp_path, objective="ce")
    trainer.train()
    (batch,) = micro_batches(data)[:1]
    model = tiny_model(spread=6.0)
    total = 0.0
    edges = batch.with_profile.cu_seqlens.tolist()
    for start, stop in pairwise(edges):
        ids = batch.with_profile.input_ids[None, start:stop]
        rows = batch.with_profile.rows
        inside = (rows >= start) & (rows < stop)
        labels = torch.full_like(ids, -100)
        labels[0, rows[inside] + 1 - start] = batch.labels[inside]
        with torch.no_grad():
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        total += float(loss) * int(inside.sum())
    log = trainer.state.log_history[0]
    assert log["loss"] == pytest.approx(total / batch.num_items, abs=1e-5)
    assert log["ce"] == pytest.approx(log["loss"], abs=1e-5)
    assert "pir_p50" not in log


def test_warm_up_is_plain_ce(data, tmp_path) -> None:
    trainer = make(data, tmp_path, ce_warmup_steps=2, max_steps=4, perce_clip_min=0.05)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    assert [log["weight_mean"] == 1.0 for log in logs] == [True, True, False, False]
    assert ["pir_p50" in log for log in logs] == [False, False, True, True]


def test_what_is_logged_is_what_an_oracle_finds(data, tmp_path) -> None:
    trainer = make(data, tmp_path, gradient_accumulation_steps=3, perce_clip_min=0.05)
    trainer.train()
    batches = micro_batches(data)[:3]
    weights = torch.cat(oracle_weights(batches))
    model = tiny_model(spread=6.0).double()
    with torch.no_grad():
        logp = torch.cat([unpacked_logp(model, batch.with_profile) for batch in batches])
    log = trainer.state.log_history[0]
    assert log["weight_mean"] == pytest.approx(float(weights.mean()), abs=1e-4)
    assert log["weight_at_min"] == pytest.approx(float((weights <= 0.05).double().mean()))
    assert 0 < log["weight_at_min"] < 1
    assert log["ce"] == pytest.approx(-float(logp.mean()), abs=1e-4)
    assert log["pir_p05"] < log["pir_p50"] < log["pir_p95"]
    assert 0 <= log["data_wait"] <= 1
    assert log["tokens_per_second"] > 0


def test_bf16_is_autocast(data, tmp_path) -> None:
    trainer = make(data, tmp_path, bf16=True)
    assert trainer.model.dtype == torch.float32
    (gradients,) = train(trainer)
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
    exact = make(data, tmp_path)
    (wanted,) = train(exact)
    # A weight that autocast kept from the pass without gradient would get none here.
    for name, gradient in gradients.items():
        pair = (gradient.flatten(), wanted[name].flatten())
        assert torch.cosine_similarity(*pair, dim=0) > 0.99, name
    losses = [t.state.log_history[0]["loss"] for t in (trainer, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


def test_gradient_checkpointing_gives_the_same_gradients(data, tmp_path) -> None:
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    both = [
        train(make(data, tmp_path, peft=lora, gradient_checkpointing=on))[0] for on in (False, True)
    ]
    assert both[0].keys() == both[1].keys()
    assert all(torch.equal(both[0][name], both[1][name]) for name in both[0])


def test_dropout_is_off_in_the_profile_free_pass(tmp_path) -> None:
    """With empty profiles PIR would be 0; what is left of it is dropout in the training pass."""
    data = tiny_data(tmp_path / "empty", tiny_records(empty_profiles=True))
    model = tiny_model("gpt2", spread=6.0)
    check = check_model(model)
    trainer = make(data, tmp_path, model=model)
    seen = []
    original = trainer._signals
    trainer._signals = lambda *args: seen.append(original(*args)) or seen[-1]
    trainer.train()
    batch = micro_batches(data)[0]
    expected = response_logp(model.eval(), batch.without_profile, batch.labels, check=check)
    assert torch.equal(seen[0]["logp_without"], expected)


def test_a_mixture_of_experts_divides_its_router_loss(data, tmp_path) -> None:
    """4 x 3 records: the router loss is the micro-batches' mean, not their sum."""
    trainer = make(
        data,
        tmp_path,
        model=tiny_model("qwen3_moe"),
        objective="ce",
        packing=False,
        per_device_train_batch_size=3,
        gradient_accumulation_steps=4,
    )
    trainer.train()
    log = trainer.state.log_history[0]
    router = []
    from perce.modeling.attention import packed_inputs

    for batch in micro_batches(data, packing=False, per_device_train_batch_size=3):
        with torch.no_grad():
            output = trainer.model(**packed_inputs(batch.with_profile), output_router_logits=True)
        router.append(float(output.aux_loss))
    expected = 0.5 * sum(router) / 4
    assert log["loss"] - log["ce"] == pytest.approx(expected, rel=1e-3)


def test_a_mixture_of_experts_refuses_normalising_by_weight(data, tmp_path) -> None:
    with pytest.raises(OptionError, match="normalize"):
        make(data, tmp_path, model=tiny_model("qwen3_moe"), normalize="weight")


def test_lossce_takes_the_base_model_as_its_reference(data, tmp_path) -> None:
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = make(data, tmp_path, peft=lora, objective="lossce", max_steps=2, learning_rate=0.01)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    # At the first step the adapter is zero, so every token ties with every other.
    assert logs[0]["weight_mean"] == 1.0
    assert logs[1]["weight_mean"] < 1.0
    with pytest.raises(OptionError, match="needs a frozen reference"):
        make(data, tmp_path, objective="lossce")


def test_a_users_own_objective_trains(data, tmp_path) -> None:
    @register_objective("half_for_test", bounds=(0.5, 0.5), replace=True)
    def half(signals, amount: float = 0.5):
        return torch.full_like(signals.logp_with, amount)

    trainer = make(data, tmp_path, objective="half_for_test")
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["loss"] == pytest.approx(0.5 * log["ce"], rel=1e-5)
    assert get_objective("half_for_test").options == {"amount": 0.5}


def test_a_loss_that_is_not_finite_stops_and_names_the_records(data, tmp_path) -> None:
    trainer = make(data, tmp_path, gradient_accumulation_steps=2, learning_rate=0.1)
    batches = micro_batches(data)[:2]
    shorter = min(batches, key=lambda batch: batch.with_profile.max_seqlen)
    longer = max(batches, key=lambda batch: batch.with_profile.max_seqlen)
    # NaN at positions that only the longer micro-batch reaches.
    at = shorter.with_profile.max_seqlen
    rotary = trainer.model.model.rotary_emb
    original = rotary.forward

    def broken(x, position_ids):
        cos, sin = original(x, position_ids)
        return cos.masked_fill((position_ids >= at)[..., None], math.nan), sin

    rotary.forward = broken
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    with pytest.raises(TrainingError, match="not finite at step 1") as error:
        trainer.train()
    names = [data.record_ids[int(record)] for record in longer.records]
    assert repr(names[0]) in str(error.value)
    assert not any(repr(data.record_ids[int(r)]) in str(error.value) for r in shorter.records)
    assert all(torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())


def test_arms_of_a_comparison_start_from_the_same_adapter(data, tmp_path) -> None:
    def first_weights(objective: str, seed: int) -> list[torch.Tensor]:
        torch.rand(3)  # what was drawn before must not matter
        lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
        trainer = make(data, tmp_path, peft=lora, objective=objective, seed=seed)
        return [p.detach().clone() for n, p in trainer.model.named_parameters() if "lora_A" in n]

    ce, perce = first_weights("ce", seed=1), first_weights("perce", seed=1)
    assert all(torch.equal(a, b) for a, b in zip(ce, perce, strict=True))
    assert not torch.equal(ce[0], first_weights("ce", seed=2)[0])


def test_lora_dropout_warns(data, tmp_path, caplog) -> None:
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.1)
    make(data, tmp_path, peft=lora)
    assert "lora_dropout 0.1 biases PIR" in caplog.text


def test_the_models_own_dropout_warns_where_pir_is_used(data, tmp_path, caplog) -> None:
    make(data, tmp_path, model=tiny_model("gpt2"), objective="ce")
    make(data, tmp_path)
    assert "dropout" not in caplog.text
    make(data, tmp_path, model=tiny_model("gpt2"))
    assert "the model's own dropout (0.1) biases PIR" in caplog.text


def test_adapters_that_match_nothing_are_refused(data, tmp_path) -> None:
    with pytest.raises(OptionError, match="peft_config"):
        make(data, tmp_path, peft=LoraConfig(target_modules=["nothing"]))


def test_another_tokenizer_is_refused(data, tmp_path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["new"])
    config = PerCEConfig(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(StoreError, match="another tokenizer"):
        PerCETrainer(tiny_model(), config, data, processing_class=tokenizer)
