"""Evaluation: all episodes, each of its own length, the same from the same seed, and right on average."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import bellmax as bx
from bellmax.contracts import Box, Discrete
from bellmax.deep.building import spec_of
from bellmax.envs.classic import cartpole
from bellmax.envs.tabulated import as_world
from bellmax.mdp.model import FiniteMDP
from bellmax.networks.network import make_network
from bellmax.networks.packing import to_named
from bellmax.report.text import describe_run
from bellmax.training import play as evaluation
from bellmax.training.policy import Policy

LAKE = FiniteMDP.from_gymnasium("FrozenLake-v1")
EPISODES = 2000


def table_policy(world: str, q: np.ndarray) -> Policy:
    return Policy(world, bx.QLearning(), Discrete(q.shape[0]), q.shape[1], {"q": q})


def always(world: str, n_states: int, n_actions: int, action: int) -> Policy:
    q = np.zeros((n_states, n_actions))
    q[:, action] = 1.0
    return table_policy(world, q)


@pytest.fixture(scope="module")
def network() -> Policy:
    config = bx.DQN(net_arch=(8,), normalization="none")
    arrays = to_named(make_network(Box((4,)), 2, spec_of(config, config.method()), jax.random.key(3)))
    return Policy("CartPole-v1", config, Box((4,)), 2, {name: np.asarray(leaf) for name, leaf in arrays.items()})


BEST = table_policy("FrozenLake-v1", bx.solve(LAKE, 0.99).q)
FORMS = {"host": None, "compiled": as_world(LAKE)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("episodes", [1, 7, 33])
def test_as_many_episodes_as_asked(form: str, episodes: int) -> None:
    returns, lengths = bx.evaluate(BEST, FORMS[form], episodes=episodes)
    assert returns.shape == lengths.shape == (episodes,)
    assert ((lengths >= 1) & (lengths <= 100)).all()
    assert (np.isin(returns, [0.0, 1.0])).all()
    assert (returns.dtype, lengths.dtype) == (np.float64, np.int64)


@pytest.mark.parametrize("form", FORMS)
def test_same_seed_same_episodes_other_seed_others(form: str) -> None:
    first, again, other = (bx.evaluate(BEST, FORMS[form], episodes=40, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.returns, again.returns)
    np.testing.assert_array_equal(first.lengths, again.lengths)
    assert (first.lengths != other.lengths).any()
    assert len(set(first.lengths.tolist())) > 5  # the episodes of one evaluation differ too


@pytest.mark.parametrize("form", FORMS)
def test_the_mean_return_is_the_exact_one(form: str) -> None:
    """Binomial: four standard errors of 2,000 episodes are 0.04; the second-best answer is further away."""
    policy = np.argmax(BEST.table(), axis=1)
    exact = bx.horizon_return(LAKE, policy, 100)
    assert exact == pytest.approx(0.740165, abs=1e-6)
    returns, lengths = bx.evaluate(BEST, FORMS[form], episodes=EPISODES, seed=11)
    assert abs(returns.mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / EPISODES)
    from bellmax.solving.solve import horizon_length

    assert abs(lengths.mean() - horizon_length(LAKE, policy, 100)) < 4 * lengths.std() / np.sqrt(EPISODES)


def test_short_episodes_are_not_favored() -> None:
    """Half of the episodes end after one step with reward 1, half after 50 with 0: the mean return is 1/2."""
    chain = [[[(1.0, s + 1, 0.0, s == 50)]] for s in range(1, 51)]
    table = [[[(1.0, 51, 1.0, True)]], *chain, [[(1.0, 51, 0.0, True)]]]
    mdp = FiniteMDP.from_successors(table, start=np.eye(52)[0] / 2 + np.eye(52)[1] / 2, name="uneven")
    policy = always("uneven", 52, 1, 0)
    returns, lengths = [], []
    for seed in range(40):
        result = bx.evaluate(policy, mdp, episodes=50, seed=100 * seed)
        assert result.returns.size == 50
        returns += result.returns.tolist()
        lengths += result.lengths.tolist()
    np.testing.assert_array_equal(np.where(np.array(returns) == 1.0, 1, 50), lengths)
    assert abs(np.mean(returns) - 0.5) < 4 * 0.5 / np.sqrt(2000)


def test_a_network_plays_alike_in_gymnasium_and_compiled(network: Policy) -> None:
    """The worlds draw other starts, so only the distributions agree; a fall ends each within the limit."""
    host, compiled = bx.evaluate(network, episodes=200), bx.evaluate(network, cartpole(), episodes=200)
    for result in (host, compiled):
        np.testing.assert_array_equal(result.returns, result.lengths)
        assert result.returns.size == 200
    error = np.hypot(host.returns.std(), compiled.returns.std()) / np.sqrt(200)
    assert abs(host.returns.mean() - compiled.returns.mean()) < 4 * error


def test_walking_in_circles_ends_at_the_cap() -> None:
    up = always("CliffWalking-v1", 48, 4, 0)
    returns, lengths = bx.evaluate(up, episodes=1)
    assert evaluation.STEP_CAP == 2_000
    assert (returns.tolist(), lengths.tolist()) == ([-2_000.0], [2_000])


def test_the_cap_holds_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "STEP_CAP", 30)
    up = always("cliff", 48, 4, 0)
    for world in (None, as_world(bx.cliff())):
        returns, lengths = bx.evaluate(up, world, episodes=35)
        assert returns.tolist() == [-30.0] * 35
        assert lengths.tolist() == [30] * 35


def test_arguments_of_the_world() -> None:
    q = np.zeros((16, 4))
    for state, action in {0: 1, 4: 1, 8: 2, 9: 1, 13: 2, 14: 2}.items():
        q[state, action] = 1.0
    way = table_policy("FrozenLake-v1", q)
    returns, lengths = bx.evaluate(way, episodes=3, env_kwargs={"is_slippery": False})
    assert (returns.tolist(), lengths.tolist()) == ([1.0] * 3, [6] * 3)
    assert bx.evaluate(way, episodes=50).returns.mean() < 0.5


def test_the_users_environment_is_played_and_stays_open() -> None:
    class Open(bx.TabulatedEnv):
        closed = False

        def close(self) -> None:
            self.closed = True

    env = Open(LAKE)
    assert bx.evaluate(BEST, env, episodes=5).returns.size == 5
    assert not env.closed


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ("CliffWalking-v1", r"is for Discrete\(n=16\) with 4 actions; CliffWalking-v1 has Discrete\(n=48\) with 4"),
        ("CartPole-v1", r"CartPole-v1 has Box\(shape=\(4,\)"),
        (bx.corridor(16), "Discrete.n=16. with 2"),
        ("FrozenLake-v2", "did you mean"),
    ],
)
def test_another_world_is_refused(world: object, message: str) -> None:
    with pytest.raises(bx.ConfigError, match=message):
        bx.evaluate(BEST, world, episodes=1)


@pytest.mark.parametrize("episodes", [0, -1])
def test_no_episodes_is_refused(episodes: int) -> None:
    with pytest.raises(bx.ConfigError, match=f"`episodes` must be a positive integer; got {episodes}"):
        bx.evaluate(BEST, episodes=episodes)


def test_values_of_a_table() -> None:
    table = BEST.table()
    assert table.shape == (16, 4)
    np.testing.assert_array_equal(BEST.q_values(3), table[3])
    np.testing.assert_array_equal(BEST.q_values(np.int32(3)), table[3])
    np.testing.assert_array_equal(BEST.q_values([3, 5, 3]), table[[3, 5, 3]])
    assert BEST.q_values(np.zeros(0, int)).shape == (0, 4)
    assert isinstance(BEST.act(3), int)
    np.testing.assert_array_equal(BEST.act(np.arange(16)), table.argmax(axis=1))
    assert always("x", 2, 3, 1).act(0) == 1
    assert table_policy("x", np.array([[1.0, 2.0, 2.0]])).act(0) == 1  # the lowest index among equals


@pytest.mark.parametrize("obs", [-1, 16, [0, 16], [0, -1], 1.0, [0.5], True, "0", np.zeros((2, 2), int), [[0], [1, 2]]])
def test_what_is_no_state_is_refused(obs: object) -> None:
    with pytest.raises(bx.ConfigError, match="observation"):
        BEST.q_values(obs)


def test_values_of_a_network(network: Policy) -> None:
    batch = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    values = network.q_values(batch)
    assert values.shape == (5, 2)
    for obs, expected in zip(batch, values, strict=True):
        assert network.q_values(obs).shape == (2,)
        np.testing.assert_allclose(network.q_values(obs), expected, rtol=1e-5)
        assert network.act(obs) == expected.argmax()
    np.testing.assert_allclose(network.q_values(batch.astype(np.float64).tolist()), values, rtol=1e-5)
    hidden = np.maximum(
        batch @ network.arrays["head.advantage.layers.0.weight"].T + network.arrays["head.advantage.layers.0.bias"], 0.0
    )
    expected = (
        hidden @ network.arrays["head.advantage.layers.1.weight"].T + network.arrays["head.advantage.layers.1.bias"]
    )
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,), (5, 3), (4, 1), (1, 1, 4), (4, 5)])
def test_observations_of_another_shape_are_refused(shape: tuple[int, ...], network: Policy) -> None:
    with pytest.raises(bx.ConfigError, match=r"observation of shape .*; one is \(4,\)"):
        network.q_values(np.zeros(shape, np.float32))


def test_a_network_has_no_table(network: Policy) -> None:
    with pytest.raises(bx.ConfigError, match="not a finite list of states"):
        network.table()


def test_a_wrapper_with_a_module_is_not_imported_because_a_file_names_it(tmp_path: Path) -> None:
    options = {"steps": 40, "learning_starts": 10, "eval_episodes": 0, "final_episodes": 1, "progress": False}
    wrappers = ["gymnasium.wrappers:FlattenObservation"]
    run = bx.train("CartPole-v1", "dqn", out=tmp_path / "run", loop="host", wrappers=wrappers, **options)
    policy = bx.load(tmp_path / "run").policy()
    message = (
        r"refusing to create CartPole-v1 with wrappers=\['gymnasium.wrappers:FlattenObservation'\], because only the"
    )
    with pytest.raises(bx.UnsafeFile, match=message):
        bx.evaluate(policy, episodes=1)
    said = bx.evaluate(policy, episodes=1, env_kwargs={"wrappers": wrappers})
    assert said.returns.shape == (1,)
    command = f"--env 'wrappers={json.dumps(wrappers)}'"
    assert command in describe_run(run)
    arguments = [str(tmp_path / "run"), "--episodes", "1"]
    assert bellmax("eval", *arguments).returncode == 1
    assert bellmax("eval", *arguments, "--env", f"wrappers={json.dumps(wrappers)}").returncode == 0


def test_how_gymnasiums_worlds_are_run_asks_for_the_host_loop() -> None:
    options = {"steps": 40, "learning_starts": 10, "eval_episodes": 0, "final_episodes": 0, "progress": False}
    assert bx.train("CartPole-v1", "dqn", strict=True, **options).loop == "host"
    with pytest.raises(bx.ConfigError, match="and strict need a Gymnasium environment and loop"):
        bx.train("CartPole-v1", "dqn", strict=True, loop="compiled", **options)
    for world in ("probe:delay", "corridor"):
        with pytest.raises(bx.ConfigError, match=f"; <?{world}>? is compiled"):
            bx.train(world, "dqn", workers=2, **options)


def bellmax(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([Path(sys.executable).with_name("bellmax"), *words], capture_output=True, text=True)
