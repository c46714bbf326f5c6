"""Allowed actions from Gymnasium's info, in plain and vector environments of every autoreset mode."""

from typing import Any

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import bellmax as bx
from bellmax.contracts import Masked
from bellmax.deep.method import mask_of
from bellmax.envs.host_world import open_world

LENGTH = 4


class Turnstile(gym.Env[Any, Any]):
    """Counts its steps up to four; in step t only action t mod 3 is allowed, and any other is an error.

    The episode is truncated if the start was odd, else terminated; the observation is the step count.
    """

    observation_space = gym.spaces.Box(0.0, LENGTH, (1,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, tells: bool = True, empty_at: int | None = None) -> None:
        self.tells, self.empty_at, self.episodes, self.t = tells, empty_at, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episodes, self.t = self.episodes + 1, 0
        return self._obs(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if action != self.t % 3:
            raise ValueError(f"action {action} is not allowed in step {self.t}")
        self.t += 1
        over = self.t == LENGTH
        return self._obs(), 1.0, over and self.episodes % 2 == 0, over and self.episodes % 2 == 1, self._info()

    def _obs(self) -> Any:
        return np.array([self.t], np.float32)

    def _info(self) -> dict[str, Any]:
        if not self.tells:
            return {}
        return {"action_mask": np.array([k == self.t % 3 and self.t != self.empty_at for k in range(3)], np.int8)}


def allowed(obs: Any) -> np.ndarray:
    return np.arange(3) == (obs[:, :1] % 3)


MODES = [None, AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_observation_comes_with_its_own_mask(mode: AutoresetMode | None) -> None:
    world = open_world(Turnstile, n=2) if mode is None else open_world(
        SyncVectorEnv([Turnstile, Turnstile], autoreset_mode=mode)
    )  # fmt: skip
    world.use_masks()
    obs, ends = world.reset(0), 0
    assert world.gives_masks
    for _ in range(15):
        assert isinstance(obs, Masked)
        waiting = obs.obs[:, 0] == LENGTH  # NEXT_STEP: these worlds will only reset themselves
        assert (obs.mask == allowed(obs.obs))[~waiting].all()
        step = world.step(np.where(waiting, 0, obs.mask.argmax(axis=1)))
        over = step.terminated | step.truncated
        assert (step.next_obs.obs[over] == LENGTH).all()
        assert (step.next_obs.mask == allowed(step.next_obs.obs)).all()
        ends += int(over.sum())
        obs = step.obs
    world.close()
    assert ends >= 4


@pytest.mark.parametrize(
    "agent", ["dqn", "bcq", *(pytest.param(agent, marks=pytest.mark.slow) for agent in ("c51", "pqn", "r2d2"))]
)
def test_no_agent_takes_what_is_not_allowed(agent: str) -> None:
    small = {"num_envs": 2, "train_freq": 8, "minibatches": 2} if agent == "pqn" else {"learning_starts": 100}
    small |= {"num_envs": 2, "learning_starts": 130} if agent == "r2d2" else {}
    run = bx.train(Turnstile, agent, steps=400, net_arch=(16,), eval_episodes=2, final_episodes=4, **small)
    assert run.scores == [4.0]  # the world raises at any other action
    policy = run.policy(0)
    assert isinstance(policy.space, Masked)
    one = Masked(np.ones(1, np.float32), np.array([False, True, False]))
    if agent != "r2d2":
        assert policy.act(one) == 1
        assert np.isneginf(policy.q_values(one)).tolist() == [True, False, True]


def test_a_world_that_stops_telling_is_an_error() -> None:
    world = open_world(Turnstile, env_kwargs={"tells": False})
    world.use_masks()
    with pytest.raises(
        bx.EnvContractError, match=r"info\['action_mask'\] is None .*not one flag for each of 3 actions"
    ):
        world.reset(0)


def test_a_mask_that_allows_nothing_is_an_error() -> None:
    world = open_world(Turnstile, env_kwargs={"empty_at": 2})
    world.use_masks()
    world.reset(0)
    world.step([0])
    with pytest.raises(bx.EnvContractError, match="not a mask that allows an action"):
        world.step([1])


def test_worlds_that_tell_no_mask_are_as_they_were() -> None:
    run = bx.train("CartPole-v1", "dqn", steps=200, loop="host", learning_starts=100, eval_episodes=0, final_episodes=1)
    assert not isinstance(run.policy(0).space, Masked)


def test_a_mask_that_allows_nothing_at_the_end_leaves_values_finite() -> None:
    ended = Masked(jnp.zeros(1), jnp.zeros(3, bool))
    assert mask_of(ended).all()


@pytest.mark.parametrize(("threshold", "expected"), [(0.3, [-np.inf, 2.0, -np.inf]), (0.0, [-np.inf, 2.0, 3.0])])
def test_bcq_looks_for_likely_actions_among_those_allowed(threshold: float, expected: list[float]) -> None:
    """With a threshold of 0 every allowed action is likely enough, and no other."""
    output = jnp.array([[1.0, 5.0], [2.0, 0.0], [3.0, -4.0]])  # the likeliest action by far is not allowed
    method = bx.BCQ(bcq_threshold=threshold).method()
    q = method.values(method.output(output), jnp.array([False, True, True]))
    np.testing.assert_array_equal(q, expected)
