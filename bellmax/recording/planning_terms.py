"""Numba. What an update of a learner with a model is made of: the real update, the model's entry, each planned update.

The planned updates are found by the kernel itself, which is called again on copies with 0, 1, 2, ... of them.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from bellmax.contracts import Json
from bellmax.recording.table_parts import TableUpdate, action_of, changed_cells, copy_of
from bellmax.recording.td_terms import moved, q_learning_phases
from bellmax.recording.window import MOST_ROWS, Part, Phase, term
from bellmax.tabular.action_values import largest, value
from bellmax.tabular.agent import step_size_after
from bellmax.tabular.kernel import Generator, uniform
from bellmax.tabular.learned import LearnedModel, expected_target, outcomes_of
from bellmax.tabular.planning import Sweep
from bellmax.tabular.representation import Representation, table_of


class Planned(NamedTuple):
    """The state after a number of planned updates."""

    q: Representation
    memory: Any
    generator: Generator


def after_planning(update: TableUpdate, n: int) -> Planned:
    """Return the state after the real update and `n` planned ones."""
    learner, now = update.learner, update.draws()
    q, memory, options = copy_of(update.q), copy_of(update.memory), update.options._replace(n=n)
    learner.update(q, memory, options, update.step, learner.behavior, now)
    return Planned(q, memory, now.generator)


def named_pair(update: TableUpdate, pair: int) -> dict[str, Json]:
    """Return the state and the action of a pair of the model."""
    row, column = divmod(pair, table_of(update.q).shape[1])
    return {"state": row, "action": action_of(update.order, row, column)}


def outcomes_json(model: LearnedModel, pair: int) -> list[Json]:
    """Return what the model knows of a pair: next states, their mean rewards, and how often each was seen."""
    width = int(outcomes_of(model))
    slots = [k for k in range(pair * width, (pair + 1) * width) if model.successor[k] >= 0][:MOST_ROWS]
    return [
        {
            "next_state": int(model.successor[k]), "reward": float(model.reward[k]), "seen": int(model.seen[k]),
            "terminated": bool(model.ended[k]),
        } for k in slots
    ]  # fmt: skip


def model_phase(update: TableUpdate, before: LearnedModel, after: LearnedModel) -> Phase:
    """Return the phase in which the model counts the transition."""
    pair = int(update.step.obs) * table_of(update.q).shape[1] + int(update.step.action)
    values: dict[str, Json] = {
        **named_pair(update, pair), "before": outcomes_json(before, pair), "after": outcomes_json(after, pair),
        "visits": int(after.total[pair]), "known_pairs": int(after.size[0]), "clock": int(after.clock[0]),
    }  # fmt: skip
    return Phase("model", values, code="remember(q, memory, step)")


def dyna_q_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of Dyna-Q and Dyna-Q+: those of Q-learning, the model, and the planned updates."""
    n = int(update.options.n)
    states = [after_planning(update, k) for k in range(min(n, MOST_ROWS) + 1)]
    real = update._replace(new_q=states[0].q)
    plans: list[Json] = [imagined(update, before, after) for before, after in itertools.pairwise(states)]
    cells = changed_cells(states[0].q, update.new_q, update.order)
    values: dict[str, Json] = {"planned": plans, "n_planned": n, "kappa": float(update.options.kappa), **cells}
    return [
        *q_learning_phases(real), model_phase(update, update.memory, states[0].memory),
        Phase("plan", values, plan_equation(plans), "change(q, obs, action, alpha * (target - value(q, obs, action)))"),
    ]  # fmt: skip


def imagined(update: TableUpdate, before: Planned, after: Planned) -> dict[str, Json]:
    """Return one planned update of Dyna-Q: the pair and the outcome that were drawn, the target, the new value."""
    model, rates, generator = before.memory, update.now.rates, before.generator.copy()
    pair = int(model.known[int(uniform(generator) * int(model.size[0]))])
    obs, action = divmod(pair, table_of(update.q).shape[1])
    found: dict[str, Json] = named_pair(update, pair)
    if int(model.total[pair]) == 0:
        target = float(rates.gamma * largest(before.q, obs))
        found |= {"reward": 0.0, "next_state": obs, "never_tried": True}
    else:
        slot = pair * int(outcomes_of(model))
        left = int(uniform(generator) * int(model.total[pair])) - int(model.seen[slot])
        while left >= 0:
            slot += 1
            left -= int(model.seen[slot])
        following = 0.0 if model.ended[slot] else float(rates.gamma * largest(before.q, int(model.successor[slot])))
        target = float(model.reward[slot]) + following
        found |= {"reward": float(model.reward[slot]), "next_state": int(model.successor[slot])}
        found |= {"terminated": bool(model.ended[slot]), "following": following}
    if update.options.kappa > 0.0:
        waited = int(model.clock[0] - model.last[pair])
        bonus = float(update.options.kappa) * float(np.sqrt(np.float64(waited)))
        target += bonus
        found |= {"bonus": bonus, "steps_since_tried": waited}
    alpha = float(step_size_after(max(int(update.now.visits[obs, action]) - 1, 0), rates))
    old, new = (float(value(q, obs, action)) for q in (before.q, after.q))
    return {**found, "target": target, "step_size": alpha, "q_before": old, "q_after": new}


def plan_equation(plans: list[Json]) -> tuple[Part, ...]:
    """Return the equation of the first planned update; () if there is none."""
    first = plans[0] if plans else None
    if not isinstance(first, dict):
        return ()
    old, new, alpha, target = (float(first[name]) for name in ("q_before", "q_after", "step_size", "target"))
    return moved(old, new, alpha, target)


def queued(update: TableUpdate, memory: Sweep) -> list[Json]:
    """Return the queue, the most urgent pairs first."""
    pairs = memory.heap[: int(memory.size[0])]
    urgent = pairs[np.argsort(-memory.priority[pairs], kind="stable")][:MOST_ROWS].tolist()
    return [{**named_pair(update, pair), "priority": float(memory.priority[pair])} for pair in urgent]


def sweeping_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of prioritized sweeping: the model, the queue, and the planned updates in its order."""
    n = int(update.options.n)
    states = [after_planning(update, k) for k in range(min(n, MOST_ROWS) + 1)]
    first: Sweep = states[0].memory
    target = q_learning_phases(update)[0]
    plans: list[Json] = []
    for before, after in itertools.pairwise(states):
        if int(before.memory.size[0]) == 0:
            break
        pair = int(before.memory.heap[0])
        obs, action = divmod(pair, table_of(update.q).shape[1])
        goal = float(expected_target(before.q, before.memory.model, pair, update.now.rates.gamma))
        old, new = (float(value(q, obs, action)) for q in (before.q, after.q))
        plans.append({
            **named_pair(update, pair), "priority": float(before.memory.priority[pair]), "target": goal,
            "outcomes": outcomes_json(before.memory.model, pair), "q_before": old, "q_after": new,
            "queued": int(after.memory.size[0]),
        })  # fmt: skip
    queue: dict[str, Json] = {"queue": queued(update, first), "queued": int(first.size[0])}
    queue["threshold"] = float(update.options.least)
    cells = changed_cells(update.q, update.new_q, update.order)
    values: dict[str, Json] = {"planned": plans, "most": n, "queue": queued(update, update.new_memory), **cells}
    code = "change(q, obs, action, expected_target(q, model, pair, gamma) - value(q, obs, action))"
    return [
        target, model_phase(update, update.memory.model, first.model),
        Phase("queue", queue, code="pair = _take(memory)"), Phase("plan", values, expected_equation(plans), code),
    ]  # fmt: skip


def expected_equation(plans: list[Json]) -> tuple[Part, ...]:
    """Return the equation of the first expected update: `Q(s, a) = Σ p [r + γ max Q(s′, ·)]`; () if there is none."""
    first = plans[0] if plans else None
    if not isinstance(first, dict):
        return ()
    after, goal = float(first["q_after"]), float(first["target"])
    return term("Q(s, a)", "value after", after), "=", term("Σ p [r + γ max Q(s′, ·)]", "expected target", goal)


def r_max_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of R-max: the model, and value iteration in it when a pair has become known."""
    step, options = update.step, update.options
    visits = int(update.now.visits[step.obs, step.action])
    doublings = visits // int(options.visits)
    solved = visits % int(options.visits) == 0 and doublings & (doublings - 1) == 0
    cells = changed_cells(update.q, update.new_q, update.order)
    gap = np.abs(table_of(update.new_q) - table_of(update.q))
    values: dict[str, Json] = {
        "solved": solved, "visits": visits, "known_after": int(options.visits), "precision": float(options.precision),
        "largest_change": float(gap[np.isfinite(gap)].max(initial=0.0)), **cells,
    }  # fmt: skip
    code = "gap = expected_target(q, memory, pair, now.rates.gamma) - value(q, obs, action)"
    return [
        q_learning_phases(update)[0],
        model_phase(update, update.memory, update.new_memory), Phase("plan", values, code=code),
    ]  # fmt: skip


def delayed_q_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of delayed Q-learning: the target, the sum of targets, and a change after m of them."""
    step, options, old, new = update.step, update.options, update.memory, update.new_memory
    s, a = int(step.obs), int(step.action)
    target = q_learning_phases(update)[0]
    goal = float(step.reward + step.discount * largest(update.q, step.next_obs))
    learning, gathered = bool(old.learning[s, a]), int(old.gathered[s, a])
    total = float(old.total[s, a]) + (goal if learning else 0.0)
    store: dict[str, Json] = {
        "learning": learning, "gathered": gathered + learning, "needed": int(options.m), "total": total,
    }  # fmt: skip
    phases = [target, Phase("store", store, code="memory.total[s, a] += target")]
    before, after = (float(value(q, s, a)) for q in (update.q, update.new_q))
    attempted = learning and gathered + 1 == int(options.m)
    values: dict[str, Json] = {
        "attempted": attempted, "q_before": before, "q_after": after, "margin": float(options.margin),
        "learning_after": bool(new.learning[s, a]), "kernel_td_error": update.td_error,
        **changed_cells(update.q, update.new_q, update.order),
    }  # fmt: skip
    equation: tuple[Part, ...] = ()
    if attempted:
        mean = total / int(options.m)
        values |= {"mean": mean, "lower_by": before - mean}
        if before - mean >= 2.0 * float(options.margin):
            equation = (
                term("Q(s, a)", "value after", after), "=", term("ȳ", "mean of the targets", mean), "+",
                term("ε₁", "margin", options.margin),
            )  # fmt: skip
    return [*phases, Phase("update", values, equation, DELAYED)]


DELAYED = "change(q, s, a, mean + options.margin - value(q, s, a))"
