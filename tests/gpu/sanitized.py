"""What compute-sanitizer watches: every kernel, at sizes with ragged ends; see test_sanitizer.py.

compute-sanitizer --tool memcheck python tests/gpu/sanitized.py
"""

from __future__ import annotations

import contextlib

import torch

from perce.errors import LabelError
from perce.objectives import objective_names
from perce.ops import linear_logp, linear_weighted_ce
from perce.ops.labels import watch

TWO = ("perce", "lossce")
"""Weights made inside the kernel, and weights given to it after a look at all chunks."""


def forget_labels() -> None:
    """Let the next call run although the one before had a label that cannot be."""
    with contextlib.suppress(LabelError):
        watch.tell(wait=True)


def main() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for vocab in (1, 7, 1031, 20011):
            hidden = torch.randn(9, 16, device="cuda", dtype=dtype, requires_grad=True)
            weight = torch.randn(vocab, 16, device="cuda", dtype=dtype, requires_grad=True)
            bias = torch.randn(vocab, device="cuda")
            labels = torch.randint(0, vocab, (9,), device="cuda")
            labels[3], labels[4] = -100, vocab + 5
            without = -torch.rand(9, device="cuda")
            forget_labels()
            linear_logp(hidden, weight, labels)
            signals = {"logp_without": without, "logp_reference": without, "segment": labels * 0}
            for name in objective_names() if vocab == 1031 else TWO:
                for options in ({}, {"bias": bias, "logit_softcap": 30.0, "logit_scale": 0.5}):
                    forget_labels()
                    result = linear_weighted_ce(
                        hidden, weight, labels, objective=name, chunk_rows=5, **signals, **options
                    )
                    result.loss.backward()
    torch.cuda.synchronize()
    forget_labels()


if __name__ == "__main__":
    main()
