"""How well PIR finds the personal words that the gallery's authors marked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from perce.data.sources.known_truth import known_truths


def truth_auroc(scores: pa.Table) -> float:
    """AUROC of PIR as a test for the gallery's personal tokens: 1 is perfect, 0.5 is chance.

    A token is personal if it shares a character with a marked word, white space aside.

    Args:
        scores: the table of the gallery.

    Returns:
        The chance that a personal token has a higher PIR than another; ties count half.
    """
    spans = {truth.record.id: truth.spans for truth in known_truths()}
    personal = []
    end = 0
    for name, position, piece in zip(
        scores.column("id").to_pylist(),
        scores.column("position").to_pylist(),
        scores.column("piece").to_pylist(),
        strict=True,
    ):
        start = 0 if position == 0 else end
        end = start + len(piece)
        first = start + len(piece) - len(piece.lstrip())
        personal.append(any(first < stop and begin < end for begin, stop in spans[name]))
    return auroc(scores.column("pir").to_numpy(), np.array(personal))


def auroc(values: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_]) -> float:
    """Chance that a positive's value is above a negative's; ties count half (Mann-Whitney)."""
    ordered = np.sort(values[~positive])
    below = np.searchsorted(ordered, values[positive], side="left")
    not_above = np.searchsorted(ordered, values[positive], side="right")
    return float((below + not_above).mean() / 2 / len(ordered))
