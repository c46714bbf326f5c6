"""NumPy and SciPy sparse. `FiniteMDP`: a world small enough to write down, as flat lists of successors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse import csgraph

from bellmax.mdp.validation import DTYPES, column, distribution, flatten, validate
from bellmax.types import BoolArray, ConfigError, FloatArray, IntArray


class Labels(TypedDict, total=False):
    """What every constructor passes on unchanged."""

    max_episode_steps: int | None
    name: str
    action_names: tuple[str, ...]
    state_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A finite Markov decision process: S states, A actions, E possible outcomes.

    Outcomes of (state s, action a) are the entries `indptr[s * A + a]` up to `indptr[s * A + a + 1]`. The
    constructors sort them by successor and merge equal ones. All arrays are read-only.

    Attributes:
        n_states: S.
        n_actions: A, the same in every state.
        indptr: [S*A + 1] int64, where the outcomes of each pair begin.
        successor: [E] int64, the next state.
        probability: [E] float64, sums to one over each pair.
        reward: [E] float64, paid on the way.
        terminated: [E] bool, the episode ends here: the value of the next state counts 0.
        start: [S] float64, the distribution of the first state.
        max_episode_steps: the world's time limit (steps) or None; solving ignores it, as it is no end.
        name: what the world is called.
        action_names: [A] words for people, or empty.
        state_names: [S] words for people, or empty.

    Raises:
        ConfigError: the numbers are not an MDP; the message lists every state and action at fault.
    """

    n_states: int
    n_actions: int
    indptr: IntArray
    successor: IntArray
    probability: FloatArray
    reward: FloatArray
    terminated: BoolArray
    start: FloatArray
    max_episode_steps: int | None = None
    name: str = ""
    action_names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in DTYPES.keys() - {"pair"}:
            view = np.ascontiguousarray(column(getattr(self, field), field)).view()
            view.setflags(write=False)  # the view, not the caller's array
            object.__setattr__(self, field, view)
        validate(self)

    @property
    def pair(self) -> IntArray:
        """[E] int64: the pair `s * A + a` that each entry belongs to."""
        return np.repeat(np.arange(self.indptr.size - 1), np.diff(self.indptr))

    @classmethod
    def from_entries(
        cls,
        n_states: int,
        n_actions: int,
        pair: npt.ArrayLike,
        successor: npt.ArrayLike,
        probability: npt.ArrayLike,
        reward: npt.ArrayLike,
        terminated: npt.ArrayLike,
        *,
        start: int | npt.ArrayLike = 0,
        **labels: Unpack[Labels],
    ) -> FiniteMDP:
        """Five [E] columns, in any order; `pair` is `s * A + a`, `start` a state or probabilities [S].

        Outcomes of a pair with equal successor, reward and end are merged; those of probability 0 dropped.
        """
        weight = column(probability, "probability")
        keys = [column(pair, "pair"), column(successor, "successor")]
        keys += [column(reward, "reward"), column(terminated, "terminated")]
        if any(key.shape != weight.shape or key.ndim != 1 for key in keys):
            raise ConfigError(f"columns have shapes {[key.shape for key in (weight, *keys)]}, expected one [E]")
        keys, weight = [key[weight != 0] for key in keys], weight[weight != 0]
        if not np.all(np.diff(keys[0] * n_states + keys[1]) > 0):  # they are not in order already
            keys, weight = _merge(keys, weight)
        count = np.bincount(keys[0], minlength=n_states * n_actions)
        indptr = np.concatenate([[0], np.cumsum(count)])
        first = distribution(start, n_states)
        return cls(n_states, n_actions, indptr, keys[1], weight, keys[2], keys[3], first, **labels)

    @classmethod
    def from_arrays(
        cls,
        P: npt.ArrayLike,
        R: npt.ArrayLike,
        *,
        start: int | npt.ArrayLike = 0,
        terminal_states: Sequence[int] = (),
        **labels: Unpack[Labels],
    ) -> FiniteMDP:
        """Dense arrays: `P [S, A, S]` probabilities, rewards `R [S, A]` or `[S, A, S]`, `start` as above.

        Entering a state of `terminal_states` ends the episode. Raises ConfigError, also for wrong shapes.
        """
        dense, reward = np.asarray(P, np.float64), np.asarray(R, np.float64)
        if dense.ndim != 3 or dense.shape[0] != dense.shape[2]:
            raise ConfigError(f"P has shape {dense.shape}, expected [S, A, S]")
        S, A, _ = dense.shape
        if reward.shape not in ((S, A), (S, A, S)):
            raise ConfigError(f"R has shape {reward.shape}, expected {(S, A)} or {(S, A, S)}")
        if outside := [state for state in terminal_states if not 0 <= state < S]:
            raise ConfigError(f"terminal_states {outside} are outside 0 to {S - 1}")
        state, action, successor = np.nonzero(dense)
        paid = reward[state, action] if reward.ndim == 2 else reward[state, action, successor]
        ends = np.isin(successor, np.asarray(terminal_states, np.int64))
        probability = dense[state, action, successor]
        pair = state * A + action
        return cls.from_entries(S, A, pair, successor, probability, paid, ends, start=start, **labels)

    @classmethod
    def from_successors(cls, successors: Any, *, start: int | npt.ArrayLike = 0, **labels: Unpack[Labels]) -> FiniteMDP:
        """Gymnasium's layout: `successors[s][a]` lists `(probability, next_state, reward, terminated)`.

        Both levels may be sequences or mappings from 0, 1, ...; every state has the same number of actions.
        """
        S, A, columns = flatten(successors)
        return cls.from_entries(S, A, *columns, start=start, **labels)

    @classmethod
    def from_gymnasium(cls, env: Any, **kwargs: Any) -> FiniteMDP:
        """The table `P` of a Gymnasium world: an id, with `kwargs` for `gymnasium.make`, or a world.

        Works for FrozenLake, CliffWalking, Taxi and any world with `unwrapped.P` and `initial_state_distrib`.
        Raises ConfigError where the world is unknown, has no table, or does not behave as its table says.
        """
        from bellmax.mdp.gymnasium_table import read_table

        table, start, labels = read_table(env, kwargs)
        return cls.from_successors(table, start=start, **labels)


def _merge(keys: list[npt.NDArray[Any]], weight: FloatArray) -> tuple[list[npt.NDArray[Any]], FloatArray]:
    """Sorts [E] columns by the first, then the second ...; adds up the weights of rows that are equal."""
    order = np.lexsort(keys[::-1])
    keys, weight = [key[order] for key in keys], weight[order]
    if not np.all(weight > 0):
        return keys, weight  # a sum could hide a negative probability from `validate`
    new = np.ones(weight.size, np.bool_)
    new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return [key[new] for key in keys], np.add.reduceat(weight, np.flatnonzero(new))


def expected_reward(mdp: FiniteMDP) -> FloatArray:
    """[S, A]: the mean reward of each pair."""
    paid = np.bincount(mdp.pair, mdp.probability * mdp.reward, mdp.n_states * mdp.n_actions)
    return np.asarray(paid.reshape(mdp.n_states, mdp.n_actions), np.float64)


def continuation(mdp: FiniteMDP) -> sp.csr_array[np.float64]:
    """[S*A, S]: the probability to be in a state next *and* go on; a row sums to 1 minus that of the end."""
    goes_on = ~mdp.terminated
    small = max(int(mdp.indptr[-1]), mdp.n_states) < 2**31
    index = np.dtype(np.int32 if small else np.int64)  # half the memory, and faster
    indptr = np.concatenate([[0], np.cumsum(goes_on)])[mdp.indptr].astype(index)
    successor = mdp.successor[goes_on].astype(index)
    shape = (mdp.n_states * mdp.n_actions, mdp.n_states)
    matrix = sp.csr_array((mdp.probability[goes_on], successor, indptr), shape=shape, dtype=np.float64)
    matrix.sum_duplicates()
    return matrix


def reachable(mdp: FiniteMDP) -> BoolArray:
    """[S]: whether some policy ever has to *act* in the state, from the start distribution.

    A state that is only entered by terminating, such as a goal, is not: its values are never learnt or used.
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


class SuccessorTable(NamedTuple):
    """The same outcomes as rows of equal length, for compiled loops: [S*A, K], K the longest row.

    Outcome k is the first with `draw < cumulative[pair, k]`, for a uniform draw in [0, 1). The last real
    entry and the padding behind it hold 2.0, so that rounding can never make a draw run over.
    """

    successor: IntArray
    cumulative: FloatArray
    reward: FloatArray
    continues: FloatArray  # 1.0, or 0.0 where the episode ends: times γ it is the discount of the step


def successor_table(mdp: FiniteMDP) -> SuccessorTable:
    """`mdp` as padded arrays [S*A, K]; padding is 0 except in `cumulative`."""
    length, pair = np.diff(mdp.indptr), mdp.pair
    position = np.arange(pair.size) - mdp.indptr[pair]
    shape = (length.size, int(length.max()))
    successor = np.zeros(shape, np.int64)
    probability, reward, continues = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    successor[pair, position] = mdp.successor
    probability[pair, position] = mdp.probability
    reward[pair, position] = mdp.reward
    continues[pair, position] = ~mdp.terminated
    cumulative = np.cumsum(probability, axis=1)
    cumulative[np.arange(shape[1]) >= length[:, None] - 1] = 2.0
    return SuccessorTable(successor, cumulative, reward, continues)
