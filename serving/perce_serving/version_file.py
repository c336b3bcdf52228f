"""``version.json``, beside a stored adapter: what is known of it, and no part of its content."""

from __future__ import annotations

import json
from pathlib import Path

VERSION_FILE = "version.json"
BASE = "base"
"""Its field for the fingerprint of the base model that the adapter was checked against."""


def recorded_base(folder: Path) -> str | None:
    """Fingerprint of the base model against which a version was published; None where unknown.

    A record that cannot be read tells nothing; that it is damaged, the store itself says.
    """
    try:
        base = json.loads((folder / VERSION_FILE).read_bytes()).get(BASE)
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return base if isinstance(base, str) else None
