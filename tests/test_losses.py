"""The loss of each head as it ships, against NumPy in float64 and rlax, on given outputs, draws, masks and weights.

A network is a table of outputs for two observations, the one acted upon and the next; that of the target network is
another, so that a loss which looks into the wrong one is off. Gradients are differences of the NumPy loss, its target
held fixed.
"""

import dataclasses
import itertools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import bellmax as bx
from bellmax.contracts import Masked, Transition

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rlax

CASES, ACTIONS = 16, 3
DIFFERENCES = 5  # cases whose gradients are measured
TARGETS = {
    "max": {},
    "double": {"double": True},
    "munchausen": {"munchausen": True, "munchausen_temperature": 0.5, "munchausen_alpha": 0.7, "double": False},
    "rescaled": {"value_rescaling": True, "double": True},
}
HEADS: dict[str, tuple[Any, tuple[int, ...], dict[str, Any]]] = {
    "scalar": (bx.DQN, (ACTIONS,), {"loss": "squared"}),
    "scalar, huber": (bx.DQN, (ACTIONS,), {"loss": "huber"}),
    "categorical": (bx.C51, (ACTIONS, 11), {"v_min": -2.0, "v_max": 3.0, "n_atoms": 11}),
    "quantile": (bx.QRDQN, (ACTIONS, 5), {"n_quantiles": 5, "quantile_kappa": 1.0}),
    "quantile, kappa 0": (bx.QRDQN, (ACTIONS, 5), {"n_quantiles": 5, "quantile_kappa": 0.0}),
    "implicit": (bx.IQN, (ACTIONS, 3), {"n_samples": 4, "n_target_samples": 6, "n_policy_samples": 7}),
    "ensemble": (bx.BootstrappedDQN, (4, ACTIONS), {"n_members": 4}),
    "imitating": (bx.BCQ, (ACTIONS, 2), {"bcq_threshold": 0.4, "logit_penalty": 0.1}),
}


class Case(NamedTuple):
    """Outputs of both networks for the two observations [2, ...], and one transition between these."""

    online: Any
    target: Any
    mask: Any  # [2, A]
    action: Any
    reward: Any
    discount: Any
    weight: Any
    draws: Any


def cases(shape: tuple[int, ...], n_draws: int, masked: bool) -> Case:
    """Random ones [CASES, ...]; in the last, no action is allowed in the next observation, where the episode ended."""
    rng = np.random.default_rng(7)
    online, target = rng.normal(size=(2, CASES, 2, *shape))
    mask = rng.random((CASES, 2, ACTIONS)) < (0.6 if masked else 2.0)
    action = rng.integers(0, ACTIONS, CASES)
    mask[np.arange(CASES), 0, action] = True
    mask[~mask.any(axis=2)] = [True, False, True]
    discount = np.where(rng.random(CASES) < 0.25, 0.0, 0.9)
    if masked:
        mask[-1, 1], discount[-1] = False, 0.0
    numbers = (rng.normal(size=CASES), discount, rng.uniform(0.2, 2.0, CASES), rng.random((CASES, n_draws)))
    single = [np.asarray(x, np.float32) for x in (online, target, *numbers)]
    return Case(single[0], single[1], mask, action.astype(np.int32), *single[2:])


def shipped(head: str, config: Any, given: Case, masked: bool) -> Any:
    """((weighted loss, priority), gradients for both tables) of each case."""
    method = config.method()

    def net(table: Any) -> Any:
        def output(obs: Any) -> Any:
            row = table[obs.obs if isinstance(obs, Masked) else obs]
            implicit = lambda levels: row @ jnp.stack([levels**k for k in range(3)])  # noqa: E731
            return method.output(implicit if head == "implicit" else row)

        return output

    def one(online: Any, target: Any, case: Case) -> Any:
        now, after = (Masked(i, case.mask[i]) if masked else i for i in (0, 1))
        transition = Transition(now, case.action, case.reward, case.discount, after)
        loss, priority, _ = method.loss(net(online), net(target), transition, case.weight, case.draws)
        return loss, priority

    both = jax.value_and_grad(one, argnums=(0, 1), has_aux=True)
    return jax.jit(jax.vmap(lambda case: both(case.online, case.target, case)))(given)


# the same in NumPy, one case at a time


def squeezed(x: Any) -> Any:
    return np.sign(x) * (np.sqrt(np.abs(x) + 1.0) - 1.0) + 1e-3 * x


def natural(config: Any, x: Any) -> Any:
    """Pohlen et al. (2018), proposition A.2."""
    if not config.value_rescaling:
        return x
    return np.sign(x) * (((np.sqrt(1.0 + 4e-3 * (np.abs(x) + 1.0 + 1e-3)) - 1.0) / 2e-3) ** 2 - 1.0)


def atoms(config: Any) -> np.ndarray:
    return np.linspace(config.v_min, config.v_max, config.n_atoms)


def quantiles(row: np.ndarray, levels: Any) -> np.ndarray:
    return row @ np.stack([np.asarray(levels, np.float64) ** k for k in range(3)])


def midpoints(n: int) -> np.ndarray:
    return (np.arange(n) + 0.5) / n


def q_of(head: str, config: Any, row: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The values [A] of an output; -inf where an action must not be chosen."""
    mask = mask if mask.any() else np.ones_like(mask)
    if head == "categorical":
        row = softmax(row, axis=1) @ natural(config, atoms(config))
    elif head.startswith("quantile"):
        row = natural(config, row).mean(axis=1)
    elif head == "implicit":
        row = natural(config, quantiles(row, midpoints(config.n_policy_samples))).mean(axis=1)
    elif head == "imitating":
        g = softmax(np.where(mask, row[:, 1], -np.inf))
        mask, row = mask & (g / g.max() >= config.bcq_threshold), natural(config, row[:, 0])
    else:
        row = natural(config, row)
    return np.where(mask, row, -np.inf)


def looked_at(head: str, config: Any, case: Case) -> tuple[float, np.ndarray, float]:
    """(reward, policy [A], bonus) with which the target looks at the next observation."""
    after = q_of(head, config, case.target[1], case.mask[1])
    if not config.munchausen:
        chooser = q_of(head, config, case.online[1], case.mask[1]) if config.double else after
        return case.reward, np.eye(ACTIONS)[np.argmax(chooser)], 0.0
    tau = config.munchausen_temperature
    log_now = tau * log_softmax(q_of(head, config, case.target[0], case.mask[0]) / tau)
    bonus = config.munchausen_alpha * np.clip(log_now[case.action], config.munchausen_clip, 0.0)
    policy, log_policy = softmax(after / tau), log_softmax(after / tau)
    entropy = -tau * sum(p * log for p, log in zip(policy, log_policy, strict=True) if p > 0)
    return case.reward + bonus, policy, entropy


def backed_up(config: Any, reward: float, discount: float, value: Any, bonus: float) -> Any:
    target = reward + discount * (value + bonus)
    return squeezed(target) if config.value_rescaling else target


def target_of(head: str, config: Any, case: Case) -> Any:
    """What the taken action is learned towards: a number, samples [N], or probabilities [N]; [K] of an ensemble."""
    if head == "ensemble":
        members = [case._replace(online=case.online[:, k], target=case.target[:, k]) for k in range(config.n_members)]
        return np.array([target_of("scalar", config, member) for member in members])
    reward, policy, bonus = looked_at(head, config, case)
    row = case.target[1]
    if head == "categorical":
        z, p = atoms(config), policy @ softmax(row, axis=1)
        moved = np.clip(backed_up(config, reward, case.discount, natural(config, z), bonus), z[0], z[-1])
        nearness = np.clip(1.0 - np.abs(moved[None] - z[:, None]) / (z[1] - z[0]), 0.0, 1.0)
        return nearness @ p
    if head == "imitating":
        value = policy @ natural(config, row[:, 0])
    elif head == "implicit":
        value = policy @ natural(config, quantiles(row, case.draws[config.n_samples :]))
    else:
        value = policy @ natural(config, row)
    return backed_up(config, reward, case.discount, value, bonus)


def scalar_loss(config: Any, error: Any) -> Any:
    if config.loss == "squared":
        return error**2
    return np.where(np.abs(error) <= 1.0, 0.5 * error**2, np.abs(error) - 0.5)


def quantile_loss(config: Any, values: np.ndarray, levels: Any, targets: np.ndarray) -> float:
    """Dabney et al. (2018b), equation 3, one pair at a time."""
    total, kappa = 0.0, config.quantile_kappa
    for value, level in zip(values, levels, strict=True):
        for target in targets:
            u = target - value
            size = abs(u) if kappa == 0 else 0.5 * u**2 / kappa if abs(u) <= kappa else abs(u) - 0.5 * kappa
            total += abs(level - (u < 0)) * size / len(targets)
    return total


def loss_of(head: str, config: Any, case: Case, target: Any) -> tuple[float, float]:
    """(loss without its weight, priority), the target being given."""
    row = case.online[0]
    if head == "ensemble":
        errors = target - row[:, case.action]
        return float(np.mean(scalar_loss(config, errors))), float(np.abs(errors).mean())
    taken = row[case.action]
    if head == "categorical":
        total = -target @ log_softmax(taken)
        return total, total + sum(p * np.log(p) for p in target if p > 0)
    if head.startswith("quantile") or head == "implicit":
        levels = case.draws[: config.n_samples] if head == "implicit" else midpoints(config.n_quantiles)
        values = quantiles(taken, levels) if head == "implicit" else taken
        return quantile_loss(config, values, levels, target), abs(target.mean() - values.mean())
    if head == "imitating":
        error, logits = target - taken[0], np.where(case.mask[0], row[:, 1], -np.inf)
        imitation = -log_softmax(logits)[case.action]
        total = scalar_loss(config, error) + imitation + config.logit_penalty * np.mean(row[:, 1] ** 2)
        return float(total), abs(error)
    return float(scalar_loss(config, target - taken)), abs(target - taken)


def gradient_of(head: str, config: Any, case: Case, target: Any) -> np.ndarray:
    """Of the weighted loss for the online table, by central differences."""
    gradient = np.zeros_like(case.online)
    for place in itertools.product(*map(range, case.online.shape)):
        moved = []
        for step in (1e-5, -1e-5):
            table = case.online.copy()
            table[place] += step
            moved.append(loss_of(head, config, case._replace(online=table), target)[0])
        gradient[place] = case.weight * (moved[0] - moved[1]) / 2e-5
    return gradient


def rows() -> list[tuple[str, str, bool]]:
    """(head, target, masked): each head with each target where actions are masked, and with one where none is."""
    everything = [(head, target, True) for head in HEADS for target in TARGETS if "," not in head or target == "double"]
    return everything + [(head, "double", False) for head in HEADS]


@pytest.mark.parametrize(("head", "target", "masked"), rows())
def test_loss_priority_and_gradient(head: str, target: str, masked: bool) -> None:
    cls, shape, options = HEADS[head]
    config = cls(**{**options, **TARGETS[target]})
    if target == "max" and cls is bx.BCQ:
        config = dataclasses.replace(config, double=False)
    given = cases(shape, config.method().n_draws, masked)
    (loss, priority), (online, frozen) = shipped(head, config, given, masked)
    assert (frozen == 0).all()  # no gradient for the target network
    for i in range(CASES):
        case = Case(*(np.asarray(x[i], np.float64 if x.dtype == np.float32 else x.dtype) for x in given))
        aim = target_of(head, config, case)
        plain, urgency = loss_of(head, config, case, aim)
        np.testing.assert_allclose(loss[i], case.weight * plain, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(priority[i], urgency, rtol=2e-3, atol=2e-4)
        if i < DIFFERENCES:
            np.testing.assert_allclose(online[i], gradient_of(head, config, case, aim), rtol=2e-3, atol=3e-4)


def loss_of_rlax(head: str, double: bool, case: Case) -> Any:
    now, after, chooser = case.online[0], case.target[1], (case.online if double else case.target)[1]
    step = (case.action, case.reward, case.discount)
    if head == "scalar":
        return rlax.double_q_learning(now, *step, after, chooser) ** 2
    if head == "categorical":
        z = jnp.linspace(-2.0, 3.0, 11)
        return rlax.categorical_double_q_learning(z, now, *step, z, after, jax.nn.softmax(chooser) @ z)
    return rlax.quantile_q_learning(now.T, (jnp.arange(5) + 0.5) / 5, *step, chooser.T, after.T, huber_param=1.0)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rlax calls distrax
@pytest.mark.parametrize("head", ["scalar", "categorical", "quantile"])
def test_losses_equal_rlax(head: str) -> None:
    cls, shape, options = HEADS[head]
    for double in (False, True):
        given = cases(shape, 0, masked=False)
        ((loss, _), _) = shipped(head, cls(**options, double=double), given, masked=False)
        theirs = jax.jit(jax.vmap(lambda case, double=double: loss_of_rlax(head, double, case)))(given)
        np.testing.assert_allclose(loss / given.weight, theirs, rtol=1e-4, atol=1e-5)
