"""Runs: the same bits from the same seed in every loop, whatever the chunks, the number of seeds, or the failures."""

import errno
import json
from pathlib import Path

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellmax as bx
from bellmax.envs.classic import cartpole
from bellmax.loops import choosing, network_rounds
from bellmax.loops.pacing import chunk_steps
from bellmax.sources import find_world
from tests.worlds import Counter, Cue

SMALL = {"learning_starts": 50, "buffer_size": 500, "batch_size": 8, "net_arch": (8,), "target_update_interval": 100}
LOOPS = {
    "table, compiled": ("CliffWalking-v1", bx.QLearning(), "compiled"),
    "table, host": ("CliffWalking-v1", bx.QLearning(), "host"),
    "network, compiled": ("CartPole-v1", bx.DQN(**SMALL), "compiled"),
    "network, host": ("CartPole-v1", bx.DQN(**SMALL), "host"),
    "network, compiled, four worlds": (
        "CartPole-v1", bx.DQN(**SMALL, num_envs=4, train_freq=2, gradient_steps=3), "compiled",
    ),
    "network, host, four worlds": ("CartPole-v1", bx.DQN(**SMALL, num_envs=4, train_freq=2), "host"),
}  # fmt: skip


def go(name: str, **changes) -> bx.Run:
    world, agent, loop = LOOPS[name]
    options = {"steps": 600, "records": 3, "eval_episodes": 0, "final_episodes": 0, "loop": loop, **changes}
    return bx.train(world, agent, **options)


def bits(run: bx.Run, seed: int) -> bytes:
    return b"".join(np.ascontiguousarray(a).tobytes() for _, a in sorted(run.policy(seed).arrays.items()))


@pytest.mark.parametrize("name", LOOPS)
def test_same_seed_same_bits_other_seed_other_bits(name: str) -> None:
    first, second = go(name, seeds=2), go(name, seeds=2)
    assert bits(first, 0) == bits(second, 0)
    assert bits(first, 1) == bits(second, 1)
    assert bits(first, 0) != bits(first, 1)
    for column in first.history.columns:
        if not column.startswith(("time/", "system/")) or column == "time/total_timesteps":
            np.testing.assert_array_equal(first.history[column], second.history[column])


@pytest.mark.parametrize("name", LOOPS)
def test_a_run_depends_on_neither_records_nor_company(name: str) -> None:
    alone = go(name, seeds=[3], records=1)
    assert bits(alone, 3) == bits(go(name, seeds=[1, 3], records=7), 3)


def test_seeds_stacked_by_vmap_learn_the_same() -> None:
    world, agent, _ = LOOPS["network, compiled"]
    options = {"steps": 300, "seeds": 3, "records": 1, "eval_episodes": 0, "final_episodes": 0}
    apart, stacked = bx.train(world, agent, **options), bx.train(world, agent, vmap=3, **options)
    for seed in range(3):
        for name, array in apart.policy(seed).arrays.items():
            np.testing.assert_allclose(stacked.policy(seed).arrays[name], array, atol=1e-4)
    np.testing.assert_array_equal(stacked.history["rollout/episodes"], apart.history["rollout/episodes"])


def test_under_vmap_waiting_and_learning_stay_a_branch() -> None:
    """With a clock of its own for each seed, `cond` would become `select` and every seed pay for learning."""
    world, config = cartpole(), bx.DQN(**SMALL)
    agent = config.make(world.observation_space, world.n_actions, 1000)
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.vmap(lambda k: network_rounds.start_run(world, agent, config, k))(keys)
    chunk = network_rounds.make_chunk(world, agent, config, 5, stacked=True)
    assert " cond[" in str(jax.make_jaxpr(chunk.__wrapped__)(states, jnp.int32(0)))


def test_a_chunk_compiles_once() -> None:
    loop = choosing.make_loop(bx.DQN(**SMALL), find_world("CartPole-v1"), "compiled", 1000)
    state = loop.start([0])
    state, _ = loop.advance(state, 0, 100)
    assert _compilations() == 1
    for t in range(100, 500, 100):
        state, _ = loop.advance(state, t, 100)
    assert _compilations() == 1


def _compilations() -> int:
    return sum(f._cache_size() for f in _CHUNKS)


_CHUNKS: list = []


@pytest.fixture(autouse=True)
def _watch_chunks(monkeypatch: pytest.MonkeyPatch):
    original = network_rounds.make_chunk

    def make(*args, **kwargs):
        chunk = original(*args, **kwargs)
        _CHUNKS.append(chunk)
        return chunk

    monkeypatch.setattr(network_rounds, "make_chunk", make)
    yield
    _CHUNKS.clear()


@pytest.mark.parametrize(
    ("total", "stride", "records", "expected"), [(100, 1, 20, 5), (1000, 8, 20, 40), (97, 1, 10, 10), (7, 1, 20, 1)]
)
def test_chunks_divide_the_whole_where_they_can(total: int, stride: int, records: int, expected: int) -> None:
    assert chunk_steps(total // stride * stride, stride, records) == expected


def test_history_and_summary() -> None:
    run = go("network, compiled", seeds=3, eval_episodes=2, final_episodes=4)
    assert run.history["step"].tolist() == [200, 400, 600]
    for name in ("return", "length", "loss", "eval/mean_reward", "rollout/exploration_rate", "time/fps"):
        assert run.history[name].shape == (3, 3)
    assert np.isfinite(run.history["loss"]).all()
    summary = run.summary()
    assert summary.n == 3
    assert summary.minimum <= summary.iqm <= summary.maximum  # three seeds have no interval
    assert [e.returns.shape for e in run.evaluations] == [(4,)] * 3
    assert run.scores == [e.returns.mean() for e in run.evaluations]
    with pytest.raises(KeyError, match="no column 'lost'; there are: step, "):
        run.history["lost"]
    with pytest.raises(bx.ConfigError, match="no 'final' policy of seed 9"):
        run.policy(9)


def test_folder_holds_everything_and_loads(tmp_path: Path) -> None:
    run = go("network, host", seeds=2, out=tmp_path / "run", eval_episodes=2, final_episodes=3)
    names = {str(p.relative_to(tmp_path / "run")) for p in (tmp_path / "run").rglob("*") if p.is_file()}
    policies = {
        f"policies/seed-{s}-{w}.{e}" for s in (0, 1) for w in ("final", "best") for e in ("safetensors", "json")
    }
    words = {"config.json", "environment.json", "history.csv", "result.json", "manifest.json"}
    assert names == words | {"episodes.safetensors", "evaluations.safetensors"} | policies
    loaded = bx.load(tmp_path / "run")
    assert loaded.config == run.config
    assert loaded.scores == run.scores
    assert loaded.history.to_csv() == run.history.to_csv()
    obs = np.array([[0.1, 0.0, -0.1, 0.2], [0.0, 1.0, 0.0, 0.0]], np.float32)
    for seed in (0, 1):
        np.testing.assert_array_equal(loaded.policy(seed).q_values(obs), run.policy(seed).q_values(obs))
        np.testing.assert_allclose(loaded.policy(seed).q_values(obs[0]), run.policy(seed).q_values(obs)[0], rtol=1e-5)
    recorded = json.loads((tmp_path / "run/environment.json").read_text())
    assert recorded["packages"]["jax"] == jax.__version__
    assert recorded["device"].startswith(jax.default_backend())


def test_a_table_loads_too(tmp_path: Path) -> None:
    run = go("table, compiled", out=tmp_path / "run")
    loaded = bx.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.policy(0).table(), run.policy(0).table())
    assert loaded.policy(0).act(0) == run.policy(0).act(0)


class Fragile(gym.Env):
    """CartPole that breaks at a given step, in a given way."""

    def __init__(self, at: int, how: str) -> None:
        self.env, self.at, self.how, self.t = gym.make("CartPole-v1"), at, how, 0
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        self.t += 1
        obs, reward, terminated, truncated, info = self.env.step(action)
        if self.t == self.at:
            if self.how == "raise":
                raise RuntimeError("motor burnt out")
            if self.how == "nan observation":
                obs = obs * np.nan
            if self.how == "nan reward":
                reward = float("nan")
        return obs, reward, terminated, truncated, info


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("raise", bx.EnvCrashed, "motor burnt out"),
        ("nan observation", bx.NonFiniteError, "nan"),
        ("nan reward", bx.NonFiniteError, "reward"),
    ],
)
@pytest.mark.parametrize("at", [20, 450])
def test_what_was_learned_before_a_failure_is_saved(
    how: str, error: type, message: str, at: int, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        bx.train(lambda: Fragile(at, how), bx.DQN(**SMALL), steps=600, records=3, eval_episodes=0, out=tmp_path / "run")
    saved = bx.load(tmp_path / "run")
    assert len(saved.history) == (0 if at == 20 else 2)
    assert not saved.scores
    assert np.isfinite(saved.policy(0).q_values(np.zeros(4, np.float32))).all()


def test_learning_that_diverges_stops_with_the_last_good_policy(tmp_path: Path) -> None:
    agent = bx.DQN(**{**SMALL, "learning_starts": 300}, learning_rate=1e30, loss="squared")
    with pytest.raises(bx.NonFiniteError, match=r"train/\w+ of seed 0 became .* lower learning_rate"):
        bx.train("CartPole-v1", agent, steps=600, records=3, eval_episodes=0, out=tmp_path / "run")
    assert all(np.isfinite(a).all() for a in bx.load(tmp_path / "run").policy(0).arrays.values())


BAD = {
    "world": (("CartPol-v1", "dqn"), {}, "did you mean 'CartPole-v1'"),
    "agent": (("CartPole-v1", "dqnn"), {}, "unknown agent 'dqnn'; did you mean 'dqn'"),
    "agent type": (("CartPole-v1", 3), {}, "agent=3 is not an agent; give a name"),
    "hyper-parameter": (("CartPole-v1", "dqn"), {"learnig_rate": 1}, "did you mean 'learning_rate'"),
    "type": (("CartPole-v1", "dqn"), {"batch_size": 1.5}, "batch_size=1.5 is not of type int"),
    "range": (("CartPole-v1", "dqn"), {"gamma": 1.5}, r"gamma=1.5 is outside \[0, 1\]"),
    "nan": (("CartPole-v1", "dqn"), {"tau": float("nan")}, r"tau=nan is outside \["),
    "conflict": (("CartPole-v1", "dqn"), {"batch_size": 99, "buffer_size": 9}, "batch_size=99 is larger than buffer"),
    "steps": (("CartPole-v1", "dqn"), {"steps": 0}, "`steps` must be a positive integer; got 0"),
    "seeds": (("CartPole-v1", "dqn"), {"seeds": [1, 1]}, r"got \[1, 1\]"),
    "loop": (("CartPole-v1", "dqn"), {"loop": "jit"}, "`loop` must be 'auto', 'compiled' or 'host'; got 'jit'"),
    "no twin": (("Blackjack-v1", "dqn"), {"loop": "compiled"}, "a compiled twin, and Blackjack-v1 has none"),
    "tiles without bounds": ((Counter, "q-learning"), {}, r"have no bounds in dimensions \[0, 1, 2\]"),
    "episodes to keep": (
        ("CartPole-v1", "dqn"),
        {"keep_episodes": -1},
        "`keep_episodes` must be a non-negative integer; got -1",
    ),
    "continuous actions": (("MountainCarContinuous-v0", "dqn"), {}, "is not Discrete"),
    "env kwargs": (("CartPole-v1", "dqn"), {"env_kwargs": {"gravitas": 1}}, "gravitas"),
    "settings of a config": (("CartPole-v1", bx.DQN()), {"gamma": 0.5}, "give gamma to DQN"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case: str) -> None:
    args, kwargs, message = BAD[case]
    with pytest.raises(bx.ConfigError, match=message) as caught:
        bx.train(*args, **kwargs)
    assert "\n" not in str(caught.value)


def test_the_best_policy_is_the_last_where_nothing_is_graded() -> None:
    run = go("network, compiled")
    assert bits(run, 0) == b"".join(
        np.ascontiguousarray(a).tobytes() for _, a in sorted(run.policy(0, "best").arrays.items())
    )


def test_a_world_given_as_an_object_is_not_taken_for_its_name(tmp_path: Path) -> None:
    mdp = bx.FiniteMDP.from_gymnasium("FrozenLake-v1", is_slippery=False)
    run = bx.train(mdp, "q-learning", steps=20_000, exploration_final_eps=0.5, out=tmp_path / "run")
    assert run.scores == [1.0]
    with pytest.raises(bx.ConfigError, match="<FrozenLake-v1> was an object, not a name; pass the environment again"):
        bx.evaluate(bx.load(tmp_path / "run").policy(0))
    assert bx.evaluate(run.policy(0), mdp, episodes=5).returns.tolist() == [1.0] * 5


def test_a_policy_remembers_the_arguments_of_its_world(tmp_path: Path) -> None:
    options = {"env_kwargs": {"is_slippery": False}, "steps": 20_000, "exploration_final_eps": 0.5}
    bx.train("FrozenLake-v1", "q-learning", out=tmp_path / "run", **options)
    assert bx.evaluate(bx.load(tmp_path / "run").policy(0), episodes=5).returns.tolist() == [1.0] * 5


def test_a_memory_that_does_not_fit_is_refused_before_it_is_allocated() -> None:
    with pytest.raises(bx.ResourceError, match=r"buffer_size=\d+ for .* needs .* GB, .* buffer_size=\d+ fits"):
        bx.train("CartPole-v1", "dqn", buffer_size=2 * 10**9)
    with pytest.raises(bx.ResourceError, match=r"buffer_size=\d+ of each of 10000 seeds for .* needs .* GB"):
        bx.train("CartPole-v1", "dqn", buffer_size=100_000, seeds=10_000)


def test_a_network_that_does_not_fit_is_refused_before_it_is_allocated() -> None:
    """One-hot, a hundred million states are as many inputs."""
    with pytest.raises(bx.ResourceError, match=r"a network of 6,400,00\d,\d\d\d parameters for .*n=100.* needs .* GB"):
        bx.train(lambda: Cue(gym.spaces.Discrete(100_000_000), (0, 1)), "dqn", steps=2_000)


def test_a_host_run_that_diverges_keeps_its_last_good_policy(tmp_path: Path) -> None:
    agent = bx.DQN(**{**SMALL, "learning_starts": 300}, learning_rate=1e30)
    with pytest.raises(bx.NonFiniteError):
        bx.train("CartPole-v1", agent, steps=600, records=3, eval_episodes=0, loop="host", out=tmp_path / "run")
    for which in ("final", "best"):
        assert all(np.isfinite(a).all() for a in bx.load(tmp_path / "run").policy(0, which).arrays.values())


def test_all_errors_at_once() -> None:
    with pytest.raises(bx.ConfigError) as caught:
        bx.train("CartPol-v1", "dqn", steps=-1, loop="x", gamma=2.0, batch_size=0, lerning_rate=1)
    for part in (
        "CartPol-v1",
        "`steps` must be a positive integer; got -1",
        "got 'x'",
        "gamma=2.0",
        "batch_size=0",
        "lerning_rate",
    ):
        assert part in str(caught.value)


def test_output_folder_must_be_new_and_writable(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for folder, message in (
        (tmp_path / "full", "exists already"),
        (tmp_path / "file", "is a file"),
        (Path("/proc/nowhere"), "cannot create folder"),
    ):
        with pytest.raises(bx.ConfigError, match=message):
            go("table, compiled", out=folder)
    assert (tmp_path / "full" / "x").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_folder_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bellmax.files.storage.write_new", fail)
    with pytest.raises(bx.ConfigError, match=r"^cannot write to output folder \S+: No space .*; choose another one$"):
        go("table, compiled", out=tmp_path / "run")


def test_worlds_of_the_users_own() -> None:
    mdp = bx.corridor(4)
    assert bx.train(mdp, "q-learning", steps=5_000, gamma=0.9).history["exact/q_error"][0, -1] < 0.1
    assert bx.train(lambda: bx.TabulatedEnv(mdp), "q-learning", steps=500).loop == "host"
    assert bx.train(bx.TabulatedEnv(mdp), "q-learning", steps=500).loop == "host"
    vector = gym.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
    run = bx.train(vector, bx.DQN(**SMALL, num_envs=3), steps=300, final_episodes=4)
    assert run.evaluations[0].returns.shape == (4,)
    with pytest.raises(bx.ConfigError, match="use num_envs=3"):
        bx.train(vector, bx.DQN(**SMALL), steps=300)
    with pytest.raises(bx.ConfigError, match="can run 1 seed, not 2"):
        bx.train(vector, bx.DQN(**SMALL, num_envs=3), steps=300, seeds=2)
    assert bx.train(cartpole(), bx.DQN(**SMALL), steps=200, final_episodes=1).loop == "compiled"
    kwargs = {"is_slippery": False}
    run = bx.train("FrozenLake-v1", "q-learning", env_kwargs=kwargs, steps=20_000, exploration_final_eps=0.5)
    assert run.scores == [1.0]


def test_a_run_that_ends_before_it_learns_says_so() -> None:
    said: list[str] = []
    bx.train("CartPole-v1", "dqn", steps=200, eval_episodes=0, final_episodes=0, say=said.append)
    assert said[1] == "nothing will be learned: learning_starts=1000 is not below steps=200"
    bx.train("CartPole-v1", "dqn", steps=200, learning_starts=100, eval_episodes=0, final_episodes=0, say=said.append)
    assert len(said) == 3


def test_rounded_steps_are_said() -> None:
    said: list[str] = []
    run = bx.train(
        "CartPole-v1", "pqn", steps=100, num_envs=4, train_freq=16, minibatches=2, eval_episodes=0, final_episodes=0,
        say=said.append,
    )  # fmt: skip
    assert run.steps == 64
    assert "steps: 100 -> 64, a multiple of 64, one round of pqn" in said


def test_what_keeps_from_the_compiled_twin_is_said() -> None:
    said: list[str] = []
    options = {"steps": 4, "learning_starts": 8, "eval_episodes": 0, "final_episodes": 0, "say": said.append}
    bx.train("CartPole-v1", "dqn", wrappers=["FlattenObservation"], **options)
    assert "(wrappers need the host loop: through Gymnasium)" in said[0]


def test_what_a_saved_run_imports_is_typed_again() -> None:
    from bellmax.files.saved_environments import options_to_repeat

    assert options_to_repeat("CartPole-v1", {}, bx.QLearning()) == ""
    assert options_to_repeat("envs:Walk", {"wrappers": ["mine:Around"]}, bx.QLearning()) == (
        """ --world envs:Walk --env 'wrappers=["mine:Around"]'"""
    )

    class Own(bx.QLearning):
        """Of this module."""

    assert options_to_repeat("corridor", {}, Own()) == f" --import {__name__}"
