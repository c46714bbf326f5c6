"""NumPy. Environments in a line: the corridor, random walks, the chain, RiverSwim, and a fork with a trap."""

from __future__ import annotations

from bellmax.contracts import ConfigError
from bellmax.mdp.gallery.assembling import Outcomes, check_outcomes, rest, tabulate, world
from bellmax.mdp.layout import grid_of
from bellmax.mdp.model import FiniteMDP

LEFT, RIGHT = 0, 1
SIDES = ("left", "right")


@world
def corridor(n_states: int = 6) -> FiniteMDP:
    """A corridor of `n_states`; walk right to the goal G. The way is long, the reward comes once.

    ::

        +---+---+---+---+---+---+
        | S |   |   |   |   | G |     actions 0 left, 1 right
        +---+---+---+---+---+---+     reward 1 on entering G, which ends the episode; else 0
          0   1   2   3   4   5       the left wall keeps you where you are

    Optimal: Q*(s, right) = γ^(n_states - 2 - s) and Q*(s, left) = γ^2 Q*(s, right); at the wall, where left
    costs one step and not two, Q*(0, left) = γ Q*(0, right).

    Source: the "simple grid" of many tutorials on Q-learning; the values follow by hand.
    Raises ConfigError for fewer than 2 states.
    """
    if n_states < 2:
        raise ConfigError(f"corridor of n_states={n_states}: it needs a start and a goal, at least 2 states")
    check_outcomes("n_states", n_states, 2 * n_states)
    goal = n_states - 1

    def step(s: int, action: int) -> Outcomes:
        if s == goal:
            return rest(s)
        to = s + 1 if action == RIGHT else max(s - 1, 0)
        return [(1.0, to, float(to == goal), to == goal)]

    grid = grid_of(1, n_states, {0: "start", goal: "goal"})
    return tabulate(range(n_states), 2, step, start=[0], name="corridor", action_names=SIDES, grid=grid)


@world
def random_walk(n_states: int = 5, left_reward: float = 0.0, right_reward: float = 1.0) -> FiniteMDP:
    """A drunkard between two ends: an environment without choices, to learn values in.

    ::

        [0] <- 1 <-> 2 <-> 3 <-> 4 <-> 5 -> [6]     one action; left or right by a fair coin; start in the middle
       left_reward                    right_reward  paid on entering an end

    With γ = 1 the value of state s is left + (right - left) s / (n_states + 1): 1/6 to 5/6 here. The walk of
    Example 7.1 has n_states=19, left_reward=-1.

    Source: Sutton and Barto (2018), Examples 6.2 and 7.1. Raises ConfigError for an even number of states.
    """
    if n_states < 1 or n_states % 2 == 0:
        raise ConfigError(f"random_walk of n_states={n_states}: it starts in the middle, so the number must be odd")
    check_outcomes("n_states", n_states, 2 * n_states)
    right = n_states + 1

    def step(s: int, action: int) -> Outcomes:
        if s in (0, right):
            return rest(s)
        pay = {0: left_reward, right: right_reward}
        return [(0.5, to, pay.get(to, 0.0), to in pay) for to in (s - 1, s + 1)]

    states = range(n_states + 2)
    grid = grid_of(1, n_states + 2, {0: "end", right // 2: "start", right: "end"}, arrows=(None,))
    return tabulate(states, 1, step, start=[right // 2], name="random-walk", action_names=("walk",), grid=grid)


@world
def chain(n_states: int = 5, slip: float = 0.2) -> FiniteMDP:
    """Five states in a chain: patience pays 10 a step at the end of it, impatience 2 at once.

    ::

        0 --a--> 1 --a--> 2 --a--> 3 --a--> 4 --.      actions 0 (a) go on, 1 (b) go back to state 0
        ^        |        |        |        |   | a    going on in the last state pays 10, going back 2
        '----b---'----b---'----b---'----b---'<--'      with probability `slip` the other action happens

    It never ends. Always going on is optimal for γ near 1, and then earns 3677 in 1,000 steps on average.

    Source: Dearden, Friedman and Russell (1998), Bayesian Q-learning, AAAI; Strens (2000), A Bayesian framework
    for reinforcement learning, ICML, Table 1. Raises ConfigError for no states, or a slip that is not a probability.
    """
    if n_states < 1 or not 0 <= slip <= 1:
        raise ConfigError(f"chain of n_states={n_states} with slip={slip}: it needs a state and a probability")
    check_outcomes("n_states", n_states, 4 * n_states)

    def step(s: int, action: int) -> Outcomes:
        onward = 1 - slip if action == 0 else slip
        last = n_states - 1
        return [(onward, min(s + 1, last), 10.0 if s == last else 0.0, False), (1 - onward, 0, 2.0, False)]

    grid = grid_of(1, n_states, {0: "start"}, arrows=((0, 1), None))
    return tabulate(range(n_states), 2, step, start=[0], name="chain", action_names=("on", "back"), grid=grid)


@world
def river_swim(n_states: int = 6) -> FiniteMDP:
    """Swim against the stream: the treasure upstream is far, and every stroke may be lost.

    ::

        left is sure:   5 <-0 <-- 1 <-- 2 <-- 3 <-- 4 <-- 5            left in state 0 pays 5
        right is not:   0 -> +1 .3, stay .7     5 -> stay .3 pays 10000, back .7
                        1..4 -> +1 .3, stay .6, back .1                start in state 1 or 2

    It never ends; the optimum swims right in every state (γ = 0.95), which random play hardly discovers.

    Source: Strehl and Littman (2008), An analysis of model-based interval estimation for Markov decision
    processes, JCSS 74, section 5. Raises ConfigError for fewer than 3 states.
    """
    if n_states < 3:
        raise ConfigError(f"river_swim of n_states={n_states}: it needs at least 3 states")
    check_outcomes("n_states", n_states, 4 * n_states)
    last = n_states - 1

    def step(s: int, action: int) -> Outcomes:
        if action == LEFT:
            return [(1.0, max(s - 1, 0), 5.0 if s == 0 else 0.0, False)]
        if s == 0:
            return [(0.7, 0, 0.0, False), (0.3, 1, 0.0, False)]
        if s == last:
            return [(0.7, s - 1, 0.0, False), (0.3, s, 10_000.0, False)]
        return [(0.1, s - 1, 0.0, False), (0.6, s, 0.0, False), (0.3, s + 1, 0.0, False)]

    grid = grid_of(1, n_states, {1: "start", 2: "start"})
    return tabulate(range(n_states), 2, step, start=[1, 2], name="river-swim", action_names=SIDES, grid=grid)


@world
def maximization_bias(n_actions_b: int = 10, mean: float = -0.1, std: float = 1.0) -> FiniteMDP:
    """A fork whose left branch looks better than it is, to whoever takes the largest of noisy estimates.

    ::

                 N(-0.1, 1)                         A has the actions 0 left, 1 right
        [end] <============ B <--- A ---> [end]     B has `n_actions_b` actions, all alike
               (10 actions)     0     0             start in A; both ends end the episode

    Right is optimal: it is worth 0, left `mean` γ. Q-learning still goes left more often than not at first,
    double Q-learning does not. Exploring at random in A is between its two actions: `allowed` says so.

    Source: Sutton and Barto (2018), Example 6.7. Raises ConfigError for fewer than 2 actions in B.
    """
    if n_actions_b < 2:
        raise ConfigError(f"n_actions_b={n_actions_b}: A has 2 actions and B must have as many at least")
    check_outcomes("n_actions_b", n_actions_b, n_actions_b)

    def step(state: str, action: int) -> Outcomes:
        if state == "A":
            return [(1.0, "B", 0.0, False)] if action == LEFT else [(1.0, "end", 0.0, True)]
        return [(1.0, "end", mean, True, std)] if state == "B" else rest(state)

    has = {"A": 2, "B": n_actions_b, "end": 1}
    return tabulate(list(has), has.__getitem__, step, start=["A"], name="maximization-bias", state_names=tuple(has))
