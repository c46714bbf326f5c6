"""A network of your own: Fourier features and any Equinox module behind them.

    bellmax train CartPole-v1 --agent dqn --steps 20000 network=my_network:Waves
    python my_network.py

`network=` takes whatever `make(space, widths, normalization, key)` returns: an `eqx.Module` from ONE observation to
features [F]. Its arrays of real numbers are trained, saved and loaded; functions and plain numbers in it stay.
The head behind it (dueling, noisy, quantiles, ...) and the memory cell are bellmax's.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import bellmax as bx
from bellmax.extend import flat, flat_size


class Waves(eqx.Module):
    """sin and cos of random projections, then an MLP. Tancik et al. (2020), "Fourier features"."""

    projection: jax.Array
    layers: eqx.nn.Sequential
    scale: float
    space: tuple = eqx.field(static=True)

    def __init__(self, space, widths, normalization, key):
        k_waves, k_layers = jax.random.split(key)
        width = widths[-1] if widths else 64
        self.projection = jax.random.normal(k_waves, (16, flat_size(space)))
        mlp = eqx.nn.MLP(32, width, width, depth=1, activation=jax.nn.silu, key=k_layers)
        self.layers = eqx.nn.Sequential([eqx.nn.Lambda(jnp.tanh), mlp, eqx.nn.Lambda(jax.nn.silu)])
        self.scale, self.space = 1.5, space

    def __call__(self, obs):
        """One observation to features [F]."""
        angle = self.scale * jax.lax.stop_gradient(self.projection) @ flat(self.space, obs)
        return self.layers(jnp.concatenate([jnp.sin(angle), jnp.cos(angle)]))


if __name__ == "__main__":
    run = bx.train("CartPole-v1", "dqn", steps=20_000, network="my_network:Waves")
    print(run)
