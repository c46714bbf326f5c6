"""Numba. How a table acts, and with which probabilities, for learners that need them.

A behavior is four kernels; `now.level` is ε, the temperature or the width of the confidence bound:

- `act(q, obs, now) -> action`
- `best(q, obs, now) -> action`, greedy, with the same rule for ties
- `probability(q, obs, action, now)`, of `act` choosing this action
- `expected(q, obs, now)`, the mean of Q(s, a) over its actions
"""

from __future__ import annotations

import math

from bellmax.tabular.action_values import greedy, largest, mean_value, value
from bellmax.tabular.agent import Behavior, Now, TabularConfig
from bellmax.tabular.kernel import Index, coin_and_choice, kernel, uniform
from bellmax.tabular.representation import Representation, choice_of, feature, is_allowed, n_actions, n_choices


@kernel
def first_best(q: Representation, obs: Index, now: Now) -> int:
    """The action of highest value; the lowest index among equals."""
    return greedy(q, obs)


@kernel
def random_best(q: Representation, obs: Index, now: Now) -> int:
    """An action of highest value, each of equals with the same probability."""
    highest, tied, chosen = largest(q, obs), 0, choice_of(q, obs, 0)
    for action in range(n_actions(q, obs)):
        if is_allowed(q, obs, action) and value(q, obs, action) == highest:
            tied += 1
            chosen = action
    if tied > 1:
        left = int(uniform(now.generator) * tied)
        for action in range(n_actions(q, obs)):
            if is_allowed(q, obs, action) and value(q, obs, action) == highest:
                if left == 0:
                    return action
                left -= 1
    return chosen


@kernel
def epsilon_greedy(q: Representation, obs: Index, now: Now) -> int:
    """With probability ε uniform over all actions, else greedy. Sutton and Barto (2018), section 2.2."""
    coin, choice = coin_and_choice(now.generator, n_choices(q, obs))
    if coin < now.level:
        return choice_of(q, obs, choice)
    return greedy(q, obs)


@kernel
def epsilon_greedy_random(q: Representation, obs: Index, now: Now) -> int:
    """The same with random ties."""
    coin, choice = coin_and_choice(now.generator, n_choices(q, obs))
    if coin < now.level:
        return choice_of(q, obs, choice)
    return random_best(q, obs, now)


@kernel
def epsilon_probability(q: Representation, obs: Index, action: Index, now: Now) -> float:
    """ε/n, and 1 - ε more for the greedy one; 0 where it is not allowed."""
    return now.level / n_choices(q, obs) * is_allowed(q, obs, action) + (1.0 - now.level) * (action == greedy(q, obs))


@kernel
def epsilon_probability_random(q: Representation, obs: Index, action: Index, now: Now) -> float:
    """ε/n, and 1 - ε shared by the greedy ones."""
    highest, tied = largest(q, obs), 0
    for other in range(n_actions(q, obs)):
        tied += is_allowed(q, obs, other) and value(q, obs, other) == highest
    best = is_allowed(q, obs, action) and value(q, obs, action) == highest
    return now.level / n_choices(q, obs) * is_allowed(q, obs, action) + (1.0 - now.level) * best / tied


@kernel
def epsilon_expected(q: Representation, obs: Index, now: Now) -> float:
    """(1 - ε) max + ε mean, however ties are broken."""
    return (1.0 - now.level) * largest(q, obs) + now.level * mean_value(q, obs)


@kernel
def _weight(q: Representation, obs: Index, action: Index, highest: float, now: Now) -> float:
    if not is_allowed(q, obs, action):
        return 0.0
    return math.exp((value(q, obs, action) - highest) / max(now.level, 1e-300))


@kernel
def _total_weight(q: Representation, obs: Index, highest: float, now: Now) -> float:
    total = 0.0
    for action in range(n_actions(q, obs)):
        total += _weight(q, obs, action, highest, now)
    return total


@kernel
def boltzmann(q: Representation, obs: Index, now: Now) -> int:
    """Proportionally to exp(Q(s, a) / τ). Sutton and Barto (2018), equation 2.11; Watkins (1989)."""
    highest = largest(q, obs)
    left = uniform(now.generator) * _total_weight(q, obs, highest, now)
    for action in range(n_actions(q, obs) - 1):
        left -= _weight(q, obs, action, highest, now)
        if left < 0.0:
            return action
    return choice_of(q, obs, n_choices(q, obs) - 1)


@kernel
def boltzmann_probability(q: Representation, obs: Index, action: Index, now: Now) -> float:
    """exp(Q(s, a) / τ) / Σ_b exp(Q(s, b) / τ)."""
    highest = largest(q, obs)
    return _weight(q, obs, action, highest, now) / _total_weight(q, obs, highest, now)


@kernel
def boltzmann_expected(q: Representation, obs: Index, now: Now) -> float:
    """Σ_a π(a | s) Q(s, a)."""
    highest, total = largest(q, obs), 0.0
    for action in range(n_actions(q, obs)):
        total += _weight(q, obs, action, highest, now) * value(q, obs, action)
    return total / _total_weight(q, obs, highest, now)


@kernel
def ucb(q: Representation, obs: Index, now: Now) -> int:
    """Argmax Q(s, a) + c √(ln N(s) / N(s, a)), untried ones first. Auer et al. (2002); Sutton and Barto, eq. 2.10."""
    row, n, total = feature(q, obs, 0), n_actions(q, obs), 0
    for action in range(n):
        if is_allowed(q, obs, action):
            if now.visits[row, action] == 0:
                return action
            total += now.visits[row, action]
    best, highest, log = choice_of(q, obs, 0), -math.inf, math.log(total)
    for action in range(n):
        if is_allowed(q, obs, action):
            bound = value(q, obs, action) + now.level * math.sqrt(log / now.visits[row, action])
            if bound > highest:
                best, highest = action, bound
    return best


@kernel
def ucb_probability(q: Representation, obs: Index, action: Index, now: Now) -> float:
    """1 for its choice."""
    return 1.0 * (action == ucb(q, obs, now))


@kernel
def ucb_expected(q: Representation, obs: Index, now: Now) -> float:
    """The value of its choice."""
    return value(q, obs, ucb(q, obs, now))


def find_behavior(config: TabularConfig) -> Behavior:
    """The kernels of a configuration."""
    best = random_best if config.random_ties else first_best
    if config.exploration == "boltzmann":
        return Behavior(boltzmann, best, boltzmann_probability, boltzmann_expected)
    if config.exploration == "ucb":
        return Behavior(ucb, best, ucb_probability, ucb_expected)
    if config.random_ties:
        return Behavior(epsilon_greedy_random, best, epsilon_probability_random, epsilon_expected)
    return Behavior(epsilon_greedy, best, epsilon_probability, epsilon_expected)
