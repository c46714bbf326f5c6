"""JAX. Conservative Q-learning: Kumar et al. (2020), "Conservative Q-learning for offline RL", equation 4, CQL(H).

    L(θ) = the loss of the method + α E [ln Σ_b exp Q(s, b; θ) - Q(s, a; θ)]

It lowers the values of actions that are not in the data, and is added to the loss of any method by
`conservative_weight`.
"""

from __future__ import annotations

import jax

from bellmax import bellman
from bellmax.contracts import Array, Transition
from bellmax.deep.method import Method, Metrics, Net, Numbers, Out, mask_of


def conservative(method: Method[Numbers, Out], alpha: float) -> Method[Numbers, Out]:
    """Return the method with the conservative loss, of weight `alpha`, added to its own loss."""

    def loss(
        net: Net[Out], target_net: Net[Out], transition: Transition, weight: Array, draws: Array
    ) -> tuple[Array, Array, Metrics]:
        total, priority, metrics = method.loss(net, target_net, transition, weight, draws)
        q = method.values(net(transition.obs), mask_of(transition.obs))
        gap = jax.nn.logsumexp(q) - bellman.value_of(q, transition.action)
        return total + alpha * weight * gap, priority, {**metrics, "conservative_gap": gap}

    return method._replace(loss=loss)
