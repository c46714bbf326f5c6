"""NumPy. Find problems in a data set, and convert between data sets and replay buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bellmax import spaces
from bellmax.contracts import Array, BoolArray, Box, Experience, Leaf, Masked, Space, Transition
from bellmax.files import checkpoint
from bellmax.files.dataset import Dataset, cut, join_data

if TYPE_CHECKING:
    from bellmax.deep.config import DeepConfig
    from bellmax.replay.frames import FrameState
    from bellmax.replay.memory import ReplayState


def find_data_problems(data: Dataset, space: Space, n_actions: int, in_order: bool = False) -> list[str]:
    """Return a line for each reason why an agent cannot learn from the data; `in_order`: rows must be in time order."""
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
        message = "next_obs differs from obs in the next row, but the episode continues; n_steps needs time order"
        faults += rows(~(follows | goes_on), message, np.arange(n))
    return faults


def _find_in_observations(name: str, obs: object, space: Space, n: int) -> list[str]:
    """The problems of `obs` or `next_obs`."""
    faults: list[str] = []

    def leaf(kind: Leaf, value: np.ndarray) -> None:
        array, wanted = np.asarray(value), np.dtype(spaces.dtype_of(kind))
        held = np.can_cast(array.dtype, wanted, "same_kind") or is_exact(array, wanted)
        if array.shape != (n, *spaces.shape_of(kind)) or not held:
            faults.append(f"{name} is {array.dtype} {array.shape}, not {wanted} {(n, *spaces.shape_of(kind))}")
        elif not isinstance(kind, Box):
            limits = spaces.limits_of(kind)
            outside = np.asarray(((array < 0) | (array >= limits)).reshape(n, -1).any(axis=1))
            faults.extend(rows(outside, f"{name} is {{}}, outside 0 to {limits - 1}", array))
        elif array.dtype.kind == "f":
            bad: BoolArray = np.asarray(~np.isfinite(_float32(array)).reshape(n, -1).all(axis=1))
            faults.extend(rows(bad, f"{name} is {{}}, not finite", array))

    if _has_parts(space, obs):
        spaces.map_space(leaf, space, obs)
    else:
        faults.append(f"{name} is a {type(obs).__name__}, which does not have the parts of {space}")
    return faults


def is_exact(array: np.ndarray, wanted: np.dtype[Any]) -> bool:
    """Return whether another type can hold the same numbers, such as 0.0 and 1.0 as flags."""
    if array.dtype.kind not in "biuf":
        return False
    with np.errstate(invalid="ignore"):
        return bool((array.astype(wanted) == array).all())


def _has_parts(space: Space, obs: object) -> bool:
    """Whether observations are tuples where the space is one."""
    if isinstance(space, spaces.LEAVES):
        return not isinstance(obs, tuple | dict)
    parts = spaces.parts_of(space)
    return isinstance(obs, tuple) and len(obs) == len(parts) and all(map(_has_parts, parts, obs))


def _float32(array: np.ndarray) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.asarray(array).astype(np.float32)


def rows(bad: BoolArray, message: str, values: np.ndarray) -> list[str]:
    """Return [] if no row is bad, else a line with the first bad row, its value, and the number of others."""
    found = np.flatnonzero(bad)
    if not found.size:
        return []
    more = f" (and {found.size - 1} more row{'' if found.size == 2 else 's'})" if found.size > 1 else ""
    return [f"row {found[0]}: {message.format(np.asarray(values)[found[0]])}{more}"]


def as_experience(data: Dataset, space: Space, gamma: float) -> Experience:
    """Return data without problems as a replay buffer stores them [n]; their last episode is cut."""

    def leaf(kind: Leaf, value: np.ndarray) -> np.ndarray:
        return np.asarray(value).astype(spaces.dtype_of(kind), copy=False)

    data = cut(data)
    terminated = np.asarray(data.terminated)
    discount = np.where(terminated, np.float32(0.0), np.float32(gamma))
    obs, next_obs = (spaces.map_space(leaf, space, part) for part in (data.obs, data.next_obs))
    reward, action = np.asarray(data.reward, np.float32), np.asarray(data.action, np.int32)
    over: Any = (terminated | data.truncated).astype("i4")
    columns: tuple[Any, ...] = (obs, action, reward, discount, next_obs)
    return Experience(Transition(*columns), over)


def from_memory(config: DeepConfig, space: Space, memory: ReplayState[Any] | FrameState[Any]) -> Dataset:
    """Return the content of a replay buffer: the newest steps, environment after environment, each in time order."""
    import jax

    from bellmax.deep.building import make_experience
    from bellmax.deep.config import ReplayConfig
    from bellmax.replay.frames import FrameState, make_store
    from bellmax.replay.ring import make_ring

    assert isinstance(config, ReplayConfig)  # noqa: S101 - check_kept has looked
    example, n = make_experience(config, space), config.num_envs
    store = make_store(example, config.buffer_size, n) if isinstance(memory, FrameState) else None
    ring = make_ring(example, config.buffer_size, n) if store is None else store.ring
    length = ring.capacity // n
    parts = []
    for i, (position, size) in enumerate(zip(memory.ring.position.tolist(), memory.ring.size.tolist(), strict=True)):
        slots: Array = jax.numpy.asarray((position - size + np.arange(size)) % length * n + i)
        kept = jax.tree.map(np.asarray, jax.jit(ring.read)(memory.ring, slots))
        step, over = kept.transition, kept.over.astype(np.bool_)
        if store is not None and isinstance(memory, FrameState):
            see = jax.jit(store.stacks)
            step = step._replace(obs=see(memory.frames, step.obs), next_obs=see(memory.frames, step.next_obs))
            step = jax.tree.map(np.asarray, step)
        terminated = step.discount == 0.0
        parts.append(Dataset(step.obs, step.action, step.reward, terminated, over & ~terminated, step.next_obs))
    return join_data(parts)
