"""Text metrics of a generation against the user's own response."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from perce.errors import MissingExtraError

ROUGE = ("rouge1", "rougeL")


def rouge(
    references: Sequence[str], generations: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """ROUGE-1 and ROUGE-L F1 of each pair, by ``rouge-score`` without stemming, as LongLaMP does.

    Its tokenizer keeps ASCII letters and digits alone: texts in other scripts score 0.

    Returns:
        Metric name to float64 [pairs], each in 0..1.

    Raises:
        MissingExtraError: ``rouge-score`` is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise MissingExtraError("rouge-score", "evaluation") from None
    scorer = RougeScorer(list(ROUGE), use_stemmer=False)
    scores = [
        scorer.score(reference, generation)
        for reference, generation in zip(references, generations, strict=True)
    ]
    return {name: np.array([score[name].fmeasure for score in scores]) for name in ROUGE}
