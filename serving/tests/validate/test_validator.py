"""What is remembered of versions, and what is read of the base model."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from perce_serving.adapter_files import ADAPTER_FILES, CONFIG_FILE, read_content
from perce_serving.errors import ValidationError
from perce_serving.validate import ENGINE_RANKS, BaseModel, Fault, Validator, validator, weights
from validate.adapters import HIDDEN, LAYERS, config, put, write_adapter, write_base
from validate.adapters import weights as good_weights


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders whose weights were read."""
    seen: list[Path] = []

    def counted(folder: Path, *others: object) -> None:
        seen.append(folder)
        weights.check_weights(folder, *others)

    monkeypatch.setattr(validator, "check_weights", counted)
    return seen


def named(folder: Path) -> str:
    """What the store calls this content."""
    return read_content(folder).version


def test_a_known_version_is_not_looked_at_again(
    base: BaseModel, tmp_path: Path, looks: list[Path]
) -> None:
    checker = Validator(base, max_rank=8)
    good = write_adapter(tmp_path / "good", good_weights(), config())
    tensor = next(iter(good_weights()))
    bad = write_adapter(tmp_path / "bad", put(good_weights(), tensor, float("nan")), config())
    for _ in range(2):
        checker.check_version(good, named(good))
        with pytest.raises(ValidationError) as error:
            checker.check_version(bad, named(bad))
        assert error.value.code == Fault.NAN
    assert looks == [good, bad]


def test_a_refusal_does_not_grow(base: BaseModel, tmp_path: Path) -> None:
    checker = Validator(base, max_rank=8)
    folder = write_adapter(tmp_path / "bad", good_weights(), config(use_dora=True))
    errors = []
    for _ in range(3):
        with pytest.raises(ValidationError) as error:
            checker.check_version(folder, named(folder))
        errors.append(error.value)
    first, second, third = errors
    assert len({id(error) for error in errors}) == 3
    assert str(first) == str(second) == str(third)
    said = [(error.code, error.file, error.field) for error in errors]
    assert said == [(Fault.DORA, CONFIG_FILE, "use_dora")] * 3
    frames = [len(list(traceback.walk_tb(error.__traceback__))) for error in errors]
    assert frames[1] == frames[2]


def test_a_version_is_what_was_published(base: BaseModel, tmp_path: Path) -> None:
    checker = Validator(base, max_rank=8)
    folder = write_adapter(tmp_path / "adapter", good_weights(), config())
    version = named(folder)
    write_adapter(folder, good_weights(), config(lora_alpha=1))
    with pytest.raises(ValidationError) as error:
        checker.check_version(folder, version)
    assert error.value.code == Fault.CHANGED
    checker.check_version(folder, named(folder))


@pytest.mark.parametrize("file", ADAPTER_FILES)
def test_a_version_whose_files_were_touched_is_looked_at(
    base: BaseModel, tmp_path: Path, file: str
) -> None:
    checker = Validator(base, max_rank=8)
    folder = write_adapter(tmp_path / "adapter", good_weights(), config())
    version = named(folder)
    checker.check_version(folder, version)
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[:-1])
    with pytest.raises(ValidationError):
        checker.check_version(folder, version)
    (folder / file).write_bytes(content)
    checker.check_version(folder, version)
    (folder / file).unlink()
    with pytest.raises(ValidationError) as error:
        checker.check_version(folder, version)
    assert error.value.code == Fault.MISSING_FILE


def test_memory_is_bounded(
    base: BaseModel, tmp_path: Path, looks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validator, "_REMEMBERED", 2)
    checker = Validator(base, max_rank=8)
    folders = [
        write_adapter(tmp_path / str(alpha), good_weights(), config(lora_alpha=alpha))
        for alpha in (1, 2, 3)
    ]
    # What was asked for last is what is remembered.
    for number in (0, 1, 0, 2, 0, 1):
        checker.check_version(folders[number], named(folders[number]))
    assert looks == [folders[0], folders[1], folders[2], folders[1]]


def test_the_limit_is_one_the_engine_takes(base: BaseModel) -> None:
    for rank in ENGINE_RANKS:
        Validator(base, max_rank=rank)
    with pytest.raises(ValidationError, match="1, 8, 16") as error:
        Validator(base, max_rank=12)
    assert error.value.code == Fault.RANK


def test_a_base_model_is_read_from_its_headers(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "Tiny")
    base = BaseModel.read(folder)
    assert base.name == "tiny"
    assert base.layers == {
        **LAYERS, "model.embed_tokens": (30, HIDDEN), "lm_head": (30, HIDDEN)
    }  # fmt: skip
    assert BaseModel.read(folder) == base
    assert BaseModel.read(folder, name="Org/Other").name == "other"
