"""NumPy. The two files of a policy: arrays in a safetensors file, and the rest in JSON; they hold no code."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bellmax import spaces
from bellmax.agent_config import AgentConfig
from bellmax.arguments import path_of
from bellmax.catalog import is_deep, is_tabular
from bellmax.contracts import (
    ArrayDict,
    BellmaxError,
    CheckpointError,
    ConfigError,
    CorruptCheckpoint,
    Discrete,
    IncompatibleCheckpoint,
    ResourceError,
    Space,
    UnsafeFile,
    listed,
)
from bellmax.files import storage
from bellmax.files.manifest import next_of
from bellmax.files.of_others import refuse_others
from bellmax.files.saved_files import Files
from bellmax.files.saved_parts import saved_config
from bellmax.files.storage import fingerprint
from bellmax.files.tensors import Tensor, is_floating

SUFFIXES = (".safetensors", ".json")
MOST_UNKNOWN = 64 << 20  # bytes of arrays that are read before it is known which they should be


class PolicyParts(NamedTuple):
    """The content of the two files of a policy; `Policy` describes its attributes."""

    world: str
    config: AgentConfig
    space: Space
    n_actions: int
    arrays: ArrayDict
    env_kwargs: dict[str, Any]
    coding: dict[str, Any]


def save_policy(path: str | os.PathLike[str], card: Mapping[str, Any], arrays: ArrayDict) -> None:
    """Write the two files of a policy; see `Policy.save`."""
    stem = stem_of(path)
    try:
        json.dumps(card["env_kwargs"])
    except TypeError as error:
        raise ConfigError(
            f"env_kwargs cannot be saved: {error}; use dataclasses.replace(policy, env_kwargs={{}})"
        ) from error
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot create the folder {stem.parent}: {error.strerror}") from error
    write_files(stem, card, arrays)


def stem_of(path: object) -> Path:
    """Return the path of a policy without the suffix of either file; another dot in its name is part of the name.

    Raises:
        ConfigError: it is not a path.
    """
    stem = path_of("path", path)
    return stem.with_suffix("") if stem.suffix in SUFFIXES else stem


def beside(stem: Path, suffix: str) -> Path:
    """Return `stem` with one more suffix."""
    return stem.parent / f"{stem.name}{suffix}"


def write_files(stem: Path, card: Mapping[str, Any], arrays: ArrayDict) -> None:
    """Write the two files of a policy: whatever fails, a reader finds the old policy or the new one.

    Both are written as NAME.next. Then the arrays get their name, which is the moment of change: from then on their
    hash fits the new card, which a reader finds under either name.

    Raises:
        ResourceError: the disk is full or read-only, or fails in another way.
    """
    staged = [(next_of(stem.parent / name), data) for name, data in contents(stem.name, card, arrays)]
    moved, state = 0, "nothing has changed"
    try:
        _settle(stem)
        for path, data in staged:
            path.unlink(missing_ok=True)
            storage.write_new(path, data)
        storage.sync_folder(stem.parent)
        for path, _ in staged:
            os.replace(path, path.with_suffix(""))
            moved, state = moved + 1, "it is the new one, which may not survive a power failure"
            storage.sync_folder(stem.parent)
    except BaseException as error:
        for path, _ in () if moved else staged:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise ResourceError(f"cannot write the policy {stem}: {error.strerror}; {state}") from error


def _settle(stem: Path) -> None:
    """Give the card of a save that was interrupted between the two files its name."""
    card = beside(stem, ".json")
    with contextlib.suppress(BellmaxError):
        if next_of(card).exists():
            read_files(Files(stem.parent), stem.name, card=next_of(card).name)
            os.replace(next_of(card), card)


def contents(name: str, card: Mapping[str, Any], arrays: ArrayDict) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the two files of a policy: the arrays, then the card, which would not fit older ones."""
    yield f"{name}.safetensors", storage.to_bytes(arrays, metadata={"sha256": fingerprint(card, arrays)})
    yield f"{name}.json", storage.json_bytes(card)


def contents_together(name: str, card: Mapping[str, Any], arrays: Sequence[ArrayDict]) -> Iterator[tuple[str, bytes]]:
    """Yield the n policies of a run as one: every array with a leading axis [n]."""
    return contents(name, card, {key: np.stack([each[key] for each in arrays]) for key in arrays[0]})


def find_policy(path: str | os.PathLike[str]) -> Path:
    """Return the stem of a policy that `Policy.save` or a run wrote; either suffix may be left out.

    Raises:
        ConfigError: there is no policy of this name.
        UnsafeFile: there is a model of another library.
    """
    stem = stem_of(path)
    if not any(beside(stem, suffix).exists() for suffix in SUFFIXES):
        if (stem / "config.json").is_file():
            raise ConfigError(
                f"{stem} is the folder of a run, not a policy; use bellmax.load({str(stem)!r}).policy(seed)"
            )
        refuse_others(stem)
        folder = stem if stem.is_dir() else stem.parent
        near = sorted(
            file.stem for file in folder.glob("*.safetensors") if beside(folder / file.stem, ".json").exists()
        )
        if stem.is_dir() and near:
            raise ConfigError(f"{stem} is a folder, not a policy; policies in it: {listed(near)}")
        others = f"; policies there: {listed(near)}" if near else ""
        raise ConfigError(f"no policy {str(stem)!r}: there is no {beside(stem, '.safetensors')}{others}")
    return stem


def read_policy(path: str | os.PathLike[str]) -> PolicyParts:
    """Read the policy that `find_policy` finds; raises as it and `read_files`."""
    stem = find_policy(path)
    try:
        return read_files(Files(stem.parent), stem.name)
    except CorruptCheckpoint:
        with contextlib.suppress(CheckpointError):  # a save was interrupted between its two files
            return read_files(Files(stem.parent), stem.name, card=next_of(beside(stem, ".json")).name)
        raise


def read_files(files: Files, name: str, lead: tuple[int, ...] = (), card: str = "") -> PolicyParts:
    """Read the two files of a policy, whose arrays have the leading axes `lead`; `card` is by default NAME.json.

    Raises:
        CorruptCheckpoint: a file is missing or damaged, or does not fit the other.
        IncompatibleCheckpoint: a newer version wrote it.
    """
    place = card or f"{name}.json"
    about = storage.check_format(files.json(place), files.folder / place)
    unlike: BellmaxError | None = None
    try:
        try:
            parts, expected = read_card(about)
        except (IncompatibleCheckpoint, UnsafeFile) as error:  # or the card is damaged, as the hash then says
            unlike = error

        def check(found: Mapping[str, Tensor]) -> None:
            shapes = {key: tensor.shape for key, tensor in found.items()}
            if not unlike and not is_expected(shapes, {key: (*lead, *shape) for key, shape in expected.items()}):
                raise ValueError(f"arrays are {shapes}, expected {expected}")

        arrays, metadata = files.tensors(f"{name}.safetensors", check, MOST_UNKNOWN if unlike else None)
        if fingerprint(about, arrays) != metadata.get("sha256"):
            raise ValueError("their content is not what was saved")
        if unlike:
            raise unlike
        check_numbers(arrays)
        return parts._replace(arrays=arrays)
    except (*storage.MALFORMED, ConfigError, CorruptCheckpoint) as error:
        raise CorruptCheckpoint(
            f"{files.folder / name}.safetensors and its .json do not make a policy: {error}"
        ) from error


def read_card(card: Mapping[str, Any]) -> tuple[PolicyParts, dict[str, tuple[int, ...]]]:
    """Return what the card of a policy says, without arrays, and the shapes that these must have.

    Raises:
        IncompatibleCheckpoint, UnsafeFile: its agent or network is not here.
        TypeError, ValueError, LookupError, ConfigError: an entry is not valid.
    """
    check_named(card)
    config = saved_config(card)
    space = spaces.from_json(card["space"], network=not is_tabular(config))
    n_actions, coding = int(card["n_actions"]), card.get("action_coding", {})
    parts = PolicyParts(card["world"], config, space, n_actions, {}, card["env_kwargs"], coding)
    return parts, expected_shapes(config, space, n_actions)


def is_expected(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether arrays have the expected names and shapes; older versions did not save the visits of a table."""
    return shapes == (expected if "visits" in shapes else {k: v for k, v in expected.items() if k != "visits"})


def read_together(files: Files, name: str, n: int) -> list[PolicyParts]:
    """Read the n policies that `contents_together` wrote; raises as `read_files`."""
    whole = read_files(files, name, (n,))
    return [whole._replace(arrays={key: array[i] for key, array in whole.arrays.items()}) for i in range(n)]


def check_numbers(arrays: ArrayDict) -> None:
    """Check the numbers of a policy; -inf is valid, as the value of an action that a state does not have.

    Raises:
        ValueError: an array has a NaN or +inf, the wrong type, or a negative count; or a range is empty.
    """
    for name, array in arrays.items():
        if not (array.dtype.kind == "i" if name == "visits" else is_floating(array.dtype)):
            raise ValueError(f"{name} is of type {array.dtype}")
        if name == "visits" and (array < 0).any():
            raise ValueError(f"{name} has a negative number")
        if name != "visits" and (np.isnan(array) | (array == np.inf)).any():
            raise ValueError(f"{name} has a NaN or an infinity")
    if "low" in arrays and not (arrays["low"] <= arrays["high"]).all():
        raise ValueError("low is above high")


def check_named(card: Mapping[str, Any]) -> None:
    """Check the types of the entries that describe the agent and environment of a policy or run.

    Raises:
        TypeError: one is wrong.
    """
    kinds = {"world": str, "env_kwargs": dict, "agent": str, "hyper_parameters": dict}
    for name, kind in kinds.items():
        if type(card[name]) is not kind:
            raise TypeError(f"{name}={card[name]!r} is not of type {kind.__name__}")
    parts = card.get("parts", {})
    if type(parts) is not dict or not all(type(path) is str and ":" in path for path in parts.values()):
        raise TypeError(f"parts={parts!r} is not a dictionary of module:name")


def expected_shapes(config: AgentConfig, space: Space, n_actions: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a policy's arrays, by name."""
    if is_tabular(config):
        space = spaces.visible(space)
        if isinstance(space, Discrete):
            return {"q": (space.n, n_actions), "visits": (space.n, n_actions)}
        from bellmax.tabular.cells import make_coder, numbers_of

        end = (int(numbers_of(space).ranged.sum()),)
        table = (make_coder(config, space, np.zeros(end), np.ones(end), n_actions).n_tiles, n_actions)
        return {"q": table, "visits": table, "low": end, "high": end}
    assert is_deep(config)  # noqa: S101 - there are two families
    from bellmax.deep.building import module_shapes
    from bellmax.networks.packing import to_named

    named = to_named(module_shapes(config, space, n_actions))
    return {name: leaf.shape for name, leaf in named.items()}
