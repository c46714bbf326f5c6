"""NumPy. A model as compiled loops need it: rows of equal length, and the actions of a state in front."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bellmax.contracts import FloatArray, IntArray
from bellmax.machine import check_fits
from bellmax.mdp.model import FiniteMDP


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
    """`mdp` as padded arrays [S*A, K]; padding is 0 except in `cumulative`.

    Raises:
        ResourceError: they do not fit in memory.
    """
    length, pair = np.diff(mdp.indptr), mdp.pair
    position = np.arange(pair.size) - mdp.indptr[pair]
    shape = (length.size, int(length.max()))
    check_fits(
        (56 if mdp.allowed.all() else 112) * shape[0] * shape[1],
        f"{mdp!r} as a table of {shape[0]:,} rows, each as long as the longest, {shape[1]:,} outcomes,",
        lambda share: "split pairs that have many more outcomes than others, or use fewer states",
    )
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
    if mdp.allowed.all():
        return table
    row = np.arange(mdp.n_states)[:, None] * mdp.n_actions + stand_in(mdp)
    return SuccessorTable._make(array[row.ravel()] for array in table)


def stand_in(mdp: FiniteMDP) -> IntArray:
    """[S, A]: what a loop does when it is asked for an action: that one, or the last that the state has."""
    A = mdp.n_actions
    last = A - 1 - np.argmax(mdp.allowed[:, ::-1], axis=1)
    return np.where(mdp.allowed, np.arange(A), last[:, None])


def in_front(mdp: FiniteMDP) -> tuple[FiniteMDP, IntArray | None]:
    """`(model, order [S, A])` in which each state's actions are its first: its action k is `order[s, k]` of `mdp`.

    The order is None where it is so already. A loop over actions then needs only their number, not a mask.
    """
    if not (mdp.allowed[:, 1:] & ~mdp.allowed[:, :-1]).any():
        return mdp, None
    order = np.argsort(~mdp.allowed, axis=1, kind="stable")
    place = np.argsort(order, axis=1)
    state, action = np.divmod(mdp.pair, mdp.n_actions)
    pair = state * mdp.n_actions + place[state, action]
    by_pair = np.argsort(pair, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(pair, minlength=mdp.indptr.size - 1))])
    columns = {
        name: getattr(mdp, name)[by_pair] for name in ("successor", "probability", "reward", "terminated", "reward_std")
    }
    allowed = np.take_along_axis(mdp.allowed, order, axis=1)
    return replace(mdp, indptr=indptr, allowed=allowed, action_names=(), grid=None, **columns), order


def with_ends(mdp: FiniteMDP) -> tuple[FiniteMDP, IntArray]:
    """The model in which entering a state that nothing leaves, and that pays nothing, ends the episode; those states.

    No value changes, for that of such a state is 0. A learner would stay in it for the rest of its steps.
    """
    state = mdp.pair // mdp.n_actions
    stays = (mdp.successor == state) & (mdp.reward == 0) & (mdp.reward_std == 0)
    absorbing = np.ones(mdp.n_states, np.bool_)
    absorbing[state[~stays]] = False
    absorbing &= np.bincount(state[~mdp.terminated], minlength=mdp.n_states) > 0  # the others are ends already
    if not absorbing.any():
        return mdp, np.zeros(0, np.int64)
    return replace(mdp, terminated=mdp.terminated | absorbing[mdp.successor]), np.flatnonzero(absorbing)
