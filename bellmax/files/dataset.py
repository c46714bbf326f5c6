"""NumPy. Data to learn from without a world: arrays in time order, their files, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from bellmax import spaces
from bellmax.arguments import path_of
from bellmax.contracts import (
    Array,
    Box,
    ConfigError,
    CorruptCheckpoint,
    Experience,
    FloatArray,
    Leaf,
    Masked,
    Space,
    Transition,
)
from bellmax.files import checkpoint, storage
from bellmax.files.policy_files import fingerprint
from bellmax.files.tidying import tidy_flags, tidy_reward, tidy_row, tidy_tree


class Dataset(NamedTuple):
    """Steps of a world [n] in time order, one episode after another. NumPy arrays, whoever acted.

    Attributes:
        obs: [n, ...], what was seen; a tuple (or `Masked`) of arrays where the space is one.
        action: [n] integers from 0.
        reward: [n].
        terminated: [n] bool, the world ended: no value follows.
        truncated: [n] bool, the episode was cut here, by a time limit or the end of the recording: the value of
            `next_obs` follows.
        next_obs: [n, ...], what was seen after the step, also where the episode ended.
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
        """How many steps they are."""
        return int(np.shape(self.action)[0]) if np.ndim(self.action) else 0

    def tidy(self) -> Dataset:
        """The same as arrays: of lists, of flags that are 0 and 1, of columns [n, 1].

        Raises:
            ConfigError: something is neither these nor numbers, or a flag is neither 0 nor 1; all in one message.
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
        """Undiscounted returns of all episodes, in order; one that is there in part counts with that part."""
        if not self.steps:
            return np.zeros(0)
        over = tidy_flags("terminated", self.terminated) | tidy_flags("truncated", self.truncated)
        starts = np.flatnonzero(np.concatenate([[True], over[:-1]]))
        return np.add.reduceat(tidy_reward(self.reward).astype(np.float64), starts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one .safetensors file, the old content or the new, with a hash of its arrays.

        Raises:
            ConfigError: the name does not end in .safetensors.
            ResourceError: the disk refuses.
        """
        path = path_of("path", path)
        if path.suffix != ".safetensors":
            raise ConfigError(f"data are saved as .safetensors, not as {path.name!r}")
        arrays = self.tidy().arrays()
        about = {"format": str(storage.FORMAT), "sha256": fingerprint({}, arrays)}
        storage.write(path, to_bytes(arrays, metadata=about))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Dataset:
        """Read what `save` wrote, or any .safetensors file with arrays of these names.

        Raises:
            ConfigError: there is no such file, or it holds something else.
            CorruptCheckpoint: it is damaged.
            IncompatibleCheckpoint: a newer version wrote it.
        """
        path = path_of("path", path)
        if not path.is_file():
            raise ConfigError(f"no data file {path}")
        try:
            with safe_open(path, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
                about = file.metadata() or {}
            form = int(about.get("format", storage.FORMAT))
        except (*storage.MALFORMED, OSError, SafetensorError) as error:
            raise CorruptCheckpoint(f"cannot read {path}: {error}") from error
        storage.check_format({"format": form}, path)
        if about.get("sha256", fingerprint({}, arrays)) != fingerprint({}, arrays):
            raise CorruptCheckpoint(f"{path} is not what was saved; its SHA-256 differs")
        try:
            return cls(*(_tree(name, arrays) for name in cls._fields)).tidy()
        except KeyError as error:
            names = ", ".join(sorted(arrays)[:8]) or "nothing"
            raise ConfigError(f"{path} is not a data file: it lacks {error.args[0]!r} and holds {names}") from error

    def arrays(self) -> dict[str, Any]:
        """All arrays by name; of a tuple `obs.0`, `obs.1`, of a masked observation `obs.obs`, `obs.mask`."""
        named = {path.removeprefix("data."): np.asarray(leaf) for path, leaf in checkpoint.leaves(tuple(self), "data")}
        whole = {}
        for path, leaf in named.items():
            place, _, rest = path.partition(".")
            whole[".".join([self._fields[int(place)], *([rest] if rest else [])])] = np.ascontiguousarray(leaf)
        return whole

    def sha256(self) -> str:
        """The hash by which a run knows its data again."""
        return fingerprint({}, self.arrays())


TIDY: dict[str, Callable[[Any], Any]] = {
    "obs": lambda value: tidy_tree("obs", value),
    "action": lambda value: tidy_row("action", value),
    "reward": tidy_reward,
    "terminated": lambda value: tidy_flags("terminated", value),
    "truncated": lambda value: tidy_flags("truncated", value),
    "next_obs": lambda value: tidy_tree("next_obs", value),
}


def _tree(name: str, arrays: dict[str, Any]) -> Any:
    """The arrays under a name: one, a tuple of them, or a masked observation."""
    if name in arrays:
        return arrays[name]
    if f"{name}.mask" in arrays:
        return Masked(_tree(f"{name}.obs", arrays), arrays[f"{name}.mask"])
    parts = {path[len(name) + 1 :].partition(".")[0] for path in arrays if path.startswith(f"{name}.")}
    if not parts:
        raise KeyError(name)
    return tuple(_tree(f"{name}.{i}", arrays) for i in range(len(parts)))


def join(parts: Sequence[Dataset]) -> Dataset:
    """One after another; where each ends, its last episode is cut."""
    return stack_trees(np.concatenate, [cut(part) for part in parts])  # type: ignore[no-any-return]


def cut(data: Dataset) -> Dataset:
    """The same, its last episode over: what would come next is not there."""
    truncated = np.array(data.truncated, np.bool_)
    if truncated.size:
        truncated[-1] |= not data.terminated[-1]
    return data._replace(truncated=truncated)


def stack_trees(function: Callable[..., Any], trees: Sequence[Any]) -> Any:
    """`function([leaf of each tree])` for every leaf of trees of one shape."""
    first = trees[0]
    if not isinstance(first, tuple):
        return function(list(trees))
    items = [stack_trees(function, parts) for parts in zip(*trees, strict=True)]
    return type(first)(*items) if hasattr(first, "_fields") else tuple(items)


def find_faults(data: Dataset, space: Space, n_actions: int, in_order: bool = False) -> list[str]:
    """Everything for which such data cannot be learnt from, each as one line; `in_order`: rows follow each other."""
    n = data.steps
    if n == 0:
        return ["the data are empty"]
    faults = []
    for name, kinds, wanted in (
        ("action", "iu", "integers"),
        ("reward", "fiu", "numbers"),
        ("terminated", "b", "bool"),
        ("truncated", "b", "bool"),
    ):
        array = np.asarray(getattr(data, name))
        if array.shape != (n,) or array.dtype.kind not in kinds:
            faults.append(f"{name} is {array.dtype} {array.shape}, not {wanted} ({n},)")
        elif name == "action":
            faults += rows((array < 0) | (array >= n_actions), f"{name} is {{}}, outside 0 to {n_actions - 1}", array)
        elif name == "reward":
            faults += rows(~np.isfinite(_float32(array)), f"{name} is {{}}, not a finite float32", array)
    shapes_fit = not faults
    for name in ("obs", "next_obs"):
        found = _find_in_observations(name, getattr(data, name), space, n)
        faults += found
        shapes_fit &= not found
    if not shapes_fit:
        return faults
    if isinstance(space, Masked):
        forbidden = ~np.asarray(data.obs.mask, np.bool_)[np.arange(n), data.action]
        faults += rows(forbidden, "action is {}, which the mask forbids", np.asarray(data.action))
    if in_order and n > 1:
        follows = np.asarray(data.terminated | data.truncated)[:-1].copy()
        goes_on = np.ones(n - 1, np.bool_)
        for (_, here), (_, there) in zip(checkpoint.leaves(data.next_obs), checkpoint.leaves(data.obs), strict=True):
            goes_on &= (np.asarray(here)[:-1] == np.asarray(there)[1:]).reshape(n - 1, -1).all(axis=1)
        message = "next_obs is not the obs of the row after it, though the episode goes on; n_steps needs time order"
        faults += rows(~(follows | goes_on), message, np.arange(n))
    return faults


def _find_in_observations(name: str, obs: Any, space: Space, n: int) -> list[str]:
    """What is wrong with `obs` or `next_obs`."""
    faults: list[str] = []

    def leaf(kind: Leaf, value: Any) -> None:
        array, wanted = np.asarray(value), np.dtype(spaces.dtype_of(kind))
        held = np.can_cast(array.dtype, wanted, "same_kind") or is_exact(array, wanted)
        if array.shape != (n, *spaces.shape_of(kind)) or not held:
            faults.append(f"{name} is {array.dtype} {array.shape}, not {wanted} {(n, *spaces.shape_of(kind))}")
        elif not isinstance(kind, Box):
            limits = spaces.limits_of(kind)
            outside = ((array < 0) | (array >= limits)).reshape(n, -1).any(axis=1)
            faults.extend(rows(outside, f"{name} is {{}}, outside 0 to {limits - 1}", array))
        elif array.dtype.kind == "f":
            bad = ~np.isfinite(_float32(array)).reshape(n, -1).all(axis=1)
            faults.extend(rows(bad, f"{name} is {{}}, not finite", array))

    if _has_parts(space, obs):
        spaces.map_space(leaf, space, obs)
    else:
        faults.append(f"{name} is a {type(obs).__name__}, which does not have the parts of {space}")
    return faults


def is_exact(array: Any, wanted: Any) -> bool:
    """Whether numbers stay what they are in another type, such as 0.0 and 1.0 as flags."""
    if array.dtype.kind not in "biuf":
        return False
    with np.errstate(invalid="ignore"):
        return bool((array.astype(wanted) == array).all())


def _has_parts(space: Space, obs: Any) -> bool:
    """Whether observations are a tuple where the space is one."""
    if isinstance(space, spaces.LEAVES):
        return not isinstance(obs, tuple | dict)
    parts = spaces.parts_of(space)
    return isinstance(obs, tuple) and len(obs) == len(parts) and all(map(_has_parts, parts, obs))


def _float32(array: Any) -> Any:
    with np.errstate(over="ignore"):
        return np.asarray(array).astype(np.float32)


def rows(bad: Any, message: str, values: Any) -> list[str]:
    """One line that names the first bad row with its value, and says how many more there are."""
    found = np.flatnonzero(bad)
    if not found.size:
        return []
    more = f" (and {found.size - 1} more row{'' if found.size == 2 else 's'})" if found.size > 1 else ""
    return [f"row {found[0]}: {message.format(np.asarray(values)[found[0]])}{more}"]


def as_experience(data: Dataset, space: Space, gamma: float) -> Experience:
    """Sound data as a replay memory keeps it [n], the last episode cut where they end."""

    def leaf(kind: Leaf, value: Any) -> Any:
        return np.asarray(value).astype(spaces.dtype_of(kind), copy=False)

    data = cut(data)
    terminated = np.asarray(data.terminated)
    discount = np.where(terminated, np.float32(0.0), np.float32(gamma))
    obs, next_obs = (spaces.map_space(leaf, space, part) for part in (data.obs, data.next_obs))
    reward, action = np.asarray(data.reward, np.float32), np.asarray(data.action, np.int32)
    return Experience(Transition(obs, action, reward, discount, next_obs), (terminated | data.truncated).astype("i4"))


def from_memory(config: Any, agent: Any, space: Space, memory: Any) -> Dataset:
    """What the replay memory of an agent holds: the newest steps, world after world, each in time order."""
    import jax

    from bellmax.deep.learner import make_experience
    from bellmax.replay.frames import make_store, shares_frames
    from bellmax.replay.ring import make_ring

    example, n = make_experience(config, space), config.num_envs
    store = make_store(example, config.buffer_size, n) if shares_frames(example.transition.obs) else None
    ring = make_ring(example, config.buffer_size, n) if store is None else store.ring
    length = ring.capacity // n
    parts = []
    for world, (position, size) in enumerate(
        zip(memory.ring.position.tolist(), memory.ring.size.tolist(), strict=True)
    ):
        slots: Array = jax.numpy.asarray((position - size + np.arange(size)) % length * n + world)
        kept = jax.tree.map(np.asarray, jax.jit(ring.read)(memory.ring, slots))
        step, over = kept.transition, kept.over.astype(np.bool_)
        if store is not None:
            see = jax.jit(store.stacks)
            step = step._replace(obs=see(memory.frames, step.obs), next_obs=see(memory.frames, step.next_obs))
            step = jax.tree.map(np.asarray, step)
        terminated = step.discount == 0.0
        parts.append(Dataset(step.obs, step.action, step.reward, terminated, over & ~terminated, step.next_obs))
    return join(parts)
