"""NumPy. The two files of a policy: arrays in a safetensors file, and the rest in JSON; they hold no code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from bellmax import spaces
from bellmax.agent_config import AgentConfig, build
from bellmax.arguments import path_of
from bellmax.catalog import is_deep, is_tabular
from bellmax.contracts import ArrayDict, ConfigError, CorruptCheckpoint, Discrete, ResourceError, Space, listed
from bellmax.files import storage
from bellmax.files.saved_parts import saved_class
from bellmax.files.storage import fingerprint

SUFFIXES = (".safetensors", ".json")


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


def save_together(stem: Path, card: Mapping[str, Any], arrays: Sequence[ArrayDict]) -> None:
    """Write the n policies of a run as one: every array with a leading axis [n]."""
    write_files(stem, card, {name: np.stack([each[name] for each in arrays]) for name in arrays[0]})


def write_files(stem: Path, card: Mapping[str, Any], arrays: ArrayDict) -> None:
    """Write the arrays, then the card: a new card would not fit the old arrays."""
    data = storage.to_bytes(arrays, metadata={"sha256": fingerprint(card, arrays)})
    storage.write(beside(stem, ".safetensors"), data)
    storage.write_json(beside(stem, ".json"), card)


def find_policy(path: str | os.PathLike[str]) -> Path:
    """Return the stem of a policy that `Policy.save` or a run wrote; either suffix may be left out.

    Raises:
        ConfigError: there is no policy of this name.
    """
    stem = stem_of(path)
    if not any(beside(stem, suffix).exists() for suffix in SUFFIXES):
        if (stem / "config.json").is_file():
            raise ConfigError(
                f"{stem} is the folder of a run, not a policy; use bellmax.load({str(stem)!r}).policy(seed)"
            )
        folder = stem if stem.is_dir() else stem.parent
        near = sorted(
            file.stem for file in folder.glob("*.safetensors") if beside(folder / file.stem, ".json").exists()
        )
        if stem.is_dir() and near:
            raise ConfigError(f"{stem} is a folder, not a policy; policies in it: {listed(near)}")
        others = f"; policies there: {listed(near)}" if near else ""
        raise ConfigError(f"no policy {str(stem)!r}: there is no {beside(stem, '.safetensors')}{others}")
    return stem


def read_files(stem: Path, lead: tuple[int, ...] = ()) -> PolicyParts:
    """Read the two files of a policy, whose arrays have the leading axes `lead`.

    Raises:
        CorruptCheckpoint: a file is missing or damaged, or does not fit the other.
        IncompatibleCheckpoint: a newer version wrote it.
    """
    card = storage.check_format(storage.read_json(beside(stem, ".json")), beside(stem, ".json"))
    tensors = beside(stem, ".safetensors")
    try:
        with safe_open(tensors, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            recorded = (file.metadata() or {}).get("sha256")
        if fingerprint(card, arrays) != recorded:
            raise ValueError("their content is not what was saved")
        check_named(card)
        config = build(saved_class(card), card["hyper_parameters"])
        space = spaces.from_json(card["space"], network=not is_tabular(config))
        coding = card.get("action_coding", {})
        policy = PolicyParts(card["world"], config, space, int(card["n_actions"]), arrays, card["env_kwargs"], coding)
        shapes = expected_shapes(config, policy.space, policy.n_actions)
        expected = {name: (*lead, *shape) for name, shape in shapes.items()}
        if is_tabular(config) and "visits" not in arrays:
            del expected["visits"]  # older versions did not save them
        if (shapes := {name: array.shape for name, array in arrays.items()}) != expected:
            raise ValueError(f"arrays are {shapes}, expected {expected}")
        check_numbers(arrays)
        return policy
    except (*storage.MALFORMED, OSError, SafetensorError, ConfigError) as error:
        raise CorruptCheckpoint(f"{tensors} and its .json do not make a policy: {error}") from error


def read_together(stem: Path, n: int) -> list[PolicyParts]:
    """Read the n policies that `save_together` wrote; raises as `read_files`."""
    whole = read_files(stem, (n,))
    return [whole._replace(arrays={name: array[i] for name, array in whole.arrays.items()}) for i in range(n)]


def check_numbers(arrays: ArrayDict) -> None:
    """Check the numbers of a policy; -inf is valid, as the value of an action that a state does not have.

    Raises:
        ValueError: an array has a NaN or +inf, the wrong type, or a negative count; or a range is empty.
    """
    for name, array in arrays.items():
        if array.dtype.kind != ("i" if name == "visits" else "f"):
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
