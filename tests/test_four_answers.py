"""One world, four answers: the cliff exactly, by table, by DQN compiled, and by DQN through Gymnasium's own."""

import numpy as np
import pytest

import bellmax as bx

MDP = bx.cliff()
EXACT = bx.solve(MDP, gamma=0.99)
TABLE = bx.QLearning(gamma=0.99, learning_rate=0.5, exploration_final_eps=0.3)
NETWORK = bx.DQN(
    gamma=0.99, learning_rate=2e-3, loss="squared", buffer_size=20_000, target_update_interval=100,
    exploration_fraction=0.3, exploration_final_eps=0.3,
)  # fmt: skip
ANSWERS = {
    "table, compiled": (MDP, TABLE, 300_000, "compiled", 1e-6),
    "table, through Gymnasium": ("CliffWalking-v1", TABLE, 60_000, "host", 1.0),
    "dqn, compiled": (MDP, NETWORK, 12_000, "compiled", 3.0),
    "dqn, through Gymnasium": ("CliffWalking-v1", NETWORK, 12_000, "host", 3.0),
}


def greedy_path(q: np.ndarray) -> list[int]:
    state, path = 36, []
    while state != 47 and len(path) < 30:
        path.append(state)
        state = int(MDP.successor[MDP.indptr[state * 4 + int(np.argmax(q[state]))]])
    return path


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "dqn, through Gymnasium")) for name in ANSWERS]
)
def test_same_path_and_values_within_the_band(name: str) -> None:
    world, agent, steps, loop, band = ANSWERS[name]
    run = bx.train(world, agent, steps=steps, loop=loop, records=2, final_episodes=10)
    assert greedy_path(EXACT.q) == [36, *range(24, 36)]
    assert greedy_path(run.policy(0).table()) == greedy_path(EXACT.q)
    assert run.history["exact/q_error"][0, -1] < band  # sup-norm over every pair that can occur, |Q*| up to 112
    assert run.evaluations[0].returns.tolist() == [-13.0] * 10
