"""Plain Python. Text that may come from a file or an environment, made harmless for a terminal."""

from __future__ import annotations

import re

# control characters, which move the cursor or change the title of a window, and marks that turn the direction of a line
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: object) -> str:
    r"""Return a text with its control characters written out, such as \\x1b; tabs and ends of lines stay."""
    return HARMFUL.sub(lambda found: ascii(found[0])[1:-1], str(text))
