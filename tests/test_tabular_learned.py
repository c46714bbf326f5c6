"""What tabular learners come to: the exact answer, a shorter way, a car on a hill. Fixed seeds, stated bands."""

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest

from bellmax.agent_config import hints
from bellmax.catalog import agent_class
from bellmax.loops.choosing import make_loop
from bellmax.mdp.gallery import corridor, maximization_bias, random_garnet, shortcut_maze
from bellmax.mdp.model import FiniteMDP
from bellmax.solving.solve import solve
from bellmax.sources import find_world
from bellmax.tabular import stepping
from bellmax.tabular.agent import Shape, build_rates
from bellmax.tabular.model_kernels import build_model
from bellmax.tabular.tiles import encode, make_grids

# what learns the values of the best policy, whatever it does meanwhile, and the settings in which it is exact
OFF_POLICY: dict[str, dict[str, Any]] = {
    "q-learning": {},
    "double-q": {"learning_rate_power": 0.7},
    "speedy-q": {},
    "tree-backup": {"n_steps": 3},
    "q-sigma": {"n_steps": 3},
    "watkins-q": {"trace_decay": 0.8},
    "dyna-q": {"planning_steps": 3},
    "dyna-q-plus": {"planning_steps": 3, "kappa": 1e-6},
    "prioritized-sweeping": {"planning_steps": 3},
    "r-max": {"known_after": 200},
    "delayed-q": {"samples": 6000, "margin": 1e-3},  # few samples are biased: only means that are low count
}
GARNET = random_garnet(8, 3, 3, seed=2, termination=0.1)
WORLDS = {
    "garnet": dataclasses.replace(GARNET, reward=GARNET.reward / 4),  # values from 0.5 to 1.5
    "lake": FiniteMDP.from_gymnasium("FrozenLake-v1"),
    "corridor": corridor(),
}


def build(name: str, **options: Any) -> Any:
    """A learner; settings that it has not are left out."""
    cls = agent_class(name)
    return cls(**{key: value for key, value in options.items() if key in hints(cls)})


class Learner:
    """One seed of a learner, that can be put from one model into another."""

    def __init__(self, mdp: FiniteMDP, config: Any, steps: int, seed: int = 0) -> None:
        shape = Shape(mdp.n_states, mdp.n_actions, True, build_model(mdp, None).width)
        self.agent, self.rates = config.make(shape), build_rates(config, steps)
        self.state = stepping.init_state(self.agent, shape, config.initial_q, seed, n_allowed=mdp.n_allowed)

    def run(self, mdp: FiniteMDP, steps: int) -> np.ndarray:
        """The returns of the episodes that ended."""
        returns, lengths = np.empty(steps), np.empty(steps, np.int64)
        world = build_model(mdp, mdp.max_episode_steps)
        n, _ = stepping.run_steps(self.agent.learner(self.rates), world, self.state, steps, returns, lengths)
        return returns[:n]


@pytest.mark.parametrize("name", OFF_POLICY)
@pytest.mark.parametrize("world", WORLDS)
def test_off_policy_learners_reach_the_exact_values(name: str, world: str) -> None:
    mdp, steps = WORLDS[world], 80_000_000 if name == "delayed-q" else 2_000_000
    options = {"learning_rate": 1.0, "learning_rate_decay": 1.0, "learning_rate_power": 0.8, **OFF_POLICY[name]}
    config = build(name, gamma=0.9, exploration_initial_eps=1.0, exploration_final_eps=1.0, **options)
    learner = Learner(mdp, config, steps)
    learner.run(mdp, steps)
    seen = learner.state.visits > 0
    assert np.abs(learner.state.q - solve(mdp, 0.9).q)[seen].max() < 0.05


def shortcut(name: str, seed: int) -> int:
    """Episodes in 3,000 steps, 3,000 steps after a shorter way has opened: 165 by the old one, 270 by the new."""
    config = build(
        name, gamma=0.95, learning_rate=0.5, planning_steps=50, kappa=1e-3, exploration_initial_eps=0.1,
        exploration_final_eps=0.1,
    )  # fmt: skip
    learner = Learner(shortcut_maze(), config, 1, seed)
    learner.run(shortcut_maze(), 5000)
    learner.run(shortcut_maze(changed=True), 3000)
    return len(learner.run(shortcut_maze(changed=True), 3000))


def test_dyna_q_plus_finds_the_shortcut_and_dyna_q_does_not() -> None:
    assert max(shortcut("dyna-q", seed) for seed in range(5)) < 180
    assert min(shortcut("dyna-q-plus", seed) for seed in range(5)) > 210


def test_double_q_is_less_biased() -> None:
    """Figure 6.5 of Sutton and Barto: the share of left, which is the worse way, in the first 300 steps."""
    mdp, left = maximization_bias(), {}
    for name in ("q-learning", "double-q"):
        config = build(
            name, gamma=1.0, learning_rate=0.1, exploration_initial_eps=0.1, exploration_final_eps=0.1,
            random_ties=True,
        )  # fmt: skip
        visits = np.zeros(2)
        for seed in range(300):
            learner = Learner(mdp, config, 1, seed)
            learner.run(mdp, 300)
            visits += learner.state.visits[0, :2]
        left[name] = visits[0] / visits.sum()
    assert left["q-learning"] > 0.45
    assert left["double-q"] < 0.25


def play(name: str, config: Any, snapshot: dict[str, Any], episodes: int) -> float:
    """Mean return of the greedy policy in Gymnasium's own environment."""
    coder, total = make_grids(snapshot["low"], snapshot["high"], config.bins, config.tilings), 0.0
    with gymnasium.make(name) as env:
        for seed in range(episodes):
            (obs, _), over = env.reset(seed=seed), False
            while not over:
                tiles = encode(coder, obs[None])[0]
                obs, reward, terminated, truncated, _ = env.step(int(snapshot["q"][tiles].sum(axis=0).argmax()))
                total, over = total + float(reward), terminated or truncated
    return total / episodes


GREEDY = {"exploration_initial_eps": 0.0, "exploration_final_eps": 0.0, "gamma": 1.0, "tilings": 8}


@pytest.mark.parametrize(
    ("agent", "world", "steps", "options", "least"),
    [
        ("sarsa-lambda", "MountainCar-v0", 100_000, {**GREEDY, "bins": 8, "learning_rate": 0.3}, -125.0),
        ("true-online-sarsa", "MountainCar-v0", 100_000, {**GREEDY, "bins": 8, "learning_rate": 0.3}, -125.0),
        ("q-learning", "CartPole-v1", 1_000_000, {"bins": 8}, 150.0),  # chance: 22
        ("sarsa-lambda", "Acrobot-v1", 100_000, {**GREEDY, "bins": 5, "learning_rate": 0.2}, -150.0),  # chance: -500
    ],
)
def test_tiles_control_gymnasiums_own_worlds(
    agent: str, world: str, steps: int, options: dict[str, Any], least: float
) -> None:
    config = build(agent, **options)
    loop, scores = make_loop(config, find_world(world), "compiled", steps), []
    for seed in range(3):
        state, _ = loop.advance(loop.start([seed]), 0, steps)
        scores.append(play(world, config, loop.snapshot(state)[0], 20))
    assert np.mean(scores) >= least
