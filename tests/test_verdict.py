"""What a run says at its end: beside random play and its best, and what is plainly wrong, with what to do."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from click.testing import CliRunner

import bellmax as bx
from bellmax.cli import main
from bellmax.training import random_play
from bellmax.training.verdict import Facts, judge


def seeds(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


GOOD = Facts(
    final=seeds(480.0, 500.0),
    error=seeds(3.0, 0.0),
    at_cutoff=seeds(0.9, 1.0),
    cutoff=500,
    limited=True,
    optimal=seeds(np.nan, np.nan),
    graded=seeds(490.0, 500.0),
    best=seeds(500.0, 500.0),
    best_step=seeds(4_000, 5_000),
    training=seeds(300.0, 280.0),
    random=22.0,
    random_error=1.0,
    random_at_cutoff=0.0,
    floor=22.0,
    averaged=True,
    clipped=seeds(0.0, 0.0),
)
COSTLY = replace(GOOD, final=seeds(-200.0, -200.0), error=seeds(0, 0), at_cutoff=seeds(1, 1), cutoff=200, random=-200.0,
                 random_error=0.0, random_at_cutoff=1.0, floor=-200.0, graded=seeds(-200, -200), best=seeds(-200, -200),
                 training=seeds(-200, -200))  # fmt: skip

CASES: dict[str, tuple[Facts, tuple[str, ...]]] = {
    "all is well": (GOOD, ()),
    "random": (
        replace(GOOD, final=seeds(23.0, 490.0), training=seeds(21, 280)),
        ("no better than random play (1 of 2 seeds): train longer",),
    ),
    "below random": (replace(GOOD, final=seeds(9.0, 9.0), training=seeds(9, 9)), ("no better than random play: ",)),
    "never there, as random play": (COSTLY, ("no better than random play: train longer or explore more",)),
    "stuck": (
        replace(COSTLY, random=-150.0, random_at_cutoff=0.3, learning_rate=0.01),
        ("every final episode reached the time limit, 200 steps: the policy goes in circles or stands still; train "
         "longer, or explore longer",),
    ),
    "stuck, and learning with large steps": (
        replace(COSTLY, random=-150.0, random_at_cutoff=0.3, learning_rate=0.5),
        ("every final episode reached the time limit, 200 steps: the policy goes in circles or stands still; try a "
         "smaller learning_rate first (it is 0.5), then train longer",),
    ),
    "the best possible, with costs": (
        replace(COSTLY, cutoff=50, final=seeds(-2.5, -2.5), error=seeds(0.1, 0.1), random=-98.0, random_error=2.0,
                random_at_cutoff=0.1, floor=-98.0, graded=seeds(-2.5, -2.5), best=seeds(-2.4, -2.4),
                training=seeds(-9, -9)), (),
    ),
    "always as many steps by design": (
        replace(COSTLY, cutoff=10, final=seeds(-0.01, -0.01), random=-0.005, random_error=0.001), ("no better",),
    ),
    "offline": (
        replace(COSTLY, offline=True), ("no better than random play: train longer, or use data from a better",),
    ),
    "stuck without a limit": (
        replace(COSTLY, limited=False, cutoff=2_000, random=-9_000.0, final=seeds(-2_000, -2_000), ends=True,
                optimal=seeds(0, 0)),
        ("every final episode reached the step limit of an evaluation, 2,000 steps",),
    ),
    "not the best, and far better than random play": (
        replace(COSTLY, random=-900.0, floor=-900.0, optimal=seeds(0, 0), random_at_cutoff=0.5), (),
    ),
    "known to be the best": (replace(COSTLY, optimal=seeds(1, 1)), ()),
    "lasting is success": (replace(GOOD, at_cutoff=seeds(1.0, 1.0), final=seeds(500, 500)), ()),
    "nothing ever ends": (replace(COSTLY, final=seeds(-20.0, -30.0), random=-200.0, training=seeds(-50, -50)), ()),
    "averages behind": (
        replace(GOOD, training=seeds(400, 400), final=seeds(100, 100)),
        ("good in training but not in evaluation: 400 with exploration, 100 without: the averaged parameters may "
         "be worse than the network itself; compare weight_averaging=False",),
    ),
    "greedy gets stuck": (
        replace(GOOD, training=seeds(400, 400), final=seeds(100, 100), averaged=False),
        ("good in training but not in evaluation: 400 with exploration, 100 without: exploration leaves states",),
    ),
    "forgotten": (
        replace(GOOD, graded=seeds(60.0, 500.0), final=seeds(60, 500)),
        ("the final policy is far below the best one (1 of 2 seeds): 60, and 500 at step 4,000: use policy(",),
    ),
    "forgotten, and no better than random play": (
        replace(GOOD, graded=seeds(20.0, 20.0), final=seeds(21, 21)), ("the final policy is far below the best one",),
    ),
    "the last evaluation was unlucky": (
        replace(GOOD, graded=seeds(60.0, 500.0), eval_episodes=10, evaluations=20, graded_error=seeds(5, 5)), (),
    ),
    "the best evaluation was lucky": (
        replace(GOOD, random=-0.4, random_error=0.1, floor=-0.4, final=seeds(-0.1, -0.1), error=seeds(0.1, 0.1),
                graded=seeds(-0.3, -0.1), best=seeds(0.5, 0.6), graded_error=seeds(0.3, 0.3), evaluations=20,
                eval_episodes=10, at_cutoff=seeds(0, 0), training=seeds(-0.1, -0.1)), (),
    ),
    "training was lucky": (
        replace(GOOD, random=0.0, random_error=0.3, floor=0.0, final=seeds(0.7, 0.7), error=seeds(0.3, 0.3),
                graded=seeds(0.7, 0.7), best=seeds(0.7, 0.7), at_cutoff=seeds(0, 0), training=seeds(1.5, 1.6),
                training_error=seeds(0.3, 0.3)), (),
    ),
    "clipped": (replace(GOOD, clipped=seeds(0.1, 0.95)), ("95% of the targets were outside the atoms (1 of 2 seeds)",)),
    "nothing matters": (
        replace(GOOD, final=seeds(1.0, 1.0), error=seeds(0, 0), at_cutoff=seeds(0, 0), random=1.0, random_error=0.0,
                training=seeds(1, 1), graded=seeds(1, 1), best=seeds(1, 1), floor=1.0), (),
    ),
    "no reward was seen": (
        replace(GOOD, final=seeds(0.0, 0.0), error=seeds(0, 0), at_cutoff=seeds(0, 0), random=0.0, random_error=0.0,
                training=seeds(0, 0), graded=seeds(0, 0), best=seeds(0, 0), floor=0.0), ("no better than random play",),
    ),
    "nobody ever ends": (
        replace(COSTLY, final=seeds(-np.inf, -np.inf), random=-np.inf, floor=-np.inf, graded=seeds(-np.inf, -np.inf),
                best=seeds(-np.inf, -np.inf), optimal=seeds(0, 0)), ("no better than random play",),
    ),
    "nothing is known": (
        replace(GOOD, random=np.nan, floor=np.nan, best=seeds(np.nan, np.nan), training=seeds(np.nan, np.nan)), (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_plainly_wrong_is_said_and_nothing_else(case: str) -> None:
    facts, expected = CASES[case]
    remarks = judge(facts).remarks
    assert len(remarks) == len(expected), remarks
    for remark, words in zip(remarks, expected, strict=True):
        assert remark.startswith(words)


def test_random_play_is_valued_exactly_where_scores_are() -> None:
    run = bx.train("FrozenLake-v1", "q-learning", steps=500, records=2)
    assert run.verdict().random == pytest.approx(0.0139, abs=2e-4)
    again = pickle.loads(pickle.dumps(run))  # noqa: S301 - our own
    assert again.verdict() == run.verdict()


def test_a_policy_that_walks_in_circles_is_said_also_of_a_loaded_run(tmp_path: Path) -> None:
    run = bx.train("cliff", "q-learning", steps=100, records=2, final_episodes=8, out=tmp_path / "run")
    (remark,) = run.verdict().remarks
    assert remark.startswith("every final episode reached the step limit of an evaluation, 2,000 steps")
    assert bx.load(tmp_path / "run").verdict() == run.verdict()
    good = bx.train("cliff", "q-learning", steps=20_000, records=2, final_episodes=8, learning_rate=0.5)
    assert not good.verdict().remarks
    said = str(good.verdict()).splitlines()
    assert said[0].endswith("final policy -13")
    assert said[1].endswith("final policy (discounted) -12.25, best in training (discounted) -12.25")
    plain = bx.train("cliff", "q-learning", steps=20_000, records=2, final_episodes=8, learning_rate=0.5, gamma=1)
    assert str(plain.verdict()).endswith("final policy -13, best in training -13")


class Noise(gym.Env):  # type: ignore[type-arg]
    """Ten rewards of N(0, 1), whatever is done."""

    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return 0, self.np_random.normal(), False, self.t >= 10, {}


def test_noise_is_not_called_worse_than_training_or_than_the_best() -> None:
    run = bx.train(Noise, "q-learning", steps=2_000, seeds=10)
    said = str(run.verdict())
    assert "training was good" not in said
    assert "far below" not in said
    assert "(the highest of 20 evaluations of 10 episodes; final policy: 100 episodes)" in said


class Slow(gym.Env):  # type: ignore[type-arg]
    """Takes its time at each step once it has been trained in."""

    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)
    pause = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.t = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        time.sleep(self.pause)
        self.t += 1
        return 0, 1.0, False, self.t >= 50, {}


def test_random_play_of_a_slow_environment_is_bounded_and_then_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    run = bx.train(Slow, "q-learning", steps=100, records=1, eval_episodes=0, final_episodes=2)
    monkeypatch.setattr(Slow, "pause", 0.05)
    monkeypatch.setattr(random_play, "SECONDS", 0.2)
    begin = time.monotonic()
    verdict = run.verdict()
    assert np.isnan(verdict.random)
    assert str(verdict).startswith(
        "scores: random play not measured (slow environment or busy machine), final policy 50"
    )
    assert time.monotonic() - begin < 2.0


def test_the_command_line_shows_it(tmp_path: Path) -> None:
    words = [
        "train",
        "FrozenLake-v1",
        "--agent",
        "q-learning",
        "--steps",
        "200",
        "--out",
        str(tmp_path / "run"),
        "--quiet",
    ]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "scores: random play 0.01394, final policy 0, best in training 0" in done.output
    assert "look: no better than random play: train longer" in done.output
