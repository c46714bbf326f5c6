"""NumPy and SciPy sparse. `FiniteMDP`: a world small enough to write down, as flat lists of successors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse import csgraph

from bellmax import stderr
from bellmax.mdp.enumeration import explore
from bellmax.mdp.reading import DTYPES, Columns, column, distribution, flatten, gather
from bellmax.mdp.validation import validate
from bellmax.types import BoolArray, ConfigError, FloatArray, IntArray, ModelWarning


class Labels(TypedDict, total=False):
    """What every constructor passes on unchanged."""

    max_episode_steps: int | None
    name: str
    action_names: tuple[str, ...]
    state_names: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A finite Markov decision process: S states, A actions, E possible outcomes.

    Outcomes of (state s, action a) are the entries `indptr[s * A + a]` up to `indptr[s * A + a + 1]`. The
    constructors sort them by successor and merge equal ones. All arrays are read-only.

    A state may lack the last of the A actions: `n_allowed` says how many it has. A pair that does not exist has
    no entries, an expected reward of -inf and so a value of -inf; a loop that tries it gets the state's last action.

    Attributes:
        n_states: S.
        n_actions: A, the most that a state has.
        indptr: [S*A + 1] int64, where the outcomes of each pair begin.
        successor: [E] int64, the next state.
        probability: [E] float64, sums to one over each pair.
        reward: [E] float64, paid on the way; its mean, where it is noisy.
        terminated: [E] bool, the episode ends here: the value of the next state counts 0.
        start: [S] float64, the distribution of the first state.
        reward_std: [E] float64, the standard deviation of Gaussian noise on the reward; left out, zeros. Loops
            sample it; exact values depend on the mean alone.
        n_allowed: [S] int64, state s has the actions 0 to n_allowed[s] - 1; left out, all A.
        max_episode_steps: the world's time limit (steps) or None; solving ignores it, as it is no end.
        name: what the world is called.
        action_names: [A] words for people, or empty.
        state_names: [S] what each state is called: words, the states of `from_function` themselves, or empty.

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
    reward_std: FloatArray = field(default_factory=lambda: np.zeros(0))
    n_allowed: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    max_episode_steps: int | None = None
    name: str = ""
    action_names: tuple[str, ...] = ()
    state_names: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        for name in DTYPES.keys() - {"pair"}:
            view = np.ascontiguousarray(column(getattr(self, name), name)).view()
            view.setflags(write=False)  # the view, not the caller's array
            object.__setattr__(self, name, view)
        if not self.reward_std.size:  # one number seen E times, which takes no memory
            object.__setattr__(self, "reward_std", np.broadcast_to(0.0, self.successor.shape))
        if not self.n_allowed.size:
            object.__setattr__(self, "n_allowed", np.broadcast_to(np.int64(self.n_actions), (self.n_states,)))
        validate(self)

    def __repr__(self) -> str:
        return f"FiniteMDP({self.name or 'unnamed'}: {self.n_states:,} states, {self.n_actions} actions)"

    @property
    def pair(self) -> IntArray:
        """[E] int64: the pair `s * A + a` that each entry belongs to."""
        return np.repeat(np.arange(self.indptr.size - 1), np.diff(self.indptr))

    @property
    def allowed(self) -> BoolArray:
        """[S, A] bool: whether the state has the action."""
        return np.asarray(np.arange(self.n_actions) < self.n_allowed[:, None])

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
        reward_std: npt.ArrayLike | None = None,
        n_allowed: npt.ArrayLike | None = None,
        start: int | npt.ArrayLike = 0,
        **labels: Unpack[Labels],
    ) -> FiniteMDP:
        """Five or six [E] columns, in any order; `pair` is `s * A + a`, `start` a state or probabilities [S].

        Outcomes of a pair that are equal but for their probability are merged; those of probability 0 dropped.
        """
        weight = column(probability, "probability")
        keys = [column(pair, "pair"), column(successor, "successor")]
        keys += [column(reward, "reward"), column(terminated, "terminated")]
        if reward_std is not None and np.any(noise := column(reward_std, "reward_std")):
            keys.append(noise)
        if any(key.shape != weight.shape or key.ndim != 1 for key in keys):
            raise ConfigError(f"columns have shapes {[key.shape for key in (weight, *keys)]}, expected one [E]")
        keys, weight = [key[weight != 0] for key in keys], weight[weight != 0]
        if (outside := keys[0][(keys[0] < 0) | (keys[0] >= n_states * n_actions)]).size:
            raise ConfigError(f"pair {outside[0]} is outside 0 to {n_states * n_actions - 1}")
        if not np.all(np.diff(keys[0] * n_states + keys[1]) > 0):  # they are not in order already
            keys, weight = _merge(keys, weight)
        count = np.bincount(keys[0], minlength=max(n_states * n_actions, 0))
        indptr = np.concatenate([[0], np.cumsum(count)])
        first = distribution(start, n_states)
        std = keys[4] if len(keys) > 4 else np.zeros(0)
        has = np.zeros(0, np.int64) if n_allowed is None else column(n_allowed, "n_allowed")
        return cls(n_states, n_actions, indptr, keys[1], weight, keys[2], keys[3], first, std, has, **labels)

    @classmethod
    def from_arrays(
        cls,
        P: npt.ArrayLike,
        R: npt.ArrayLike,
        *,
        R_std: npt.ArrayLike = 0.0,
        n_allowed: npt.ArrayLike | None = None,
        start: int | npt.ArrayLike = 0,
        terminal_states: Sequence[int] = (),
        **labels: Unpack[Labels],
    ) -> FiniteMDP:
        """Dense arrays: `P [S, A, S]` probabilities, rewards `R [S, A]` or `[S, A, S]`, `start` as above.

        `R_std` is the noise of the reward, of R's shapes or one number. `n_allowed [S]` tells how many actions
        each state has, if not all. Entering a state of `terminal_states` ends the episode.
        Raises ConfigError, also for wrong shapes.
        """
        columns = gather(P, R, R_std, terminal_states)._replace(n_allowed=n_allowed)
        return cls._of_columns(columns, start, labels, warn=True)

    @classmethod
    def from_successors(cls, successors: Any, *, start: int | npt.ArrayLike = 0, **labels: Unpack[Labels]) -> FiniteMDP:
        """Gymnasium's layout: `successors[s][a]` lists `(probability, next_state, reward, terminated)`.

        A fifth number is the standard deviation of Gaussian noise on the reward. Both levels may be sequences or
        mappings from 0, 1, ...; a state that lists fewer actions than another has only those.
        """
        return cls._of_columns(flatten(successors), start, labels, warn=True)

    @classmethod
    def from_function(
        cls,
        step: Callable[[Any, int], Any],
        starts: Any,
        n_actions: int | Callable[[Any], int],
        *,
        max_states: int = 1_000_000,
        **labels: Unpack[Labels],
    ) -> FiniteMDP:
        """The model of a function, `step(state, action) -> [(probability, next_state, reward, terminated), ...]`.

        States are anything hashable. They are numbered breadth-first from the start and become `state_names`. A
        state that is only entered by terminating is numbered too, but `step` is not asked about it.

        Args:
            step: lists the outcomes of (state, action); a fifth number is the noise of the reward, as above.
            starts: one state, a list of states that are equally likely, or a dict from state to probability.
            n_actions: A, or a function that tells how many actions a state has.
            max_states: refuse to list more.
            labels: name, action_names, state_names instead of the states, max_episode_steps.

        Raises:
            ConfigError: more than max_states states, an outcome that is none, or numbers that are no model.
        """
        columns, first, states = explore(step, starts, n_actions, max_states)
        return cls._of_columns(columns, first, Labels(state_names=states) | labels, warn=True)

    @classmethod
    def from_gymnasium(cls, env: Any, **kwargs: Any) -> FiniteMDP:
        """The table `P` of a Gymnasium world: an id, with `kwargs` for `gymnasium.make`, or a world.

        Works for FrozenLake, CliffWalking, Taxi and any world with `unwrapped.P` and `initial_state_distrib`.
        Raises ConfigError where the world is unknown, has no table, or does not behave as its table says.
        """
        from bellmax.mdp.gymnasium_table import read_table

        table, start, labels = read_table(env, kwargs)
        return cls._of_columns(flatten(table), start, labels, warn=False)

    @classmethod
    def _of_columns(cls, columns: Columns, start: Any, labels: Labels, *, warn: bool) -> FiniteMDP:
        """`from_entries`, with a warning where a model of one's own looks like a slip."""
        mdp = cls.from_entries(**columns._asdict(), start=start, **labels)
        if warn and (found := mdp.remarks()):
            title = f"FiniteMDP {mdp.name!r}" if mdp.name else "FiniteMDP"
            stderr.warn("\n  ".join([f"{title} is a model, but:", *found]), ModelWarning, stacklevel=3)
        return mdp

    def remarks(self) -> list[str]:
        """What is legal but often a slip, by state and action: states never entered, pay for ever, no end.

        The constructors for one's own data give these as one `ModelWarning`.
        """
        from bellmax.mdp.remarks import remarks

        return remarks(self)


def _merge(keys: list[npt.NDArray[Any]], weight: FloatArray) -> tuple[list[npt.NDArray[Any]], FloatArray]:
    """Sorts [E] columns by the first, then the second ...; adds up the weights of rows that are equal."""
    order = np.lexsort(keys[::-1])
    keys, weight = [key[order] for key in keys], weight[order]
    if not np.all(weight > 0):
        return keys, weight  # a sum could hide a negative probability from `validate`
    new = np.ones(weight.size, np.bool_)
    new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return [key[new] for key in keys], np.add.reduceat(weight, np.flatnonzero(new))


def per_pair(mdp: FiniteMDP, values: npt.NDArray[Any]) -> FloatArray:
    """[S*A]: the sum of `values [E]` over the outcomes of each pair; 0 where the state lacks the action."""
    exists = np.diff(mdp.indptr) > 0
    total = np.zeros(exists.size)
    total[exists] = np.add.reduceat(values, mdp.indptr[:-1][exists])
    return total


def expected_reward(mdp: FiniteMDP) -> FloatArray:
    """[S, A]: the mean reward of each pair; -inf where the state lacks the action, so that no maximum takes it."""
    reward = per_pair(mdp, mdp.probability * mdp.reward).reshape(mdp.n_states, mdp.n_actions)
    if mdp.n_allowed.min() < mdp.n_actions:
        reward[~mdp.allowed] = -np.inf
    return reward


def continuation(mdp: FiniteMDP) -> sp.csr_array[np.float64]:
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
    entry and the padding behind it hold 2.0, so that rounding can never make a draw run over. An action that the
    state lacks has the row of its last action: no loop can leave the model.
    """

    successor: IntArray
    cumulative: FloatArray
    reward: FloatArray
    continues: FloatArray  # 1.0, or 0.0 where the episode ends: times γ it is the discount of the step
    reward_std: FloatArray  # of Gaussian noise on the reward


def successor_table(mdp: FiniteMDP) -> SuccessorTable:
    """`mdp` as padded arrays [S*A, K]; padding is 0 except in `cumulative`."""
    length, pair = np.diff(mdp.indptr), mdp.pair
    position = np.arange(pair.size) - mdp.indptr[pair]
    shape = (length.size, int(length.max()))
    successor = np.zeros(shape, np.int64)
    probability, reward, continues, reward_std = (np.zeros(shape) for _ in range(4))
    successor[pair, position] = mdp.successor
    probability[pair, position] = mdp.probability
    reward[pair, position] = mdp.reward
    continues[pair, position] = ~mdp.terminated
    reward_std[pair, position] = mdp.reward_std
    cumulative = np.cumsum(probability, axis=1)
    cumulative[np.arange(shape[1]) >= length[:, None] - 1] = 2.0
    table = SuccessorTable(successor, cumulative, reward, continues, reward_std)
    if mdp.n_allowed.min() == mdp.n_actions:
        return table
    action = np.minimum(np.arange(mdp.n_actions), mdp.n_allowed[:, None] - 1)
    row = np.arange(mdp.n_states)[:, None] * mdp.n_actions + action
    return SuccessorTable._make(array[row.ravel()] for array in table)
