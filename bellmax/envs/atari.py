"""NumPy. Atari games on ale-py's own vector environment, by the protocol of Mnih et al. (2015).

Gray frames of 84 x 84, four stacked; every action is repeated four times, and a game starts with up to 30 no-ops. In
training a lost life ends an episode, though the game continues. Rewards are the game's own: agents clip them.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from bellmax.contracts import BoolArray, ConfigError

PROTOCOL: dict[str, Any] = {
    "repeat_action_probability": 0.0, "reward_clipping": False, "noop_max": 30, "frameskip": 4, "stack_num": 4,
    "use_fire_reset": True, "autoreset_mode": AutoresetMode.SAME_STEP,
}  # fmt: skip
GOES_ON = "episode_goes_on"  # in infos: where an end is one of learning alone [N]


def is_game(name: str) -> bool:
    """Whether an id is one of ale-py's games with images."""
    return name.startswith("ALE/")


def make_games(
    name: str, n: int, kwargs: dict[str, Any], *, training: bool, screens: bool = False
) -> VectorEnv[Any, Any, Any]:
    """`n` games side by side; `kwargs` are ale-py's, over the protocol's, and `episodic_life` (by default true).

    If `screens`, `find_screens` finds their screens.

    Raises:
        ConfigError: an argument that would change what bellmax relies on.
    """
    kwargs = dict(kwargs)
    lives = kwargs.pop("episodic_life", True)
    for taken in ("autoreset_mode", "life_loss_info", "batch_size"):
        if taken in kwargs:
            raise ConfigError(f"bellmax sets {taken} itself; leave it out")
    kwargs = {**PROTOCOL, **kwargs}
    vector: VectorEnv[Any, Any, Any] = gym.make_vec(name, n, "vector_entry_point", **kwargs)
    games = SeededGames(WithScreens(vector, _screens(name, n, kwargs)) if screens else vector)
    return LifeLoss(games) if training and lives else games


class SeededGames(VectorWrapper):  # type: ignore[misc,unused-ignore]
    """Every game starts with a seed of its own, so that it can be repeated without the games before it.

    Attributes:
        seed, t: of the last reset of all games, and the steps since then. A game that starts later has a seed that
            follows from both and from its number.
        seeds: of the present games [N].
        new: the games [N] that started in the last step.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.seed, self.t = 0, 0
        self.seeds = np.zeros(env.num_envs, np.int64)
        self.new = np.zeros(env.num_envs, np.bool_)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Restart all games, or those of options["reset_mask"] with the seeds that are given."""
        if options is not None:
            self.seeds[options["reset_mask"]] = seed
            return self.env.reset(seed=seed, options=options)
        self.seed, self.t = int(self.np_random.integers(2**31)) if seed is None else int(seed), 0
        self.seeds = self.seed + np.arange(self.num_envs)
        return self.env.reset(seed=self.seed)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step; a game that follows one that ended is started again, with its seed."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        self.t += 1
        self.new = terminated | truncated
        if self.new.any():
            info = {**info, "final_obs": np.array(info["final_obs"])}
            seeds = np.array([game_seed(self.seed, self.t, i) for i in np.flatnonzero(self.new).tolist()])
            obs, fresh = self.reset(seed=seeds, options={"reset_mask": self.new.copy()})
            info |= {key: np.where(self.new, value, info[key]) for key, value in fresh.items() if key in info}
        return obs, reward, terminated, truncated, info


def game_seed(seed: int, t: int, i: int) -> int:
    """The seed of a game i that starts at the step `t` of a run."""
    return int(np.random.SeedSequence([seed, t, i]).generate_state(1)[0]) % 2**31


def find_games(env: object) -> SeededGames | None:
    """The `SeededGames` among the wrappers of a vector environment."""
    while isinstance(env, VectorWrapper):
        if isinstance(env, SeededGames):
            return env
        env = env.env
    return None


def _screens(name: str, n: int, kwargs: dict[str, Any]) -> VectorEnv[Any, Any, Any]:
    """The same games, which show their screens: in color, as large as they are, one at a time."""
    game: Any = gym.make(name)
    height, width = game.unwrapped.ale.getScreenDims()
    game.close()
    shown = {"img_height": height, "img_width": width, "grayscale": False, "stack_num": 1}
    return gym.make_vec(name, n, "vector_entry_point", **{**kwargs, **shown})


class WithScreens(VectorWrapper):  # type: ignore[misc,unused-ignore]
    """Games, and beside each the same game again with its screen: both have the same seeds and actions.

    Attributes:
        taken: the screens [H, W, 3] of the first game since it was last emptied: one after each start of a game and
            one after each step, also the last one of a game. Only two are stored.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], screens: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.screens = screens
        self.taken: deque[object] = deque(maxlen=2)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Restart games in both."""
        answer: tuple[Any, dict[str, Any]] = self.env.reset(seed=seed, options=options)
        obs, _ = self.screens.reset(seed=seed, options=options)
        if options is None or options["reset_mask"][0]:
            self.taken.append(np.array(obs[0, -1]))
        return answer

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step in both."""
        answer: tuple[Any, Any, Any, Any, dict[str, Any]] = self.env.step(actions)
        obs, _, terminated, truncated, info = self.screens.step(actions)
        shown = info["final_obs"] if terminated[0] or truncated[0] else obs
        self.taken.append(np.array(shown[0, -1]))
        return answer

    def close(self, **kwargs: Any) -> None:
        """Close both."""
        self.screens.close()
        self.env.close(**kwargs)


def find_screens(env: object) -> WithScreens | None:
    """The `WithScreens` among the wrappers of a vector environment."""
    while isinstance(env, VectorWrapper):
        if isinstance(env, WithScreens):
            return env
        env = env.env
    return None


class LifeLoss(VectorWrapper):  # type: ignore[misc,unused-ignore]
    """A lost life terminates, though the game goes on: what is lost is worth nothing. Mnih et al. (2015), methods."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.lives = np.zeros(env.num_envs, np.int64)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Restart all games."""
        obs, info = self.env.reset(**kwargs)
        self.lives = np.array(info["lives"])
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step; where only a life was lost, the final observation is also the next one."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        over: BoolArray = terminated | truncated
        lost = (info["lives"] < self.lives) & ~over
        self.lives = np.array(info["lives"])
        if lost.any():
            finals = info["final_obs"] if over.any() else np.zeros_like(obs)
            finals = np.where(lost[:, None, None, None], obs, finals)
            info = {**info, "final_obs": finals, GOES_ON: lost}
            terminated = terminated | lost
        return obs, reward, terminated, truncated, info
