"""Numba. What an update of a one-step learner is made of: the target term by term, and the cell that changes."""

from __future__ import annotations

import numpy as np

from bellmax.contracts import Json
from bellmax.recording.table_parts import (
    TableUpdate,
    action_of,
    action_row,
    changed_cells,
    columns_of,
    first_row,
    n_active_of,
    q_row,
)
from bellmax.recording.window import Part, Phase, Term, shown, term
from bellmax.tabular.action_values import largest, value
from bellmax.tabular.kernel import random_bits
from bellmax.tabular.representation import with_table

GREEDY = "td_error = step.reward + step.discount * largest(q, step.next_obs) - value(q, step.obs, step.action)"
NEXT = (
    "td_error = step.reward + step.discount * value(q, step.next_obs, step.next_action) - "
    "value(q, step.obs, step.action)"
)
CHANGE = "change(q, step.obs, step.action, step.step_size * td_error)"


def target_phase(update: TableUpdate, target: float, end: tuple[Part, ...], code: str, **more: Json) -> Phase:
    """Return the phase of the target `y = r + γ · end`, and of its error."""
    step = update.step
    old = float(value(update.q, step.obs, step.action))
    values: dict[str, Json] = {
        "reward": float(step.reward), "discount": float(step.discount), "next_q": q_row(update.q, int(step.next_obs),
        update.order), "target": target, "q": old, "td_error": target - old, **more,
    }  # fmt: skip
    return Phase("target", values, (*discounted(step.reward, step.discount, target), *end), code)


def discounted(reward: float, discount: float, target: float) -> tuple[Part, ...]:
    """Return the beginning of the equation of a target: `y = r + γ ·`; γ is 0 where the episode terminated."""
    gamma = "discount" if discount else "discount, 0 because the episode terminated"
    return term("y", "target", target), "=", term("r", "reward", reward), "+", term("γ", gamma, discount), "·"


def update_phase(update: TableUpdate, target: float, code: str = CHANGE, **more: Json) -> Phase:
    """Return the phase in which one pair moves toward a target by its step size."""
    step = update.step
    old, new = (float(value(q, step.obs, step.action)) for q in (update.q, update.new_q))
    alpha = float(step.step_size)
    values: dict[str, Json] = {
        "step_size": alpha, "visits": visits_of(update), "td_error": target - old, "q_before": old, "q_after": new,
        "kernel_td_error": update.td_error, **tiles_of(update),
        **changed_cells(update.q, update.new_q, update.order), **more,
    }  # fmt: skip
    return Phase("update", values, moved(old, new, alpha, target), code)


def moved(old: float, new: float, alpha: float, target: float) -> tuple[Part, ...]:
    """Return the equation `Q(s, a) = Q(s, a) + α (y - Q(s, a))`."""
    before = term("Q(s, a)", "value before", old)
    return (
        term("Q(s, a)", "value after", new), "=", before, "+", term("α", "step size", alpha), "· (",
        term("y", "target", target), "−", before, ")",
    )  # fmt: skip


def visits_of(update: TableUpdate) -> int:
    """Return how often the pair was updated, with this time; of tiles, the first active one."""
    return int(update.now.visits[first_row(update.q, int(update.step.obs)), int(update.step.action)])


def tiles_of(update: TableUpdate) -> dict[str, Json]:
    """Return over how many tiles a change is spread; {} for a table."""
    return {"tilings": n_active_of(update.q)} if n_active_of(update.q) > 1 else {}


def q_learning_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of Q-learning."""
    step = update.step
    best = float(largest(update.q, step.next_obs))
    target = step.reward + step.discount * best
    bootstrap = (term("max Q(s′, a)", "bootstrap value: the largest value of the next observation", best),)
    return [target_phase(update, target, bootstrap, GREEDY, bootstrap=best), update_phase(update, target)]


def sarsa_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of SARSA."""
    step = update.step
    following = float(value(update.q, step.next_obs, step.next_action))
    target = step.reward + step.discount * following
    bootstrap = (term("Q(s′, a′)", "bootstrap value: of the action that is taken next", following),)
    name = action_of(update.order, int(step.next_obs), int(step.next_action))
    more: dict[str, Json] = {"next_action": name, "bootstrap": following}
    return [target_phase(update, target, bootstrap, NEXT, **more), update_phase(update, target)]


def expected_sarsa_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of Expected SARSA."""
    step, now, behavior = update.step, update.draws(), update.learner.behavior
    columns = columns_of(update.q, int(step.next_obs))
    shares = [float(behavior.probability(update.q, step.next_obs, column, now)) for column in columns]
    expected = float(behavior.expected(update.q, step.next_obs, now))
    target = step.reward + step.discount * expected
    numbers = action_row(update.q, int(step.next_obs))
    bootstrap = (
        "Σ", term("π(a | s′)", "probabilities of the behavior", shares), "·",
        term("Q(s′, a)", "values of the next observation", numbers),
    )  # fmt: skip
    code = "expected = behavior.expected(q, step.next_obs, now)"
    more: dict[str, Json] = {"probabilities": shown(shares), "bootstrap": expected}
    return [target_phase(update, target, bootstrap, code, **more), update_phase(update, target)]


def double_q_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of Double Q-learning: the flip of a coin, the target by the other table, two changes."""
    step, now = update.step, update.draws()
    coin = int(random_bits(now.generator) >> np.uint64(63))
    mine, other = with_table(update.q, update.memory.both[coin]), with_table(update.q, update.memory.both[1 - coin])
    best = int(update.learner.behavior.best(mine, step.next_obs, now))
    following = float(value(other, step.next_obs, best))
    target = step.reward + step.discount * following
    old = float(value(mine, step.obs, step.action))
    name, (one, two) = action_of(update.order, int(step.next_obs), best), (coin + 1, 2 - coin)
    flip = Phase(
        "flip", {"table": one, "other": two},
        code="coin = np.intp(random_bits(now.generator) >> np.uint64(63))",
    )  # fmt: skip
    values: dict[str, Json] = {
        "reward": float(step.reward), "discount": float(step.discount), "best_action": name, "bootstrap": following,
        "next_q": q_row(mine, int(step.next_obs), update.order), "target": target, "q": old, "td_error": target - old,
        "next_q_other": q_row(other, int(step.next_obs), update.order),
    }  # fmt: skip
    bootstrap = term(f"Q{'₁₂'[two - 1]}(s′, argmax Q{'₁₂'[one - 1]})", "value by the other table", following)
    equation = (*discounted(step.reward, step.discount, target), bootstrap)
    new = float(value(with_table(update.new_q, update.new_memory.both[coin]), step.obs, step.action))
    return [
        flip,
        Phase("target", values, equation, "best = behavior.best(mine, step.next_obs, now)"),
        update_phase(
            update, target, "change(mine, step.obs, step.action, step.step_size * td_error)",
            table=one, table_before=old, table_after=new,
        )._replace(equation=moved(old, new, float(step.step_size), target)),
    ]  # fmt: skip


def speedy_q_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of speedy Q-learning: two targets, the change of a first visit, and the end of a round."""
    step, memory = update.step, update.memory
    s, a = int(step.obs), int(step.action)
    now, before = (with_table(update.q, table) for table in (memory.present, memory.before))
    tops = [float(largest(table, step.next_obs)) for table in (now, before)]
    new, old = (step.reward + step.discount * top for top in tops)
    first, k = not bool(memory.visited[s, a]), int(memory.tally[0])
    alpha, present = 1.0 / (k + 1), float(memory.present[s, a])
    values: dict[str, Json] = {
        "reward": float(step.reward), "discount": float(step.discount), "target": new, "target_before": old,
        "bootstrap": tops[0], "bootstrap_before": tops[1], "round": k, "first_visit_of_the_round": first,
    }  # fmt: skip
    top = term("max Qₖ(s′, a)", "largest value by the table of this round", tops[0])
    phases = [
        Phase(
            "target", values, (*discounted(step.reward, step.discount, new), top),
            "new = step.reward + step.discount * largest(with_table(q, memory.present), step.next_obs)",
        )
    ]  # fmt: skip
    q_before, q_after = (float(value(q, s, a)) for q in (update.q, update.new_q))
    equation: tuple[Part, ...] = ()
    if first:
        share: Term = term("α", "1 / (k + 1)", alpha)
        held, older, newer = (
            term("Qₖ", "table of this round", present),
            term("T Qₖ₋₁", "target before", old),
            term("T Qₖ", "target", new),
        )
        equation = (
            term("Q(s, a)", "value after", q_after), "=", held, "+", share, "· (", older, "−", held, ") + (1 −", share,
            ") · (", newer, "−", older, ")",
        )  # fmt: skip
    more = changed_cells(update.q, update.new_q, update.order)
    numbers: dict[str, Json] = {"step_size": alpha, "q_before": q_before, "q_after": q_after, **more}
    numbers |= {"present": present, "kernel_td_error": update.td_error}
    phases.append(Phase("update", numbers, equation, SPEEDY))
    if int(update.new_memory.tally[0]) > k:
        phases.append(Phase("sync", {"round": k + 1, "visited": int(memory.visited.sum()) + first}, code=ROUND))
    return phases


SPEEDY = "change(q, s, a, present + alpha * (old - present) + (1.0 - alpha) * (new - old) - value(q, s, a))"
ROUND = "memory.before[s, a], memory.present[s, a] = memory.present[s, a], value(q, s, a)"


def own_phases(update: TableUpdate) -> list[Phase]:
    """Return the phase of an update that bellmax does not know: its error, and what changed."""
    step = update.step
    old, new = (float(value(q, step.obs, step.action)) for q in (update.q, update.new_q))
    values: dict[str, Json] = {
        "td_error": update.td_error, "step_size": float(step.step_size), "visits": visits_of(update), "q_before": old,
        "q_after": new, **changed_cells(update.q, update.new_q, update.order),
    }  # fmt: skip
    name = getattr(update.learner.update, "__name__", "update")
    return [Phase("update", values, code=f"{name}(q, memory, options, step, behavior, now)")]
