from __future__ import annotations

import pytest
import torch
from peft import LoraConfig

from perce.errors import OptionError, TrainingError
from perce.pairs import PairLoader
from perce.training.config import PerCEConfig
from perce.training.trainer import PerCETrainer
from tiny import tiny_data, tiny_model, tiny_records, tiny_tokenizer, unpacked_logp

LORA = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory):
    return tiny_data(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory):
    return tiny_data(tmp_path_factory.mktemp("held_out"), tiny_records(6, seed=7), split="val")


def make(data, held_out, tmp_path, *, peft=LORA, **options):
    settings = {
        "output_dir": str(tmp_path / "run"),
        "max_steps": 2,
        "max_tokens": 150,
        "learning_rate": 0.02,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "no",
        "personal_threshold": 0.2,
        "disable_tqdm": True,
        "use_cpu": True,
        **options,
    }
    return PerCETrainer(
        tiny_model(spread=6.0),
        PerCEConfig(**settings),
        data,
        held_out,
        processing_class=tiny_tokenizer(),
        peft_config=peft,
    )


def oracle(model, exam_model, held_out, threshold: float) -> tuple[float, float, float, float]:
    """Mean NLL of all, personal and other tokens, and the personal share, from unpacked rows."""
    batches = list(PairLoader(held_out, shuffle=False))
    with torch.no_grad():
        nll = -torch.cat([unpacked_logp(model, batch.with_profile) for batch in batches])
        pir = torch.cat(
            [
                unpacked_logp(exam_model, batch.with_profile)
                - unpacked_logp(exam_model, batch.without_profile)
                for batch in batches
            ]
        )
    personal = pir > threshold
    means = (nll.mean(), nll[personal].mean(), nll[~personal].mean(), personal.float().mean())
    return tuple(float(mean) for mean in means)


@pytest.mark.parametrize("peft", [LORA, None], ids=["lora", "all weights"])
def test_the_base_model_sets_the_exam(data, held_out, tmp_path, peft) -> None:
    trainer = make(data, held_out, tmp_path, peft=peft)
    trainer.train()
    logs = [log for log in trainer.state.log_history if "eval_loss" in log]
    assert [log["step"] for log in logs] == [1, 2]
    model = trainer.model.eval()
    loss, personal, other, share = oracle(model, tiny_model(spread=6.0), held_out, 0.2)
    assert logs[-1]["eval_loss"] == pytest.approx(loss, abs=1e-4)
    assert logs[-1]["eval_nll_personal"] == pytest.approx(personal, abs=1e-4)
    assert logs[-1]["eval_nll_other"] == pytest.approx(other, abs=1e-4)
    assert logs[-1]["eval_personal_share"] == pytest.approx(share)
    assert 0.05 < share < 0.95
    assert logs[0]["eval_loss"] != pytest.approx(loss, abs=1e-2), "training changed nothing"
    if peft is None:
        assert oracle(model, model, held_out, 0.2)[3] != share, "the exam could not change"


@pytest.mark.parametrize("metric", ["loss", "nll_personal", "eval_nll_other"])
def test_the_best_model_is_chosen_and_loaded(data, held_out, tmp_path, metric: str) -> None:
    trainer = make(
        data,
        held_out,
        tmp_path,
        max_steps=3,
        learning_rate=0.3,
        metric_for_best_model=metric,
        load_best_model_at_end=True,
        save_strategy="steps",
        save_steps=1,
    )
    trainer.train()
    name = f"eval_{metric.removeprefix('eval_')}"
    values = [log[name] for log in trainer.state.log_history if name in log]
    assert len(values) == 3
    assert trainer.state.best_metric == min(values)
    best = values.index(min(values)) + 1
    assert trainer.state.best_model_checkpoint == str(tmp_path / "run" / f"checkpoint-{best}")
    assert trainer.evaluate()[name] == pytest.approx(min(values), abs=1e-6)


def test_several_sets_by_name(data, held_out, tmp_path) -> None:
    trainer = make(data, {"seen": data, "unseen": held_out}, tmp_path, max_steps=1)
    metrics = trainer.evaluate()
    assert metrics["eval_seen_loss"] != metrics["eval_unseen_loss"]
    assert metrics["eval_unseen_loss"] == pytest.approx(
        trainer.evaluate(held_out)["eval_loss"], abs=1e-6
    )


def test_the_result_does_not_depend_on_max_tokens(data, held_out, tmp_path) -> None:
    found = [
        make(data, held_out, tmp_path, max_tokens=size).evaluate()["eval_nll_personal"]
        for size in (150, 4000)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_an_unknown_metric_is_refused_before_training(data, held_out, tmp_path) -> None:
    trainer = make(data, held_out, tmp_path, metric_for_best_model="rouge")
    with pytest.raises(OptionError, match="no metric 'rouge'; metrics: loss, nll_personal"):
        trainer.train()


def test_choosing_by_personal_tokens_needs_some(data, held_out, tmp_path, caplog) -> None:
    trainer = make(data, held_out, tmp_path, personal_threshold=99.0)
    trainer.train()
    assert "no token of the evaluation data has a PIR over 99" in caplog.text
    logs = [log for log in trainer.state.log_history if "eval_loss" in log]
    assert "eval_nll_personal" not in logs[0]
    trainer = make(
        data, held_out, tmp_path, personal_threshold=99.0, metric_for_best_model="nll_personal"
    )
    with pytest.raises(OptionError, match="personal_threshold"):
        trainer.train()


def test_the_exam_cannot_be_set_by_weights_that_have_trained(data, held_out, tmp_path) -> None:
    trainer = make(data, None, tmp_path, peft=None, eval_strategy="no")
    trainer.train()
    with pytest.raises(TrainingError, match="before training starts"):
        trainer.evaluate(held_out)
