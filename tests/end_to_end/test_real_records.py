"""Real abstracts and a real model against the plainest computation: no packing, no op of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from perce.cli import main
from perce.demo.model import smollm2_folder
from perce.errors import PerceError
from perce.modeling.loading import load_model
from perce.tokens import PreparedData

RECORDS = 20


def plain_logp(model: torch.nn.Module, prefix: np.ndarray, response: np.ndarray) -> torch.Tensor:
    ids = torch.from_numpy(np.concatenate([prefix, response]).astype(np.int64))[None]
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(response) + 1).logits[
            0, :-1
        ]
    return logits.float().log_softmax(-1).gather(1, ids[0, len(prefix) :, None])[:, 0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_scores_equal_plain_transformers(shared_data: Path, tmp_path: Path) -> None:
    try:
        folder = str(smollm2_folder())
    except PerceError as error:
        pytest.skip(f"the model cannot be had: {error}")
    prepared, out = tmp_path / "prepared", tmp_path / "scores.parquet"
    source = ["--source", "longlamp", "--task", "abstract", "--path", str(shared_data / "acl")]
    some = ["--split", "val", "--limit", str(RECORDS)]
    assert main(["prepare", *source, *some, "--model", folder, "--out", str(prepared)]) == 0
    split = ["--data", str(prepared / "val")]
    assert main(["score", "--model", folder, *split, "--out", str(out)]) == 0

    table = pq.read_table(out)
    model = load_model(folder).eval()
    data = PreparedData.open(prepared / "val")
    assert len(data) == RECORDS
    worst = {"logp_with": 0.0, "logp_without": 0.0}
    record = table["record"].to_numpy()
    for index in range(RECORDS):
        shown = data.record(index)
        prefixes = {"logp_with": shown.prefix_with_ids, "logp_without": shown.prefix_without_ids}
        for name, prefix in prefixes.items():
            ours = torch.from_numpy(table[name].to_numpy()[record == index].copy())
            plain = plain_logp(model, prefix, shown.response_ids)
            assert ours.std() > 0.5  # a column of zeros or of another record would not pass
            worst[name] = max(worst[name], float((ours - plain).abs().max()))
    print(f"largest difference in nats: {worst}")
    assert max(worst.values()) < 1e-4
