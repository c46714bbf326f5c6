"""Learning through a memory cell as it ships, against a loop over the sequence in NumPy and float64."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import bellmax as bx
from bellmax.contracts import Box, Experience, Masked, Transition
from bellmax.deep.building import build_network
from bellmax.deep.sequences import batch_of_sequences
from bellmax.keys import make_key
from bellmax.networks.packing import to_named

SIZE, ACTIONS, BATCH = 5, 3, 4
SPACE = Box((3,))
CONFIG = bx.DQN(
    recurrent="lstm", sequence_length=5, burn_in=3, n_steps=2, double=True, priority_eta=0.8, gamma=0.9,
    net_arch=(SIZE,), normalization="none", learning_starts=1_000,
)  # fmt: skip
LENGTH = CONFIG.window
Named = dict[str, np.ndarray]


def sequences() -> tuple[Experience, np.ndarray]:
    """Random ones, with ends of both kinds in the burn-in and after it, a stored state, masks; and weights."""
    rng = np.random.default_rng(3)
    obs, after = rng.normal(size=(2, BATCH, LENGTH, 3)).astype(np.float32)
    masks = rng.random((2, BATCH, LENGTH, ACTIONS)) < 0.7
    masks[~masks.any(axis=-1)] = True
    action = rng.integers(0, ACTIONS, (BATCH, LENGTH)).astype(np.int32)
    reward = rng.normal(size=(BATCH, LENGTH)).astype(np.float32)
    over, discount = np.zeros((BATCH, LENGTH), np.int32), np.full((BATCH, LENGTH), 0.9, np.float32)
    for k, (step, terminated) in enumerate([(1, True), (5, True), (4, False), (2, False)]):
        over[k, step] = 1
        discount[k, step] = 0.0 if terminated else 0.9
    carry = tuple(rng.normal(size=(2, BATCH, LENGTH, SIZE)).astype(np.float32))
    steps = Transition(Masked(obs, masks[0]), action, reward, discount, Masked(after, masks[1]))
    return Experience(steps, over, carry), rng.uniform(0.2, 2.0, BATCH).astype(np.float32)


def shipped(config: Any) -> tuple[Named, Named, Any, Any, Any]:
    """(parameters, the target network's, losses, priorities, gradient) of the sequences."""
    built = build_network(config, config.method(), Masked(SPACE, Box((ACTIONS,), "bool")), ACTIONS)
    params, frozen = built.fresh(make_key(1)) * 3.0, built.fresh(make_key(2)) * 3.0
    batch, weight = jax.tree.map(jnp.asarray, sequences())

    def losses(params: Any) -> Any:
        net, target_net = built.network(params, None), built.network(frozen, None)
        total, priority, _ = batch_of_sequences(
            config, config.method().loss, net, target_net, batch, weight, jnp.zeros((BATCH, config.sequence_length, 0))
        )
        return jnp.sum(total), (total, priority)

    gradient, (total, priority) = jax.jit(jax.grad(losses, has_aux=True))(params)
    named = [{k: np.asarray(v, np.float64) for k, v in to_named(built.module(p)).items()} for p in (params, frozen)]
    return *named, total, priority, to_named(built.module(gradient))


def cell(p: Named, carry: Any, x: np.ndarray) -> Any:
    z = p["cell.kernel.weight"] @ np.concatenate([x, carry[0]]) + p["cell.kernel.bias"]
    i, f, g, o = np.split(z, 4)
    c = expit(f) * carry[1] + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(c), c


def head(p: Named, h: np.ndarray) -> np.ndarray:
    names = [f"head.advantage.layers.{k}" for k in (0, 1)]
    hidden = np.maximum(p[f"{names[0]}.weight"] @ h + p[f"{names[0]}.bias"], 0.0)
    return p[f"{names[1]}.weight"] @ hidden + p[f"{names[1]}.bias"]


def unrolled(now: Named, in_burn_in: Named, sequence: Experience, burn_in: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of each observation [L, A], and of the one in which its step ended; `now` counts after the burn-in."""
    steps, carry = sequence.transition, tuple(part[0].astype(np.float64) for part in sequence.carry)
    q, following = np.zeros((2, LENGTH, ACTIONS))
    for t in range(LENGTH):
        p = in_burn_in if t < burn_in else now
        carry = cell(p, carry, steps.obs.obs[t].astype(np.float64))
        q[t] = head(p, carry[0])
        following[t] = head(p, cell(p, carry, steps.next_obs.obs[t].astype(np.float64))[0])
        if sequence.over[t]:
            carry = (np.zeros(SIZE), np.zeros(SIZE))
    return q, following


def targets(config: Any, sequence: Experience, chooser: np.ndarray, judge: np.ndarray) -> np.ndarray:
    """Of each step [L]: the n-step return, cut by the episode's end and the sequence's, then the double estimate."""
    steps, found = sequence.transition, np.zeros(LENGTH)
    for t in range(LENGTH):
        product = 1.0
        for k in range(t, min(t + config.n_steps, LENGTH)):
            found[t] += product * steps.reward[k]
            product *= steps.discount[k]
            if sequence.over[k]:
                break
        allowed = np.where(steps.next_obs.mask[k], chooser[k], -np.inf)
        found[t] += product * judge[k, np.argmax(allowed)]
    return found


@pytest.mark.parametrize("burn_in", [3, 0])
def test_loss_priority_and_gradient(burn_in: int) -> None:
    config = CONFIG if burn_in else bx.DQN(**{**vars(CONFIG), "burn_in": 0, "sequence_length": LENGTH})
    params, frozen, losses, priorities, gradient = shipped(config)
    (batch, weight), total = sequences(), np.zeros(BATCH)
    expected = {name: np.zeros_like(array) for name, array in params.items()}
    places = {name: [(0,) * array.ndim, tuple(n // 2 for n in array.shape)] for name, array in params.items()}
    for b in range(BATCH):
        sequence = jax.tree.map(lambda x, b=b: x[b], batch)
        now, after = unrolled(params, params, sequence, burn_in)
        aim = targets(config, sequence, after, unrolled(frozen, frozen, sequence, burn_in)[1])
        actions = sequence.transition.action

        def loss(q: np.ndarray, aim: np.ndarray = aim, actions: np.ndarray = actions) -> tuple[float, np.ndarray]:
            errors = (aim - q[np.arange(LENGTH), actions])[burn_in:]
            return float(np.mean(errors**2)), np.abs(errors)

        total[b], errors = loss(now)
        np.testing.assert_allclose(losses[b], weight[b] * total[b], rtol=1e-4)
        np.testing.assert_allclose(priorities[b], 0.8 * errors.max() + 0.2 * errors.mean(), rtol=1e-4)
        for name, place in itertools.chain.from_iterable([(n, p) for p in ps] for n, ps in places.items()):
            moved = []
            for step in (1e-6, -1e-6):
                changed = {**params, name: params[name].copy()}
                changed[name][place] += step
                moved.append(loss(unrolled(changed, params, sequence, burn_in)[0])[0])
            expected[name][place] += weight[b] * (moved[0] - moved[1]) / 2e-6
    for name in params:
        for place in places[name]:
            np.testing.assert_allclose(gradient[name][place], expected[name][place], rtol=1e-3, atol=1e-4, err_msg=name)
