"""Weights from elsewhere than the step's own passes: a frozen reference, a column, the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig

from perce.contrast import score_dataset
from perce.errors import OptionError, StoreError
from perce.objectives import register_objective
from perce.pairs import PairLoader
from perce.training.config import PerCEConfig
from perce.training.reference import REFERENCE_FILE
from perce.training.sources import StoredScores, WeightSource
from perce.training.trainer import PerCETrainer
from tiny import reference_gradients, tiny_data, tiny_model, tiny_tokenizer

LOW = 0.05


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory):
    return tiny_data(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def column(data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores by another model than the one in training."""
    path = tmp_path_factory.mktemp("column") / "scores.parquet"
    pq.write_table(score_dataset(tiny_model(seed=5, spread=6.0), data), path)
    return path


def make(data, output: Path, *, lora: bool = False, **options: Any):
    settings = {
        "output_dir": str(output),
        "max_steps": 1,
        "max_tokens": 150,
        "learning_rate": 0.0,
        "perce_clip_min": LOW,
        "save_strategy": "no",
        "logging_steps": 1,
        "max_grad_norm": 0.0,
        "disable_tqdm": True,
        "use_cpu": True,
        **options,
    }
    peft = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None
    return PerCETrainer(
        tiny_model(spread=6.0),
        PerCEConfig(**settings),
        data,
        processing_class=tiny_tokenizer(),
        peft_config=peft,
    )


def count_free_passes(trainer) -> list[int]:
    """Optimizer steps of the profile-free passes that the trainer runs, as it runs them."""
    steps: list[int] = []
    original = trainer._signals

    def signals(model: Any, batch: Any) -> Any:
        if trainer._step.lookup is None and trainer._needs("logp_without"):
            steps.append(trainer.state.global_step + 1)
        return original(model, batch)

    trainer._signals = signals
    return steps


def logs_of(trainer) -> list[dict[str, float]]:
    return [log for log in trainer.state.log_history if "loss" in log]


# ---- the column's file ----


def table_of(column: Path) -> pa.Table:
    return pq.read_table(column)


def test_scores_are_read_as_they_were_written(data, column) -> None:
    scores, table = StoredScores.read(column, data), table_of(column)
    np.testing.assert_array_equal(scores.logp_with, table.column("logp_with").to_numpy())
    np.testing.assert_array_equal(scores.logp_without, table.column("logp_without").to_numpy())
    batch = next(iter(PairLoader(data, max_tokens=150)))
    with_profile, without = scores.look_up(batch.ledger_index)
    assert torch.equal(with_profile, torch.tensor(scores.logp_with)[batch.ledger_index])
    assert torch.equal(without, torch.tensor(scores.logp_without)[batch.ledger_index])


def changed(table: pa.Table, name: str, row: int, value: Any) -> pa.Table:
    values = table.column(name).to_pylist()
    values[row] = value
    kind = pa.string() if name == "id" else table.schema.field(name).type
    at = table.schema.get_field_index(name)
    return table.set_column(at, name, pa.array(values, kind))


def as_text(table: pa.Table, name: str) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, name, table.column(name).cast(pa.string()))


@given(row=st.integers(0, 10_000), name=st.sampled_from(["record", "token_id"]))
def test_the_first_row_about_another_token_is_named(data, column, tmp_path_factory, row, name):
    path = tmp_path_factory.mktemp("wrong") / "scores.parquet"
    table = table_of(column)
    row %= len(table)
    pq.write_table(changed(table, name, row, 1_000_000), path)
    with pytest.raises(StoreError, match=f"in row {row}, of record 'r.*{name} is 1000000, not"):
        StoredScores.read(path, data)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.slice(1), r"rows, .* response tokens: score this very data"),
        (lambda t: t.drop_columns(["token_id"]), "no column token_id"),
        (lambda t: changed(t, "id", 0, "other"), "record 'other' stands where 'r0' should"),
        (lambda t: changed(t, "logp_without", 3, None), "no values in logp_without"),
        (lambda t: changed(t, "logp_with", 3, float("inf")), "logp_with is inf in row 3, of rec"),
        (lambda t: as_text(t, "logp_without"), "logp_without holds string, not numbers"),
    ],
)
def test_scores_that_do_not_fit_are_refused(data, column, tmp_path, change, told) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(change(table_of(column)), path)
    with pytest.raises(StoreError, match=told) as error:
        StoredScores.read(path, data)
    assert "\n" not in str(error.value)


def test_files_that_hold_no_scores(data, tmp_path) -> None:
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(b"PAR1")
    for path in (torn, tmp_path / "absent.parquet", tmp_path):
        with pytest.raises(StoreError, match=r"no scores|no column"):
            StoredScores.read(path, data)


# ---- column and reference in training ----


def test_a_column_makes_the_weights(data, column, tmp_path) -> None:
    """Gradients equal those of a float64 oracle whose weights are the column's clipped PIR."""
    options = {"perce_weight_source": "column", "perce_scores": str(column)}
    trainer = make(data, tmp_path, gradient_accumulation_steps=2, **options)
    passes = count_free_passes(trainer)
    kept: dict[str, torch.Tensor] = {}
    original = trainer._get_grad_norm

    def norm_of(model: Any, grad_norm: Any = None) -> Any:
        kept.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        return original(model, grad_norm)

    trainer._get_grad_norm = norm_of
    trainer.train()
    batches = list(PairLoader(data, max_tokens=150, seed=42))[:2]
    scores = StoredScores.read(column, data)
    pir = torch.from_numpy(scores.logp_with - scores.logp_without)
    weights = [pir[batch.ledger_index].clamp(LOW, 5.0).double() for batch in batches]
    n = sum(batch.num_items for batch in batches)
    expected = reference_gradients(tiny_model(spread=6.0).double(), batches, weights, n)
    for name, gradient in kept.items():
        scale = float(expected[name].abs().max()) + 1e-3
        assert float((gradient - expected[name]).abs().max()) / scale < 2e-4, name
    assert passes == []
    (log,) = logs_of(trainer)
    assert log["weight_mean"] == pytest.approx(float(torch.cat(weights).mean()), rel=1e-5)
    middle = np.quantile(
        torch.cat([pir[b.ledger_index] for b in batches]), 0.5, method="inverted_cdf"
    )
    assert log["pir_p50"] == pytest.approx(float(middle), rel=0.005)
    assert not (tmp_path / "ledger").exists(), "a ledger of somebody else's scores"


@pytest.mark.parametrize("reference", ["base", "model", "adapter"])
def test_a_reference_is_run_once_and_read_after(data, tmp_path, reference, monkeypatch) -> None:
    if reference == "model":
        frozen = tiny_model(seed=5, spread=6.0)
        frozen.save_pretrained(tmp_path / "ref")
        tiny_tokenizer().save_pretrained(tmp_path / "ref")
    elif reference == "adapter":
        other = make(data, tmp_path / "other", lora=True, learning_rate=0.05, max_steps=3)
        other.train()
        other.save_model(str(tmp_path / "ref"))
        frozen = other.model
    else:
        frozen = tiny_model(spread=6.0)
    options: dict[str, Any] = {
        "perce_weight_source": "reference",
        "perce_reference": reference if reference == "base" else str(tmp_path / "ref"),
        "learning_rate": 0.02,
        "max_steps": 3,
    }
    trainer = make(data, tmp_path / "run", lora=True, **options)
    passes = count_free_passes(trainer)
    trainer.train()
    assert passes == []
    stored = StoredScores.read(tmp_path / "run" / REFERENCE_FILE, data)
    expected = score_dataset(frozen.eval(), data)
    for name in ("logp_with", "logp_without"):
        np.testing.assert_allclose(
            getattr(stored, name), expected.column(name).to_numpy(), atol=2e-5, rtol=0
        )
    # The weights of step 3 are still the reference's, though the model has moved on.
    batch = list(PairLoader(data, max_tokens=150, seed=42))[2]
    pir = torch.from_numpy(stored.logp_with - stored.logp_without)[batch.ledger_index]
    assert logs_of(trainer)[2]["weight_mean"] == pytest.approx(
        float(pir.clamp(LOW, 5.0).mean()), rel=1e-4
    )
    monkeypatch.setattr("perce.training.reference.score_batches", None)
    again = make(data, tmp_path / "run", lora=True, **options)
    again.train()
    assert logs_of(again)[2]["loss"] == logs_of(trainer)[2]["loss"]


def test_scores_of_another_reference_are_computed_anew(data, tmp_path) -> None:
    options: dict[str, Any] = {"perce_weight_source": "reference", "lora": True}
    path = tmp_path / REFERENCE_FILE
    make(data, tmp_path, **options).train()
    first = path.read_bytes()
    other = PerCETrainer(
        tiny_model(seed=5, spread=6.0),
        make(data, tmp_path, **options).args,
        data,
        peft_config=LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    other.train()
    assert path.read_bytes() != first
    path.write_bytes(first[:100])
    make(data, tmp_path, **options).train()
    assert StoredScores.read(path, data).key == StoredScores.read(path, data).key
    assert path.stat().st_size > 100


def test_a_source_matters_only_to_objectives_that_compare(data, column, tmp_path) -> None:
    options = {"perce_weight_source": "column", "perce_scores": str(column), "objective": "ce"}
    trainer, plain = make(data, tmp_path, **options), make(data, tmp_path, objective="ce")
    for one in (trainer, plain):
        one.train()
    assert logs_of(trainer)[0]["loss"] == logs_of(plain)[0]["loss"]


def test_what_a_source_cannot_tell_is_refused(data, column, tmp_path) -> None:
    with pytest.raises(OptionError, match="no frozen base is left"):
        make(data, tmp_path, perce_weight_source="reference")

    @register_objective("both_for_test", needs=["logp_without", "entropy"], replace=True)
    def both(signals: Any) -> Any:
        return signals.entropy.clamp(min=0.0)

    with pytest.raises(OptionError, match="'both_for_test' also needs entropy"):
        make(
            data,
            tmp_path,
            objective="both_for_test",
            perce_weight_source="column",
            perce_scores=str(column),
        )


# ---- refresh_every ----


class FakeLedger:
    def __init__(self, known: set[int], logp: np.ndarray) -> None:
        self.known, self.logp = known, logp

    def covers(self, records: np.ndarray) -> bool:
        return set(records.tolist()) <= self.known

    def logp_without(self, index: np.ndarray) -> np.ndarray:
        return np.where(index < 0, np.float32(0), self.logp[index])


@given(
    every=st.integers(1, 4),
    epoch=st.integers(0, 9),
    known=st.sets(st.integers(0, 11)),
    given_scores=st.booleans(),
    others=st.booleans(),
    seed=st.integers(0, 99),
)
def test_when_stored_log_probabilities_are_taken(
    data, every, epoch, known, given_scores, others, seed
) -> None:
    """Never in a refreshing epoch, never where a rank lacks a record, and then those of before."""
    n = len(data.response_ids)
    first, last = (np.random.default_rng(seed + i).normal(size=n).astype("f4") for i in (0, 1))
    scores = StoredScores.of(first, first) if given_scores else None
    source = WeightSource(
        refresh_every=every,
        scores=scores,
        ledger=FakeLedger(known, last),  # type: ignore[arg-type]
    )
    asked = []

    def anywhere(flag: bool) -> bool:
        asked.append(flag)
        return flag or others

    batches = list(PairLoader(data, max_tokens=150, seed=seed, rank=1, world_size=4))
    found = source.look_up(batches, epoch=epoch, anywhere=anywhere)
    records = {int(r) for batch in batches if batch.num_items for r in batch.records}
    if every == 1:
        assert found is None
    elif epoch == 0 and given_scores:
        expected = first
        assert found is not None
    elif epoch % every == 0:
        assert found is None
    else:
        expected = last
        assert asked == [not records <= known], "one question a step, on every rank"
        assert (found is None) == (others or not records <= known)
    if found is not None:
        for batch, lookup in zip(batches, found, strict=True):
            counted = batch.labels != -100
            index = batch.ledger_index[counted]
            assert lookup.logp_with is None
            assert torch.equal(lookup.logp_without[counted], torch.from_numpy(expected)[index])


def test_passes_run_every_other_epoch(data, tmp_path) -> None:
    trainer = make(data, tmp_path, refresh_every=2, num_train_epochs=4, max_steps=-1)
    passes = count_free_passes(trainer)
    trainer.train()
    steps = trainer.steps_per_epoch
    epochs = [(step - 1) // steps for step in passes]
    assert sorted(set(passes)) == [s for s in range(1, 4 * steps + 1) if (s - 1) // steps in (0, 2)]
    assert set(epochs) == {0, 2}
    # With a learning rate of 0 what is stored is what a pass would give: the loss cannot differ.
    whole = make(data, tmp_path / "whole", num_train_epochs=4, max_steps=-1)
    whole.train()
    losses, expected = ([log["loss"] for log in logs_of(t)] for t in (trainer, whole))
    assert losses == expected


def test_after_a_warm_up_what_is_not_stored_is_computed(data, tmp_path) -> None:
    steps = make(data, tmp_path / "count").steps_per_epoch
    trainer = make(
        data, tmp_path, refresh_every=3, ce_warmup_steps=steps + 1, num_train_epochs=3, max_steps=-1
    )
    passes = count_free_passes(trainer)
    trainer.train()
    second = [step for step in passes if step <= 2 * steps]
    assert second == list(range(steps + 2, 2 * steps + 1))
    # What the warm-up's last step left out comes at some step of the third epoch.
    assert len(passes) - len(second) == 1


def test_given_scores_spare_the_first_epoch_its_passes(data, tmp_path) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(score_dataset(tiny_model(spread=6.0), data, max_tokens=150), path)
    options: dict[str, Any] = {"num_train_epochs": 3, "max_steps": -1}
    trainer = make(data, tmp_path / "a", refresh_every=2, perce_scores=str(path), **options)
    passes = count_free_passes(trainer)
    trainer.train()
    steps = trainer.steps_per_epoch
    assert sorted(set(passes)) == list(range(2 * steps + 1, 3 * steps + 1))
    whole = make(data, tmp_path / "b", **options)
    whole.train()
    for got, expected in zip(logs_of(trainer), logs_of(whole), strict=True):
        assert got["loss"] == pytest.approx(expected["loss"], abs=1e-5)
