"""No alarm where nothing is wrong, and none missing where something is."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellmax as bx
from bellmax.contracts import Box, EnvWarning, Experience, NonFiniteError, Transition
from bellmax.extend import LearningConfig, Shape, TabularAgent, change, find_behavior, kernel, setting
from bellmax.loops.logs import Episodes
from bellmax.loops.loop import Chunk
from bellmax.loops.network_rounds import RunState
from bellmax.loops.nonfinite import find_in_buffer
from bellmax.loops.pacing import is_sound
from bellmax.training import progress
from bellmax.training.divergence import ValueScale, blame_returns, check_divergence, clipping

QUICK = {"records": 10, "eval_episodes": 0, "final_episodes": 0, "learning_starts": 50}
NONE = Episodes(np.zeros(0), np.zeros(0, np.int64))


def watch(config: Any, values: list[float], reward: float = 1.0, episodes: Episodes = NONE) -> None:
    """One seed whose records have these mean values, each after 100 steps."""
    scale = ValueScale.of(1)
    for step, value in enumerate(values):
        chunk = Chunk(episodes, {"train/q": value, "train/max_reward": reward})
        check_divergence([0], [chunk], scale, config, 100 * step, 100 * step + 100)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9])
def test_the_first_distribution_is_no_divergence(gamma: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EnvWarning)  # of the atoms, which are far too many
        bx.train("probe:delay", "c51", gamma=gamma, steps=400, **QUICK)


@pytest.mark.parametrize("agent", [bx.DQN, bx.QRDQN, bx.IQN, bx.BootstrappedDQN, bx.MunchausenDQN, bx.R2D2, bx.PQN])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
def test_large_values_at_the_start_are_not_divergence_whatever_the_head(agent: Any, gamma: float) -> None:
    watch(agent(gamma=gamma), [5_000.0, 4_500.0, 5_100.0, 300.0, 40.0, 2.0])


def test_values_in_the_middle_of_the_atoms_are_not_divergence() -> None:
    watch(bx.C51(gamma=0.5, v_min=-10_000.0, v_max=30_000.0), [10_000.0, 12_000.0, 29_000.0])


@pytest.mark.parametrize(
    "values",
    [[0.5, 3.0, 21.0], [300.0, 290.0, 700.0], [1e9], [0.0, 1.0, 25.0], [5_000.0, 4.0, 30.0]],
    ids=["slowly", "from a large start", "in the first record", "just above", "after it had fallen"],
)
def test_true_divergence_is_caught(values: list[float]) -> None:
    with pytest.raises(NonFiniteError, match="it diverges; lower learning_rate"):
        watch(bx.DQN(gamma=0.5), values)


ENDED = Episodes(np.array([9.0, 7.0]), np.array([9, 40]))


def test_divergence_without_discount_is_beyond_the_longest_episode() -> None:
    """An episode may have begun in one record and end in another; until one ends, it is as long as the run."""
    agent = bx.DQN(gamma=1.0)
    watch(agent, [1.0, 90.0, 1_900.0, 1_990.0], episodes=ENDED)
    watch(agent, [1.0, 90.0, 2_900.0, 3_900.0], episodes=NONE)
    watch(agent, [1.0, 19_000.0], reward=10.0, episodes=ENDED)
    watch(bx.DQN(gamma=1.0, n_steps=5), [1.0, 1_900.0], reward=5.0, episodes=ENDED)
    watch(bx.C51(gamma=1.0), [1.0, 1e6], episodes=ENDED)  # its atoms bound it
    for far in ([1.0, 90.0, 2_100.0], [1.0, 90.0, 1_900.0, 1_990.0, 2_100.0]):
        with pytest.raises(NonFiniteError, match="but rewards of at most 1 add up to 200: it diverges"):
            watch(agent, far, episodes=ENDED)
    with pytest.raises(NonFiniteError, match="add up to 500: it diverges"):
        watch(agent, [1.0, 90.0, 2_900.0, 3_900.0, 5_100.0], episodes=NONE)


def test_without_discount_a_real_run_that_learns_goes_on_and_one_that_diverges_stops() -> None:
    options: dict[str, Any] = {**QUICK, "records": 40, "gamma": 1.0, "net_arch": (32,), "progress": False}
    bx.train("CartPole-v1", "dqn", steps=6_000, target_update_interval=100, **options)
    wild = {"learning_rate": 0.05, "normalization": "none", "n_steps": 1, "target_update_interval": 1}
    with pytest.raises(NonFiniteError, match="it diverges"):
        bx.train("CartPole-v1", "dqn", steps=12_000, **options, **wild)


def test_targets_outside_the_atoms_are_said_once_with_the_remedy() -> None:
    with pytest.warns(EnvWarning, match=r"targets are clipped to the atoms, v_min=0 to v_max=0.5 .*set v_min") as said:
        run = bx.train("probe:time-limit", "c51", gamma=0.8, v_max=0.5, steps=1_000, **QUICK)
    assert len(said) == 1
    assert run.history["train/clipped_targets"][0, -1] > 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bx.train("probe:time-limit", "c51", gamma=0.8, v_max=20.0, steps=1_000, **QUICK)


def test_the_remedy_names_what_returns_can_be() -> None:
    chunk = Chunk(NONE, {"train/clipped_targets": 0.95})
    text = (
        clipping(
            [chunk], ValueScale(np.array([2.0]), np.array([1.0]), np.array([9.0]), np.array([9.0])), bx.C51(gamma=0.9)
        )
        or ""
    )
    assert text.startswith("95% of the targets are clipped")
    assert "within ±20 for rewards of at most 2" in text


def test_rewards_at_the_bounds_of_reward_clip_are_counted() -> None:
    run = bx.train("probe:constant", "dqn", reward_clip=0.5, steps=300, **QUICK)
    assert run.history["train/clipped_rewards"][0, -1] == 1.0
    run = bx.train("probe:constant", "dqn", reward_clip=5.0, steps=300, **QUICK)
    assert run.history["train/clipped_rewards"][0, -1] == 0.0


def test_the_time_left_does_not_count_compiling(monkeypatch: Any) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    speed = progress.Speed(1_000)
    now[0] = 30.0  # of which half a second was stepping
    assert speed.words(100, compiling=True) == ("warming up", "")
    now[0] = 31.0  # evaluated, which compiled as well
    assert speed.words(100, compiling=True) == ("warming up", "")
    now[0] = 31.5
    assert speed.words(200, compiling=False) == ("200 steps/s", "4 s left")


def test_a_resumed_run_does_not_count_the_steps_before(monkeypatch: Any) -> None:
    now = [5.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    speed = progress.Speed(1_000)
    speed.words(600, compiling=True)
    now[0] = 6.0
    assert speed.words(700, compiling=False) == ("100 steps/s", "3 s left")


def test_the_speed_of_a_first_record_that_compiled_is_not_known() -> None:
    run = bx.train("corridor", "q-learning", steps=1_000, records=4, final_episodes=0)
    assert np.isnan(run.history["time/fps"][0]).tolist() == [True, False, False, False]


@kernel
def breaking(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """After so many steps it writes a value that is not finite, but returns a finite TD error."""
    change(q, step.obs, step.action, options[1] if now.visits.sum() > options[0] else 0.1)
    return 1.0


@dataclass(frozen=True, kw_only=True)
class Breaking(LearningConfig):
    """Its table is not finite from some step on."""

    name: ClassVar[str] = "breaking"
    begin: int = setting(250, "the last step with finite values")
    written: Literal["nan", "inf"] = setting("nan", "what it then adds")

    def make(self, shape: Shape) -> TabularAgent:
        return TabularAgent(breaking, find_behavior(self), options=(self.begin, float(self.written)))


@pytest.mark.parametrize("loop", ["compiled", "host"])
@pytest.mark.parametrize("written", ["nan", "inf"])
def test_a_table_that_is_not_finite_stops_the_run_with_the_policies_before(
    loop: str, written: Any, tmp_path: Path
) -> None:
    with pytest.raises(
        NonFiniteError, match=r"q of seed 0 has a NaN or an infinity between steps 200 and 300; .*kernel"
    ):
        bx.train("cliff", Breaking(written=written), steps=1_000, records=10, loop=loop, out=tmp_path / "run")
    run = bx.load(tmp_path / "run")
    assert run.history.step[-1] == 200
    assert run.policy().arrays["visits"].sum() == 200
    assert np.isfinite(run.policy().arrays["q"]).all()


def test_a_table_that_is_not_finite_at_the_first_record_leaves_no_policy(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="between steps 0 and 100"):
        bx.train("cliff", Breaking(begin=10), steps=1_000, records=10, out=tmp_path / "run")
    assert bx.load(tmp_path / "run").policies == {}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, jnp.bfloat16])
def test_a_nan_or_an_infinity_anywhere_is_not_sound(dtype: Any) -> None:
    for bad in (math.nan, math.inf):
        for i in (0, 5, 9):
            array = np.linspace(-3, 3, 10).astype(dtype)
            assert is_sound(array)
            array[i] = bad
            assert not is_sound(array)
    assert is_sound(np.array([-math.inf, 0.0]))
    assert is_sound(np.zeros((0, 3)))


def filled(config: bx.DQN, steps: int, bad: tuple[int, int], what: str) -> RunState:
    """The state after some steps of two environments, with an end after every fifth; one value is not finite."""
    space = Box((2,))
    memory = config.make(space, 2, 100).memory
    kept, zeros = memory.init(), np.zeros(2, np.float32)
    obs = np.zeros((2, 2), np.float32)
    for t in range(steps):
        at = np.arange(2) == bad[1] if t == bad[0] else np.zeros(2, bool)
        reward, next_obs = np.where(at, np.inf if what == "reward" else 0, zeros), np.ones((2, 2), np.float32)
        if what == "reset":
            obs = np.where(at[:, None], np.nan, obs).astype(np.float32)
        next_obs[:, 1] = np.where(at & (what == "observation"), np.nan, 1.0)
        over = np.full(2, t % 5 == 4)
        columns: Any = (obs, np.zeros(2, np.int32), reward.astype(np.float32), zeros + np.float32(0.9), next_obs)
        kept = memory.add(kept, Experience(Transition(*columns), over.astype(np.int32)))
        obs = next_obs
    nothing: Any = None
    return RunState(nothing, kept, nothing, jnp.zeros((2, 2)), (), jnp.zeros(2), jnp.zeros(2), jnp.zeros(2))


@pytest.mark.parametrize(("steps", "bad", "what", "said"), [
    (8, (6, 1), "reward", "environment 1, episode 2, step 2 (step 14 of the run): reward is inf"),
    (8, (3, 0), "observation", "environment 0, episode 1, step 4 (step 8 of the run): an observation is not finite"),
    (8, (5, 1), "reset", "environment 1, episode 2, reset (step 12 of the run): an observation is not finite"),
    (14, (8, 0), "reward", "environment 0 (step 18 of the run): reward is inf"),  # the buffer has the last 8 steps
    (17, (12, 0), "reward", "environment 0, step 3 (step 26 of the run): reward is inf"),
    (17, (2, 0), "reward", ""),
])  # fmt: skip
def test_what_is_not_finite_is_found_in_the_replay_buffer(
    steps: int, bad: tuple[int, int], what: str, said: str
) -> None:
    config = bx.DQN(buffer_size=16, num_envs=2, batch_size=4, net_arch=(4,))
    assert find_in_buffer(config, Box((2,)), filled(config, steps, bad, what), 2 * steps) == said


def sick(what: str) -> bx.World:
    """A world of ten steps, some of which return what is not finite."""

    def step(time: Any, action: Any, key: Any) -> Any:
        bad = (time == 6) & (jax.random.uniform(key) < 0.2)
        value = jnp.where(bad, jnp.nan, 1.0)
        obs = jnp.ones(1) * (value if what == "observation" else 1.0)
        return time + 1, obs, value if what == "reward" else 1.0, time == 9, jnp.bool_(False)

    return bx.World("sick", lambda key: (jnp.int32(0), jnp.zeros(1)), step, Box((1,)), 2, 10)


SICK: dict[str, Any] = {"steps": 1_200, "records": 3, "net_arch": (8,), "eval_episodes": 0, "final_episodes": 0}


@pytest.mark.parametrize("what", ["reward", "observation"])
def test_a_compiled_world_that_is_not_finite_is_named_and_not_the_learning_rate(what: str) -> None:
    with pytest.raises(NonFiniteError) as error:
        bx.train(sick(what), "dqn", learning_starts=100, num_envs=2, **SICK)
    said = str(error.value)
    assert re.match(
        rf"^<sick>: seed 0, environment \d, episode \d+, step 7 \(step \d+ of the run\): (an )?{what} is", said
    )
    assert "learning_rate" not in said
    assert "check_world" in said


@pytest.mark.parametrize("what", ["reward", "observation"])
def test_without_a_replay_buffer_the_run_is_repeated_up_to_the_fault(what: str) -> None:
    plain = sick(what)

    def step(time: Any, action: Any, key: Any) -> Any:  # late, and one step in a hundred
        after, obs, reward, *flags = plain.step(time, action, key)
        rare = jax.random.uniform(jax.random.fold_in(key, 1)) < 0.1
        return after, jnp.where(rare, obs, 1.0), jnp.where(rare, reward, 1.0), *flags

    with pytest.raises(NonFiniteError) as error:
        bx.train(plain._replace(step=step), "pqn", num_envs=4, train_freq=3, **SICK)
    found = re.match(
        r"^<sick>: seed 0, environment (\d), episode (\d+), step 7 \(step (\d+) of the run\): (an )?(\w+) is",
        str(error.value),
    )
    assert found, str(error.value)
    assert found[5] == what
    assert int(found[3]) == 4 * (10 * (int(found[2]) - 1) + 7)  # episodes have ten steps


def test_a_return_that_is_not_finite_blames_the_environment() -> None:
    good, bad = (Chunk(Episodes(np.array([1.0, value]), np.array([3, 8])), {}) for value in (2.0, math.nan))
    assert blame_returns([0, 7], [good, good]) == ""
    assert blame_returns([0, 7], [good, bad]) == "seed 7, an episode of 8 steps: the sum of its rewards is nan"
