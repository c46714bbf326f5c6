"""NumPy and SciPy sparse. The outcomes of a finite MDP, as checks and solvers read them, and what follows from them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse import csgraph

from bellmax.arguments import describe
from bellmax.contracts import BoolArray, FloatArray, IntArray


class Outcomes(Protocol):
    """What a `FiniteMDP` holds; its docstring says what each is."""

    @property
    def n_states(self) -> int:
        """S."""

    @property
    def n_actions(self) -> int:
        """A."""

    @property
    def indptr(self) -> IntArray:
        """[S*A + 1], where the outcomes of each pair begin."""

    @property
    def successor(self) -> IntArray:
        """[E], the next state."""

    @property
    def probability(self) -> FloatArray:
        """[E], sums to one over each pair."""

    @property
    def reward(self) -> FloatArray:
        """[E], its mean."""

    @property
    def terminated(self) -> BoolArray:
        """[E], whether the episode ends."""

    @property
    def start(self) -> FloatArray:
        """[S], the distribution of the first state."""

    @property
    def reward_std(self) -> FloatArray:
        """[E], the noise of the reward."""

    @property
    def allowed(self) -> BoolArray:
        """[S, A], whether the state has the action."""

    @property
    def max_episode_steps(self) -> int | None:
        """The time limit (steps), or None."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """[A] or empty."""

    @property
    def state_names(self) -> tuple[Any, ...]:
        """[S] or empty."""

    @property
    def pair(self) -> IntArray:
        """[E], the pair `s * A + a` of each outcome."""


def per_pair(mdp: Outcomes, values: npt.NDArray[Any]) -> FloatArray:
    """[S*A]: the sum of `values [E]` over the outcomes of each pair; 0 where the state lacks the action."""
    exists = np.diff(mdp.indptr) > 0
    total = np.zeros(exists.size)
    total[exists] = np.add.reduceat(values, mdp.indptr[:-1][exists])
    return total


def expected_reward(mdp: Outcomes) -> FloatArray:
    """[S, A]: the mean reward of each pair; -inf where the state lacks the action, so that no maximum takes it."""
    reward = per_pair(mdp, mdp.probability * mdp.reward).reshape(mdp.n_states, mdp.n_actions)
    if not mdp.allowed.all():
        reward[~mdp.allowed] = -np.inf
    return reward


def continuation(mdp: Outcomes) -> sp.csr_array[np.float64]:
    """[S*A, S]: the probability to be in a state next *and* go on; a row sums to 1 minus that of the end."""
    indptr, successor, probability = mdp.indptr, mdp.successor, mdp.probability
    small = max(int(indptr[-1]), mdp.n_states) < 2**31
    index = np.dtype(np.int32 if small else np.int64)  # half the memory, and faster
    if mdp.terminated.any():
        goes_on = ~mdp.terminated
        indptr = np.concatenate([[0], np.cumsum(goes_on)])[indptr]
        successor, probability = successor[goes_on], probability[goes_on]
    else:
        probability = probability.copy()
    shape = (mdp.n_states * mdp.n_actions, mdp.n_states)
    arrays = (probability, successor.astype(index), indptr.astype(index))
    matrix = sp.csr_array(arrays, shape=shape, dtype=np.float64)
    matrix.sum_duplicates()
    return matrix


def reachable(mdp: Outcomes) -> BoolArray:
    """[S]: whether some policy ever has to *act* in the state, from the start distribution.

    A state that is only entered by terminating, such as a goal, is not: its values are never learned or used.
    """
    matrix, first = continuation(mdp), np.flatnonzero(mdp.start)
    edges = np.concatenate([matrix.indices, first])  # one node more, with an edge to every start state
    indptr = np.append(matrix.indptr[:: mdp.n_actions], edges.size)  # the rows of a state, joined
    size = mdp.n_states + 1
    graph = sp.csr_array((np.ones(edges.size), edges, indptr), shape=(size, size))
    found = csgraph.breadth_first_order(graph, mdp.n_states, return_predecessors=False)
    seen = np.zeros(size, np.bool_)
    seen[found] = True
    return seen[:-1]


def name_state(mdp: Outcomes, state: int) -> str:
    """`state 3`, and what it is called."""
    return f"state {state}" + (f" {describe(mdp.state_names[state])}" if mdp.state_names else "")


def name_pair(mdp: Outcomes, pair: int) -> str:
    """`state 3, action 1`, and what they are called."""
    state, action = divmod(pair, mdp.n_actions)
    called = f" {mdp.action_names[action]!r}" if mdp.action_names else ""
    return f"{name_state(mdp, state)}, action {action}{called}"
