"""NumPy. One Gymnasium environment that leaves a picture after each reset and each step, as people see it."""

from __future__ import annotations

import enum
import inspect
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from bellmax.arguments import describe, is_number
from bellmax.coding import to_native
from bellmax.contracts import ConfigError, EnvContractError, listed
from bellmax.envs import atari
from bellmax.envs.host_steps import Handling
from bellmax.envs.host_world import HostWorld
from bellmax.envs.making import Env, Made, Source, make
from bellmax.envs.raising import close_anyway
from bellmax.mdp.gymnasium_table import ACTION_NAMES

MODES = ("rgb_array", "ansi", "human")  # how an environment can be shown, the best first
USUAL_SPEED = 30.0  # pictures per second, of an environment that does not give its own
FASTEST = 1_000.0
NAMES = {
    **ACTION_NAMES,
    "CartPoleEnv": ("left", "right"),
    "MountainCarEnv": ("left", "none", "right"),
    "AcrobotEnv": ("torque -1", "torque 0", "torque 1"),
    "LunarLander": ("none", "left engine", "main engine", "right engine"),
    "BlackjackEnv": ("stick", "hit"),
}


class Filming(NamedTuple):
    """One host environment that takes pictures of itself.

    Attributes:
        world: the environment.
        taken: what it rendered since this was last emptied: once after each reset and each step, also the last one of
            an episode. In the mode "human" None, as the environment draws in a window of its own.
        mode: "rgb_array" for arrays [H, W, 3], "ansi" for text, or "human".
        speed: pictures per second, as the environment is meant to be seen.
        action_names: of each action [A].
    """

    world: HostWorld
    taken: deque[object]
    mode: str
    speed: float
    action_names: tuple[str, ...]


class Filmed(gym.Wrapper[Any, Any, Any, Any]):
    """Renders after each reset and each step into `taken`, which stores the last two."""

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.taken: deque[object] = deque(maxlen=2)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        answer: tuple[Any, dict[str, Any]] = self.env.reset(**kwargs)
        self._take()
        return answer

    def step(self, action: object) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's."""
        answer: tuple[Any, Any, bool, bool, dict[str, Any]] = self.env.step(action)
        self._take()
        return answer

    def _take(self) -> None:
        self.taken.append(None if self.env.render_mode == "human" else self.env.render())


def open_filmed(env: Source, kwargs: Mapping[str, Any]) -> Filming:
    """Return one environment of an id, a class or another callable, or the environment itself, which can be seen.

    It has the same wrappers and arguments, and for Atari the same protocol; `kwargs` as in `open_world`.

    Raises:
        ConfigError: it cannot be rendered, or is a vector of environments.
    """
    name = env.rpartition(":")[2] if isinstance(env, str) else ""
    if atari.is_game(name) and not kwargs.get("wrappers"):
        return _games(name, dict(kwargs))
    made = make(env, 1, dict(kwargs))
    if isinstance(made.world, VectorEnv):
        close_anyway(made.world)
        raise ConfigError(f"{made.name}: watch needs one plain environment, not a vector; pass its id or its class")
    given = isinstance(env, gym.Env)
    mode = made.world[0].render_mode
    if mode not in MODES:
        close = [] if given else made.world
        mode = _mode_of(made.name, made.world[0], close, given)
        made = make(env, 1, {**kwargs, "render_mode": mode})
    assert isinstance(made.world, list)  # noqa: S101 - as above
    filmed = Filmed(made.world[0])
    world = HostWorld(made._replace(world=[filmed]), owned=not given, handling=Handling())
    given_speed: object = filmed.metadata.get("render_fps")
    fits = is_number(given_speed) and 0 < given_speed <= FASTEST
    speed = float(given_speed) if fits and is_number(given_speed) else USUAL_SPEED
    names = action_names(filmed.unwrapped, world.n_actions, world.coding)
    return Filming(world, filmed.taken, mode, speed, names)


def _mode_of(name: str, env: Env, close: list[Env], given: bool) -> str:
    """The best mode in which an environment says that it renders; those in `close` are closed."""
    modes = env.metadata.get("render_modes") or ()
    for one in close:
        close_anyway(one)
    known = [mode for mode in MODES if mode in modes]
    if not known:
        said = f"it renders in {listed(map(repr, map(str, modes)))}" if modes else "it does not render at all"
        raise ConfigError(
            f"{name} cannot be watched: {said}, and an array of pixels is needed: add 'rgb_array' to "
            "metadata['render_modes'], and return an array [height, width, 3] from render()"
        )
    if given:
        raise ConfigError(
            f"{name} was created without a render mode, which cannot be changed later: create it with "
            f"render_mode={known[0]!r}, or pass its id or its class"
        )
    return known[0]


def _games(name: str, kwargs: dict[str, Any]) -> Filming:
    """A game by its protocol, and its own screen."""
    games = atari.make_games(name, 1, kwargs, training=False, screens=True)
    screens = atari.find_screens(games)
    assert screens is not None  # noqa: S101 - it was asked for
    skip = kwargs.get("frameskip", atari.PROTOCOL["frameskip"])
    plain: Any = gym.make(name, full_action_space=bool(kwargs.get("full_action_space", False)))
    names = action_names(plain.unwrapped, int(plain.action_space.n), {})
    plain.close()
    return Filming(HostWorld(Made(name, games, None)), screens.taken, "rgb_array", 60 / skip, names)


def action_names(env: object, n_actions: int, coding: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a name for each action: what the environment itself calls it, or its number as the environment counts."""
    meanings = getattr(env, "get_action_meanings", None)
    named: object = ()
    if callable(meanings) and not inspect.signature(meanings).parameters:
        named = meanings()
    elif isinstance(kinds := getattr(env, "actions", None), type) and issubclass(kinds, enum.Enum):
        named = [kind.name for kind in kinds]
    else:
        named = NAMES.get(type(env).__name__, ())
    if isinstance(named, list | tuple) and len(named) == n_actions:
        return tuple(str(name).lower() for name in named)
    native = [to_native(i, coding) if coding else i for i in range(n_actions)]
    return tuple(str(each.tolist() if isinstance(each, np.ndarray | np.generic) else each) for each in native)


def screen_image(name: str, picture: object, draw_text: Callable[[str], np.ndarray]) -> np.ndarray:
    """Return what an environment rendered as an image [H, W, 3] of bytes; text is drawn by `draw_text`.

    Raises:
        EnvContractError: it is something else.
    """
    if isinstance(picture, str):
        return draw_text(picture)
    image = np.asarray(picture) if isinstance(picture, np.ndarray | list) else None
    if image is not None and image.ndim == 2:
        image = np.stack([image] * 3, axis=2)
    if image is None or image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8 or not image.size:
        raise EnvContractError(
            f"{name}: render() returned {describe(picture)}; in the mode 'rgb_array' it must return an array "
            "[height, width, 3] of uint8"
        )
    return image[:, :, :3]
