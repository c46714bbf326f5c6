"""Plain Python. Of each agent with a table: the order of its phases, and what describes an update of it."""

from __future__ import annotations

from bellmax.recording import multistep_terms, planning_terms, td_terms, trace_terms
from bellmax.recording.table_parts import Describe
from bellmax.tabular import multistep, pac, planning, td, traces
from bellmax.tabular.agent import Update

LOOK = ("observe", "choose", "step", "look ahead")
FLOWS: list[tuple[Update, Describe, tuple[str, ...]]] = [
    (td.q_learning, td_terms.q_learning_phases, ("observe", "choose", "step", "target", "update")),
    (td.sarsa, td_terms.sarsa_phases, (*LOOK, "target", "update")),
    (td.expected_sarsa, td_terms.expected_sarsa_phases, ("observe", "choose", "step", "target", "update")),
    (td.double_q, td_terms.double_q_phases, ("observe", "choose", "step", "flip", "target", "update")),
    (td.speedy_q, td_terms.speedy_q_phases, ("observe", "choose", "step", "target", "update", "sync")),
    (multistep.n_step_sarsa, multistep_terms.n_step_sarsa_phases, (*LOOK, "store", "wait", "target", "update")),
    (multistep.q_sigma, multistep_terms.q_sigma_phases, (*LOOK, "store", "wait", "target", "update")),
    (multistep.monte_carlo, multistep_terms.monte_carlo_phases, (*LOOK, "store", "wait", "target", "update")),
    (traces.sarsa_lambda, trace_terms.sarsa_lambda_phases, (*LOOK, "target", "trace", "update", "fade")),
    (traces.true_online, trace_terms.true_online_phases, (*LOOK, "target", "trace", "update", "fade")),
    (traces.watkins_q, trace_terms.watkins_q_phases, (*LOOK, "target", "trace", "update", "fade")),
    (traces.peng_q, trace_terms.peng_q_phases, ("observe", "choose", "step", "target", "update", "trace", "fade")),
    (planning.dyna_q, planning_terms.dyna_q_phases, ("observe", "choose", "step", "target", "update", "model", "plan")),
    (planning.sweep, planning_terms.sweeping_phases, ("observe", "choose", "step", "target", "model", "queue", "plan")),
    (pac.r_max, planning_terms.r_max_phases, ("observe", "choose", "step", "target", "model", "plan")),
    (pac.delayed_q, planning_terms.delayed_q_phases, ("observe", "choose", "step", "target", "store", "update")),
]
OWN_FLOW = ("observe", "choose", "step", "look ahead", "update", "reset")


def describer(update: Update) -> Describe:
    """Return what describes an update by this kernel; of a kernel of your own, its error and what changed."""
    return next((describe for kernel, describe, _ in FLOWS if kernel is update), td_terms.own_phases)


def table_flow(update: Update, *, look_ahead: bool, from_data: bool) -> tuple[str, ...]:
    """Return the order of the phases of an agent with this kernel."""
    flow = next((names for kernel, _, names in FLOWS if kernel is update), ())
    if not flow:
        flow = OWN_FLOW[:-1] if look_ahead else ("observe", "choose", "step", "update")
    if from_data:
        return ("sample", *(name for name in flow if name not in ("observe", "choose", "step", "look ahead")))
    return (*flow, "reset")
