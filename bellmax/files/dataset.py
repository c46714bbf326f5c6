"""NumPy. Data sets for offline learning: arrays in time order, and their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bellmax.arguments import path_of
from bellmax.contracts import ArrayDict, ConfigError, CorruptCheckpoint, FloatArray, Masked, listed
from bellmax.files import checkpoint, storage, tensors
from bellmax.files.storage import fingerprint
from bellmax.files.tidying import Observations, tidy_flags, tidy_reward, tidy_row, tidy_tree

Tree = TypeVar("Tree")


class Dataset(NamedTuple):
    """Steps of an environment [n] in time order, one episode after another, by any policy. NumPy arrays.

    Attributes:
        obs: [n, ...], the observations before the steps; a tuple (or `Masked`) of arrays where the space is one.
        action: [n] integers from 0.
        reward: [n].
        terminated: [n] bool, the episode ended: no value follows.
        truncated: [n] bool, the episode was cut here, by a time limit or the end of the recording: the value of
            `next_obs` follows.
        next_obs: [n, ...], the observations after the steps, also where the episode ended.
    """

    obs: Any
    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    next_obs: Any

    def __repr__(self) -> str:
        ends = f"{np.count_nonzero(self.terminated):,} terminated, {np.count_nonzero(self.truncated):,} truncated"
        return f"Dataset({self.steps:,} steps: {ends}; mean reward {np.mean(self.reward) if self.steps else 0.0:.6g})"

    @property
    def steps(self) -> int:
        """The number of steps."""
        return int(np.shape(self.action)[0]) if np.ndim(self.action) else 0

    def tidy(self) -> Dataset:
        """Return the same data as arrays, also from lists, flags that are 0 and 1, and columns [n, 1].

        Raises:
            ConfigError: something is not a number, or a flag is neither 0 nor 1; one message reports everything.
        """
        parts: dict[str, Any] = {}
        problems = []
        for name, read in TIDY.items():
            try:
                parts[name] = read(getattr(self, name))
            except ConfigError as error:
                problems.append(str(error))
        if problems:
            raise ConfigError("; ".join(problems))
        return Dataset(**parts)

    def returns(self) -> FloatArray:
        """Return the undiscounted returns of all episodes, in order; an incomplete one counts with its steps.

        Raises:
            ConfigError: rewards or flags are not numbers, or not one per step.
        """
        flags = [tidy_flags(name, getattr(self, name)) for name in ("terminated", "truncated")]
        reward = tidy_reward(self.reward).astype(np.float64)
        if any(flag.shape != reward.shape for flag in flags) or reward.ndim != 1:
            shapes = f"{reward.shape}, {flags[0].shape} and {flags[1].shape}"
            raise ConfigError(f"reward, terminated and truncated must have one number per step; got shapes {shapes}")
        if not reward.size:
            return np.zeros(0)
        starts = np.flatnonzero(np.concatenate([[True], (flags[0] | flags[1])[:-1]]))
        return np.add.reduceat(reward, starts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one .safetensors file with a hash of its arrays; see `storage.write`.

        Raises:
            ConfigError: the name does not end in .safetensors.
            ResourceError: the file cannot be written.
        """
        path = path_of("path", path)
        if path.suffix != ".safetensors":
            raise ConfigError(f"the name of a data file must end in .safetensors; got {path.name!r}")
        storage.write(path, self.content())

    def content(self) -> bytes:
        """Return the content of a data file."""
        arrays = self.tidy().arrays()
        about = {"format": str(storage.FORMAT), "sha256": fingerprint({}, arrays)}
        return storage.to_bytes(arrays, metadata=about)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Dataset:
        """Read a file that `save` wrote, or any .safetensors file with arrays of these names.

        Raises:
            ConfigError: the file does not exist, or does not have all arrays.
            CorruptCheckpoint: it is damaged.
            IncompatibleCheckpoint: a newer version wrote it.
        """
        path = path_of("path", path)
        if not path.exists():
            raise ConfigError(f"no data file {path}")
        return cls.from_arrays(*tensors.read_tensors(path), path)

    @classmethod
    def from_arrays(cls, arrays: ArrayDict, about: Mapping[str, str], path: Path) -> Dataset:
        """Return the data in the arrays and the metadata of a file; raises as `load`."""
        form = about.get("format", str(storage.FORMAT))
        storage.check_format({"format": int(form) if form.isdecimal() and len(form) < 9 else form}, path)
        if about.get("sha256", fingerprint({}, arrays)) != fingerprint({}, arrays):
            raise CorruptCheckpoint(f"{path} is not what was saved; its SHA-256 differs")
        try:
            data = cls(*(_tree(name, arrays) for name in cls._fields)).tidy()
        except KeyError as error:
            names = listed(name[:40] for name in sorted(arrays)) or "nothing"
            raise ConfigError(f"{path} is not a data file: it lacks {error.args[0]!r} and holds {names}") from error
        steps = {name: leaf.shape[:1] for name, leaf in data.arrays().items()}
        if len(odd := {*steps.values()}) > 1 or () in odd:
            counts = listed(f"{name} {list(shape)}" for name, shape in steps.items())
            raise ConfigError(f"{path} is not a data file: its arrays have different numbers of steps: {counts}")
        return data

    def arrays(self) -> ArrayDict:
        """Return all arrays by name; `obs.0` and `obs.1` of a tuple, `obs.obs` and `obs.mask` of a `Masked`."""
        named = {path.removeprefix("data."): np.asarray(leaf) for path, leaf in checkpoint.leaves(tuple(self), "data")}
        whole = {}
        for path, leaf in named.items():
            place, _, rest = path.partition(".")
            whole[".".join([self._fields[int(place)], *([rest] if rest else [])])] = np.ascontiguousarray(leaf)
        return whole

    def sha256(self) -> str:
        """Return the hash by which a resumed run recognizes its data."""
        return fingerprint({}, self.arrays())


TIDY: dict[str, Callable[[object], Observations]] = {
    "obs": lambda value: tidy_tree("obs", value),
    "action": lambda value: tidy_row("action", value),
    "reward": tidy_reward,
    "terminated": lambda value: tidy_flags("terminated", value),
    "truncated": lambda value: tidy_flags("truncated", value),
    "next_obs": lambda value: tidy_tree("next_obs", value),
}


def _tree(name: str, arrays: ArrayDict) -> Observations:
    """The arrays under a name: one, a tuple of them, or a masked observation."""
    if name in arrays:
        return arrays[name]
    if f"{name}.mask" in arrays:
        return Masked(_tree(f"{name}.obs", arrays), arrays[f"{name}.mask"])
    parts = {path[len(name) + 1 :].partition(".")[0] for path in arrays if path.startswith(f"{name}.")}
    if not parts:
        raise KeyError(name)
    return tuple(_tree(f"{name}.{i}", arrays) for i in range(len(parts)))


def join_data(parts: Sequence[Dataset]) -> Dataset:
    """Return one data set of several; the last episode of each is cut."""
    return stack_trees(np.concatenate, [cut(part) for part in parts])


def cut(data: Dataset) -> Dataset:
    """Return the same data with its last episode truncated, unless it terminated."""
    truncated = np.array(data.truncated, np.bool_)
    if truncated.size:
        truncated[-1] |= not data.terminated[-1]
    return data._replace(truncated=truncated)


def stack_trees(function: Callable[[Any], object], trees: Sequence[Tree]) -> Tree:
    """Apply `function` to the list of the trees' leaves at each place; the trees have one structure."""
    first: Any = trees[0]
    stacked: Any
    if not isinstance(first, tuple):
        stacked = function(list(trees))
    else:
        columns: Any = zip(*trees, strict=True)
        items = [stack_trees(function, column) for column in columns]
        stacked = type(first)(*items) if hasattr(first, "_fields") else tuple(items)
    tree: Tree = stacked
    return tree
