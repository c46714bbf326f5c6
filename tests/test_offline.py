"""Learning from data alone: what a run keeps is what it stepped, and what is learned from it is right."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from click.testing import CliRunner
from saved import StopError, lose_power

import bellmax as bx
from bellmax.cli import main
from bellmax.contracts import Box, Discrete, Masked
from bellmax.files.data_sources import read_data
from bellmax.files.dataset import join_data
from bellmax.loops.experience import as_experience, find_data_problems
from bellmax.loops.network_data import config_for_data, fill
from bellmax.sources import find_world
from bellmax.training import saved_runs

TINY = {"net_arch": (8,), "batch_size": 8}
QUICK = {"final_episodes": 1, "eval_episodes": 0, "records": 4}


@functools.cache
def unskilled() -> bx.Policy:
    """A policy of CartPole that knows next to nothing."""
    run = bx.train("CartPole-v1", bx.DQN(**TINY, learning_starts=100, buffer_size=500), steps=200, **QUICK)
    return run.policy(0)


@pytest.fixture(scope="module")
def cartpole() -> bx.Dataset:
    """300 random steps."""
    return bx.collect(None, "CartPole-v1", steps=300, seed=3)


def same(one: bx.Dataset, other: bx.Dataset) -> bool:
    return one.sha256() == other.sha256()


def assert_lawful(data: bx.Dataset) -> None:
    """Every row is a step of Gymnasium's CartPole, and each follows the one before."""
    world = gym.make("CartPole-v1").unwrapped
    world.reset(seed=0)
    over = data.terminated | data.truncated
    for i in range(0, data.steps, 7):
        world.state, world.steps_beyond_terminated = data.obs[i].astype(np.float64), None
        next_obs, reward, terminated, _, _ = world.step(int(data.action[i]))
        np.testing.assert_allclose(next_obs, data.next_obs[i], atol=1e-5)
        assert (reward, terminated) == (data.reward[i], data.terminated[i])
    np.testing.assert_array_equal(data.obs[1:][~over[:-1]], data.next_obs[:-1][~over[:-1]])
    assert (np.abs(data.obs[1:][over[:-1]]) <= 0.05).all()  # fresh ones
    assert over[-1]


# --- data ---------------------------------------------------------------------------------------------------------


def test_collect_in_the_compiled_twin_and_in_gymnasium(cartpole: bx.Dataset) -> None:
    assert (cartpole.steps, cartpole.obs.dtype, cartpole.action.dtype) == (300, np.float32, np.int32)
    assert_lawful(cartpole)
    host = bx.collect(None, lambda: gym.make("CartPole-v1"), steps=200, seed=3)
    assert host.steps == 200
    assert_lawful(host)
    side_by_side = bx.collect(None, gym.make_vec("CartPole-v1", num_envs=3), steps=300)
    assert_lawful(side_by_side)
    assert 300 <= side_by_side.steps <= 302
    for data in (cartpole, host, side_by_side):
        assert 0.4 < data.action.mean() < 0.6


def test_collect_depends_on_its_seed_alone() -> None:
    policy = unskilled()
    one, again, other = (bx.collect(policy, steps=50, seed=seed, epsilon=0.5) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)
    host = [bx.collect(policy, lambda: gym.make("CartPole-v1"), steps=50, seed=s, epsilon=0.5) for s in (1, 1, 2)]
    assert same(host[0], host[1])
    assert not same(host[0], host[2])


def test_collect_explores_with_epsilon() -> None:
    policy = unskilled()
    for world in (None, lambda: gym.make("CartPole-v1")):
        greedy = bx.collect(policy, world, steps=400, epsilon=0.0)
        np.testing.assert_array_equal(greedy.action, policy.act(greedy.obs))
        mixed = bx.collect(policy, world, steps=1000, epsilon=0.4)
        differs = np.mean(mixed.action != policy.act(mixed.obs))
        assert abs(differs - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 1000)


def test_collect_with_a_table_a_memory_cell_and_tiles() -> None:
    table = bx.train("CliffWalking-v1", "q-learning", steps=20_000, seeds=1).policy(0)
    data = bx.collect(table, steps=13)
    assert data.terminated.tolist() == [False] * 12 + [True]
    assert data.returns().tolist() == [-13.0]
    cell = bx.train(
        "CartPole-v1", bx.R2D2(**TINY, num_envs=2, buffer_size=400, learning_starts=130), steps=160, **QUICK
    )  # fmt: skip
    for world in (None, lambda: gym.make("CartPole-v1")):
        assert_lawful(bx.collect(cell.policy(0), world, steps=60))
    tiles = bx.train("MountainCar-v0", bx.QLearning(tilings=4), steps=400, **QUICK).policy(0)
    assert bx.collect(tiles, steps=30).steps == 30


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bx.collect(None, steps=5), "without a policy, pass an environment"),
        (lambda: bx.collect(None, "CartPole-v1", steps=0), "`steps` must be a positive integer; got 0"),
        (lambda: bx.collect(None, "CartPole-v1", steps=5, epsilon=1.5), "epsilon=1.5 is outside"),
        (lambda: bx.collect(None, "CartPole-v1", steps=5, seed=-1), "got -1"),
        (lambda: bx.collect(unskilled(), "Acrobot-v1", steps=5), "the policy is for Box"),
    ],
)
def test_collect_refuses(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(bx.ConfigError, match=message):
        call()


def test_returns_count_every_episode() -> None:
    data = bx.Dataset(*(np.zeros(5),) * 2, np.arange(5.0), np.array([0, 1, 0, 0, 0], bool), np.zeros(5, bool), 0)
    assert data.returns().tolist() == [1.0, 9.0]


def test_a_file_gives_back_what_was_saved(cartpole: bx.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "data.safetensors"
    cartpole.save(path)
    loaded = bx.Dataset.load(path)
    for name, array in cartpole.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)
        assert loaded.arrays()[name].dtype == array.dtype
    mask = np.ones((300, 2), bool)
    nested = cartpole._replace(obs=Masked((cartpole.obs, cartpole.action), mask), next_obs=(cartpole.obs,))
    nested.save(path)
    again = bx.Dataset.load(path)
    assert isinstance(again.obs, Masked)
    assert same(again, nested)


def test_a_damaged_or_foreign_file_is_refused(cartpole: bx.Dataset, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "data.safetensors"
    cartpole.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(bx.CorruptCheckpoint, match="SHA-256 differs"):
        bx.Dataset.load(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(bx.CorruptCheckpoint, match="is not a safetensors file"):
        bx.Dataset.load(path)
    save_file({"weights": np.zeros(3)}, path)
    with pytest.raises(bx.ConfigError, match="is not a data file: it lacks 'obs' and holds weights"):
        bx.Dataset.load(path)
    save_file(cartpole.arrays(), path)  # of one's own making, without a hash
    assert same(bx.Dataset.load(path), cartpole)
    save_file(cartpole.arrays(), path, metadata={"format": "2"})
    with pytest.raises(bx.IncompatibleCheckpoint, match="format 2"):
        bx.Dataset.load(path)
    save_file(cartpole.arrays(), path, metadata={"format": "9" * 5_000})
    with pytest.raises(bx.CorruptCheckpoint, match="its format is '999"):
        bx.Dataset.load(path)
    for wrong in (np.float32(1), cartpole.reward[:-1]):
        save_file({**cartpole.arrays(), "reward": np.asarray(wrong)}, path)
        with pytest.raises(bx.ConfigError, match=r"arrays have different numbers of steps: obs \[\d+\], .*reward \["):
            bx.Dataset.load(path)
    with pytest.raises(bx.ConfigError, match=r"must end in \.safetensors; got 'data\.npz'"):
        cartpole.save(tmp_path / "data.npz")


# --- what a run keeps ---------------------------------------------------------------------------------------------


class Counter(gym.Env[Any, Any]):
    """Observations and rewards that tell the step: of each world, in which it was made, all its steps are noted."""

    made: ClassVar[list["Counter"]] = []
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        Counter.made.append(self)
        self.number, self.time, self.said = len(Counter.made), 0, []

    def see(self) -> Any:
        return np.array([self.number, self.time], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time += 1
        return self.see(), {}

    def step(self, action: Any) -> Any:
        before = self.see()
        self.time += 1
        terminated, truncated = self.time % 5 == 0, self.time % 7 == 0 and self.time % 5 != 0
        self.said.append((before, int(action), float(self.time), terminated, truncated, self.see()))
        return self.see(), float(self.time), terminated, truncated, {}


@pytest.mark.parametrize(("num_envs", "capacity"), [(1, 60), (3, 60), (3, 1000)])
def test_kept_experience_is_what_was_stepped(num_envs: int, capacity: int) -> None:
    Counter.made = []
    agent = bx.DQN(**TINY, num_envs=num_envs, learning_starts=30, buffer_size=capacity, n_steps=2)
    run = bx.train(Counter, agent, steps=150, keep_experience=True, final_episodes=0, eval_episodes=0)
    (kept,) = run.experience
    each = min(150, capacity) // num_envs
    worlds = [world for world in Counter.made if len(world.said) == 150 // num_envs]
    assert len(worlds) == num_envs
    rows = [row for world in worlds for row in world.said[-each:]]
    for i, name in enumerate(bx.Dataset._fields):
        wanted = np.array([row[i] for row in rows])
        if name == "truncated":  # the recording ends where it ends
            wanted[each - 1 :: each] |= ~np.array([row[3] for row in rows])[each - 1 :: each]
        np.testing.assert_array_equal(getattr(kept, name), wanted, err_msg=name)


@pytest.mark.parametrize("vmap", [1, 2])
def test_a_run_folder_is_data(vmap: int, tmp_path: Path) -> None:
    agent = bx.DQN(**TINY, num_envs=2, learning_starts=30, buffer_size=80)
    run = bx.train(
        "CartPole-v1", agent, steps=200, seeds=2, keep_experience=True, out=tmp_path / "run", vmap=vmap, **QUICK
    )  # fmt: skip
    for data in run.experience:
        assert data.steps == 80
        for world in (slice(0, 40), slice(40, 80)):
            assert_lawful(bx.Dataset(*(array[world] for array in data)))
    assert same(read_data(tmp_path / "run"), join_data(run.experience))
    assert same(read_data(tmp_path / "run" / "experience" / "seed-1.safetensors"), run.experience[1])
    assert bx.load(tmp_path / "run").options.keep_experience
    learned = bx.train("CartPole-v1", "cql", data=str(tmp_path / "run"), steps=20, **QUICK, **TINY)
    assert learned.options.data.steps == 160


# --- learning -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_learns_cartpole_from_data_of_a_mediocre_policy() -> None:
    made = bx.train("CartPole-v1", "dqn", steps=6_000, final_episodes=20, eval_episodes=0)
    data = bx.collect(made.policy(0), steps=5_000, epsilon=0.5)
    behavior = data.returns().mean()
    assert behavior < 150
    run = bx.train("CartPole-v1", "cql", data=data, steps=6_000, seeds=2, eval_episodes=2, records=3)
    assert min(run.scores) > 2 * behavior
    assert "rollout/exploration_rate" not in run.history
    assert run.history["step"].tolist() == [2_000, 4_000, 6_000]
    assert np.isfinite(run.history["train/loss"]).all()
    assert np.isfinite(run.history["eval/mean_reward"]).all()


@pytest.mark.parametrize(
    "settings",
    [{}, *(pytest.param(also, marks=pytest.mark.slow) for also in ({"n_steps": 3}, {"prioritized": True}))], ids=str,
)  # fmt: skip
def test_it_finds_the_exact_values_of_a_small_world(settings: dict[str, Any]) -> None:
    mdp = bx.corridor(6)
    exact = bx.solve(mdp, gamma=0.9)
    data = bx.collect(None, mdp, steps=3_000)
    if settings.get("n_steps"):  # several steps of a random policy are worth less than the best ones
        best = np.array([1] * exact.q.shape[0])
        data = on_path(mdp, best, 500)
    agent = bx.DQN(gamma=0.9, net_arch=(32,), learning_rate=3e-3, target_update_interval=50, **settings)
    run = bx.train(mdp, agent, data=data, steps=5_000, records=2)
    seen = np.unique(np.stack([data.obs, data.action]), axis=1)
    gap = np.abs(run.policy(0).table() - exact.q)[tuple(seen)]
    assert gap.max() < 0.03
    if not settings.get("n_steps"):
        assert run.history["exact/is_optimal"][0, -1] == 1.0


def on_path(mdp: bx.FiniteMDP, actions: Any, steps: int) -> bx.Dataset:
    """Data of a given policy in a table's world."""
    q = np.eye(mdp.n_actions)[actions]
    table = bx.train(mdp, bx.QLearning(), steps=10, final_episodes=0, eval_episodes=0).policy(0)
    table.arrays["q"][:] = q
    return bx.collect(table, mdp, steps=steps)


@pytest.mark.parametrize(
    "agent",
    [bx.C51, bx.BCQ, *(pytest.param(agent, marks=pytest.mark.slow) for agent in
                       (bx.QRDQN, bx.IQN, bx.MunchausenDQN, bx.Rainbow, bx.BootstrappedDQN, bx.CQL))],
    ids=lambda agent: agent.name,
)  # fmt: skip
def test_every_agent_with_a_replay_memory_learns_offline(agent: Any, cartpole: bx.Dataset) -> None:
    run = bx.train("CartPole-v1", agent(**TINY, gradient_steps=2), data=cartpole, steps=21, **QUICK)
    assert run.steps == 20
    assert run.config.buffer_size == 300
    assert np.isfinite(run.history["train/loss"]).all()


def test_the_target_network_follows_as_often_as_in_play(cartpole: bx.Dataset) -> None:
    source = find_world("CartPole-v1")
    ready = config_for_data(
        bx.DQN(train_freq=4, num_envs=2, gradient_steps=2, target_update_interval=400), source, cartpole
    )
    assert (ready.target_update_interval, ready.updates(1000)) == (100, 1000)
    assert config_for_data(ready, source, cartpole) == ready


def test_the_memory_holds_the_data_in_order(cartpole: bx.Dataset) -> None:
    import jax
    import jax.numpy as jnp

    config = config_for_data(bx.DQN(n_steps=3, batch_size=256), find_world("CartPole-v1"), cartpole)
    agent = config.make(Box((4,)), 2, 10)
    memory = fill(agent, as_experience(cartpole, Box((4,)), 0.99))
    batch, _, slots = agent.memory.sample(memory, jax.random.key(0), jnp.int32(0))
    over, n = cartpole.terminated | cartpole.truncated, cartpole.steps
    for k, slot in enumerate(np.asarray(slots)):
        last = next((i for i in range(slot, min(slot + 3, n)) if over[i]), min(slot + 2, n - 1))
        length = last - slot + 1
        np.testing.assert_array_equal(batch.obs[k], cartpole.obs[slot])
        np.testing.assert_array_equal(batch.next_obs[k], cartpole.next_obs[last])
        assert batch.reward[k] == pytest.approx(sum(0.99**j for j in range(length)))
        assert batch.discount[k] == pytest.approx(0.0 if cartpole.terminated[last] else 0.99**length)


def test_equal_seeds_agree_and_others_do_not(cartpole: bx.Dataset) -> None:
    options = {"data": cartpole, "steps": 40, **QUICK, **TINY}
    one = bx.train("CartPole-v1", "cql", seeds=[0, 1], **options)
    again = bx.train("CartPole-v1", "cql", seeds=[1], **options)
    for name, array in one.policy(1).arrays.items():
        np.testing.assert_array_equal(again.policy(1).arrays[name], array)
    assert any((one.policy(0).arrays[name] != array).any() for name, array in one.policy(1).arrays.items())
    stacked = bx.train("CartPole-v1", "cql", seeds=[0, 1], vmap=2, **options)
    for seed in (0, 1):
        for name, array in one.policy(seed).arrays.items():
            np.testing.assert_allclose(stacked.policy(seed).arrays[name], array, atol=1e-5)


@pytest.mark.parametrize(
    ("loop", "settings"), [("compiled", {}), ("host", {"prioritized": True, "n_steps": 3, "vmap": 2})], ids=str
)
def test_a_resumed_run_ends_in_the_same_bits(
    loop: str, settings: dict[str, Any], cartpole: bx.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.safetensors"
    cartpole.save(path)
    options = {"data": path, "steps": 40, "seeds": 2, "loop": loop, **QUICK, **TINY, **settings}
    whole = bx.train("CartPole-v1", "cql", **options)
    with monkeypatch.context() as patch:
        lose_power(patch, 20)
        save = saved_runs.save_run

        def save_and_look(run: bx.Run, step: int, groups: Any = (), **how: Any) -> None:
            saved = list(groups)
            arrays = [array for group in saved for array in group.state.values()]
            assert not any(array.shape[0:1] == (300,) for array in arrays)  # not the data
            assert not any(group.replay for group in saved)
            save(run, step, saved, **how)

        patch.setattr(saved_runs, "save_run", save_and_look)
        with pytest.raises(StopError):
            bx.train("CartPole-v1", "cql", out=tmp_path / "run", **options)
    moved = path.rename(tmp_path / "moved.safetensors")
    with pytest.raises(bx.ConfigError, match="there is no such file"):
        bx.resume(tmp_path / "run")
    with pytest.raises(bx.ConfigError, match="are not those that the run began with"):
        bx.resume(tmp_path / "run", data=cartpole._replace(reward=cartpole.reward + 1))
    said: list[str] = []
    resumed = bx.resume(tmp_path / "run", data=moved, say=said.append)
    assert said == ["cql on CartPole-v1: resumed at step 20 of 40"]
    for seed in (0, 1):
        for name, array in whole.policy(seed).arrays.items():
            np.testing.assert_array_equal(resumed.policy(seed).arrays[name], array)
    assert resumed.scores == whole.scores


# --- what is refused ----------------------------------------------------------------------------------------------


def test_all_problems_come_at_once_before_the_first_step(cartpole: bx.Dataset) -> None:
    reward, action = cartpole.reward.copy(), cartpole.action.copy()
    reward[[17, 20]], action[5] = np.nan, 7
    bad = cartpole._replace(reward=reward, action=action, obs=cartpole.obs[:, :3])
    with pytest.raises(bx.ConfigError) as caught:
        bx.train("CartPole-v1", "cql", data=bad, steps=0, seeds=[1, 1], batch_size=301)
    for part in (
        "row 17: reward is nan, not a finite float32 (and 1 more row)",
        "row 5: action is 7, outside 0 to 1",
        "obs is float32 (300, 3), not float32 (300, 4)",
        "`steps` must be a positive integer; got 0",
        "got [1, 1]",
        "with 300 steps of data, batch_size=301 is larger than buffer_size=300",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": np.zeros(0, np.int32)}, "the data are empty"),
        ({"action": np.zeros(300)}, r"action is float64 \(300,\), not integers"),
        ({"reward": np.full(300, 1e39)}, r"row 0: reward is 1e\+39"),
        ({"reward": np.zeros(299)}, r"reward is float64 \(299,\)"),
        ({"terminated": np.full(300, 2)}, "row 0: terminated is 2; a flag must be False or True"),
        ({"next_obs": np.full((300, 4), np.inf)}, "row 0: next_obs is .*, not finite"),
        ({"obs": np.zeros((300, 4), np.complex64)}, "`obs` must be numbers; got complex64"),
        ({"obs": np.zeros((300, 4))}, "row .* n_steps needs time order"),
    ],
)
def test_faults_of_data_are_named(change: dict[str, Any], message: str, cartpole: bx.Dataset) -> None:
    with pytest.raises(bx.ConfigError, match=message):
        bx.train("CartPole-v1", "dqn", data=cartpole._replace(**change), n_steps=3)


def test_shuffled_data_serve_where_one_step_is_learned_from(cartpole: bx.Dataset) -> None:
    order = np.random.default_rng(0).permutation(300)
    shuffled = bx.Dataset(*(array[order] for array in cartpole))
    assert find_data_problems(shuffled, Box((4,)), 2) == []
    assert "row " in find_data_problems(shuffled, Box((4,)), 2, in_order=True)[0]
    run = bx.train("CartPole-v1", "dqn", data=shuffled, steps=20, **QUICK, **TINY)  # its recipe there has n = 3
    assert run.config.n_steps == 1


def test_states_and_masks_are_checked() -> None:
    n = 4
    flags, zeros = np.zeros(n, bool), np.zeros(n, np.int64)
    data = bx.Dataset(np.array([0, 1, 2, 9]), zeros, zeros, flags, flags, zeros)
    assert find_data_problems(data, Discrete(5), 2) == ["row 3: obs is 9, outside 0 to 4"]
    mask = np.array([[True, True], [False, True], [True, True], [False, True]])
    masked = data._replace(obs=Masked(zeros, mask), next_obs=Masked(zeros, mask))
    space = Masked(Discrete(5), Box((2,), "bool"))
    assert find_data_problems(masked, space, 2) == ["row 1: action is 0, which the mask forbids (and 1 more row)"]
    assert find_data_problems(data, space, 2)[0].startswith("obs is a ndarray, which does not have the parts of Masked")


@pytest.mark.parametrize(
    ("agent", "settings", "message"),
    [
        ("sarsa", {}, "sarsa is on-policy and cannot learn from a data set; use q-learning"),
        ("expected-sarsa", {}, "expected-sarsa is on-policy and cannot learn from a data set"),
        ("peng-q", {}, "peng-q follows whole episodes, and data are drawn step by step; use q-learning"),
        ("pqn", {}, "pqn learns only from its newest steps and cannot learn from data"),
        ("r2d2", {}, "r2d2 with recurrent='.*' cannot learn from data"),
        ("dqn", {"data": "nowhere"}, "data 'nowhere': there is no such file or folder"),
        ("dqn", {"data": 3}, "cannot read data from 3; pass a run's folder"),
        ("dqn", {"keep_experience": True}, "a run with data takes none"),
        ("pqn", {"keep_experience": True, "data": None}, "stores the replay buffer, and pqn does not have one"),
        ("dqn", {"keep_experience": True, "data": None, "gamma": 0.0}, "needs gamma above 0"),
        ("dqn", {"keep_experience": "yes", "data": None}, "keep_experience='yes' is not True or False"),
    ],
)
def test_what_cannot_learn_offline_is_refused(
    agent: str, settings: dict[str, Any], message: str, cartpole: bx.Dataset
) -> None:
    with pytest.raises(bx.ConfigError, match=message):
        bx.train("CartPole-v1", agent, **{"data": cartpole, **settings})


def test_other_files_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "data.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(bx.ConfigError, match=r"is not a \.safetensors file"):
        read_data(tmp_path / "data.pkl")
    with pytest.raises(bx.ConfigError, match="this folder has no experience; train with keep_experience=True"):
        read_data(tmp_path)


# --- Minari -------------------------------------------------------------------------------------------------------


@pytest.fixture
def minari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return pytest.importorskip("minari")


def make_minari(minari: Any, name: str, episodes: list[Any], observations: Any, actions: Any) -> None:
    """A local data set of episodes (observations [T+1], actions, rewards, terminations, truncations [T])."""
    fields = ("observations", "actions", "rewards", "terminations", "truncations")
    buffers = [
        minari.data_collector.EpisodeBuffer(id=k, **dict(zip(fields, episode, strict=True)))
        for k, episode in enumerate(episodes)
    ]
    minari.create_dataset_from_buffers(
        name, buffers, env="CartPole-v1", eval_env="CartPole-v1", observation_space=observations, action_space=actions,
        data_format="hdf5", algorithm_name="a", author="b", author_email="c", code_permalink="d", description="e",
    )  # fmt: skip


def test_minari_round_trip(minari: Any) -> None:
    world = gym.make("CartPole-v1", max_episode_steps=15)
    rng, rows, episodes = np.random.default_rng(0), [], []
    for k in range(8):
        obs, _ = world.reset(seed=k)
        episode, over = ([obs], [], [], [], []), False
        while not over:
            action = int(rng.integers(2))
            next_obs, reward, terminated, truncated, _ = world.step(action)
            rows.append((obs, action, reward, terminated, truncated and not terminated, next_obs))
            for column, value in zip(episode, (next_obs, action, reward, terminated, truncated), strict=True):
                column.append(value)
            obs, over = next_obs, terminated or truncated
        episodes.append(episode)
    make_minari(minari, "cartpole/random-v0", episodes, world.observation_space, world.action_space)
    data = read_data("minari:cartpole/random-v0")
    for i, name in enumerate(bx.Dataset._fields):
        np.testing.assert_array_equal(getattr(data, name), np.array([row[i] for row in rows]), err_msg=name)
    assert data.truncated.any()
    assert data.terminated.any()
    run = bx.train("CartPole-v1", "bcq", data="minari:cartpole/random-v0", steps=20, n_steps=2, **QUICK, **TINY)
    assert run.options.data.source == "minari:cartpole/random-v0"


def test_minari_counts_from_elsewhere_and_refuses(minari: Any) -> None:
    states, flags = gym.spaces.Discrete(5, start=3), [False] * 3
    episodes = [([3, 4, 5, 7], [-1, 0, 0], [1.0] * 3, flags, flags)] * 2
    make_minari(minari, "toy/start-v0", episodes, states, gym.spaces.Discrete(2, start=-1))
    data = read_data("minari:toy/start-v0")
    assert (data.obs.tolist(), data.action.tolist()) == ([0, 1, 2] * 2, [0, 1, 1] * 2)
    assert find_data_problems(data, Discrete(5), 2, in_order=True) == []
    assert data.truncated.tolist() == [False, False, True] * 2
    episodes = [([3, 4, 5, 7], [np.zeros(2, np.float32)] * 3, [1.0] * 3, flags, flags)]
    make_minari(minari, "toy/box-v0", episodes, states, gym.spaces.Box(-1, 1, (2,)))
    with pytest.raises(bx.ConfigError, match=r"actions are Box.*, not Discrete"):
        read_data("minari:toy/box-v0")
    with pytest.raises(bx.ConfigError, match=r"'minari:toy/none-v0' cannot be read: .*downloads it"):
        read_data("minari:toy/none-v0")


# --- the command line ---------------------------------------------------------------------------------------------


def test_the_command_line_keeps_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["net_arch=8", "batch_size=8"]
    online = ["train", "CartPole-v1", "--steps", "200", "--out", "x", "--keep-experience", "learning_starts=50", *small]
    result = CliRunner().invoke(main, [*online, "--quiet"])
    assert result.exit_code == 0, result.output
    offline = ["train", "CartPole-v1", "--agent", "cql", "--data", "x", "--steps", "40", "--quiet", *small]
    result = CliRunner().invoke(main, offline)
    assert result.exit_code == 0, result.output
    assert "cql on CartPole-v1, 40 gradient steps, data: 200 of x" in result.output
    card = json.loads((tmp_path / "runs" / "CartPole-v1-cql" / "config.json").read_text())
    assert (card["data"]["source"], card["hyper_parameters"]["buffer_size"]) == ("x", 200)
    result = CliRunner().invoke(main, [*offline, "--data", "y"])
    assert result.exit_code == 2
    assert "data 'y': there is no such file or folder" in result.output


@pytest.mark.parametrize("agent", ["dqn", "cql", "bcq"])
def test_data_of_a_world_with_masks_keep_them(agent: str, tmp_path: Path) -> None:
    world = bx.inventory()
    data = bx.collect(None, world, steps=3_000, seed=1)
    assert data.obs.mask[np.arange(3_000), data.action].all()
    assert (data.obs.mask.sum(axis=1) == world.n_allowed[data.obs.obs]).all()
    data.save(tmp_path / "data.safetensors")
    run = bx.train(world, agent, data=tmp_path / "data.safetensors", steps=600, gamma=0.5, final_episodes=2, records=1)
    policy = run.policy(0)
    assert not np.isnan(policy.table()).any()
    again = bx.collect(policy, world, steps=200, seed=2)
    assert again.obs.mask[np.arange(200), again.action].all()
