from __future__ import annotations

import pytest
from transformers import TrainingArguments

from perce.errors import ObjectiveError, OptionError
from perce.training.config import _MEANINGLESS, PerCEConfig


def make(tmp_path, **options) -> PerCEConfig:
    return PerCEConfig(output_dir=str(tmp_path), use_cpu=True, **options)


BAD = {
    "dataloader_drop_last": True,
    "dataloader_num_workers": 2,
    "dataloader_persistent_workers": True,
    "dataloader_prefetch_factor": 2,
    "auto_find_batch_size": True,
    "label_smoothing_factor": 0.1,
    "label_names": ["labels"],
    "length_column_name": "n",
    "train_sampling_strategy": "group_by_length",
    "ignore_data_skip": True,
    "neftune_noise_alpha": 5.0,
    "torch_compile": True,
    "use_liger_kernel": True,
    "parallelism_config": object(),
    "deepspeed": "zero3.json",
    "prediction_loss_only": True,
    "logging_nan_inf_filter": True,
    "normalize": "sum",
    "ce_warmup_steps": -1,
    "max_tokens": 0,
    "short_ratio": 0.0,
    "personal_threshold": float("nan"),
    "learning_rate": float("inf"),
    "objective_options": "{",
    "perce_weight_source": "somebody",
    "perce_reference": "base",
    "perce_scores": "scores.parquet",
    "refresh_every": 0,
    "ledger_decay": 1.0,
}


@pytest.mark.parametrize("option", BAD)
def test_an_option_that_cannot_work_is_named_with_a_remedy(tmp_path, option: str) -> None:
    with pytest.raises(OptionError) as error:
        make(tmp_path, **{option: BAD[option]})
    assert error.value.option == option
    assert str(error.value).startswith(f"{option}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"perce_weight_source": "column"}, "perce_scores"),
        ({"perce_weight_source": "reference", "perce_scores": "s"}, "perce_scores"),
        ({"perce_weight_source": "reference", "refresh_every": 2}, "refresh_every"),
        ({"refresh_every": 2, "ledger": False}, "ledger"),
    ],
)
def test_sources_that_do_not_go_together(tmp_path, options, option: str) -> None:
    with pytest.raises(OptionError) as error:
        make(tmp_path, **options)
    assert error.value.option == option


def test_sources_that_do(tmp_path) -> None:
    make(tmp_path, perce_weight_source="column", perce_scores="s", ledger=False)
    make(tmp_path, perce_weight_source="reference", perce_reference="m", objective="ce")
    make(tmp_path, refresh_every=4, perce_scores="s")


def test_every_refused_option_exists_and_is_tested() -> None:
    known = TrainingArguments.__dataclass_fields__
    assert set(_MEANINGLESS) <= known.keys()
    assert set(_MEANINGLESS) <= BAD.keys()


def test_transformers_own_complaints_become_one_line(tmp_path) -> None:
    with pytest.raises(OptionError, match="bogus"):
        make(tmp_path, eval_strategy="bogus")


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "nothing"},
        {"objective": "longce", "objective_options": {"alpha": 1}},
        {"perce_clip_min": 6.0},
        {"objective_options": {"clip_min": 0.1}},
    ],
)
def test_objectives_that_cannot_be_made(tmp_path, options) -> None:
    with pytest.raises(ObjectiveError):
        make(tmp_path, **options)


def test_the_objective_gets_its_options(tmp_path) -> None:
    clipped = make(tmp_path, perce_clip_min=0.2, perce_clip_max=3.0).make_objective()
    assert dict(clipped.options) == {"clip_min": 0.2, "clip_max": 3.0}
    longce = make(tmp_path, objective="longce", objective_options='{"gamma": 3}')
    assert longce.make_objective().options["gamma"] == 3.0


def test_one_file_serves_all_arms_of_a_comparison(tmp_path) -> None:
    make(tmp_path, objective="ce", perce_clip_min=0.2)


@pytest.mark.parametrize(
    ("metric", "greater"), [("nll_personal", False), ("eval_nll_other", False), ("loss", False)]
)
def test_a_smaller_metric_is_better(tmp_path, metric: str, greater: bool) -> None:
    assert make(tmp_path, metric_for_best_model=metric).greater_is_better is greater


def test_defaults_that_differ(tmp_path) -> None:
    config = make(tmp_path, gradient_checkpointing=True)
    assert config.logging_nan_inf_filter is False
    assert config.remove_unused_columns is False
    assert config.learning_rate == 2e-5
    assert config.gradient_checkpointing_kwargs == {"use_reentrant": False}
