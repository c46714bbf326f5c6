"""Plain Python. An output folder that exists already: number the new one, replace the run in it, or resume that run."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from bellmax.contracts import BellmaxError, ConfigError, UnsafeFile, listed
from bellmax.files import checkpoint, storage

IF_EXISTS = ("error", "number", "resume", "replace")

# what a run writes, by name: everything else in its folder is somebody else's
_WRITTEN = r"(config|environment|result|checkpoint)\.json|history\.csv|(episodes|visits)\.safetensors"
_POLICY = r"(seed-\d+|all)-(final|best)\.(safetensors|json)"
_PLACES = {"policies": _POLICY, "experience": r"seed-\d+\.safetensors", "checkpoint": checkpoint.OURS.pattern}


def is_taken(folder: Path) -> bool:
    """Whether there is anything at this path but an empty folder."""
    return (folder.exists() or folder.is_symlink()) and not (folder.is_dir() and not any(folder.iterdir()))


def numbered(folder: Path) -> Path:
    """The folder, or with the first free number behind its name; it is made, so that nobody else takes it.

    Raises:
        ConfigError: it cannot be made.
    """
    for k in itertools.count(1):
        path = folder if k == 1 else folder.with_name(f"{folder.name}-{k}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"cannot make a folder in {folder.parent}: {error.strerror}; give --out") from error
        return path
    raise AssertionError


def remove_run(folder: Path) -> None:
    """Remove the files of the run in `folder`, and nothing else; the empty folder stays.

    Raises:
        ConfigError: it is not a run's folder, or holds something that bellmax did not write; nothing is removed.
        UnsafeFile: the folder, or one in it, is a link.
    """
    if folder.is_symlink():
        raise UnsafeFile(f"{folder} is a link; to replace the run behind it, give the path to which it leads")
    is_run = False
    with contextlib.suppress(BellmaxError):
        card = storage.read_json(folder / "config.json")
        is_run = isinstance(card, dict) and {"format", "agent", "hyper_parameters", "world"} <= card.keys()
    if not is_run:
        raise ConfigError(f"{folder} does not hold a run, so nothing in it is replaced; name another folder")
    files, foreign = list(_files(folder)), []
    for path in files:
        place = "" if path.parent == folder else path.parent.name
        pattern = _PLACES.get(place, _WRITTEN)
        own = re.fullmatch(rf"{pattern}|\.({pattern})\.\w+", path.name)  # also what a killed process left half written
        if not own or path.is_symlink() or not path.is_file():
            foreign.append(str(path.relative_to(folder)))
    if foreign:
        raise ConfigError(
            f"{folder} also holds {listed(sorted(foreign))}, which bellmax did not write, so nothing is replaced; move "
            "it away, or name another folder"
        )
    for path in sorted(files, key=lambda path: path.name == "config.json"):  # the mark of a run goes last
        path.unlink()
    for place in _PLACES:
        if (folder / place).is_dir():
            (folder / place).rmdir()


def _files(folder: Path) -> Iterator[Path]:
    """What lies in a run's folder and in its own subfolders, which must not be links."""
    for path in folder.iterdir():
        if path.name in _PLACES and path.is_dir():
            storage.refuse_link(path)
            yield from path.iterdir()
        else:
            yield path
