"""Plain Python. Handle an output folder that exists already: number the new one, or remove the run in the old one."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from bellmax.contracts import BellmaxError, ConfigError, UnsafeFile, listed
from bellmax.files import checkpoint, storage

IF_EXISTS = ("error", "number", "resume", "replace")

# names of the files that a run writes; bellmax did not write anything else in its folder
_WRITTEN = r"(config|environment|result|checkpoint)\.json|history\.csv|(episodes|visits)\.safetensors"
_POLICY = r"(seed-\d+|all)-(final|best)\.(safetensors|json)"
_PLACES = {"policies": _POLICY, "experience": r"seed-\d+\.safetensors", "checkpoint": checkpoint.OURS.pattern}


def is_taken(folder: Path) -> bool:
    """Return whether there is anything at this path other than an empty folder."""
    return (folder.exists() or folder.is_symlink()) and not (folder.is_dir() and not any(folder.iterdir()))


def numbered(folder: Path) -> Path:
    """Create a folder of this name, or of the name with the first free number: out, out-2, out-3, ...

    Raises:
        ConfigError: it cannot be created.
    """
    for k in itertools.count(1):
        path = folder if k == 1 else folder.with_name(f"{folder.name}-{k}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"cannot create a folder in {folder.parent}: {error.strerror}; pass --out") from error
        return path
    raise AssertionError


def remove_run(folder: Path) -> None:
    """Remove the files of the run in `folder` and nothing else; the empty folder stays.

    Raises:
        ConfigError: it is not a run's folder, or holds something that bellmax did not write; nothing is removed.
        UnsafeFile: the folder, or one in it, is a link.
    """
    if folder.is_symlink():
        raise UnsafeFile(f"{folder} is a link; to replace the run that it leads to, pass the path of that run")
    is_run = False
    with contextlib.suppress(BellmaxError):
        card = storage.read_json(folder / "config.json")
        is_run = isinstance(card, dict) and {"format", "agent", "hyper_parameters", "world"} <= card.keys()
    if not is_run:
        raise ConfigError(f"{folder} does not hold a run, so nothing in it is replaced; choose another folder")
    files, foreign = list(_files(folder)), []
    for path in files:
        place = "" if path.parent == folder else path.parent.name
        pattern = _PLACES.get(place, _WRITTEN)
        own = re.fullmatch(rf"{pattern}|\.({pattern})\.\w+", path.name)  # also temporary files of a killed process
        if not own or path.is_symlink() or not path.is_file():
            foreign.append(str(path.relative_to(folder)))
    if foreign:
        raise ConfigError(
            f"{folder} also holds {listed(sorted(foreign))}, which bellmax did not write, so nothing is replaced; move "
            "these files elsewhere, or choose another folder"
        )
    for path in sorted(files, key=lambda path: path.name == "config.json"):  # until the end it remains a run's folder
        path.unlink()
    for place in _PLACES:
        if (folder / place).is_dir():
            (folder / place).rmdir()


def _files(folder: Path) -> Iterator[Path]:
    """Yield what lies in a run's folder and in its own subfolders, which must not be links."""
    for path in folder.iterdir():
        if path.name in _PLACES and path.is_dir():
            storage.refuse_link(path)
            yield from path.iterdir()
        else:
            yield path
