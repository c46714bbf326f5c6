"""NumPy. Whether a wrapper carries state from one episode into the next, found by giving it the same episodes twice.

The environment under the wrappers is replaced by a tape of what it answered, so that whatever differs between two
passes of the tape comes from the wrappers. An environment that is random or slow does not matter then.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import random
import time
import warnings
from collections.abc import Callable, Iterator
from types import CellType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from bellmax.envs.raising import close_anyway, theirs

STEPS = 40
EPISODE_STEPS = 15  # after which an episode is reset
SECONDS = 0.1  # for the tape, and for each pass
SHARED = (
    "observation_space", "action_space", "single_observation_space", "single_action_space", "num_envs", "metadata",
    "spec", "render_mode",
)  # fmt: skip
SHOWING = ("RecordVideo", "HumanRendering", "RenderCollection", "AddRenderObservation")  # which draw or write files
OPEN = ("TransformObservation", "TransformReward", "VectorizeTransformObservation", "VectorizeTransformReward")

if TYPE_CHECKING:
    from bellmax.envs.making import Env, Vector

Dice: TypeAlias = np.random.Generator | np.random.RandomState | random.Random
Tape: TypeAlias = list[list[Any]]  # per episode: (observation, info), then (observation, reward, ends, ends, info)
Opened: TypeAlias = tuple[list[Any], "_Replay"]  # wrappers from the innermost


class _Replay:
    """Replays a tape for any actions, and records these in `got`."""

    def __init__(self, base: Env | Vector, tape: Tape, ask: bool) -> None:
        self.tape, self.asked = tape, base if ask else None
        for key in SHARED:
            if hasattr(base, key):
                value = getattr(base, key)
                setattr(self, key, copy.deepcopy(value) if key.endswith("action_space") else value)
        self.got: list[Any] = []
        self.rewind()

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__") or self.__dict__.get("asked") is None:
            raise AttributeError(key)
        return getattr(self.asked, key)

    def rewind(self) -> None:
        """To the first episode of the tape, with the same random numbers."""
        self.episode, self.at, self._np_random, self.got = -1, 0, np.random.default_rng(0), []
        for key in ("action_space", "single_action_space"):  # of which a wrapper may draw
            if key in vars(self):
                vars(self)[key].seed(0)

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[Any, ...]:
        """The next episode of the tape."""
        self.episode, self.at = (self.episode + 1) % len(self.tape), 0
        return copy.deepcopy(self.tape[self.episode][0])

    def step(self, action: object) -> tuple[Any, ...]:
        """The next step of the episode; the last one again, where a wrapper goes on beyond it."""
        self.got.append(copy.deepcopy(action))
        episode = self.tape[self.episode]
        self.at = min(self.at + 1, len(episode) - 1)
        return copy.deepcopy(episode[self.at])

    def close(self, **kwargs: object) -> None:
        """The environment itself is closed by whoever made it."""


class _ReplayEnv(_Replay, gym.Env[Any, Any]):  # type: ignore[misc]
    pass


class _ReplayVector(_Replay, VectorEnv[Any, Any, Any]):  # type: ignore[misc]
    pass


def wrappers_of(env: object) -> list[Any]:
    """The wrappers of an environment or a vector, from the innermost."""
    found: list[Any] = []
    while isinstance(env, gym.Wrapper | VectorWrapper):
        found.insert(0, env)
        env = env.env
    return found


def may_carry(env: object) -> bool:
    """Whether a wrapper is not one of Gymnasium's or of bellmax, or calls a function of the user's."""
    kinds = [type(layer) for layer in wrappers_of(env)]
    if getattr(env, "render_mode", None) == "human" or any(kind.__name__ in SHOWING for kind in kinds):
        return False
    return any(kind.__module__.split(".")[0] not in ("gymnasium", "bellmax") or kind.__name__ in OPEN for kind in kinds)


def carrier(make: Callable[[], Any], *, given: bool = False) -> str | None:
    """The name of the innermost wrapper that carries state into the next episode; None if none is found to.

    Args:
        make: makes the environment, or returns the one that was `given`.
        given: it belongs to the user: only copies of its wrappers are used, and it itself is not stepped.
    """
    numpy_state, state = np.random.get_state(), random.getstate()
    try:
        with contextlib.ExitStack() as stack, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kept = make()
            if not given:
                stack.callback(close_anyway, kept)
            if not may_carry(kept):
                return None
            tape = _sampled(kept.unwrapped, []) if given else _record(kept.unwrapped)

            n, spare = len(wrappers_of(kept)), [kept]

            def made() -> Opened:
                return _onto_tape(spare.pop() if spare else make(), tape, stack)

            def copied() -> Opened:
                return _copied(kept, tape)

            opened = copied if given else made
            carries = _carries(opened, n - 1)
            if carries is None and not given and _share(kept, opened()[0]):
                kept, opened = opened()[0][-1], copied
                carries = _carries(opened, n - 1)
            if carries:
                found = next((i for i in range(n - 1) if _carries(opened, i)), n - 1)
                return type(wrappers_of(kept)[found]).__name__
    except BaseException as error:  # what fails here fails in training as well, and is reported there in full
        theirs(error)
    finally:
        np.random.set_state(numpy_state)
        random.setstate(state)
    return None


def _record(base: Env | Vector) -> Tape:
    """What an environment answers to random actions."""
    end, space = time.monotonic() + SECONDS, copy.deepcopy(base.action_space)
    space.seed(0)
    tape: Tape = [[copy.deepcopy(base.reset(seed=0))]]
    with contextlib.suppress(Exception):  # an action that it does not allow, say
        for _ in range(STEPS):
            tape[-1].append(copy.deepcopy(base.step(space.sample())))
            if not isinstance(base, VectorEnv) and (tape[-1][-1][2] or tape[-1][-1][3]):
                tape.append([copy.deepcopy(base.reset())])
            if time.monotonic() > end:
                break
    return _sampled(base, tape)


def _sampled(base: Env | Vector, tape: Tape) -> Tape:
    """A tape and, at its end, observations from the space that the tape may not have, such as a new highest one."""
    space, rng = copy.deepcopy(base.observation_space), np.random.default_rng(0)
    space.seed(0)
    n = base.num_envs if isinstance(base, VectorEnv) else None
    no = False if n is None else np.zeros(n, np.bool_)
    info = tape[-1][-1][-1] if tape else {}
    for _ in range(2):
        steps = [(space.sample(), rng.normal(size=n), no, no, info) for _ in range(EPISODE_STEPS)]
        if tape and n is not None:
            tape[-1] += steps
        else:
            tape.append([(space.sample(), info), *steps])
    for episode in tape:
        if len(episode) == 1:  # a wrapper may go on where the next step failed
            episode.append((episode[0][0], 0.0 if n is None else np.zeros(n), no, no, episode[0][1]))
    return tape


def _replay(base: Env | Vector, tape: Tape, ask: bool) -> _Replay:
    return (_ReplayVector if isinstance(base, VectorEnv) else _ReplayEnv)(base, tape, ask)


def _onto_tape(env: Env | Vector, tape: Tape, stack: contextlib.ExitStack) -> Opened:
    """The wrappers of a new environment around the tape, until the stack is closed."""
    found = wrappers_of(env)
    base = found[0].env

    stack.callback(close_anyway, env)
    stack.callback(setattr, found[0], "env", base)
    found[0].env = replay = _replay(base, tape, True)
    return found, replay


def _share(one: object, wrappers: list[Any]) -> bool:
    """Whether wrappers made one after the other hold the same object, such as a function with state."""
    return any(
        value is vars(other).get(key) and hasattr(value, "__dict__") and not isinstance(value, type | gym.Space)
        for layer, other in zip(wrappers_of(one), wrappers, strict=True)
        for key, value in vars(layer).items()
    )


def _copied(env: Env | Vector, tape: Tape) -> Opened:
    """Copies of the wrappers around the tape, with what their functions have in closures."""
    found = wrappers_of(env)
    replay = _replay(found[0].env, tape, False)
    memo: dict[int, Any] = {id(found[0].env): replay}
    for value in [value for layer in found for value in vars(layer).values()]:
        if isinstance(value, FunctionType) and value.__closure__:
            cells = tuple(CellType(copy.deepcopy(cell.cell_contents, memo)) for cell in value.__closure__)
            memo[id(value)] = FunctionType(
                value.__code__, value.__globals__, value.__name__, value.__defaults__, cells
            )  # fmt: skip
    return wrappers_of(copy.deepcopy(env, memo)), replay


def _carries(opened: Callable[[], Opened], layer: int) -> bool | None:
    """Whether a second pass shows something else; None where a first pass of another instance also does."""
    wrappers, replay = opened()
    dice = [(one, copy.deepcopy(_state(one))) for one in _dice(wrappers[layer])]
    first = _pass(wrappers[layer], replay)
    for one, state in dice:  # noise differs in each episode without being state that was learned
        _set_state(one, state)
    if _same(first, _pass(wrappers[layer], replay)):
        return False
    wrappers, replay = opened()
    for one, (_, state) in zip(_dice(wrappers[layer]), dice, strict=False):
        _set_state(one, state)
    return True if _same(first, _pass(wrappers[layer], replay)) else None


def _pass(env: Any, replay: _Replay) -> list[Any]:
    """The observations and rewards of one pass, and the actions that arrived under the wrappers."""
    np.random.seed(0)
    random.seed(0)
    replay.rewind()
    space, end = copy.deepcopy(env.action_space), time.monotonic() + SECONDS
    space.seed(0)
    seen = [copy.deepcopy(env.reset(seed=0)[0])]
    with contextlib.suppress(Exception):  # a sampled observation that a wrapper does not allow, say
        for i in range(1, STEPS + 2 * EPISODE_STEPS + 1):
            observation, reward, terminated, truncated, _ = env.step(space.sample())
            seen.append(copy.deepcopy((observation, reward)))
            if not isinstance(env, VectorEnv | VectorWrapper) and (terminated or truncated or i % EPISODE_STEPS == 0):
                seen.append(copy.deepcopy(env.reset()[0]))
            if time.monotonic() > end:
                break
    return [seen, replay.got]


def _dice(thing: object) -> Iterator[Any]:
    """The random generators that a wrapper holds, directly or in what it calls."""
    seen, todo = set[int](), [thing]
    while todo and len(seen) < 2_000:
        one = todo.pop(0)
        if id(one) in seen or isinstance(one, type | ModuleType | _Replay):
            continue
        seen.add(id(one))
        if isinstance(one, np.random.Generator | np.random.RandomState | random.Random):
            yield one
        elif isinstance(one, FunctionType):
            todo += [one.__closure__, one.__defaults__]
        else:
            todo += gc.get_referents(one)


def _state(dice: Dice) -> Any:
    if isinstance(dice, np.random.Generator):
        return dice.bit_generator.state
    return dice.getstate() if isinstance(dice, random.Random) else dice.get_state()


def _set_state(dice: Dice, state: Any) -> None:
    if isinstance(dice, np.random.Generator):
        dice.bit_generator.state = state
    elif isinstance(dice, random.Random):
        dice.setstate(state)
    else:
        dice.set_state(state)


def _same(one: object, other: object) -> bool:
    """Whether two answers are equal in every number, as far as both go."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and all(map(_same, one, other))
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(_same, one, other))
    left, right = np.asarray(one), np.asarray(other)
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f" and right.dtype.kind == "f"))
