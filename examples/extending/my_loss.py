"""A loss of your own with a network: HL-Gauss, regression by classification, and a metric of its own.

    bellmax train CartPole-v1 --agent my_loss:HLGauss --steps 20000 v_max=100
    python my_loss.py

The value is read from probabilities of bins, and trained by cross-entropy towards a Gaussian around the target:
Farebrother et al. (2024), "Stop regressing: training value functions via classification", section 3.1.

    p_i = Φ((e_{i+1} - y) / σ) - Φ((e_i - y) / σ),  y = r + γ max_b Q(s', b; θ⁻),  e the edges of the bins

It differs from C51 (`bellmax/deep/c51.py`) in the target: a scalar with a blur, not a distribution that is projected.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

import bellmax as bx
from bellmax.extend import Categorical, Method, bellman, distributions, setting


@dataclass(frozen=True, kw_only=True)
class HLGauss(bx.C51):
    """HL-Gauss: Farebrother et al. (2024)."""

    name: ClassVar[str] = "hl-gauss"

    blur: float = setting(0.75, "width σ of the Gaussian, in bins", low=0.01)

    def method(self) -> Method:
        """What the network gives for an action is a distribution on bins, whose mean is its value."""
        scale, look, atoms = self.scale, self.look(), self.atoms
        width = (self.v_max - self.v_min) / (self.n_atoms - 1)
        edges = jnp.linspace(self.v_min - width / 2, self.v_max + width / 2, self.n_atoms + 1)

        def loss(net, target_net, transition, weight, draws):
            """Return loss, priority and metrics of ONE transition; a metric is a column `train/...` of the history."""
            logits = bellman.value_of(net(transition.obs).logits, transition.action)
            reward, output_t, policy, bonus = look(net, target_net, transition)
            value = bellman.mean_under(policy, output_t.mean())
            y = jnp.clip(scale.back_up(reward, transition.discount, value, bonus), self.v_min, self.v_max)
            below = jax.scipy.stats.norm.cdf(edges, y, self.blur * width)
            target = jax.lax.stop_gradient(jnp.diff(below) / (below[-1] - below[0]))
            total = distributions.cross_entropy(target, logits)
            p = jax.nn.softmax(logits)
            metrics = {"q": p @ scale.natural(atoms), "entropy": -jnp.sum(p * jnp.log(p + 1e-8))}
            return weight * total, jnp.abs(y - p @ atoms), metrics

        return Method(
            lambda numbers: Categorical(numbers, scale.natural(atoms)), loss, n_outputs=self.n_atoms,
            bounds=(self.v_min, self.v_max), uses_scale=True,
        )  # fmt: skip


if __name__ == "__main__":
    run = bx.train("CartPole-v1", HLGauss(v_max=100.0), steps=20_000)
    print(run, run.history["train/entropy"])
