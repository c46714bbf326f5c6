"""gymnax's worlds as compiled worlds: each against gymnax's own step, true final observations, limits, errors."""

from __future__ import annotations

import sys
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.wrappers.purerl import FlattenObservationWrapper

import bellmax as bx
from bellmax.contracts import Box, Discrete
from bellmax.envs import gymnax_worlds as adapter
from bellmax.envs.classic import cartpole
from bellmax.files import checkpoint
from bellmax.sources import find_world

N, STEPS = 2, 1_000
QUICK_TO_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
MINATAR = {"Asterix": (4, 5), "Breakout": (4, 3), "Freeway": (7, 3), "Seaquest": (10, 6), "SpaceInvaders": (6, 4)}
FOUND = {
    **{f"{game}-MinAtar": (Box((10, 10, c), "bool"), a, 1_000) for game, (c, a) in MINATAR.items()},
    "Freeway-MinAtar": (Box((10, 10, 7), "bool"), 3, 2_500),
    "Catch-bsuite": (Box((10, 5), "bool"), 3, 1_000),
    "DeepSea-bsuite": (Box((8, 8)), 2, 8),
    "MemoryChain-bsuite": (Box((3,)), 2, 1_000),
    "UmbrellaChain-bsuite": (Box((3,)), 2, 100),
    "DiscountingChain-bsuite": (Box((2,)), 5, 100),
    "SimpleBandit-bsuite": (Box((1, 1)), 11, 100),
    "CartPole-v1": (Box((4,)), 2, 500),
    "FourRooms-misc": (Box((4,)), 4, 500),
    "FrozenLake-misc": (Discrete(16), 4, 100),
}
SLOW_TO_COMPILE = {"Asterix-MinAtar", "Freeway-MinAtar", "Seaquest-MinAtar"}
NEVER_TERMINATE = {"Freeway-MinAtar", "DiscountingChain-bsuite"}


def types(tree: Any) -> list[Any]:
    """Shape, type and weakness of every leaf."""
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(jax.eval_shape(lambda: tree))]


@pytest.mark.parametrize("name", FOUND)
def test_a_thousand_steps_are_gymnaxs_own(name: str) -> None:
    """From the same state and key; gymnax's step resets itself and reports the final observation beside that.

    Of the worlds that take long to compile, only the observations are compared.
    """
    source = find_world(f"gymnax:{name}")
    assert (source.space, source.n_actions, source.max_episode_steps) == FOUND[name]
    world, (env, params) = source.compile(), gymnax.make(name)

    def step(carry: Any, key: Any) -> Any:
        state, length = carry
        act_key, step_key = jax.random.split(key)
        action = jax.random.randint(act_key, (), 0, world.n_actions)
        inner_key, reset_key = jax.random.split(step_key)
        after, *mine = world.step(state, action, inner_key)
        if name in SLOW_TO_COMPILE:
            theirs: Any = (env.get_obs(after),)
        else:
            *_, reward, terminated, truncated, info = env.step(step_key, state, action, params)
            theirs = (info["final_observation"], reward, terminated, truncated)
        over = mine[2] | mine[3]
        fresh, first = world.reset(reset_key)
        assert types((fresh, first)) == types((after, mine[0])) == types((state, mine[0]))
        state = jax.tree.map(lambda x, y: jnp.where(over, x, y), fresh, after)
        return (state, jnp.where(over, 0, length + 1)), (tuple(mine), theirs, length + 1)

    def run(key: Any) -> Any:
        return jax.lax.scan(step, (world.reset(key)[0], 0), jax.random.split(key, STEPS))[1]

    run_all = jax.jit(jax.vmap(run), compiler_options=QUICK_TO_COMPILE)
    mine, theirs, length = jax.device_get(run_all(jax.random.split(jax.random.key(0), N)))
    obs, reward, terminated, truncated = mine
    shape, dtype = (source.space.shape, source.space.dtype) if isinstance(source.space, Box) else ((), "int32")
    assert (obs.shape, obs.dtype) == ((N, STEPS, *shape), dtype)
    assert [x.dtype for x in mine[1:]] == [np.float32, np.bool_, np.bool_]
    assert np.isfinite(obs).all()
    assert np.isfinite(reward).all()
    for one, other in zip(mine, theirs, strict=False):
        # also flags: nothing but 0 and 1 becomes a bool
        np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(truncated, length >= FOUND[name][2])
    assert terminated.any() == (name not in NEVER_TERMINATE)


def test_cartpole_is_our_cartpole() -> None:
    """Two ways to write the same equations; a rounding grows by 1.083 a step, as the pole falls."""
    own, other = cartpole(), find_world("gymnax:CartPole-v1").compile()
    starts = jax.random.uniform(jax.random.key(1), (200, 4), minval=-0.05, maxval=0.05)
    actions = jax.random.randint(jax.random.key(2), (200, 60), 0, 2)

    def run(start: Any, actions: Any) -> Any:
        mine, theirs = own.reset(jax.random.key(0))[0], other.reset(jax.random.key(0))[0]
        mine = mine._replace(physics=start)
        theirs = theirs.replace(**dict(zip(("x", "x_dot", "theta", "theta_dot"), start, strict=True)))

        def step(states: Any, action: Any) -> Any:
            mine, *a = own.step(states[0], action, None)
            theirs, *b = other.step(states[1], action, jax.random.key(0))
            return (mine, theirs), (a, b)

        return jax.lax.scan(step, (mine, theirs), actions)[1]

    mine, theirs = jax.device_get(jax.jit(jax.vmap(run))(starts, actions))
    tolerance = 1e-6 * 1.083 ** np.arange(1, 61)
    playing = np.cumsum(mine[2], axis=1) - mine[2] == 0  # up to the end and with it
    assert (abs(mine[0] - theirs[0]).max(axis=2) < tolerance)[playing].all()
    for one, other_one in zip(mine[1:], theirs[1:], strict=True):
        np.testing.assert_array_equal(one[playing], other_one[playing])
    assert mine[2].any(axis=1).mean() > 0.9


def test_the_final_observation_is_not_the_next_episodes_first() -> None:
    world, (env, params) = find_world("gymnax:CartPole-v1").compile(), gymnax.make("CartPole-v1")
    state = world.reset(jax.random.key(0))[0].replace(x=jnp.float32(2.39), x_dot=jnp.float32(3.0))
    key, inner = jax.random.key(1), jax.random.split(jax.random.key(1))[0]
    _, obs, _, terminated, truncated = world.step(state, jnp.int32(1), inner)
    assert obs[0] == pytest.approx(2.45)
    assert (bool(terminated), bool(truncated)) == (True, False)
    assert abs(env.step(key, state, jnp.int32(1), params)[0][0]) <= 0.05  # which is what gymnax itself gives


@pytest.mark.parametrize(
    ("name", "kwargs", "limit", "terminated", "truncated"),
    [
        ("Breakout-MinAtar", {"max_steps_in_episode": 3}, 3, False, True),
        ("CartPole-v1", {"max_steps_in_episode": 2}, 2, False, True),
        ("MemoryChain-bsuite", {"memory_length": 2}, 1_000, True, False),
        ("DeepSea-bsuite", {"size": 3}, 3, True, True),
        ("DeepSea-bsuite", {"size": 3, "max_steps_in_episode": 2}, 2, False, True),
    ],
)
def test_a_time_limit_truncates_and_an_end_terminates(
    name: str, kwargs: dict, limit: int, terminated: bool, truncated: bool
) -> None:
    source = find_world(f"gymnax:{name}", kwargs)
    world, key = source.compile(), jax.random.key(0)
    assert source.max_episode_steps == world.max_episode_steps == limit
    (state, _), step, ends = world.reset(key), jax.jit(world.step), []
    while not any(map(any, ends)):
        state, *_, end, time_up = step(state, jnp.int32(0), key)
        ends.append((bool(end), bool(time_up)))
    assert ends[-1] == (terminated, truncated)
    assert len(ends) == min(limit, 3)  # MemoryChain: its length and one


def test_arguments_go_to_the_constructor_or_to_the_parameters() -> None:
    deep = find_world("gymnax:DeepSea-bsuite", {"size": 5, "randomize_actions": False, "unscaled_move_cost": 1})
    assert (deep.space, deep.max_episode_steps) == (Box((5, 5)), 5)
    world, key = deep.compile(), jax.random.key(0)
    _, obs, reward, *_ = world.step(world.reset(key)[0], jnp.int32(1), key)
    assert obs[1, 1] == 1  # all 1s go right
    assert reward == pytest.approx(-1 / 5)
    chain = find_world("gymnax:DiscountingChain-bsuite", {"reward_timestep": [1, 2, 3, 4, 5]}).compile()
    assert chain.step(chain.reset(key)[0], jnp.int32(0), key)[2] == pytest.approx(1.1)


@struct.dataclass
class FlagState(environment.EnvState):
    key: jax.Array


class Flags(environment.Environment):
    """A user's own: keys in its state, pixels as bytes, an argument without a default."""

    def __init__(self, width: int, pixels: bool = True) -> None:
        super().__init__()
        self.width, self.pixels = width, pixels

    def reset_env(self, key: Any, params: Any) -> Any:
        return jnp.zeros(self.width, jnp.uint8), FlagState(0, key)

    def step_env(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        state = FlagState(state.time + 1, jax.random.split(state.key)[0])
        return jnp.full(self.width, 200, jnp.uint8), state, 1, False, {}

    def observation_space(self, params: Any) -> Any:
        box = spaces.Box(0, 255, (self.width,), jnp.uint8)
        return box if self.pixels else spaces.Dict({"pixels": box})

    def action_space(self, params: Any) -> Any:
        return spaces.Discrete(2)


def test_an_environment_as_an_object_alone_and_with_its_parameters() -> None:
    env, params = gymnax.make("Breakout-MinAtar")
    assert find_world(env).name == "<Breakout-MinAtar>"
    assert find_world((env, params.replace(max_steps_in_episode=7))).max_episode_steps == 7
    own = find_world((Flags(3), environment.EnvParams(max_steps_in_episode=2)))
    assert own.space == Box((3,), "uint8")
    world, key = own.compile(), jax.random.key(0)
    state, *seen = jax.jit(world.step)(world.reset(key)[0], jnp.int32(0), key)
    assert [x.tolist() for x in seen] == [[200] * 3, 1.0, False, False]
    assert bool(world.step(state, jnp.int32(0), key)[4])


def test_a_state_of_any_pytree_goes_through_a_checkpoint() -> None:
    states = {
        "own": find_world(Flags(3)).compile().reset(jax.random.key(3))[0],
        "none": None,
        "pair": (jnp.ones(2), [1]),
    }
    arrays = checkpoint.to_arrays(states)
    assert set(arrays) == {"state.own.time", "state.own.key", "state.pair.0", "state.pair.1.0"}
    back = checkpoint.from_arrays(states, arrays, "here")
    assert jax.tree.structure(back) == jax.tree.structure(states)
    assert checkpoint.to_arrays(back).keys() == arrays.keys()
    assert jax.random.key_data(back["own"].key).tolist() == jax.random.key_data(states["own"].key).tolist()


def test_a_registered_environment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = sys.modules["gymnax.registration"]
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    names = [*gymnax.registered_envs]
    gymnax.register("Flags-own", Flags)
    try:
        assert find_world("gymnax:Flags-own", {"width": 6}).space == Box((6,), "uint8")
        with pytest.raises(bx.EnvCrashed, match=r"its constructor raised TypeError: .*width"):
            find_world("gymnax:Flags-own")
    finally:
        gymnax.registered_envs[:] = names


def narrow(env: Any) -> Any:
    env.observation_space = lambda params: spaces.Box(0, 255, (2,), jnp.uint8)
    return env


@pytest.mark.parametrize(
    ("world", "kwargs", "message"),
    [
        ("gymnax:Breakot-MinAtar", {}, "unknown world of gymnax 'Breakot-MinAtar'; did you mean 'Breakout-MinAtar'"),
        ("gymnax:Pendulum-v1", {}, "gymnax:Pendulum-v1: actions are Box.* Discrete"),
        ("gymnax:CartPole-v1", {"max_steps": 3}, "cannot be made with .*max_steps.*parameters are .*max_steps_in_epis"),
        ("gymnax:CartPole-v1", {"max_steps_in_episode": "3"}, "max_steps_in_episode='3' is not of type int"),
        ("gymnax:CartPole-v1", {"max_steps_in_episode": 0}, "max_steps_in_episode=0 is not positive"),
        ("gymnax:CartPole-v1", {"gravity": True}, "gravity=True is not of type float"),
        ("gymnax:DiscountingChain-bsuite", {"reward_timestep": [1, 2]}, r"shape \(2,\), not \(5,\)"),
        ("gymnax:DiscountingChain-bsuite", {"reward_timestep": "soon"}, "is not an array of numbers"),
        ("gymnax:FrozenLake-misc", {"map_name": "5x5"}, "cannot be made with .*5x5"),
        (gymnax.make("CartPole-v1")[0], {"gravity": 1.0}, "need an environment's name"),
        (
            FlattenObservationWrapper(gymnax.make("Catch-bsuite")[0]),
            {},
            "the environment inside",
        ),
        (Flags(3, pixels=False), {}, "neither Box nor Discrete"),
    ],
)
def test_what_is_no_world_is_refused(world: Any, kwargs: dict, message: str) -> None:
    with pytest.raises(bx.ConfigError, match=message) as caught:
        find_world(world, kwargs)
    assert "\n" not in str(caught.value)


def test_observations_of_another_shape_than_their_space_are_refused() -> None:
    with pytest.raises(bx.EnvContractError, match=r"do not have the shape \(2,\)"):
        find_world(narrow(Flags(3)))


def test_a_missing_or_old_gymnax_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gymnax", None)
        with pytest.raises(bx.ConfigError, match=r"pip install 'bellmax\[gymnax\]'"):
            find_world("gymnax:CartPole-v1")
    monkeypatch.delattr(environment.Environment, "is_truncated")
    with pytest.raises(bx.ConfigError, match=r"older than 1\.0.*pip install 'bellmax\[gymnax\]'"):
        find_world("gymnax:CartPole-v1")


@pytest.mark.parametrize(
    ("agent", "settings"),
    [
        pytest.param("dqn", {"learning_starts": 512, "train_freq": 4}, marks=pytest.mark.slow),
        ("pqn", {"num_envs": 32, "train_freq": 16}),
    ],
)
def test_agents_learn_save_and_are_evaluated_in_breakout(agent: str, settings: dict, tmp_path: Any) -> None:
    run = bx.train(
        "gymnax:Breakout-MinAtar", agent, steps=2_048, seeds=1, records=2, eval_episodes=4, final_episodes=4,
        out=tmp_path / "run", progress=False, **settings,
    )  # fmt: skip
    assert run.loop == "compiled"
    policy = bx.load(tmp_path / "run").policy()
    result = bx.evaluate(policy, episodes=4)  # by the name in the file, which imports nothing of the user's
    assert result.returns.shape == (4,)
    assert (result.returns >= 0).all()
    assert ((result.lengths > 0) & (result.lengths <= 1_000)).all()
    settings = {**settings, "loop": "host", "eval_episodes": 0, "final_episodes": 2, "records": 1}
    host = bx.train("gymnax:Breakout-MinAtar", agent, steps=512, progress=False, **settings)
    assert host.loop == "host"


def test_a_name_given_with_the_prefix_or_without_makes_the_same_world() -> None:
    assert (
        adapter.make_gymnax("Catch-bsuite", {}).name
        == adapter.make_gymnax("gymnax:Catch-bsuite", {}).name
        == "gymnax:Catch-bsuite"
    )
