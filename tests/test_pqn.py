"""PQN's targets and loss as they ship, against the definition of λ-returns in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

import bellmax as bx
from bellmax.contracts import Box, Experience, Masked, Transition
from bellmax.keys import make_key

T, N, ACTIONS, LAMBDA = 5, 4, 3, 0.7


def lambda_returns(steps: Transition, over: np.ndarray, v: np.ndarray) -> np.ndarray:
    """G = r + γ ((1 - λ) v(s') + λ G'), from the end backwards; all weight is on v where the next step is not known."""
    found = np.zeros((T, N))
    for t in reversed(range(T)):
        for i in range(N):
            known = t < T - 1 and not over[t, i]
            onward = (1 - LAMBDA) * v[t, i] + LAMBDA * found[t + 1, i] if known else v[t, i]
            found[t, i] = steps.reward[t, i] + steps.discount[t, i] * onward
    return found


def test_the_loss_is_the_squared_distance_to_the_lambda_returns() -> None:
    config = bx.PQN(num_envs=N, train_freq=T, epochs=1, minibatches=1, lambda_=LAMBDA, net_arch=(8,), gamma=0.9)
    agent = config.make(Masked(Box((3,)), Box((ACTIONS,), "bool")), ACTIONS, 1_000)
    rng = np.random.default_rng(0)
    obs, after = rng.normal(size=(2, T, N, 3)).astype(np.float32)
    masks = rng.random((2, T, N, ACTIONS)) < 0.6
    masks[~masks.any(axis=-1)] = True
    over = rng.random((T, N)) < 0.4
    discount = np.where(over & (rng.random((T, N)) < 0.5), 0.0, 0.9).astype(np.float32)
    action, reward = rng.integers(0, ACTIONS, (T, N)).astype(np.int32), rng.normal(size=(T, N)).astype(np.float32)
    steps = Transition(Masked(obs, masks[0]), action, reward, discount, Masked(after, masks[1]))
    weight = (rng.random((T, N)) < 0.8).astype(np.float32)  # rows that are no experience count nothing
    batch = jax.tree.map(jnp.asarray, (Experience(steps, over.astype(np.int32)), weight))
    state = agent.init(make_key(0))
    values = jax.jit(jax.vmap(jax.vmap(lambda seen: agent.q_values(state, (), seen)[0])))
    q = np.take_along_axis(np.asarray(values(batch[0].transition.obs._replace(mask=jnp.ones_like(masks[0])))),
                           action[..., None], axis=-1)[..., 0]  # fmt: skip
    aim = lambda_returns(steps, over, np.asarray(values(batch[0].transition.next_obs)).max(axis=-1))
    trained, learned = jax.jit(agent.learn)(state, batch, make_key(1))
    np.testing.assert_allclose(learned.metrics["loss"], np.mean(weight * (aim - q) ** 2), rtol=1e-4)
    np.testing.assert_allclose(learned.metrics["q"], q.mean(), rtol=1e-4)
    assert trained.updates == 1
