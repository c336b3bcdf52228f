"""What the linear ops say of bad input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from perce.errors import LabelError, ObjectiveError, OptionError
from perce.ops import WeightedCE, linear_logp, linear_weighted_ce, weighted_ce


def _call(**changes: Any) -> WeightedCE:
    arguments: dict[str, Any] = {
        "hidden": torch.randn(3, 2),
        "weight": torch.randn(5, 2),
        "labels": torch.tensor([0, 4, -100]),
        "objective": "ce",
    }
    return linear_weighted_ce(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            LabelError,
            {"labels": torch.tensor([0, 1, 5])},
            "label 5 at position 2: the vocabulary has 5",
        ),
        (LabelError, {"labels": torch.tensor([0, -1, 0])}, "label -1 at position 1"),
        (OptionError, {"labels": torch.zeros(3)}, r"labels: int64 \[N\] is needed"),
        (OptionError, {"labels": torch.zeros(4, dtype=torch.int64)}, r"hidden: floating \[4, 2\]"),
        (OptionError, {"weight": torch.randn(5, 3)}, r"hidden: floating \[3, 3\]"),
        (OptionError, {"weight": torch.randn(5)}, r"weight: floating \[V, H\]"),
        (OptionError, {"bias": torch.randn(4)}, r"bias: has shape \[4\]: \[5\]"),
        (OptionError, {"logp_without": torch.zeros(2)}, r"logp_without: has shape \[2\]: \[3\]"),
        (OptionError, {"segment": torch.zeros(2)}, "segment: has shape"),
        (OptionError, {"backend": "cuda"}, "'cuda' is for CUDA tensors, hidden is on cpu"),
        (OptionError, {"backend": "tpu"}, "'tpu' is unknown: use 'auto', 'torch' or 'cuda'"),
        (OptionError, {"chunk_rows": 0}, "chunk_rows: 0"),
        (OptionError, {"logit_softcap": 0.0}, "logit_softcap: 0.0"),
        (OptionError, {"num_items": 0}, "num_items: 0 tokens"),
        (OptionError, {"num_items": torch.ones(1)}, r"num_items: a 0-d tensor .* got \[1\]"),
        (OptionError, {"num_items": 3, "normalize": "weight"}, "num_items: means nothing"),
        (OptionError, {"normalize": "mean"}, "normalize: 'mean' is unknown"),
        (ObjectiveError, {"objective": "percy"}, "no objective 'percy'; objectives: ce, perce"),
        (ObjectiveError, {"objective": "perce"}, "'perce' needs logp_without: pass .*linear_logp"),
        (ObjectiveError, {"objective": "lossce"}, "'lossce' needs logp_reference"),
        (ObjectiveError, {"weights": torch.ones(3)}, "both an objective and weights"),
        (
            ObjectiveError,
            {"objective": None, "weights": torch.tensor([1.0, -1.0, 0.0])},
            "given weights: -1 at position 1",
        ),
        (
            ObjectiveError,
            {"objective": None, "weights": torch.tensor([1.0, 1.0, torch.nan])},
            "given weights: nan at position 2",
        ),
    ],
)
def test_bad_input(kind: type[Exception], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        _call(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [[0, 1, 5], [0, -1, 0]])
def test_bad_labels_everywhere(labels: list[int]) -> None:
    bad = torch.tensor(labels)
    with pytest.raises(LabelError):
        linear_logp(torch.randn(3, 2), torch.randn(5, 2), bad)
    with pytest.raises(LabelError):
        weighted_ce(torch.randn(3, 5), bad, objective="ce")


def test_needs_are_worded_alike_by_the_twin() -> None:
    with pytest.raises(ObjectiveError, match="'perce' needs logp_without"):
        weighted_ce(torch.randn(3, 5), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(OptionError, match=r"logits: floating \[3, V\]"):
        weighted_ce(torch.randn(2, 5), torch.zeros(3, dtype=torch.int64), objective="ce")


@pytest.fixture
def one_rank() -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize("name", ["hidden", "weight", "bias"])
def test_a_sharded_tensor_is_refused(name: str) -> None:
    shape = (5,) if name == "bias" else (3 if name == "hidden" else 5, 2)
    sharded = distribute_tensor(torch.randn(shape), init_device_mesh("cpu", (1,)), [Shard(0)])
    with pytest.raises(OptionError, match=rf"{name}: is a DTensor: .* or pass its full_tensor\(\)"):
        _call(**{name: sharded})
    assert _call(**{name: sharded.full_tensor()}).loss.isfinite()
