"""NumPy. Read the files of a run through its manifest, which shows what is missing, exchanged or altered."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bellmax.contracts import ArrayDict, BellmaxError, CheckpointError, CorruptCheckpoint, Json, ResourceError
from bellmax.files import format_one, manifest, storage, tensors
from bellmax.files.manifest import BOUND, Manifest, entry_of, listing, next_of, size_of


@dataclass(frozen=True)
class Files:
    """The files of a run, read through its manifest; without one, as they are: of format 1, or a single policy."""

    folder: Path
    manifest: Manifest | None = None

    def names(self) -> list[str]:
        """Return the names of all files that a run may have."""
        if self.manifest is not None:
            return list(self.manifest.files)
        return [name for name in listing(self.folder) if BOUND.fullmatch(name)]

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name, or should be one."""
        return os.path.exists(self.folder / name) if self.manifest is None else name in self.manifest.files

    def read(self, name: str, most: int | None = None) -> bytearray:
        """Return the content of a file.

        Raises:
            CorruptCheckpoint: it is missing, has more than `most` bytes, or is not what was saved.
            ResourceError, UnsafeFile: as `storage.read_bytes`.
        """
        return self._read(name, most, None)

    def json(self, name: str) -> Json:
        """Return the value in a JSON file; raises as `read`."""
        return storage.parse_json(self.read(name, storage.MOST_JSON), self.folder / name)

    def tensors(
        self, name: str, check: tensors.Check | None = None, most: int | None = None
    ) -> tuple[ArrayDict, dict[str, str]]:
        """Return the arrays and the metadata of a file; `check` as in `tensors.read`. Raises as `read`."""

        def look(path: Path, links: bool) -> None:
            tensors.look(path, most, check, links=links)

        return tensors.parse(self._read(name, most, look), self.folder / name)

    def size(self, name: str) -> int:
        """Return the bytes that a file of the manifest had when it was saved.

        Raises:
            CorruptCheckpoint: the manifest does not name it.
        """
        size: int = self._entry(name)["size"]
        return size

    def is_there(self, name: str) -> bool:
        """Return whether a file of the manifest exists, with the size that it had when it was saved."""
        return size_of(self.folder / name) == self.size(name)

    def is_whole(self, name: str) -> bool:
        """Return whether a file has the content that was saved."""
        try:
            self.read(name)
        except (CheckpointError, ResourceError):
            return False
        return True

    def _read(self, name: str, most: int | None, look: Callable[[Path, bool], None] | None) -> bytearray:
        path = self.folder / name
        if self.manifest is None:
            if look is not None:
                look(path, True)
            return storage.read_bytes(path, most)
        entry = self._entry(name)
        if most is not None and entry["size"] > most:
            raise CorruptCheckpoint(f"{path} has {entry['size']:,} bytes; at most {most:,} are valid")
        if path.parent != self.folder:
            storage.refuse_link(path.parent)
        problem = f"{path} is missing"
        for place in (next_of(path), path):
            if (size := size_of(place)) is None:
                continue
            storage.refuse_link(place)
            if size != entry["size"]:
                problem = f"{place} has {size:,} bytes; {entry['size']:,} were saved"
                continue
            try:
                if look is not None:
                    look(place, False)
                data = storage.read_bytes(place, entry["size"], links=False)
            except CheckpointError:
                if place == path:
                    raise
                continue
            if entry_of(data) == entry:
                return data
            problem = f"{place} ({size:,} bytes) is not what was saved; its SHA-256 differs"
        raise CorruptCheckpoint(problem)

    def _entry(self, name: str) -> Mapping[str, Any]:
        """What the manifest says of a file."""
        if self.manifest is None or name not in self.manifest.files:
            raise CorruptCheckpoint(f"{self.folder / name} is missing: the manifest of the run does not name it")
        return self.manifest.files[name]


def files_of(folder: Path) -> Files:
    """Return the files of a run, of format 2 if it has a manifest; raises as `read`."""
    return Files(folder, manifest.read_manifest(folder))


def saved_step(folder: Path) -> int:
    """Return the step of the newest checkpoint of a run, which may be later than its last record; 0 without one."""
    with contextlib.suppress(BellmaxError):
        found = manifest.read_manifest(folder)
        return found.step if found else format_one.read_step(folder)[0]
    return 0
