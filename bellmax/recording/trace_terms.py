"""Numba. What an update of a learner with eligibility traces is made of: the error, the traces, all pairs that move."""

from __future__ import annotations

import numpy as np

from bellmax.contracts import Json
from bellmax.recording.table_parts import TableUpdate, action_of, cell_json, changed_cells, copy_of, n_active_of, q_row
from bellmax.recording.td_terms import GREEDY, NEXT, discounted, visits_of
from bellmax.recording.window import MOST_ROWS, Part, Phase, term
from bellmax.tabular.action_values import largest, value
from bellmax.tabular.agent import step_size_after
from bellmax.tabular.representation import table_of
from bellmax.tabular.traces import Trace, mark, visit

LEARN = "add(q, row, action, alpha * share * trace.level[i])"


def listed_traces(update: TableUpdate, trace: Trace) -> list[Json]:
    """Return the listed weights and their traces, the largest first."""
    n = int(trace.length[0])
    order = np.argsort(-np.abs(trace.level[:n]), kind="stable")[:MOST_ROWS].tolist()
    return [
        cell_json(update.order, int(trace.row[i]), int(trace.action[i]), trace=float(trace.level[i])) for i in order
    ]


def error_phase(update: TableUpdate, bootstrap: tuple[str, str, float], code: str, **more: Json) -> Phase:
    """Return the phase of the error `δ = r + γ bootstrap - Q(s, a)`; `bootstrap` is a symbol, words and a number."""
    step, (symbol, words, following) = update.step, bootstrap
    old = float(value(update.q, step.obs, step.action))
    target = step.reward + step.discount * following
    values: dict[str, Json] = {
        "reward": float(step.reward), "discount": float(step.discount), "bootstrap": following, "target": target,
        "next_q": q_row(update.q, int(step.next_obs), update.order), "q": old, "td_error": target - old,
        "visits": visits_of(update), "step_size": float(step.step_size), **more,
    }  # fmt: skip
    _, *rest = discounted(step.reward, step.discount, target)
    equation: tuple[Part, ...] = (
        term("δ", "TD error", target - old), *rest, term(symbol, words, following), "−",
        term("Q(s, a)", "value before", old),
    )  # fmt: skip
    return Phase("target", values, equation, code)


def trace_phase(update: TableUpdate, raised: Trace, code: str) -> Phase:
    """Return the phase in which the trace of the present pair rises."""
    values: dict[str, Json] = {"traces": listed_traces(update, raised), "length": int(raised.length[0])}
    rise = "= 1" if getattr(update.options, "replacing", False) else "rises"
    return Phase("trace", {**values, "rule": rise}, code=code)


def all_pairs_phase(update: TableUpdate, used: Trace, error: float, code: str = LEARN) -> Phase:
    """Return the phase in which every pair with a trace moves by its own step size, its trace and the error."""
    share, old, new = error / n_active_of(update.q), table_of(update.q), table_of(update.new_q)
    n = int(used.length[0])
    pairs: list[Json] = []
    for i in np.argsort(-np.abs(used.level[:n]), kind="stable")[:MOST_ROWS].tolist():
        row, column = int(used.row[i]), int(used.action[i])
        alpha = float(step_size_after(int(update.now.visits[row, column]) - 1, update.now.rates))
        numbers = {"step_size": alpha, "trace": float(used.level[i]), "before": float(old[row, column])}
        pairs.append(cell_json(update.order, row, column, **numbers, after=float(new[row, column])))
    s, a = update.step.obs, update.step.action
    before, after = (float(value(q, s, a)) for q in (update.q, update.new_q))
    values: dict[str, Json] = {
        "pairs": pairs, "n_pairs": n, "error": error, "share": share, "q_before": before, "q_after": after,
        "kernel_td_error": update.td_error, **changed_cells(update.q, update.new_q, update.order),
    }  # fmt: skip
    equation: tuple[Part, ...] = ()
    place = int(used.place[update.step.obs, a]) if n_active_of(update.q) == 1 else -1
    if place >= 0:
        alpha = float(step_size_after(int(update.now.visits[s, a]) - 1, update.now.rates))
        equation = (
            term("Q(s, a)", "value after", after), "=", term("Q(s, a)", "value before", before), "+",
            term("α", "step size", alpha), "·", term("δ", "TD error", error), "·",
            term("e(s, a)", "trace of the present pair", float(used.level[place])),
        )  # fmt: skip
    return Phase("update", values, equation, code)


def fade_phase(update: TableUpdate, cut: bool = False) -> Phase:
    """Return the phase in which all traces fall by γλ, or end."""
    step, gamma = update.step, float(update.now.rates.gamma)
    decay, ended = float(update.options.decay), bool(step.over) or cut
    why = "the episode ended" if step.over else "the next action explores" if cut else ""
    values: dict[str, Json] = {
        "factor": 0.0 if ended else gamma * decay, "gamma": gamma, "lambda": decay, "ended": ended, "why": why,
        "traces": listed_traces(update, update.new_memory), "length": int(update.new_memory.length[0]),
    }  # fmt: skip
    factor = (term("γλ", "decay of a trace", gamma * decay),) if not ended else (term("0", why, 0.0),)
    return Phase("fade", values, ("e ← e ·", *factor), "trace.level[i] *= factor")


def following_of(update: TableUpdate) -> tuple[str, str, float]:
    """Return the bootstrap of SARSA's error."""
    step = update.step
    number = float(value(update.q, step.next_obs, step.next_action))
    return "Q(s′, a′)", "bootstrap value: of the action that is taken next", number


def best_of(update: TableUpdate) -> tuple[str, str, float]:
    """Return the bootstrap of Q-learning's error."""
    number = float(largest(update.q, update.step.next_obs))
    return "max Q(s′, a)", "bootstrap value: the largest value of the next observation", number


def visited(update: TableUpdate) -> Trace:
    """Return the traces after the present pair was visited."""
    trace: Trace = copy_of(update.memory)
    visit(update.q, trace, update.step.obs, update.step.action, update.options)
    return trace


def sarsa_lambda_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of SARSA(λ)."""
    step, raised = update.step, visited(update)
    bootstrap = following_of(update)
    error = step.reward + step.discount * bootstrap[2] - float(value(update.q, step.obs, step.action))
    name = action_of(update.order, int(step.next_obs), int(step.next_action))
    return [
        error_phase(update, bootstrap, NEXT, next_action=name),
        trace_phase(update, raised, "visit(q, memory, step.obs, step.action, options)"),
        all_pairs_phase(update, raised, error), fade_phase(update),
    ]  # fmt: skip


def watkins_q_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of Watkins' Q(λ)."""
    step, raised = update.step, visited(update)
    bootstrap = best_of(update)
    error = step.reward + step.discount * bootstrap[2] - float(value(update.q, step.obs, step.action))
    follows = float(value(update.q, step.next_obs, step.next_action)) == bootstrap[2]
    name = action_of(update.order, int(step.next_obs), int(step.next_action))
    return [
        error_phase(
            update, bootstrap, "td_error = step.reward + step.discount * best - value(q, step.obs, step.action)",
            next_action=name, next_is_best=follows,
        ),
        trace_phase(update, raised, "visit(q, memory, step.obs, step.action, options)"),
        all_pairs_phase(update, raised, error), fade_phase(update, cut=not follows),
    ]  # fmt: skip


def peng_q_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of Peng's Q(λ): an error for the pairs before, another one for the present pair."""
    step, bootstrap = update.step, best_of(update)
    target = step.reward + step.discount * bootstrap[2]
    top = float(largest(update.q, step.obs))
    own, along = target - float(value(update.q, step.obs, step.action)), target - top
    error = error_phase(update, bootstrap, GREEDY, along=along, best=top)
    moved = all_pairs_phase(update, update.memory, along, "learn(q, memory, along, now)")
    more: dict[str, Json] = {"own_error": own, "step_size": float(step.step_size)}
    equation: tuple[Part, ...] = (
        term("δ̃", "error of the pairs before", along), "=", term("y", "target", target), "−",
        term("max Q(s, ·)", "largest value of this observation", top),
    )  # fmt: skip
    return [
        error._replace(code="target = step.reward + step.discount * largest(q, step.next_obs)"),
        moved._replace(values={**moved.values, **more}, equation=equation),
        trace_phase(update, after_rise(update), "memory.level[mark(memory, row, step.action)] += 1.0"),
        fade_phase(update),
    ]


def after_rise(update: TableUpdate) -> Trace:
    """Return Peng's traces after the present pair's rose by 1."""
    trace: Trace = copy_of(update.memory)
    for row in active_rows(update):
        trace.level[int(mark(trace, row, int(update.step.action)))] += 1.0
    return trace


def active_rows(update: TableUpdate) -> list[int]:
    """Return the rows of the table that are active in the present observation."""
    active = getattr(update.q, "active", None)
    obs = int(update.step.obs)
    return [obs] if active is None else [int(row) for row in active[obs]]


def true_online_phases(update: TableUpdate) -> list[Phase]:
    """Return the phases of true online SARSA(λ): its dutch trace, and the correction by the last value."""
    step, trace, n = update.step, copy_of(update.memory), n_active_of(update.q)
    a, alpha = int(step.action), float(step.step_size) / n
    overlap = 0.0
    for row in active_rows(update):
        place = int(trace.place[row, a])
        overlap += float(trace.level[place]) if place >= 0 else 0.0
    for row in active_rows(update):
        trace.level[int(mark(trace, row, a))] += alpha * (1.0 - overlap)
    present, following = float(value(update.q, step.obs, a)), following_of(update)
    error = step.reward + step.discount * following[2] - present
    drift = present - float(update.memory.old_value[0])
    phase = all_pairs_phase(update, trace, error + drift, "(td_error + drift) * memory.level[i]")
    equation: tuple[Part, ...] = (
        term("Q(s, a)", "value after", float(value(update.new_q, step.obs, a))), "=",
        term("Q(s, a)", "value before", present), "+ (", term("δ", "TD error", error), "+",
        term("Q − Q_old", "drift since the step before", drift), ") ·",
        term("e(s, a)", "trace, with the step size in it", float(trace.level[trace.place[active_rows(update)[0], a]])),
        "−", term("α", "step size", alpha), "·", term("Q − Q_old", "drift", drift),
    )  # fmt: skip
    more: dict[str, Json] = {"drift": drift, "old_value": float(update.memory.old_value[0]), "overlap": overlap}
    name = action_of(update.order, int(step.next_obs), int(step.next_action))
    return [
        error_phase(update, following, "td_error = step.reward + step.discount * following - present",
                    next_action=name),
        trace_phase(
            update, trace, "memory.level[mark(memory, feature(q, step.obs, k), step.action)] += alpha * (1.0 - overlap)"
        ),
        phase._replace(values={**phase.values, **more, "step_size": alpha}, equation=equation),
        fade_phase(update),
    ]  # fmt: skip
