"""Rich. What the package uses of it; all import it from here.

Rich takes one of Python's random numbers when it is imported. Those belong to the program, so it is given back: a
seeded program gets the same numbers whether or not something was shown.
"""

from __future__ import annotations

import random

_before = random.getstate()

from rich.console import Console, RenderableType  # noqa: E402
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: E402
from rich.table import Table  # noqa: E402
from rich.text import Text  # noqa: E402

random.setstate(_before)

__all__ = ["BarColumn", "Console", "Progress", "RenderableType", "Table", "TaskProgressColumn", "Text", "TextColumn"]
