"""Runs that are so many episodes long, and exploration that falls after each of them, as tutorials write it."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from click.testing import CliRunner
from saved import StopError, lose_power

import bellmax as bx
from bellmax.cli import main
from bellmax.loops import table_records

FALLING = {"exploration_schedule": "per-episode", "exploration_decay": 0.8, "exploration_final_eps": 0.05}
ARMS = bx.FiniteMDP.from_successors([[[(1.0, 0, 0.0, True)], [(1.0, 0, -1.0, True)]]], start=0, max_episode_steps=5)
STILL = {"final_episodes": 0}
LAKE = {"env_kwargs": {"is_slippery": False}, "final_episodes": 0}


def by_hand(episode: int, initial: float = 1.0, decay: float = 0.8, final: float = 0.05) -> float:
    """ε in an episode (the first is 0), as tutorials compute it."""
    epsilon = initial
    for _ in range(episode):
        epsilon = max(final, epsilon * decay)
    return epsilon


@pytest.mark.parametrize("agent", ["q-learning", "sarsa", "expected-sarsa"])
def test_exploration_falls_after_each_episode(agent: str) -> None:
    """The first arm is never worse, so the other is only pulled when exploring: with probability ε / 2."""
    seeds, episodes = 5_000, 20
    run = bx.train(ARMS, agent, episodes=episodes, seeds=seeds, records=1, **STILL, **FALLING)
    pulled = -np.mean([each.returns for each in run.episodes], axis=0)
    expected = np.array([by_hand(k) / 2 for k in range(episodes)])
    np.testing.assert_allclose(pulled, expected, atol=5 * 0.5 / seeds**0.5)
    assert run.history["rollout/exploration_rate"][:, -1] == pytest.approx(by_hand(episodes))


def test_a_run_of_steps_can_explore_by_episodes() -> None:
    run = bx.train(ARMS, "q-learning", steps=10, seeds=3, records=10, final_episodes=0, **FALLING)
    assert run.history["rollout/exploration_rate"] == pytest.approx(np.tile([by_hand(k) for k in range(1, 11)], (3, 1)))


@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_the_first_episode_is_random_and_the_others_are_not(loop: str) -> None:
    falling = {"exploration_schedule": "per-episode", "exploration_decay": 0.0, "exploration_final_eps": 0.0}
    pulled = []
    for seed in range(12):
        run = bx.train(ARMS, "q-learning", episodes=9, seeds=[seed], loop=loop, **STILL, **falling)
        returns = run.episodes[0].returns
        assert returns[1:].tolist() == [0.0] * 8
        pulled.append(returns[0])
        assert run.history["rollout/exploration_rate"][0, -1] == 0.0
    assert 0 < -sum(pulled) < 12


@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_a_run_has_as_many_episodes_as_were_asked_for(loop: str) -> None:
    run = bx.train("FrozenLake-v1", "q-learning", episodes=103, seeds=2, records=7, loop=loop, **LAKE, **FALLING)
    assert run.steps == run.options.episodes == run.history["step"][-1] == 103
    assert [each.returns.size for each in run.episodes] == [103, 103]
    assert run.history["rollout/episodes"].sum(axis=1).tolist() == [103, 103]
    steps = [int(each.lengths.sum()) for each in run.episodes]
    assert run.history["time/total_timesteps"][:, -1].tolist() == steps
    assert [int(policy.arrays["visits"].sum()) for policy in run.policies["final"]] == steps
    assert run.history["rollout/exploration_rate"][:, -1] == pytest.approx(by_hand(103))


def test_where_records_end_changes_nothing() -> None:
    few, many = (
        bx.train("FrozenLake-v1", "sarsa", episodes=200, records=records, **LAKE, **FALLING) for records in (3, 100)
    )
    np.testing.assert_array_equal(few.policy().table(), many.policy().table())
    np.testing.assert_array_equal(few.episodes[0].lengths, many.episodes[0].lengths)


def test_other_schedules_go_by_episodes_too() -> None:
    run = bx.train(
        ARMS,
        "q-learning",
        episodes=100,
        records=10,
        exploration_fraction=0.5,
        exploration_final_eps=0.0,
        final_episodes=0,
    )
    expected = np.maximum(1.0 - np.arange(10, 101, 10) / 50, 0.0)
    assert run.history["rollout/exploration_rate"][0] == pytest.approx(expected)
    assert run.episodes[0].returns[:50].mean() < -0.1


@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_resume_counts_on(loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"episodes": 60, "seeds": 2, "records": 6, "loop": loop, **LAKE, **FALLING}
    whole = bx.train("FrozenLake-v1", "q-learning", **asked)
    with monkeypatch.context() as patch:
        lose_power(patch, 30)
        with pytest.raises(StopError):
            bx.train("FrozenLake-v1", "q-learning", out=tmp_path / "run", **asked)
    resumed = bx.resume(tmp_path / "run")
    assert resumed.options.episodes == 60
    assert [each.returns.size for each in bx.load(tmp_path / "run").episodes] == [60, 60]
    if loop == "compiled":
        np.testing.assert_array_equal(resumed.policy(1).table(), whole.policy(1).table())
        np.testing.assert_array_equal(resumed.history["time/total_timesteps"], whole.history["time/total_timesteps"])


class Endless(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 1, 0.0, False, False, {}


STUCK = bx.FiniteMDP.from_successors(  # the first arm goes to and fro
    [[[(1.0, 1 - s, 0.0, False)], [(1.0, s, 1.0, True)]] for s in (0, 1)], start=0
)


@pytest.mark.parametrize("world", [Endless, STUCK])
def test_an_episode_without_end_is_an_error(world: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_records, "LONGEST_EPISODE", 2000)
    with pytest.raises(bx.EnvContractError, match="episode 1 has lasted 2,000 steps and has not ended"):
        bx.train(world, "q-learning", episodes=3, exploration_initial_eps=0.0, exploration_final_eps=0.0)


@pytest.mark.parametrize(
    ("agent", "values", "said"),
    [
        ("q-learning", {"episodes": 10, "steps": 10}, "pass steps=10 or episodes=10, not both"),
        ("q-learning", {"episodes": 0}, "`episodes` must be a positive integer; got 0"),
        ("q-learning", {"episodes": True}, "`episodes` must be a positive integer; got True"),
        ("q-learning", {"num_episodes": 5}, "write episodes=5"),
        ("dqn", {"episodes": 10}, "pass steps, such as steps=100_000"),
        ("dqn", {"num_episodes": 10}, "give steps, such as steps=100_000"),
        ("q-learning", {"epsilon_decay": 0.9}, "write exploration_schedule='per-episode', exploration_decay=0.9"),
        ("q-learning", {"exploration_decay": 0.9}, "give exploration_schedule='per-episode' with it"),
        ("q-learning", {"exploration_schedule": "per-episode"}, "give exploration_decay below 1"),
        ("dqn", {"exploration_schedule": "per-episode"}, "unknown exploration_schedule 'per-episode'"),
    ],
)
def test_what_does_not_go(agent: str, values: dict[str, object], said: str) -> None:
    with pytest.raises(bx.ConfigError) as caught:
        bx.train("FrozenLake-v1", agent, **values)
    assert said in str(caught.value)


def test_on_the_command_line(tmp_path: Path) -> None:
    words = ["train", "FrozenLake-v1", "-a", "q-learning", "--episodes", "1e2", "--out", str(tmp_path / "run")]
    words += ["exploration_schedule=per-episode", "exploration_decay=0.99"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "q-learning on FrozenLake-v1, 100 episodes, compiled loop" in done.output
    assert bx.load(tmp_path / "run").options.episodes == 100
    done = CliRunner().invoke(main, [*words[:-4], "--steps", "5"])
    assert (done.exit_code, "not both" in done.output) == (2, True)
