"""The code of the objectives guide runs as it stands, and its table names what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from perce import objectives

GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "objectives.md"


@pytest.fixture
def table() -> Iterator[None]:
    """Forget what the guide registers."""
    before = dict(objectives._TABLE)
    yield
    objectives._TABLE.clear()
    objectives._TABLE.update(before)


def test_code_runs(table: None, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    assert len(code) == 5
    namespace: dict[str, object] = {}
    exec(compile("\n".join(code), str(GUIDE), "exec"), namespace)
    namespace["test_sigmoid"]()  # type: ignore[operator]
    printed = capsys.readouterr().out
    assert "tensor([5.0000, 0.8000, 2.0000])" in printed
    assert "tensor([5.0000, 0.2000, 2.0000])" in printed
    assert "weight not to depend on other tokens" in printed


def test_table_names_every_objective_with_its_options() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)$", GUIDE.read_text(), re.M)
    assert tuple(name for name, _ in rows) == objectives.objective_names()
    for name, row in rows:
        objective = objectives.get_objective(name)
        for option, value in objective.options.items():
            assert re.search(rf"`{option}`[^,|]*= {value:g}\b", row), (name, option)
        for need in objective.needs:
            assert f"`{need}`" in row
        assert ("sum of weights" in row) == (objective.normalize == "weight")
