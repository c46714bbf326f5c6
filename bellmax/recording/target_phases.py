"""NumPy. The phase of the targets of a batch: the first transition as an equation, the first ones in a list."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bellmax.contracts import Json
from bellmax.deep.algorithm import ReplayAlgorithm
from bellmax.recording.window import Part, Phase, first_rows, term

Found = Mapping[str, np.ndarray]
LISTED = (
    "target", "prediction", "td_error", "bootstrap", "log_policy_bonus", "entropy", "reward_learned", "member_targets",
    "member_bootstraps", "member_predictions", "member_errors", "loss", "next_q", "next_q_online", "policy",
)  # fmt: skip
# of the first transition only: distributions
FIRST = (
    "atoms", "moved_atoms", "next_probabilities", "target_probabilities", "probabilities", "next_quantiles",
    "quantile_targets", "quantiles", "levels", "target_levels",
)  # fmt: skip
TARGET = "target = step.reward + step.discount * mean_under(greedy_policy(q_t), q_t)"
BACK_UP = "target = scale.back_up(reward, transition.discount, value, bonus)"
PROJECT = "target = jax.lax.stop_gradient(distributions.project(moved, p, self.atoms))"


def targets_phase(config: ReplayAlgorithm, found: Found, reward: np.ndarray, discount: np.ndarray) -> Phase:
    """Return the phase of the targets of a batch [B], from the numbers of its transitions by name.

    Of a batch of sequences, the rows are the learned steps of its first sequence.
    """
    values: dict[str, Json] = {
        "reward": first_rows(reward),
        "discount": first_rows(discount),
        "n_steps": config.n_steps,
    }
    values |= {name: first_rows(found[name]) for name in LISTED if name in found}
    values |= {f"first_{name}": [float(x) for x in found[name][0].ravel()] for name in FIRST if name in found}
    if "next_q" in found and found["next_q"].ndim == 2:
        values["next_action"] = first_rows(np.argmax(found.get("next_q_online", found["next_q"]), axis=1))
    known = "target_probabilities" in found, "quantile_targets" in found, "member_targets" in found
    if known[0]:
        return Phase("target", values, atoms_equation(config, found, reward[0], discount[0]), PROJECT)
    if known[1]:
        return Phase("target", values, quantiles_equation(config, found, reward[0], discount[0]), BACK_UP)
    if known[2]:
        return Phase("target", values, members_equation(config, found, reward[0], discount[0]), BACK_UP)
    if "target" not in found:
        return Phase("target", values)
    plain = not (config.munchausen or config.value_rescaling or config.double)
    return Phase("target", values, value_equation(config, found, reward[0], discount[0]), TARGET if plain else BACK_UP)


def rewards_part(config: ReplayAlgorithm, found: Found, reward: float, discount: float) -> tuple[Part, ...]:
    """Return `r + γ ·` of the first transition: of n steps, and with the bonus of Munchausen."""
    n = config.n_steps
    symbols = ("r", "γ") if n == 1 else ("R⁽ⁿ⁾", "γⁿ")
    words = ("reward", "discount") if n == 1 else (f"discounted sum of up to {n} rewards", f"discount of {n} steps")
    ended = ", 0 because the episode terminated" * (float(discount) == 0.0)
    parts: tuple[Part, ...] = (term(symbols[0], words[0], reward), "+")
    if "log_policy_bonus" in found:
        parts += (term("α[τ ln π(a | s)]", "bonus of the log-policy", found["log_policy_bonus"][0]), "+")
    return (*parts, term(symbols[1], words[1] + ended, discount), "·")


def in_scale(config: ReplayAlgorithm, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the right side of a target, inside of h where values are learned on a compressing scale."""
    return ("h(", *parts, ")") if config.value_rescaling else parts


def value_equation(config: ReplayAlgorithm, found: Found, reward: float, discount: float) -> tuple[Part, ...]:
    """Return `y = r + γ · max Q⁻(s′, a)`, or its double or soft form."""
    symbol, words = "max Q⁻(s′, a)", "bootstrap value: the largest value by the target network"
    if config.munchausen:
        symbol, words = "Σ π(b | s′) Q⁻(s′, b)", "mean value under the soft policy"
    elif config.double:
        symbol, words = "Q⁻(s′, argmax Q(s′, ·))", "value by the target network of the action that the network prefers"
    value: tuple[Part, ...] = (term(symbol, words, found["bootstrap"][0]),)
    if config.munchausen:
        value = ("(", *value, "+", term("H", "entropy of the soft policy, times τ", found["entropy"][0]), ")")
    right = (*rewards_part(config, found, reward, discount), *value)
    return term("y", "target", found["target"][0]), "=", *in_scale(config, right)


def atoms_equation(config: ReplayAlgorithm, found: Found, reward: float, discount: float) -> tuple[Part, ...]:
    """Return `m = Φ(r + γ · z, p)`: the projection of the shifted atoms onto the fixed ones."""
    right = (*rewards_part(config, found, reward, discount), term("z", "atoms", found["atoms"][0]))
    return (
        term("m", "target: probabilities of the atoms", found["target_probabilities"][0]), "= Φ(",
        *in_scale(config, right), ",",
        term("p⁻(s′, b)", "probabilities of the next observation, by the target network",
             found["next_probabilities"][0]), ")",
    )  # fmt: skip


def quantiles_equation(config: ReplayAlgorithm, found: Found, reward: float, discount: float) -> tuple[Part, ...]:
    """Return `y = r + γ · θ⁻(s′, b)`, a sample of the target for each quantile."""
    next_ = term("θ⁻(s′, b)", "quantiles of the next observation, by the target network", found["next_quantiles"][0])
    right = (*rewards_part(config, found, reward, discount), next_)
    return term("y", "targets", found["quantile_targets"][0]), "=", *in_scale(config, right)


def members_equation(config: ReplayAlgorithm, found: Found, reward: float, discount: float) -> tuple[Part, ...]:
    """Return `yₖ = r + γ · max Qₖ⁻(s′, a)`, a target for each member of an ensemble."""
    next_ = term("max Qₖ⁻(s′, a)", "value by the target network of each member", found["member_bootstraps"][0])
    right = (*rewards_part(config, found, reward, discount), next_)
    return term("yₖ", "target of each member", found["member_targets"][0]), "=", *in_scale(config, right)


def loss_phase(config: ReplayAlgorithm, found: Found, weight: np.ndarray, metrics: Mapping[str, float]) -> Phase:
    """Return the phase of the loss: of each transition, and the mean that the agent reports."""
    values: dict[str, Json] = {"losses": first_rows(found["loss"]), "weights": first_rows(weight), **metrics}
    if "td_error" in found:
        values["td_errors"] = first_rows(found["td_error"])
    kind = str(getattr(config, "loss", "")) or type(config).__name__
    values["kind"] = kind
    loss = term("L", "loss: the mean over the batch", metrics["loss"])
    sample = found["loss"][: weight.size] if found["loss"].shape == weight.shape else found["loss"]
    equation: tuple[Part, ...] = (loss, "= mean w ·", term("ℓ", "loss of each transition", sample[:16]))
    code = "return weight * jnp.square(td_error(q(step.obs).mean(), step.action, target))"
    return Phase("loss", values, equation, code if kind == "squared" else "mean = jnp.mean(losses)")
