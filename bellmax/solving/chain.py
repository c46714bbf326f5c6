"""NumPy and SciPy sparse. The Markov chain that a policy makes of a model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from bellmax.contracts import BoolArray, ConfigError, FloatArray, IntArray
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import continuation, expected_reward, per_pair
from bellmax.solving.asking import check_model, check_policy
from bellmax.solving.problem import EPSILON
from bellmax.solving.structure import Matrix, closed_classes, leading_to


class Chain(NamedTuple):
    """A policy in a model.

    Attributes:
        onward: [S, S] the probabilities to be in a state next and go on; a row sums to 1 minus that of the end.
        reward: [S] expected; exactly 0 where it is nothing but rounding.
        end: [S] the probability that the step ends the episode.
        choice: [S, S*A] the probability of each pair in its state.
    """

    onward: Matrix
    reward: FloatArray
    end: FloatArray
    choice: Matrix

    @property
    def loops(self) -> IntArray:
        """[S]: the number of the set of states, never left and without an end, that a state is in; -1 if in none."""
        return closed_classes(self.onward, self.end > 0)

    def leading_to(self, states: BoolArray) -> BoolArray:
        """[S]: from where the chain can come to one of the `states [S]`, these included."""
        return leading_to(self.onward, states)

    def seen_from(self, states: BoolArray) -> BoolArray:
        """[S]: where the chain can come to from one of the `states [S]`, these included."""
        return self._replace(onward=sp.csr_array(self.onward.T)).leading_to(states)


def make_chain(mdp: FiniteMDP, policy: npt.ArrayLike) -> Chain:
    """The chain of a policy, `[S]` actions or `[S, A]` probabilities. Raises as `choice`."""
    chosen = choice(mdp, policy)
    paid = np.asarray(chosen @ per_pair(mdp, mdp.probability * np.abs(mdp.reward)))
    reward = np.asarray(chosen @ expected_reward(mdp).ravel(), np.float64)
    longest = int(np.diff(mdp.indptr).max()) + mdp.n_actions
    reward[np.abs(reward) <= 2 * longest * EPSILON * paid] = 0.0
    end = np.asarray(chosen @ per_pair(mdp, mdp.probability * mdp.terminated), np.float64)
    return Chain(sp.csr_array(chosen @ continuation(mdp)), reward, end, chosen)


def name_states(mdp: FiniteMDP, states: IntArray) -> str:
    """Such as "states 3, 4 and 7 more"; the first ten."""
    named = [str(mdp.state_names[s]) if mdp.state_names else str(s) for s in states[:10]]
    more = f" and {states.size - 10} more" if states.size > 10 else ""
    return f"state{'s' if states.size > 1 else ''} {', '.join(named)}{more}"


def choice(mdp: FiniteMDP, policy: npt.ArrayLike) -> sp.csr_array[np.float64]:
    """[S, S*A]: the policy as a matrix that picks, or mixes, the rows of a state.

    Raises:
        ConfigError: the policy is neither actions `[S]` nor probabilities `[S, A]` of this model.
    """
    mdp, given = check_model(mdp), check_policy(policy)
    S, A = mdp.n_states, mdp.n_actions
    if given.shape == (S,) and np.issubdtype(given.dtype, np.integer):
        known = (given >= 0) & (given < A)
        known[known] = mdp.allowed[known, given[known]]
        if outside := np.flatnonzero(~known)[:10].tolist():
            raise ConfigError(f"policy: states {outside} have actions outside 0 to {A - 1}, or that they lack")
        weight, actions, width = np.ones(S), given, 1
    elif given.shape == (S, A):
        wrong = ~(np.isclose(given.sum(axis=1), 1, rtol=0, atol=1e-8) & (given >= 0).all(axis=1))
        wrong |= ((given > 0) & ~mdp.allowed).any(axis=1)
        if wrong.any():
            raise ConfigError(f"policy: states {np.flatnonzero(wrong)[:10].tolist()} have no distribution")
        weight, actions, width = given.ravel().astype(np.float64), np.tile(np.arange(A), S), A
    else:
        raise ConfigError(
            f"policy {given.shape} of {given.dtype} is neither actions ({S},) nor probabilities ({S}, {A})"
        )
    column = np.repeat(np.arange(S) * A, width) + actions
    chosen = sp.csr_array((weight, column, np.arange(S + 1) * width), shape=(S, S * A))
    chosen.eliminate_zeros()  # 0 times the -inf of a missing action is no number
    return chosen
