"""NumPy. Between data and a replay memory: what is wrong with data, data as a memory stores them, a memory as data."""

from __future__ import annotations

from typing import Any

import numpy as np

from bellmax import spaces
from bellmax.contracts import Array, Box, Experience, Leaf, Masked, Space, Transition
from bellmax.files import checkpoint
from bellmax.files.dataset import Dataset, cut, join_data


def find_faults(data: Dataset, space: Space, n_actions: int, in_order: bool = False) -> list[str]:
    """Everything for which such data cannot be learned from, each as one line; `in_order`: rows follow each other."""
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
    over: Any = (terminated | data.truncated).astype("i4")
    columns: tuple[Any, ...] = (obs, action, reward, discount, next_obs)
    return Experience(Transition(*columns), over)


def from_memory(config: Any, agent: Any, space: Space, memory: Any) -> Dataset:
    """What the replay memory of an agent holds: the newest steps, world after world, each in time order."""
    import jax

    from bellmax.deep.building import make_experience
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
    return join_data(parts)
