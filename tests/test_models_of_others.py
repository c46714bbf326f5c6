"""Models as other libraries write them: every form is the same model, and what cannot be read says how to write it."""

from __future__ import annotations

import itertools
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import bellmax as bx
from bellmax.contracts import ConfigError, FloatArray, ModelWarning
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import expected_reward

S, A = 5, 3
FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
RNG = np.random.default_rng(3)
P = RNG.dirichlet(np.ones(S), (S, A)) * (RNG.random((S, A, S)) < 0.7)
P[..., 0] += 1 - P.sum(axis=2)
R = RNG.normal(size=(S, A))
R3 = RNG.normal(size=(S, A, S))


def quietly(*args: Any, **kwargs: Any) -> FiniteMDP:
    """`from_arrays` without remarks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        return FiniteMDP.from_arrays(*args, **kwargs)


def policy_of(run: Any) -> Any:
    """The policy of the one seed."""
    (policy,) = run.policies["final"]
    return policy


def brute(P: FloatArray, R: FloatArray, gamma: float, allowed: Any = None) -> FloatArray:
    """V* [S] of dense `P [S, A, S]` and `R [S, A]` by trying every policy with dense linear algebra."""
    has = np.ones(R.shape, bool) if allowed is None else np.asarray(allowed)
    best, states = np.full(len(R), -np.inf), np.arange(len(R))
    for policy in itertools.product(*(np.flatnonzero(row) for row in has)):
        chosen = list(policy)
        best = np.maximum(best, np.linalg.solve(np.eye(len(R)) - gamma * P[states, chosen], R[states, chosen]))
    return best


BY_PAIR, BY_OUTCOME, BY_STATE = brute(P, R, 0.9), brute(P, (P * R3).sum(axis=2), 0.9), brute(P, R[:, [0] * A], 0.9)
MATRICES = list(np.moveaxis(P, 1, 0))
OBJECTS = np.empty(A, object)
for a, matrix in enumerate(MATRICES):
    OBJECTS[a] = matrix
PAIRS = np.random.default_rng(1).permutation(S * A)  # QuantEcon's rows, in any order
PROBABILITIES: dict[str, Any] = {
    "[S, A, S]": (P, {}),
    "nested lists": (P.tolist(), {}),
    "fractions": (np.vectorize(Fraction)(P), {}),
    "[S, A, S], sparse": (sp.coo_array(P), {}),
    "[A, S, S]": (np.moveaxis(P, 1, 0), {}),
    "[A, S, S], said": (np.moveaxis(P, 1, 0), {"layout": "ASS"}),
    "list of [S, S]": (MATRICES, {}),
    "tuple of [S, S]": (tuple(MATRICES), {}),
    "objects": (OBJECTS, {}),
    "rows in order": (P.reshape(S * A, S), {}),
    "rows by action": (np.moveaxis(P, 1, 0).reshape(S * A, S), {"layout": "ASS"}),
    "rows of pairs": (P.reshape(S * A, S)[PAIRS], {"s_indices": PAIRS // A, "a_indices": PAIRS % A}),
    **{f"list of {form}_matrix": ([getattr(sp, f"{form}_matrix")(p) for p in MATRICES], {}) for form in FORMATS},
    **{f"list of {form}_array": ([getattr(sp, f"{form}_array")(p) for p in MATRICES], {}) for form in FORMATS},
    **{f"one {form}": (getattr(sp, f"{form}_array")(P.reshape(S * A, S)), {}) for form in FORMATS},
    **{
        f"{form} of pairs": (
            getattr(sp, f"{form}_matrix")(P.reshape(S * A, S)[PAIRS]),
            {"s_indices": (PAIRS // A).astype(np.int32), "a_indices": list(PAIRS % A)},
        )
        for form in FORMATS
    },
}


@pytest.mark.parametrize("form", PROBABILITIES)
def test_every_form_of_the_probabilities_is_the_same_model(form: str) -> None:
    given, options = PROBABILITIES[form]
    mdp = quietly(given, R, **options)
    assert (mdp.n_states, mdp.n_actions) == (S, A)
    assert expected_reward(mdp) == pytest.approx(R)
    assert bx.solve(mdp, 0.9).v == pytest.approx(BY_PAIR, abs=1e-8)


OUTCOMES = {
    "[S, A, S]": R3,
    "[A, S, S]": np.moveaxis(R3, 1, 0),
    "list of [S, S]": list(np.moveaxis(R3, 1, 0)),
    **{f"list of {form}": [getattr(sp, f"{form}_array")(r) for r in np.moveaxis(R3, 1, 0)] for form in FORMATS},
}


@pytest.mark.parametrize("form", ["[S, A, S]", "list of [S, S]", "list of csr_array", "list of lil_matrix", "one csr"])
@pytest.mark.parametrize("paid", OUTCOMES)
def test_every_form_of_the_rewards_of_outcomes_goes_with_every_form_of_the_probabilities(form: str, paid: str) -> None:
    given, options = PROBABILITIES[form]
    assert bx.solve(quietly(given, OUTCOMES[paid], **options), 0.9).v == pytest.approx(BY_OUTCOME, abs=1e-8)


def test_rewards_of_states_pairs_and_rows() -> None:
    rows, index = P.reshape(S * A, S), {"s_indices": PAIRS // A, "a_indices": PAIRS % A}
    for paid in (R[:, 0], R[:, 0].tolist(), [Fraction(r) for r in R[:, 0]]):
        assert bx.solve(quietly(P, paid), 0.9).v == pytest.approx(BY_STATE, abs=1e-8)
    for paid in (sp.csr_matrix(R), sp.dok_array(R), R.astype(object)):
        assert bx.solve(quietly(MATRICES, paid), 0.9).v == pytest.approx(BY_PAIR, abs=1e-8)
    assert bx.solve(quietly(rows, R.ravel()), 0.9).v == pytest.approx(BY_PAIR, abs=1e-8)
    assert bx.solve(quietly(rows[PAIRS], R.ravel()[PAIRS], **index), 0.9).v == pytest.approx(BY_PAIR, abs=1e-8)
    by_row = sp.lil_matrix(R3.reshape(S * A, S)[PAIRS])
    assert bx.solve(quietly(rows[PAIRS], by_row, **index), 0.9).v == pytest.approx(BY_OUTCOME, abs=1e-8)
    whole = quietly(P.max(axis=2, keepdims=True) == P, R > 0)
    assert whole.reward.dtype == whole.probability.dtype == np.float64
    assert set(quietly(P, -1).reward) == {-1.0}


def test_layouts_that_the_shape_does_not_tell() -> None:
    square = [[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]]
    reward = [[1, 0], [0, 3]]
    with pytest.warns(ModelWarning, match=r"fits \[S, A, S\] and \[A, S, S\].*layout='SAS'.*'ASS'.*transpose"):
        guessed = FiniteMDP.from_arrays(square, reward)
    assert bx.solve(guessed, 0.9).v == pytest.approx([15.88, 18.09], abs=0.005)
    for given, layout in ((square, "SAS"), (np.swapaxes(square, 0, 1), "ASS")):
        mdp = FiniteMDP.from_arrays(given, reward, layout=layout, max_episode_steps=9)
        assert bx.solve(mdp, 0.9).v == pytest.approx(bx.solve(guessed, 0.9).v)
    toolbox = FiniteMDP.from_arrays(square, reward, layout="ASS", max_episode_steps=9)
    assert bx.solve(toolbox, 0.9).v == pytest.approx([14.88, 17.24], abs=0.005)
    listed = FiniteMDP.from_arrays([sp.csr_matrix(p) for p in square], reward, max_episode_steps=9)
    assert bx.solve(listed, 0.9).v == pytest.approx(bx.solve(toolbox, 0.9).v), "matrices are one for each action"
    by_outcome = np.arange(8.0).reshape(2, 2, 2)
    one = FiniteMDP.from_arrays(square, by_outcome, layout="ASS", max_episode_steps=9)
    assert expected_reward(one) == pytest.approx((np.array(square) * by_outcome).sum(axis=2).T)
    mixed = FiniteMDP.from_arrays(square, [sp.csr_matrix(r) for r in by_outcome], layout="SAS", max_episode_steps=9)
    assert expected_reward(mixed) == pytest.approx((np.array(square) * by_outcome.swapaxes(0, 1)).sum(axis=2))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (np.moveaxis(P, 1, 2), {}, r"P has shape \(5, 5, 3\).*give np.moveaxis\(P, 2, 1\), which is \(5, 3, 5\)"),
        (P, {"layout": "ASS"}, r"P has shape \(5, 3, 5\), expected \[A, S, S\]"),
        (P, {"layout": "SSA"}, "unknown layout 'SSA'"),
        (P[:, :, :4], {}, r"P has shape \(5, 3, 4\), expected \[S, A, S\] or \[A, S, S\]"),
        (
            P.transpose(1, 2, 0),
            {},
            r"sums to one over its axis 2|sums to one over its axis 1, .*P.transpose\(0, 2, 1\)",
        ),
        (P.reshape(S * A, S)[1:], {}, r"P has shape \(14, 5\).*s_indices and a_indices"),
        (P.reshape(S * A, S), {"s_indices": PAIRS // A}, "give both"),
        (P.reshape(S * A, S), {"s_indices": [0], "a_indices": [0]}, r"s_indices has shape \(1,\), expected \(15,\)"),
        (P.reshape(S * A, S), {"s_indices": [0] * 15, "a_indices": [0] * 15}, "state 0, action 0 has two rows"),
        (P.reshape(S * A, S), {"s_indices": [9] * 15, "a_indices": range(15)}, "s_indices runs from 9 to 9"),
        (P, {"s_indices": PAIRS // A, "a_indices": PAIRS % A}, r"need P \[L, S\]"),
        ([sp.eye_array(3), sp.eye_array(4)], {}, "P lists matrices of shapes"),
        ([["0.5", "0.5"]], {}, "P has dtype <U3, expected float64"),
        (np.array([[[Fraction(1, 2), "1/2"]]], object), {}, "it holds '1/2'"),
        (P, {"mask": np.ones((A, S), bool)}, r"mask has shape \(3, 5\), expected \[S, A\] = \(5, 3\)"),
        (P, {"mask": np.ones((S, A), bool), "n_allowed": [3] * S}, "give one of them"),
        (P, {"terminal_states": [True, False]}, "terminal_states has 2 flags, expected 5"),
    ],
)
def test_what_cannot_be_read_says_how_to_write_it(given: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FiniteMDP.from_arrays(given, 0.0, **options)


def test_a_reward_the_wrong_way_round_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"R has shape \(3, 5\), expected \(5,\), \(5, 3\), .*R.T has shape \(5, 3\)"):
        FiniteMDP.from_arrays(P, R.T)


@pytest.mark.parametrize("n", [2, 30, 1000])
@pytest.mark.parametrize("how", ["rounded", "divided", "softmax"])
def test_sums_that_float32_rounds_are_divided_and_told(n: int, how: str) -> None:
    rng = np.random.default_rng(n)
    given = rng.dirichlet(np.ones(n), (4, 2)).astype("f4")
    if how == "divided":
        given = rng.random((4, 2, n), np.float32)
        given /= given.sum(axis=2, keepdims=True)
    elif how == "softmax":
        given = np.exp(rng.normal(size=(4, 2, n)).astype("f4"))
        given /= np.cumsum(given, axis=2)[..., -1:]  # summed one by one
    P = np.zeros((max(n, 4), 2, max(n, 4)))
    P[:4, :, :n], P[4:, :, 0] = given, 1
    with pytest.warns(ModelWarning, match="miss a sum of 1 by .* divided by their sum"):
        mdp = FiniteMDP.from_arrays(P, np.ones((max(n, 4), 2)))
    total = np.bincount(mdp.pair, mdp.probability)
    assert np.abs(total - 1).max() < 1e-14
    assert bx.solve(mdp, 0.9).v == pytest.approx(10.0, abs=1e-9)


def test_a_typo_is_not_rounding_and_what_is_exact_stays_as_it_is() -> None:
    for row in ([0.333333] * 3, [0.2, 0.3, 0.499999], [0.5, 0.5 - 1e-6], [0.1] * 9, [0.5, 0.5001]):
        P = np.eye(10)[:, None]
        P[2, 0] = 0
        P[2, 0, : len(row)] = row
        with pytest.raises(ConfigError, match=rf"state 2, action 0: probabilities sum to {sum(row):.10g}, not 1"):
            FiniteMDP.from_arrays(P, np.zeros(10))
    tenths = FiniteMDP.from_successors([[[(0.1, s, 0.0, False) for s in range(10)]]] * 10, max_episode_steps=5)
    assert (tenths.probability == 0.1).all(), "to the last bit"
    start = np.float32([0.1, 0.2, 0.3, 0.15, 0.25]) * np.float32(1 + 2e-7)
    with pytest.warns(ModelWarning, match="probabilities of start miss a sum of 1"):
        mdp = FiniteMDP.from_entries(5, 1, range(5), range(5), [1.0] * 5, [0.0] * 5, [True] * 5, start=start)
    assert mdp.start.sum() == pytest.approx(1, abs=1e-15)


def test_quantecons_own_example() -> None:
    Q = np.array([[[0.5, 0.5], [0, 1]], [[0, 1], [0.5, 0.5]]])
    with pytest.warns(ModelWarning, match="layout"):
        mdp = FiniteMDP.from_arrays(Q, [[5, 10.0], [-1, -np.inf]])
    assert bx.solve(mdp, 0.95).v == pytest.approx([-8.57142857, -20])
    rows = sp.csr_matrix([[0.5, 0.5], [0, 1], [0, 1]])
    pairs = quietly(rows, [5, 10, -1], s_indices=[0, 0, 1], a_indices=[0, 1, 0])
    assert pairs.allowed.tolist() == mdp.allowed.tolist() == [[True, True], [True, False]]
    assert bx.solve(pairs, 0.95).v == pytest.approx([-8.57142857, -20])


def test_nobody_acts_in_a_terminal_state() -> None:
    P = np.zeros((2, 1, 2))
    P[:, 0, 1] = 1
    assert bx.solve(FiniteMDP.from_arrays(P, [[1], [5]], terminal_states=[1]), 0.9).v.tolist() == [1.0, 0.0]
    P = np.zeros((3, 2, 3))
    P[0, :, 1] = P[1, 0, 2] = P[1, 1, 0] = 1
    for ends in ([2], np.array([2]), 2, [False, False, True]):
        mdp = FiniteMDP.from_arrays(P, np.ones((3, 2)), terminal_states=ends)
        assert bx.solve(mdp, 0.5).v.tolist() == [2.0, 2.0, 0.0]
        assert mdp.allowed.all()
    with pytest.raises(ConfigError, match="state 2: it has no action; if episodes end there, the way in must"):
        FiniteMDP.from_arrays(P, np.ones((3, 2)))
    listed = FiniteMDP.from_successors([[[(1, 1, 1, 1)]], []])
    assert bx.solve(listed, 0.5).v.tolist() == [1.0, 0.0]
    bandit = FiniteMDP.from_arrays(np.ones((1, 2, 1)), [[1.0, 2.0]], terminal_states=[0])
    assert bx.solve(bandit, 0.5).q.tolist() == [[1.0, 2.0]], "every episode starts where it ends: one step"


MASK = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1]], bool)
MASKED = brute(P, R, 0.9, MASK)


def masked_models() -> dict[str, FiniteMDP]:
    """One model in which other actions than the last are missing, in every way to say so."""
    rows = MASK.ravel()
    table = [
        {
            a: [(p, s2, R[s, a], False) for s2, p in enumerate(P[s, a]) if p]
            for a in range(A) if MASK[s, a]
        }
        for s in range(S)
    ]  # fmt: skip
    nested = [[row.get(a, None if s % 2 else []) for a in range(A)] for s, row in enumerate(table)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        from_tables = [FiniteMDP.from_successors(each) for each in (table, nested)]
        function = FiniteMDP.from_function(lambda s, a: nested[s][a] or [], list(range(S)), A)
    return {
        "-inf": quietly(P, np.where(MASK, R, -np.inf)),
        "-inf of outcomes": quietly(P, np.where(MASK[..., None], np.repeat(R[..., None], S, 2), -np.inf)),
        "mask": quietly(P, R, mask=MASK),
        "mask of integers": quietly(MATRICES, R, mask=MASK.astype(int)),
        "empty rows": quietly(P * MASK[..., None], R),
        "empty sparse rows": quietly(sp.csr_array((P * MASK[..., None]).reshape(S * A, S)), R),
        "rows of pairs": quietly(
            P.reshape(S * A, S)[rows], R.ravel()[rows], s_indices=np.repeat(np.arange(S), A)[rows],
            a_indices=np.tile(np.arange(A), S)[rows],
        ),
        "mapping": from_tables[0],
        "nested": from_tables[1],
        "function": function,
    }  # fmt: skip


@pytest.mark.parametrize(("way", "mdp"), masked_models().items(), ids=lambda value: value if type(value) is str else "")
def test_any_action_may_be_missing(way: str, mdp: FiniteMDP) -> None:
    assert mdp.allowed.tolist() == MASK.tolist()
    assert mdp.n_allowed.tolist() == [2, 2, 2, 1, 3]
    for method in ("auto", "policy-iteration", "linear-programming", "value-iteration", "gauss-seidel"):
        solution = bx.solve(mdp, 0.9, method=method)
        assert solution.v == pytest.approx(MASKED, abs=1e-8)
        assert MASK[np.arange(S), solution.policy].all()
        assert np.isneginf(solution.q[~MASK]).all()
    assert bx.solve_horizon(mdp, 400, 0.9).v[0] == pytest.approx(MASKED, abs=1e-8)
    soft = bx.solve_soft(mdp, 0.9, 0.2)
    mixed = bx.soften(mdp, soft.policy, 0.2)
    assert (mixed > 0).tolist() == MASK.tolist()
    assert bx.evaluate_policy(mdp, mixed, 0.9) == pytest.approx(soft.v, abs=1e-8)
    with pytest.raises(ConfigError, match=r"policy: states \[0, 3\] have actions"):
        bx.evaluate_policy(mdp, [0] * S, 0.9)


@pytest.mark.parametrize("agent", ["q-learning", "sarsa", "dyna-q", "watkins-q", "r-max"])
@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_tables_learn_in_the_users_own_numbers_of_actions(agent: str, loop: str) -> None:
    mdp = quietly(P, np.where(MASK, R, -np.inf), max_episode_steps=50)
    options: dict[str, Any] = {"r_max": 3.0} if agent == "r-max" else {}
    steps = 2_000 if loop == "host" else 20_000
    run = bx.train(mdp, agent, steps=steps, loop=loop, seeds=1, gamma=0.9, final_episodes=2, **options)
    arrays = policy_of(run).arrays
    assert np.isneginf(arrays["q"][~MASK]).all()
    assert (arrays["visits"][~MASK] == 0).all()
    assert (arrays["visits"][MASK] > 0).all()
    assert MASK[np.arange(S), [policy_of(run).act(s) for s in range(S)]].all()


def test_a_missing_first_action_is_learned_like_a_missing_last_one() -> None:
    """The same model with its actions in another order: same seed, same numbers, in the order of the user."""
    turn = np.array([2, 0, 1])
    front = quietly(P[:, turn], np.where(MASK[:, turn], R[:, turn], -np.inf), max_episode_steps=50)
    first = FiniteMDP.from_arrays(P, np.where(np.arange(A) < [[2]], R, -np.inf), max_episode_steps=50)
    turned = FiniteMDP.from_arrays(P[:, turn], np.where(turn < 2, R[:, turn], -np.inf), max_episode_steps=50)
    one, other = (bx.train(mdp, "q-learning", steps=3_000, seeds=1, final_episodes=1) for mdp in (first, turned))
    assert policy_of(one).arrays["q"][:, turn].tobytes() == policy_of(other).arrays["q"].tobytes()
    assert front.allowed.tolist() == MASK[:, turn].tolist()


def test_networks_see_the_mask_in_the_users_own_numbers() -> None:
    mdp = quietly(P, np.where(MASK, R, -np.inf), max_episode_steps=50)
    run = bx.train(mdp, "dqn", steps=400, seeds=1, learning_starts=100, net_arch=(8,), final_episodes=2)
    q = policy_of(run).table()
    assert q.shape == (S, A)
    env = bx.TabulatedEnv(mdp)
    env.obs = 3
    assert env._info()["action_mask"].tolist() == [False, False, True]
    assert env.table.reward[3 * A].tolist() == env.table.reward[3 * A + 2].tolist(), "the state's last one stands in"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_names": "abc"}, "`action_names` must be a tuple of names; got 'abc'"),
        ({"start": True}, "`start` must be a state or probabilities .S.; got True"),
        ({"start": 2.5}, "`start` must be a state or probabilities .S.; got 2.5"),
        ({"start": "a"}, "`start` must be a state or probabilities .S.; got 'a'"),
        ({"max_episode_steps": 2.5}, "`max_episode_steps` must be an integer"),
        ({"max_episode_steps": "9"}, "`max_episode_steps` must be an integer"),
    ],
)
def test_labels_of_the_wrong_kind_are_told(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FiniteMDP.from_arrays(P, R, **options)
    named = quietly(P, R, action_names=np.array(["a", "b", "c"]), max_episode_steps=np.int64(9))
    assert named.action_names == ("a", "b", "c")


def test_a_table_comes_from_an_environment_its_class_or_its_id() -> None:
    from gymnasium.envs.toy_text import CliffWalkingEnv

    assert FiniteMDP.from_gymnasium(CliffWalkingEnv).successor.tolist() == bx.cliff().successor.tolist()
    slippery = FiniteMDP.from_gymnasium(CliffWalkingEnv, is_slippery=True)
    assert slippery.successor.size > bx.cliff().successor.size
    for given, message in ((None, "got None"), (3, "got 3"), (lambda: 3, "makes a int"), (dict, "makes a dict")):
        with pytest.raises(ConfigError, match=message):
            FiniteMDP.from_gymnasium(given)


def test_a_large_sparse_model_needs_no_square_of_its_states() -> None:
    n = 200_000  # n x n numbers would be 320 GB
    walk = sp.diags_array([np.full(n - 1, 1.0)], offsets=[1], shape=(n, n)).tocsr()
    mdp = FiniteMDP.from_arrays([walk, walk], np.ones(n), terminal_states=n - 1)
    assert mdp.successor.size == 2 * n
    assert bx.solve(mdp, 0.5).v[-3:] == pytest.approx([1.5, 1.0, 0.0])


def test_a_list_of_reward_vectors_is_one_for_each_action() -> None:
    listed = [np.ascontiguousarray(column) for column in R.T]
    for given in (listed, tuple(listed)):
        np.testing.assert_array_equal(
            expected_reward(quietly(P.transpose(1, 0, 2), given)), expected_reward(quietly(P, R))
        )
    with pytest.raises(ConfigError, match=r"R.T has shape"):  # an array of that shape is still a slip
        FiniteMDP.from_arrays(P, R.T)


@pytest.mark.parametrize("below", [-1e-17, -2e-16])
def test_probabilities_that_rounding_left_below_zero_are_zero(below: float) -> None:
    chances = np.array([[[1.0, below]], [[below, 1.0]]])
    mdp = quietly(chances, np.ones((2, 1)), start=[1.0, below], layout="SAS")
    assert mdp.probability.tolist() == [1.0, 1.0]
    assert mdp.start.tolist() == [1.0, 0.0]
    with pytest.raises(ConfigError, match="is negative"):
        FiniteMDP.from_arrays(chances - np.array([0, 1e-6]), np.ones((2, 1)), layout="SAS")


def test_arguments_that_no_constructor_has_are_told() -> None:
    for name, said in (("order", "layout='SAS'"), ("gamma", "bellmax.solve"), ("terminals", "'terminal_states'")):
        with pytest.raises(ConfigError, match=f"unknown argument '{name}'") as caught:
            FiniteMDP.from_arrays(P, R, **{name: 1})  # type: ignore[arg-type]
        assert said in str(caught.value)
    with pytest.raises(ConfigError, match="unknown argument 'nam'; did you mean 'name'"):
        FiniteMDP.from_successors([[[(1, 0, 0, 1)]]], nam="x")  # type: ignore[call-arg]


def test_matrices_by_action_hidden_numbers_and_sets() -> None:
    by_action = dict(enumerate(MATRICES))
    assert expected_reward(quietly(by_action, R)) == pytest.approx(R)
    with pytest.raises(ConfigError, match=r"it holds a dict; give .* list\(P.values\(\)\)"):
        FiniteMDP.from_arrays({"left": MATRICES[0], "right": MATRICES[1]}, R)
    with pytest.raises(ConfigError, match=r"P is a masked array, .*P.filled\(0\)"):
        FiniteMDP.from_arrays(np.ma.masked_less(P, 0.1), R)
    with pytest.raises(ConfigError, match=r"R is a masked array"):
        FiniteMDP.from_arrays(P, np.ma.masked_less(R, 0.0))
    assert bx.solve(quietly(P, R, terminal_states={3, 4}), 0.9).v[3:].tolist() == [0.0, 0.0]


def test_vectors_that_fit_states_and_actions_are_remarked() -> None:
    square = [sp.csr_matrix(p) for p in ([[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]])]
    vectors = [np.array([1.0, 0.0]), np.array([0.0, 3.0])]
    with pytest.warns(ModelWarning, match=r"R is a list of 2 vectors of 2 numbers.*read as \[S, A\]"):
        FiniteMDP.from_arrays(square, vectors)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FiniteMDP.from_arrays(square, np.stack(vectors), max_episode_steps=9)


@pytest.mark.parametrize("ends", [{3}, frozenset({3}), range(3, 4), 3, [3.0]], ids=str)
def test_terminal_states_in_any_collection(ends: Any) -> None:
    P = np.eye(4)[[1, 2, 3, 3]][:, None]
    assert bx.solve(FiniteMDP.from_arrays(P, np.ones((4, 1)), terminal_states=ends), 1.0).v.tolist() == [3, 2, 1, 0]


def test_flags_that_could_be_numbers_of_states_are_refused() -> None:
    P = np.eye(4)[[1, 2, 3, 3]][:, None]
    for flags in ([0, 0, 0, 1], np.array([0.0, 0.0, 0.0, 1.0])):
        with pytest.raises(bx.ConfigError, match=r"flags as bool.* or the numbers, \[3\]"):
            FiniteMDP.from_arrays(P, np.ones((4, 1)), terminal_states=flags)
