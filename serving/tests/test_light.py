"""The light core imports where neither torch nor vLLM nor perce is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import perce_serving

PACKAGE = Path(perce_serving.__file__).parent
# All that imports vLLM when it is imported itself.
HEAVY = {"perce_serving.engine.launch", "perce_serving.engine.resolver"}
IMPORT_ALL = """
import importlib, sys
for name in ("torch", "transformers", "vllm", "perce"):
    sys.modules[name] = None  # an import of it fails
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_every_module_imports_without_the_heavy_ones() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
    ]
    assert {*modules} > HEAVY | {"perce_serving.store.local"}
    modules = [name for name in modules if name not in HEAVY]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules],
        cwd=PACKAGE.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_store_needs_no_numpy() -> None:
    """A reader of the store starts in the time that Python itself takes."""
    program = "import sys, perce_serving.store; print('numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PACKAGE.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"
