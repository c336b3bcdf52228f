"""Make invisible characters visible, so that a report shows what the model saw."""

from __future__ import annotations

import re

# Controls, and marks that reorder or hide text, but line ends and tabs: as in heatmap.js.
_UNSEEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def visible(text: str) -> str:
    """Return ``text`` with each control or bidi mark named, as in ``⟨U+202E⟩``."""
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)
