"""NumPy. `FiniteMDP`: an environment small enough to write down, as flat lists of successors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from bellmax import stderr
from bellmax.arguments import HIGHEST, describe, integer, real
from bellmax.contracts import BoolArray, ConfigError, FloatArray, IntArray, ModelWarning, counted
from bellmax.mdp.arrays import Stack, gather
from bellmax.mdp.enumeration import explore
from bellmax.mdp.gymnasium_table import Env, read_table
from bellmax.mdp.labels import check_labels, read_names
from bellmax.mdp.layout import Layout, check_layout, read_grid
from bellmax.mdp.reading import (
    DTYPES,
    Columns,
    Labels,
    column,
    distribution,
    flatten,
    merged,
    read_entries,
    read_sizes,
    summing_to_one,
    which_actions,
    with_resting_ends,
)
from bellmax.mdp.remarks import find_remarks
from bellmax.mdp.validation import validate


@dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A finite Markov decision process: S states, A actions, E possible outcomes.

    Outcomes of (state s, action a) are the entries `indptr[s * A + a]` up to `indptr[s * A + a + 1]`. The
    constructors sort them by successor and merge equal ones. All arrays are read-only.

    A state may lack some of the A actions: `allowed` says which it has. A pair that does not exist has no entries,
    an expected reward of -inf and so a value of -inf; a loop that tries it gets the last action that the state has.

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
            sample it; exact values depend only on the mean.
        allowed: [S, A] bool, whether the state has the action; left out, every state has all A.
        max_episode_steps: the environment's time limit (steps) or None; solving ignores it.
        name: what the environment is called.
        action_names: [A] words for people, or empty.
        state_names: [S] what each state is called: words, the states of `from_function` themselves, or empty.
        grid: where the states are on a map, a `Layout` or None; names (row, column) say it as well. Constructors also
            accept (rows, columns), for states in reading order, and a map in letters like that of `gridworld`.

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
    allowed: BoolArray = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    max_episode_steps: int | None = None
    name: str = ""
    action_names: tuple[str, ...] = ()
    state_names: tuple[Any, ...] = ()
    grid: Layout | None = None

    def __post_init__(self) -> None:
        for name in ("n_states", "n_actions"):
            object.__setattr__(self, name, integer(name, getattr(self, name), -HIGHEST))
        for name in DTYPES.keys() - {"pair", "n_allowed"}:
            view = np.ascontiguousarray(column(getattr(self, name), name)).view()
            view.setflags(write=False)  # the view, not the caller's array
            object.__setattr__(self, name, view)
        if not self.reward_std.size:  # one number seen E times, which takes no memory
            object.__setattr__(self, "reward_std", np.broadcast_to(0.0, self.successor.shape))
        if not self.allowed.size:
            everything = np.broadcast_to(np.bool_(True), (max(self.n_states, 0), max(self.n_actions, 0)))
            object.__setattr__(self, "allowed", everything)
        for name in ("action_names", "state_names"):
            object.__setattr__(self, name, read_names(name, getattr(self, name)))
        if not isinstance(self.name, str):
            raise ConfigError(f"`name` must be a string; got {describe(self.name)}")
        if self.max_episode_steps is not None:
            object.__setattr__(
                self, "max_episode_steps", integer("max_episode_steps", self.max_episode_steps, -HIGHEST)
            )
        validate(self)
        object.__setattr__(self, "grid", check_layout(self.grid, self.n_states, self.n_actions))

    def __repr__(self) -> str:
        size = f"{counted(self.n_states, 'state')}, {counted(self.n_actions, 'action')}"
        return f"FiniteMDP({self.name or 'unnamed'}: {size})"

    @property
    def pair(self) -> IntArray:
        """[E] int64: the pair `s * A + a` that each entry belongs to."""
        return np.repeat(np.arange(self.indptr.size - 1), np.diff(self.indptr))

    @property
    def n_allowed(self) -> IntArray:
        """[S] int64: how many actions each state has."""
        return np.asarray(self.allowed.sum(axis=1), np.int64)

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
        mask: npt.ArrayLike | None = None,
        start: int | npt.ArrayLike = 0,
        **labels: Unpack[Labels],
    ) -> FiniteMDP:
        """Five or six [E] columns, in any order; `pair` is `s * A + a`, `start` a state or probabilities [S].

        Outcomes of a pair that are equal but for their probability are merged; those of probability 0 dropped.
        `mask [S, A]` says which actions each state has, or `n_allowed [S]` that it has its first so many; left out, it
        has those with outcomes. A state without any that is entered only as an episode ends rests there.
        """
        n_states, n_actions = read_sizes(n_states, n_actions)
        has = which_actions(mask, n_allowed, n_states, n_actions)
        columns = (n_states, n_actions, pair, successor, probability, reward, terminated, reward_std, has)
        return cls._of_columns(Columns(*columns), start, labels, warn=False)

    @classmethod
    def from_arrays(
        cls,
        P: Stack,
        R: Stack,
        *,
        layout: str | None = None,
        s_indices: npt.ArrayLike | None = None,
        a_indices: npt.ArrayLike | None = None,
        R_std: Stack = 0.0,
        mask: npt.ArrayLike | None = None,
        n_allowed: npt.ArrayLike | None = None,
        start: int | npt.ArrayLike = 0,
        terminal_states: npt.ArrayLike = (),
        **labels: Unpack[Labels],
    ) -> FiniteMDP:
        """Arrays, dense or `scipy.sparse`, as this library, mdptoolbox and QuantEcon have them.

        Probabilities that sum to one only within float32's rounding are divided by their sum, with a `ModelWarning`.
        An action does not exist in a state where its reward is -inf, the mask is False, or its row of P is empty.

        Args:
            P: probabilities `[S, A, S]` or `[A, S, S]`; a list of A matrices `[S, S]`; a matrix `[S*A, S]`, row
                `s * A + a` (of "ASS", `a * S + s`); or `[L, S]`, a row for each pair of `s_indices` and `a_indices`.
            R: rewards `[S]`, `[S, A]`, `[S, A, S]`, `[A, S, S]`, a list of A matrices `[S, S]`, or, like P's rows,
                `[L]` or `[L, S]`.
            layout: "SAS" for `[S, A, S]`, "ASS" for `[A, S, S]`, of P and R; without it the shape decides. Where S = A
                it cannot: then it is "SAS", with a `ModelWarning`. A list of matrices is always one for each action.
            s_indices: [L] the state of each row of P.
            a_indices: [L] the action of each row of P.
            R_std: standard deviation of Gaussian noise on the reward, of R's shapes or one number.
            mask: [S, A] bool, which actions each state has.
            n_allowed: [S] instead of a mask: each state has its first so many actions.
            start: a state or probabilities [S].
            terminal_states: entering one of them ends the episode. Their own rows of P and R do not count, their
                value is 0; but where all episodes start in them, as in a bandit, those they start in have their rows.
            labels: name, action_names, state_names, max_episode_steps, grid.

        Raises:
            ConfigError: shapes that do not fit, or numbers that are not a model; it names state and action.
        """
        columns, notes = gather(
            P, R, R_std, layout=layout, s_indices=s_indices, a_indices=a_indices, terminal_states=terminal_states,
            mask=mask, n_allowed=n_allowed, start=start,
        )  # fmt: skip
        return cls._of_columns(columns, start, labels, warn=True, notes=notes)

    @classmethod
    def from_successors(
        cls, successors: object, *, start: int | npt.ArrayLike = 0, **labels: Unpack[Labels]
    ) -> FiniteMDP:
        """Gymnasium's layout: `successors[s][a]` lists `(probability, next_state, reward, terminated)`.

        A fifth number is the standard deviation of Gaussian noise on the reward. Both levels may be sequences or
        mappings from 0, 1, ...; an action that is missing, None or without outcomes does not exist in its state. A
        state without actions that is entered only as an episode ends is an end.
        """
        return cls._of_columns(flatten(successors), start, labels, warn=True)

    @classmethod
    def from_function(
        cls,
        step: Callable[[Any, int], Any],
        starts: object,
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
            n_actions: A, or a function from a state to its number of actions.
            max_states: refuse to list more.
            labels: name, action_names, state_names instead of the states, max_episode_steps, grid.

        Raises:
            ConfigError: more than max_states states, an invalid outcome, or numbers that are not a model.
        """
        columns, first, states = explore(step, starts, n_actions, max_states)
        return cls._of_columns(columns, first, Labels(state_names=states) | labels, warn=True)

    @classmethod
    def from_gymnasium(cls, env: str | Env | Callable[..., Env], **kwargs: object) -> FiniteMDP:
        """The table `P` of a Gymnasium environment, or of what an id or a class makes with `kwargs`.

        Works for FrozenLake, CliffWalking, Taxi and any environment with `unwrapped.P` and `initial_state_distrib`.
        Raises ConfigError where the environment is unknown, has no table, or does not behave as its table says.
        """
        table, start, labels = read_table(env, kwargs)
        return cls._of_columns(flatten(table), start, labels, warn=False)

    @classmethod
    def _of_columns(
        cls, columns: Columns, start: int | npt.ArrayLike, labels: Labels, *, warn: bool, notes: Sequence[str] = ()
    ) -> FiniteMDP:
        """The model of E outcomes, and one warning of all `notes`, of rounded sums, and with `warn` of its remarks."""
        check_labels(labels)
        n_states, n_actions, mask = columns.n_states, columns.n_actions, columns.mask
        keys, weight = read_entries(columns)
        first = distribution(start, n_states)
        if mask is None:
            keys, weight, mask = with_resting_ends(keys, weight, first, n_states, n_actions)
        if not np.all(np.diff(keys[0] * n_states + keys[1]) > 0):  # they are not in order already
            keys, weight = merged(keys, weight)
        count = np.bincount(keys[0], minlength=max(n_states * n_actions, 0))
        indptr = np.concatenate([[0], np.cumsum(count)])
        weight, rounded = summing_to_one(weight, indptr, n_actions)
        first, rounded_start = summing_to_one(first, np.array([0, first.size]), 0)
        std = keys[4] if len(keys) > 4 else np.zeros(0)
        grid = read_grid(labels.get("grid"), n_states)
        words = labels.get("max_episode_steps"), labels.get("name", ""), labels.get("action_names", ())
        mdp = cls(
            n_states, n_actions, indptr, keys[1], weight, keys[2], keys[3], first, std, mask, *words,
            labels.get("state_names", ()), grid,
        )  # fmt: skip
        found = [*notes, *rounded, *rounded_start, *(mdp.remarks() if warn else ())]
        if found:
            title = f"FiniteMDP {mdp.name!r}" if mdp.name else "FiniteMDP"
            stderr.warn("\n  ".join([f"{title}: the model is valid, but check:", *found]), ModelWarning, stacklevel=3)
        return mdp

    def remarks(self, gamma: float | None = None) -> list[str]:
        """What is legal but often a slip, by state and action: states never entered, pay forever; no end, if γ = 1.

        The constructors for one's own data give these as one `ModelWarning`. Raises ConfigError if gamma is outside
        [0, 1].
        """
        return find_remarks(self, None if gamma is None else real("gamma", gamma, 0.0, 1.0))
