"""One world, many forms: the model, the compiled world, the Gymnasium environment and Gymnasium's own agree."""

from collections.abc import Callable

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy.stats import chi2

import bellmax as bx
from bellmax.contracts import Box, Discrete
from bellmax.envs.classic import cartpole
from bellmax.envs.tabulated import TabulatedState, as_world
from bellmax.mdp.model import FiniteMDP
from bellmax.sources import find_world

LAKE = FiniteMDP.from_gymnasium("FrozenLake-v1")
START = np.array([0.2, 0.0, 0.5, 0.3, 0.0])
SPREAD = FiniteMDP.from_successors(
    [[[(1.0, (s + 1) % 5, 0.0, False)]] for s in range(5)], start=START, max_episode_steps=3, name="spread"
)


def count(successors: np.ndarray, n_states: int) -> np.ndarray:
    """[pairs, draws] to counts [pairs, S]."""
    return np.array([np.bincount(row, minlength=n_states) for row in successors])


def surprise(counts: np.ndarray, probability: np.ndarray) -> float:
    """The p-value of counts [pairs, S] under probabilities [pairs, S]; 0 if the impossible happened."""
    if counts[probability == 0].any():
        return 0.0
    expected = counts.sum(axis=1, keepdims=True) * probability
    possible = probability > 0
    statistic = float(((counts - expected)[possible] ** 2 / expected[possible]).sum())
    freedom = int((possible.sum(axis=1) - 1).sum())
    return float(chi2.sf(statistic, freedom))


def probabilities(mdp: FiniteMDP) -> np.ndarray:
    """[S * A, S], with the terminating outcomes."""
    table = np.zeros((mdp.n_states * mdp.n_actions, mdp.n_states))
    np.add.at(table, (mdp.pair, mdp.successor), mdp.probability)
    return table


def outcomes_of_compiled(draws: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Successor, reward and end of every pair of the lake, [pairs, draws]."""
    world = as_world(LAKE)
    pairs = jnp.arange(64)

    def one(pair, key):
        return world.step(TabulatedState(pair // 4, jnp.int32(0)), pair % 4, key)[1:4]

    keys = jax.random.split(jax.random.key(0), (64, draws))
    return tuple(map(np.asarray, jax.jit(jax.vmap(jax.vmap(one, (None, 0))))(pairs, keys)))


def outcomes_of_host(step: Callable, draws: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    results = [[step(pair // 4, pair % 4) for _ in range(draws)] for pair in range(64)]
    return tuple(np.moveaxis(np.array(results), 2, 0))


def tabulated_step() -> Callable:
    env = bx.TabulatedEnv(LAKE)
    env.reset(seed=1)

    def step(state: int, action: int) -> tuple:
        env.obs, env.time = state, 0
        return env.step(action)[:3]

    return step


def gymnasium_step() -> Callable:
    env = gym.make("FrozenLake-v1").unwrapped
    env.reset(seed=2)

    def step(state: int, action: int) -> tuple:
        env.s = state
        return env.step(action)[:3]

    return step


@pytest.mark.parametrize("form", ["compiled", "tabulated", "gymnasium"])
def test_outcomes_of_the_slippery_lake_are_those_of_the_model(form: str) -> None:
    if form == "compiled":
        successor, reward, ends = outcomes_of_compiled(3000)
    else:
        successor, reward, ends = outcomes_of_host(tabulated_step() if form == "tabulated" else gymnasium_step(), 300)
    successor = successor.astype(int)
    assert surprise(count(successor, 16), probabilities(LAKE)) > 1e-4
    holes_and_goal = [5, 7, 11, 12, 15]
    np.testing.assert_array_equal(ends.astype(bool), np.isin(successor, holes_and_goal))
    acting = ~np.isin(np.arange(64) // 4, holes_and_goal)
    np.testing.assert_array_equal(reward[acting], (successor == 15)[acting])


def test_the_chi_square_test_sees_a_wrong_probability() -> None:
    successor = outcomes_of_compiled(3000)[0].astype(int)
    wrong = probabilities(LAKE)
    pair = 14 * 4 + 2  # beside the goal, to the right
    assert (wrong[pair, 15], wrong[pair, 10]) == pytest.approx((1 / 3, 1 / 3))
    wrong[pair, 15], wrong[pair, 10] = 0.4, 4 / 15
    assert surprise(count(successor, 16), wrong) < 1e-4


def test_episodes_start_as_the_model_says() -> None:
    world, env = as_world(SPREAD), bx.TabulatedEnv(SPREAD)
    compiled = np.asarray(jax.vmap(world.reset)(jax.random.split(jax.random.key(3), 4000))[1])
    env.reset(seed=4)
    host = np.array([env.reset()[0] for _ in range(4000)])
    for starts in (compiled, host):
        assert surprise(count(starts[None], 5), START[None]) > 1e-4
    assert env.reset(seed=5)[0] == env.reset(seed=5)[0]
    assert len({env.reset(seed=seed)[0] for seed in range(30)}) == 3


@pytest.mark.filterwarnings("ignore:FiniteMDP.* the model is valid, but")
def test_the_time_limit_truncates_and_does_not_terminate() -> None:
    world, env = as_world(SPREAD), bx.TabulatedEnv(SPREAD)
    state, _ = world.reset(jax.random.key(0))
    env.reset(seed=0)
    for t in range(1, 4):
        state, _, _, terminated, truncated = world.step(state, jnp.int32(0), jax.random.key(t))
        assert (bool(terminated), bool(truncated)) == (False, t == 3)
        assert env.step(0)[2:4] == (False, t == 3)
    env.reset()
    assert env.step(0)[2:4] == (False, False)  # the clock starts anew
    endless = FiniteMDP.from_successors([[[(1.0, 0, 0.0, False)]]])
    state = TabulatedState(jnp.int32(0), jnp.int32(10**6))
    assert not as_world(endless).step(state, jnp.int32(0), jax.random.key(0))[4]


def test_the_time_limit_of_gymnasium_is_taken_over() -> None:
    kwargs = {"is_slippery": False}
    mdp = FiniteMDP.from_gymnasium("FrozenLake-v1", **kwargs)
    world, own = as_world(mdp), gym.make("FrozenLake-v1", **kwargs)
    step = jax.jit(world.step)
    for env in (own, bx.TabulatedEnv(mdp)):
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(100)] == [False] * 99 + [True]
    state, _ = world.reset(jax.random.key(0))
    ends = []
    for t in range(100):
        state, *_, truncated = step(state, jnp.int32(0), jax.random.key(t))
        ends.append(bool(truncated))
    assert ends == [False] * 99 + [True]


def test_a_deterministic_world_has_one_trajectory_in_every_form() -> None:
    """1,000 actions on the cliff, most of them good so that the goal is reached, the others random."""
    mdp = FiniteMDP.from_gymnasium("CliffWalking-v1")
    world, best = as_world(mdp), bx.solve(mdp, 0.99).policy
    hosts = [gym.make("CliffWalking-v1"), bx.TabulatedEnv(mdp), bx.TabulatedEnv(bx.cliff())]
    step, reset = jax.jit(world.step), jax.jit(world.reset)
    rng, key = np.random.default_rng(0), jax.random.key(0)
    state, obs = reset(key)
    assert [env.reset(seed=0)[0] for env in hosts] == [int(obs)] * 3
    ends = falls = 0
    for _ in range(1000):
        action = int(best[int(obs)]) if rng.random() < 0.8 else int(rng.integers(4))
        state, obs, reward, terminated, truncated = step(state, jnp.int32(action), key)
        expected = (int(obs), float(reward), bool(terminated), bool(truncated))
        assert [tuple(env.step(action)[:4]) for env in hosts] == [expected] * 3
        ends += expected[2]
        falls += expected[1] == -100.0
        if expected[2]:
            state, obs = reset(key)
            assert [env.reset()[0] for env in hosts] == [int(obs)] * 3
    assert ends > 10
    assert falls > 10


@pytest.mark.parametrize("mdp", [bx.corridor(4), bx.cliff(), LAKE, SPREAD], ids=lambda mdp: mdp.name)
def test_the_environment_keeps_gymnasiums_contract(mdp: FiniteMDP) -> None:
    check_env(bx.TabulatedEnv(mdp), skip_render_check=True)


def forms(source) -> set[str]:
    return {name for name in ("mdp", "compiled", "open") if getattr(source, name) is not None}


CARTPOLE = (Box((4,)), 2, 500)
FOUND = {
    "gallery": ("corridor", {}, (Discrete(6), 2, None), {"mdp", "open"}),
    "gallery with arguments": ("corridor", {"n_states": 9}, (Discrete(9), 2, None), {"mdp", "open"}),
    "probe": ("probe:delay", {}, (Box((1,)), 1, None), {"compiled"}),
    "id with a table": ("FrozenLake-v1", {}, (Discrete(16), 4, 100), {"mdp", "open"}),
    "id with a table and arguments": ("FrozenLake-v1", {"map_name": "8x8"}, (Discrete(64), 4, 100), {"mdp", "open"}),
    "id with a twin": ("CartPole-v1", {}, CARTPOLE, {"compiled", "open"}),
    "id with arguments has no twin": ("CartPole-v1", {"sutton_barto_reward": True}, CARTPOLE, {"open"}),
    "id with neither": ("CartPole-v0", {}, (Box((4,)), 2, 200), {"open"}),
    "module and id": ("gymnasium.envs.classic_control:CartPole-v1", {}, CARTPOLE, {"open"}),
    "model": (SPREAD, {}, (Discrete(5), 1, 3), {"mdp", "open"}),
    "compiled world": (cartpole(), {}, CARTPOLE, {"compiled"}),
    "table as compiled world": (as_world(LAKE), {}, (Discrete(16), 4, 100), {"compiled"}),
    "factory": (lambda: gym.make("CartPole-v1"), {}, CARTPOLE, {"open"}),
    "environment": (bx.TabulatedEnv(LAKE), {}, (Discrete(16), 4, None), {"open"}),
}


@pytest.mark.filterwarnings("ignore:.*CartPole-v0 is out of date")
@pytest.mark.parametrize("case", FOUND)
def test_a_world_is_found_in_its_forms(case: str) -> None:
    world, kwargs, (space, n_actions, limit), expected = FOUND[case]
    source = find_world(world, kwargs)
    assert (source.space, source.n_actions, source.max_episode_steps) == (space, n_actions, limit)
    assert forms(source) == expected
    assert source.fixed == (1 if case == "environment" else None)
    if "open" in expected:
        opened = source.open_worlds(1)
        assert opened.reset(0).shape == (1, *(space.shape if isinstance(space, Box) else ()))
        opened.close()
    if expected & {"mdp", "compiled"}:
        twin = source.compile()
        assert (twin.observation_space, twin.n_actions, twin.max_episode_steps) == (space, n_actions, limit)


def test_a_vector_environment_is_as_many_worlds_as_it_has() -> None:
    vector = gym.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
    source = find_world(vector)
    assert (source.fixed, source.space, source.max_episode_steps) == (3, Box((4,)), 500)
    assert source.open_worlds(1).n == 3
    vector.close()


@pytest.mark.parametrize(
    ("world", "kwargs", "message"),
    [
        ("coridor", {}, "unknown environment 'coridor'; did you mean 'corridor'"),
        ("CartPole-v11", {}, "did you mean 'CartPole-v1'"),
        ("probe:delai", {}, "unknown probe environment 'probe:delai'; did you mean 'probe:delay'"),
        ("nowhere.at.all:CartPole-v1", {}, "cannot import 'nowhere.at.all'"),
        ("corridor", {"n_stats": 3}, "corridor: unknown argument 'n_stats'; did you mean 'n_states'"),
        ("corridor", {"n_states": 1}, "needs a start and a goal"),
        ("FrozenLake-v1", {"slippery": True}, "slippery"),
        ("Pendulum-v1", {}, "is not Discrete"),
        (SPREAD, {"n_states": 3}, "need an environment's name"),
        (cartpole(), {"n_states": 3}, "need an environment's name"),
        (3, {}, "3 is not an environment"),
        (None, {}, "None is not an environment"),
    ],
)
def test_what_is_no_world_is_refused(world: object, kwargs: dict, message: str) -> None:
    with pytest.raises(bx.ConfigError, match=message) as caught:
        find_world(world, kwargs)
    assert "\n" not in str(caught.value)
