"""Numba. What an update of a learner that waits is made of: what its window stores, and each return, term by term."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bellmax.contracts import Json
from bellmax.recording.table_parts import TableUpdate, action_of, cell_of, changed_cells, copy_of, first_row
from bellmax.recording.td_terms import moved
from bellmax.recording.window import MOST_ROWS, Part, Phase, shown, term
from bellmax.tabular.action_values import change, greedy, largest, value
from bellmax.tabular.agent import step_size_after
from bellmax.tabular.multistep import FIRST, HELD, StepWindow, pop, push
from bellmax.tabular.representation import Representation

N_STEP = "target = memory.reward[i] + memory.discount[i] * target"
SIGMA = "target = memory.reward[i] + memory.discount[i] * (expected + correction)"
CHANGED = "change(q, memory.obs[i], memory.action[i], memory.step_size[i] * error)"


class Return(NamedTuple):
    """A return that one pair moves toward: its number, the terms of its equation, and more numbers by name."""

    target: float
    equation: tuple[Part, ...]
    more: dict[str, Json]


def places(window: StepWindow) -> list[int]:
    """Return where the transitions of a window stand, the oldest first."""
    n = window.obs.shape[0]
    return [(int(window.cursor[FIRST]) + k) % n for k in range(int(window.cursor[HELD]))]


def store_phase(update: TableUpdate, window: StepWindow, size: int, code: str) -> Phase:
    """Return the phase in which the transition is stored in the window."""
    held = places(window)
    last = held[-1]
    values: dict[str, Json] = {
        "index": last, "held": len(held), "size": size,
        "obs": [cell_of(update.q, int(window.obs[i])) for i in held[-MOST_ROWS:]],
        "actions": [action_of(update.order, int(window.obs[i]), int(window.action[i])) for i in held[-MOST_ROWS:]],
        "rewards": shown(window.reward[held[-MOST_ROWS:]]), "discounts": shown(window.discount[held[-MOST_ROWS:]]),
        "step_sizes": shown(window.step_size[held[-MOST_ROWS:]]),
    }  # fmt: skip
    return Phase("store", values, code=code)


def pair_phases(update: TableUpdate, q: Representation, window: StepWindow, made: Return, code: str) -> list[Phase]:
    """Return the target and the update of the oldest pair of a window; `q` is moved, as the kernel moves it."""
    i = int(window.cursor[FIRST])
    obs, action, alpha = int(window.obs[i]), int(window.action[i]), float(window.step_size[i])
    old, target = float(value(q, obs, action)), made.target
    error = target - old
    change(q, obs, action, alpha * error)
    new = float(value(q, obs, action))
    name = {"obs": cell_of(q, obs), "action": action_of(update.order, obs, action)}
    values: dict[str, Json] = {**name, "target": target, "q": old, "td_error": error, **made.more}
    after: dict[str, Json] = {**name, "step_size": alpha, "td_error": error, "q_before": old, "q_after": new}
    return [
        Phase("target", values, made.equation, code), Phase("update", after, moved(old, new, alpha, target), CHANGED)
    ]  # fmt: skip


def window_phases(
    update: TableUpdate, window: StepWindow, make: Callable[[Representation, StepWindow], Return], code: str
) -> list[Phase]:
    """Return the phases of a learner with a window: store, then target and update of each pair that is due."""
    phases = [store_phase(update, window, int(window.obs.shape[0]), "push(memory, step)")]
    q, n, over, pairs = copy_of(update.q), window.obs.shape[0], bool(update.step.over), 0
    while int(window.cursor[HELD]) == n or (over and int(window.cursor[HELD]) > 0):
        made = make(q, window)
        both = pair_phases(update, q, window, made, code)
        phases += both if pairs < MOST_ROWS else []
        pop(window)
        pairs += 1
    if not pairs:
        return [*phases, Phase("wait", {"held": int(window.cursor[HELD]), "size": n})]
    last = phases[-1]
    more = {"n_pairs": pairs, "kernel_td_error": update.td_error}
    cells = changed_cells(update.q, update.new_q, update.order)
    return [*phases[:-1], last._replace(values={**last.values, **more, **cells})]


def rewards_of(window: StepWindow) -> tuple[Part, ...]:
    """Return the rewards and the product of the discounts of a window, as the beginning of an n-step return."""
    held = places(window)
    product = float(np.prod(window.discount[held]))
    return (
        "Σ γᵏ ·", term("r", "rewards, the oldest first", window.reward[held]), "+",
        term("γⁿ", "product of the discounts, 0 after the end of an episode", product), "·",
    )  # fmt: skip


def n_step_sarsa_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of n-step SARSA."""
    step, window = update.step, copy_of(update.memory)
    push(window, step)

    def make(q: Representation, window: StepWindow) -> Return:
        following = float(value(q, step.next_obs, step.next_action))
        target, returns = following, []
        for i in reversed(places(window)):
            target = float(window.reward[i]) + float(window.discount[i]) * target
            returns.append(target)
        equation = (
            term("G", "n-step return", target), "=", *rewards_of(window),
            term("Q(s′, a′)", "bootstrap value: of the action that is taken next", following),
        )  # fmt: skip
        return Return(target, equation, {"bootstrap": following, "returns": shown(returns[::-1])})

    return window_phases(update, window, make, N_STEP)


def q_sigma_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of Q(σ) and of tree backup, which is Q(σ) with σ = 0."""
    step, window, options = update.step, copy_of(update.memory), update.options
    behavior, now = update.learner.behavior, update.draws()
    i = int(push(window, step))
    window.probability[i] = window.next_probability[0]
    window.next_probability[0] = behavior.probability(update.q, step.next_obs, step.next_action, now)

    def expected(q: Representation, obs: int) -> float:
        return float(largest(q, obs) if options.greedy else behavior.expected(q, obs, now))

    def share(q: Representation, obs: int, action: int) -> float:
        if options.greedy:
            return 1.0 * (action == int(greedy(q, obs)))
        return float(behavior.probability(q, obs, action, now))

    def make(q: Representation, window: StepWindow) -> Return:
        held = places(window)
        last = held[-1]
        following = expected(q, int(step.next_obs))
        target = float(window.reward[last]) + float(window.discount[last]) * following
        returns, weights, means, values = [target], list[float](), [following], list[float]()
        for i, j in zip(held[-2::-1], held[:0:-1], strict=True):
            obs, action = int(window.obs[j]), int(window.action[j])
            policy = share(q, obs, action)
            ratio = policy / float(window.probability[j])
            weight = options.sigma * ratio + (1.0 - options.sigma) * policy
            values.append(float(value(q, obs, action)))
            correction = weight * (target - values[-1])
            means.append(expected(q, obs))
            target = float(window.reward[i]) + float(window.discount[i]) * (means[-1] + correction)
            returns.append(target)
            weights.append(weight)
        lists = {"returns": returns[::-1], "weights": weights[::-1], "expected": means[::-1], "values": values[::-1]}
        first = held[0]
        equation: tuple[Part, ...] = (
            term("G", "return", target), "=", term("r", "reward", window.reward[first]), "+",
            term("γ", "discount", window.discount[first]), "· (", term("V(s′)", "mean under the target policy",
            means[-1]),
        )  # fmt: skip
        if weights:
            equation += (
                "+", term("σρ′ + (1 − σ)π", "weight of the return that follows", weights[-1]), "· (",
                term("G′", "return that follows", returns[-2]), "−", term("Q(s′, a′)", "value", values[-1]), "))",
            )  # fmt: skip
        else:
            equation += (")",)
        return Return(target, equation, {name: shown(numbers) for name, numbers in lists.items()})

    return window_phases(update, window, make, SIGMA)


def monte_carlo_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of Monte Carlo: store; at the end of the episode the return of each pair's first visit."""
    step, memory = update.step, copy_of(update.memory)
    window, q = memory.window, copy_of(update.q)
    row = first_row(q, int(step.obs))
    i = int(push(window, step))
    if memory.first[row, step.action] < 0:
        memory.first[row, step.action] = i
    phases = [store_phase(update, window, int(window.obs.shape[0]), "i = push(window, step)")]
    if not (step.over or int(window.cursor[HELD]) == window.obs.shape[0]):
        return [*phases, Phase("wait", {"held": int(window.cursor[HELD]), "until": "the end of the episode"})]
    target = following = float(value(q, step.next_obs, step.next_action))
    pairs: list[Json] = []
    for k in range(int(window.cursor[HELD]) - 1, -1, -1):
        obs, action = int(window.obs[k]), int(window.action[k])
        target = float(window.reward[k]) + float(window.discount[k]) * target
        row = first_row(q, obs)
        if memory.first[row, action] == k:
            alpha = float(step_size_after(int(memory.returns[row, action]), update.now.rates))
            old = float(value(q, obs, action))
            change(q, obs, action, alpha * (target - old))
            pairs.append({
                "obs": cell_of(q, obs), "action": action_of(update.order, obs, action), "step": k, "return": target,
                "step_size": alpha, "td_error": target - old, "q_before": old, "q_after": float(value(q, obs, action)),
            })  # fmt: skip
    steps = list(range(int(window.cursor[HELD])))
    equation: tuple[Part, ...] = (
        term("G₀", "return from the first step of the episode", target), "= Σ γᵏ ·",
        term("r", "rewards, the oldest first", window.reward[steps[:MOST_ROWS]]),
        "+", term("γⁿ", "product of the discounts", float(np.prod(window.discount[steps]))), "·",
        term("Q(s′, a′)", "value where the episode was cut off", following),
    )  # fmt: skip
    values: dict[str, Json] = {
        "steps": len(steps),
        "bootstrap": following,
        "first_visits": len(pairs),
        "target": target,
    }
    after: dict[str, Json] = {"pairs": pairs[:MOST_ROWS], "n_pairs": len(pairs), "kernel_td_error": update.td_error}
    cells = changed_cells(update.q, update.new_q, update.order)
    return [
        *phases, Phase("target", values, equation, "target = window.reward[k] + window.discount[k] * target"),
        Phase("update", {**after, **cells}, code="change(q, obs, action, alpha * error)"),
    ]  # fmt: skip
