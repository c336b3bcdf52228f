"""Products of matrices that keep the precision they are asked for, whatever the process allows.

A training script may let torch trade precision for speed process-wide: TF32 or bfloat16 inside
float32 products (``torch.set_float32_matmul_precision("high")``, ``tf32=True`` of transformers),
float16 sums inside float16 ones. Any of these would put noise of the size of PIR on a
log-probability.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_products() -> Iterator[None]:
    """Sum in float32 and take float32 factors as they are, until the block ends.

    The switches are the process's own, so they are touched only where they stand otherwise. The
    reduced-precision reductions of bfloat16 and float16 need no switch: they are about sums in the
    dtype of the result, and results here are float32.
    """
    cublas = torch.backends.cuda.matmul
    onednn = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # the class has it
    relaxed = [
        (library, library.fp32_precision)
        for library in (cublas, onednn)
        if library.fp32_precision not in ("none", "ieee")
    ]
    half_sums = cublas.allow_fp16_accumulation
    for library, _ in relaxed:
        library.fp32_precision = "ieee"
    if half_sums:
        cublas.allow_fp16_accumulation = False
    try:
        yield
    finally:
        for library, before in relaxed:
            library.fp32_precision = before
        if half_sums:
            cublas.allow_fp16_accumulation = True
