"""JAX and NumPy. One step of DQN in words and numbers: its own TD error by the target network, and what changed."""

from __future__ import annotations

import numpy as np

from bellmax.contracts import Json
from bellmax.playground.live_networks import CONFIG, LiveNetwork, NetworkState
from bellmax.playground.written_out import describe_changes

EQUATION = (
    "θ ← θ − step of Adam on the mean of [r + γ max_b Q(s′,b; θ⁻) − Q(s,a; θ)]² over a batch from the replay buffer"
)


def write_network(live: LiveNetwork, before: NetworkState) -> dict[str, Json]:
    """The step from `before`: the transition and its target, and Q before and after the gradient step on a batch."""
    seen = live.program.look(live.grid, live.numbers, before)
    after = live.program.run(live.grid, live.numbers, before, 1)[0]
    q, target_q = (np.asarray(each, np.float64) for each in live.program.values(before.learner))
    moved = np.asarray(live.program.values(after.learner)[0], np.float64)
    s, a, following = int(seen.obs), int(seen.action), int(seen.next_obs)
    gamma, best = float(live.numbers.gamma), float(target_q[following].max())
    target = float(seen.reward) + (0.0 if bool(seen.ends) else gamma * best)
    words = "largest value of the target network θ⁻"
    return {
        "agent": live.name,
        "equation": EQUATION,
        "step": int(before.time) + 1,
        "state": s,
        "action": a,
        "next_state": following,
        "reward": float(seen.reward),
        "gamma": gamma,
        "terminated": bool(seen.ends),
        "over": bool(seen.over),
        "alpha": float(live.numbers.rate),
        "table_number": 0,
        "terms": [{"symbol": "max_b Q(s′,b; θ⁻)", "value": best, "words": words}],
        "bootstrap": best,
        "q_before": float(q[s, a]),
        "target": target,
        "td_error": target - float(q[s, a]),
        "q_after": float(moved[s, a]),
        "planned": False,
        "learns": int(before.time) + 1 > CONFIG.learning_starts,
        "learning_starts": CONFIG.learning_starts,
        "batch": CONFIG.batch_size,
        **describe_changes(q, moved),
    }
