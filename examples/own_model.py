"""Three ways to bring a model of one's own, with the same machine in each: run it, or service it first.

A worn machine earns 3 a week and breaks down with probability 0.4, which ends its life; a sound one earns 5 and is
worn by the end of the week with probability 0.3. Service costs 4 and makes a worn machine sound.

    python examples/own_model.py
"""

import numpy as np

import bellmax as bx

SOUND, WORN, BROKEN = range(3)
RUN, SERVICE = range(2)
NAMES = ("run", "service")


def from_arrays() -> bx.FiniteMDP:
    """P [S, A, S] and R [S, A]; the end is a state in which nothing happens any more."""
    P, R = np.zeros((3, 2, 3)), np.zeros((3, 2))
    P[SOUND, RUN], R[SOUND, RUN] = [0.7, 0.3, 0.0], 5.0
    P[WORN, RUN], R[WORN, RUN] = [0.0, 0.6, 0.4], 3.0
    P[:2, SERVICE], R[:2, SERVICE] = [1.0, 0.0, 0.0], -4.0
    P[BROKEN, :, BROKEN] = 1.0
    return bx.FiniteMDP.from_arrays(P, R, terminal_states=[BROKEN], start=SOUND, action_names=NAMES)


def from_successors() -> bx.FiniteMDP:
    """Gymnasium's layout: for each state and action a list of (probability, next state, reward, terminated)."""
    service = [(1.0, SOUND, -4.0, False)]
    table = [
        [[(0.7, SOUND, 5.0, False), (0.3, WORN, 5.0, False)], service],
        [[(0.6, WORN, 3.0, False), (0.4, BROKEN, 3.0, True)], service],
        [[(1.0, BROKEN, 0.0, True)]] * 2,
    ]
    return bx.FiniteMDP.from_successors(table, start=SOUND, action_names=NAMES)


def from_function() -> bx.FiniteMDP:
    """A function of state and action; states are whatever you like, and found from the start."""

    def week(state: str, action: int) -> list[tuple[float, str, float, bool]]:
        if action == SERVICE:
            return [(1.0, "sound", -4.0, False)]
        if state == "sound":
            return [(0.7, "sound", 5.0, False), (0.3, "worn", 5.0, False)]
        return [(0.6, "worn", 3.0, False), (0.4, "broken", 3.0, True)]

    return bx.FiniteMDP.from_function(week, "sound", n_actions=2, action_names=NAMES)


def main() -> None:
    for make in (from_arrays, from_successors, from_function):
        mdp = make()
        exact = bx.solve(mdp, gamma=0.95)
        learned = bx.train(mdp, "q-learning", steps=1_000_000, gamma=0.95, learning_rate_decay=0.002).policy()
        print(f"{make.__name__}: {mdp.n_states} states, worth {exact.start_value:.4f} from the start")
        for state in (SOUND, WORN):
            action = exact.policy[state]
            print(f"  {mdp.state_names[state] if mdp.state_names else state}: {mdp.action_names[action]}, "
                  f"Q* {exact.q[state].round(3)}, learned {learned.q_values(state).round(3)}")  # fmt: skip


if __name__ == "__main__":
    main()
