"""JAX. Does a compiled world keep its contract? Its two functions are traced, not run, and each fault has a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bellmax import spaces
from bellmax.arguments import describe
from bellmax.contracts import Box, Discrete, EnvContractError, Masked, MultiDiscrete, Named, Space
from bellmax.dispatch import in_32_bits
from bellmax.envs.functional import S, World
from bellmax.envs.raising import theirs
from bellmax.keys import make_key

STEP = "return state, obs, reward, terminated, truncated"
DTYPES = ("float32", "int32", "uint8", "bool")


class Fault(NamedTuple):
    """A breach of the contract: the check that finds it, what, and the remedy."""

    check: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}; {self.fix}"


def check_contract(world: World[S]) -> None:
    """Refuse a world that would fail inside a compiled program.

    Raises:
        EnvContractError: it breaks the contract; all that is wrong, each with its remedy.
    """
    if faults := find_faults(world):
        raise EnvContractError(f"{world.name}: " + "; ".join(map(str, faults)))


@in_32_bits
def find_faults(world: World[S]) -> list[Fault]:
    """Every breach of the contract that shows without a step."""
    faults = list(_of_fields(world))
    if faults:
        return faults
    key = jax.eval_shape(lambda: make_key(0))
    reset, fault = _traced("reset", world.reset, 2, "return state, obs", key)
    if fault is not None:
        return [fault]
    state, obs = reset
    faults += _of_observation("reset", world, obs)
    action = jax.eval_shape(lambda: jnp.int32(0))
    stepped, fault = _traced("step", world.step, 5, STEP, state, action, key)
    if fault is not None:
        return [*faults, fault]
    after, next_obs, reward, terminated, truncated = stepped
    if not faults:
        faults += _of_observation("step", world, next_obs)
    faults += _unlike("state", "step", after, state)
    faults += _of_scalar("reward", reward, "iuf", "float32", "jnp.float32(reward)")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        faults += _of_scalar(name, flag, "b", "bool", f"give a comparison such as state.time >= limit as {name}")
    return faults


def _of_fields(world: World[S]) -> Iterator[Fault]:
    """What is wrong with a world before its functions are called."""
    for name in ("reset", "step"):
        if not callable(getattr(world, name)):
            yield Fault("interface", f"{name} is {describe(getattr(world, name))}", "give a function")
    n, limit = world.n_actions, world.max_episode_steps
    if type(n) is not int or n < 1:
        yield Fault("spaces", f"n_actions is {describe(n)}", "give how many actions there are, an int from 1")
    if limit is not None and (type(limit) is not int or limit < 1):
        yield Fault("spaces", f"max_episode_steps is {describe(limit)}", "give a number of steps, or None")
    yield from _of_space(world.observation_space, world.n_actions)


def _of_space(space: object, n_actions: int) -> Iterator[Fault]:
    if isinstance(space, Masked):
        if space.mask != Box((n_actions,), "bool"):
            what = f"the mask's space is {space.mask}"
            yield Fault("spaces", what, f"give Masked(observation, Box(({n_actions},), 'bool'))")
        space = space.obs
    if isinstance(space, Box):
        if not (isinstance(space.shape, tuple) and all(type(size) is int and size > 0 for size in space.shape)):
            yield Fault("spaces", f"{space} has no shape of positive sizes", "give a tuple, such as Box((4,))")
        elif space.dtype not in DTYPES:
            fix = f"give one of {', '.join(DTYPES)}, and observations of it"
            yield Fault("spaces", f"observation_space has dtype {space.dtype!r}", fix)
    elif isinstance(space, Discrete):
        if type(space.n) is not int or space.n < 1:
            yield Fault("spaces", f"{space} counts no states", "give Discrete(n), an int from 1")
    elif isinstance(space, MultiDiscrete):
        if not all(type(n) is int and n > 0 for n in space.ns):
            yield Fault("spaces", f"{space} counts no values", "give MultiDiscrete((n, ...)), ints from 1")
    elif isinstance(space, Named) or (isinstance(space, tuple) and space):
        for part in spaces.parts_of(space):
            yield from _of_space(part, n_actions)
    else:
        gymnasium = type(space).__module__.startswith("gymnasium.")
        fix = "give bellmax.extend.Box((4,)), Discrete(n), MultiDiscrete((n, ...)), or a tuple of them"
        what = f"observation_space is {describe(space)}" + (", a space of Gymnasium" if gymnasium else "")
        yield Fault("spaces", what, fix)


def _traced(name: str, function: Callable[..., Any], n: int, fix: str, *args: object) -> tuple[Any, Fault | None]:
    """What the function returns, as shapes; or why it cannot be compiled."""
    try:
        made = jax.eval_shape(function, *args)
    except BaseException as error:  # anybody's code
        text = " ".join(str(theirs(error)).split())
        text = text if len(text) <= 300 else text[:297] + "..."
        compiles = "it must compile: only jax.numpy on what it is given, and jnp.where or jax.lax.cond, not if"
        return None, Fault("interface", f"{name} raises {type(error).__name__}: {text}", compiles)
    if not isinstance(made, tuple) or len(made) != n:
        got = f"{len(made)} values" if isinstance(made, tuple) else f"a {type(made).__name__}"
        if isinstance(made, tuple) and len(made) == 4 and n == 5:
            fix += ": an end that is only a time limit is truncated, any other terminated"
        return None, Fault("interface", f"{name} returns {got}, not {n}", fix)
    return made, None


def _of_observation(where: str, world: World[S], obs: object) -> Iterator[Fault]:
    """Whether an observation has the shape and the dtypes of its space."""
    space: Space = world.observation_space
    wanted = jax.eval_shape(lambda: spaces.zeros(space))
    yield from _unlike("observation", where, obs, wanted, f"observation_space {spaces.in_words(space)}")


def _unlike(what: str, where: str, found: object, wanted: object, asks: str = "") -> Iterator[Fault]:
    """Where `found` of `where` differs from `wanted` in its parts, shapes or dtypes."""
    asks, check = asks or f"reset gives {_short(wanted)}", "observations" if what == "observation" else what
    structures: list[Any] = [jax.tree.structure(found), jax.tree.structure(wanted)]
    if structures[0] != structures[1]:
        fix = "give the same parts in both" if what == "state" else "make them agree"
        yield Fault(check, f"{where}: the {what} is {_short(found)}, and {asks}", fix)
        return
    pairs = zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(wanted), strict=True)
    for (path, leaf), other in pairs:
        part = f"{what}{jax.tree_util.keystr(path)}"
        if leaf.shape != other.shape:
            fix = f"return shape {other.shape}" + (", such as x[0] or x.reshape(())" if other.shape == () else "")
            yield Fault(check, f"{where}: {part} has shape {leaf.shape}, and {asks}", fix)
        elif leaf.dtype != other.dtype:
            fix = f"return x.astype(jnp.{'bool_' if other.dtype == np.bool_ else other.dtype})"
            yield Fault(check, f"{where}: {part} is {leaf.dtype}, and {asks}", f"{fix}, which is {other.dtype}")


def _of_scalar(name: str, value: object, kinds: str, dtype: str, fix: str) -> Iterator[Fault]:
    leaves = jax.tree.leaves(value)
    check = "rewards" if name == "reward" else "episodes"
    if len(leaves) != 1 or not jax.tree_util.treedef_is_leaf(jax.tree.structure(value)):
        yield Fault(check, f"step: {name} is a {type(value).__name__}", f"return one {dtype} scalar")
        return
    [leaf] = leaves
    if leaf.shape != ():
        example = f"{name}[0]" if leaf.shape == (1,) else f"{name}.sum()" if name == "reward" else f"{name}.any()"
        yield Fault(check, f"step: {name} has shape {leaf.shape}", f"return one scalar, such as {example}")
    elif np.dtype(leaf.dtype).kind not in kinds or leaf.dtype == np.float16 or str(leaf.dtype) == "bfloat16":
        what = f"step: {name} is {leaf.dtype}, not {dtype}"
        yield Fault(check, what, f"write {fix}" if name == "reward" else fix)


def _short(tree: object) -> str:
    """A tree of shapes in a line."""
    leaves = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree)]
    kind = "" if jax.tree_util.treedef_is_leaf(jax.tree.structure(tree)) else f"{type(tree).__name__} of "
    text = kind + ", ".join(leaves)
    return text if len(text) <= 120 else text[:117] + "..."
