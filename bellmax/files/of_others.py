"""Plain Python. Recognize the models of other libraries, which hold code, and say why bellmax does not load them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from bellmax.contracts import CheckpointError, UnsafeFile
from bellmax.files import storage

ENDINGS = ("", ".zip", ".pkl", ".pickle", ".joblib", ".pt", ".pth")  # which those libraries append
ZIP, PICKLE = b"PK\x03\x04", tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


def refuse_others(path: Path) -> None:
    """Refuse a model of another library at `path`, even if its file extension was left out.

    Raises:
        UnsafeFile: there is one; the message says what to do.
    """
    for place in (Path(f"{path}{ending}") for ending in ENDINGS):
        if what := _kind(place):
            raise UnsafeFile(
                f"{place} is {what}; to load it would run code from the file, which bellmax never does: train the "
                "agent again, with the same settings, most of which have the names of Stable-Baselines3"
            )


def _kind(place: Path) -> str:
    """What the file at `place` is, if it may hold code; else ""."""
    if not place.is_file():
        return ""
    start = bytearray()
    with contextlib.suppress(CheckpointError):
        start = storage.read_bytes(place, first=100)
    if start.startswith(ZIP):
        member = start[30 : 30 + int.from_bytes(start[26:28], "little")]
        if member == b"data":
            return "a model of Stable-Baselines3, a zip archive with pickled Python objects"
        return "" if member.endswith(b".npy") else "a zip archive, as PyTorch and Stable-Baselines3 write"
    return "a pickle" if start.startswith(PICKLE) or place.suffix in (".pkl", ".pickle", ".joblib") else ""
