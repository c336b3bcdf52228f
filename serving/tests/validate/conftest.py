"""The tiny base model, and a validator for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from perce_serving.validate import BaseModel, Validator
from validate.adapters import write_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return BaseModel.read(write_base(tmp_path_factory.mktemp("base") / "Tiny"))


@pytest.fixture
def validator(base: BaseModel) -> Validator:
    return Validator(base, max_rank=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "adapter"
