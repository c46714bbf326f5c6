"""The shared learner against plain arithmetic: target network, clipping, schedules, averaging."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bellmax as bx
from bellmax.contracts import Box, Discrete, Masked, Transition
from bellmax.deep.averaging import LONGEST_AVERAGE, averaged
from bellmax.deep.building import build_network
from bellmax.deep.memories import horizon
from bellmax.deep.optax_names import optimizers
from bellmax.deep.optimizer import make_optimizer
from bellmax.deep.resets import is_schedule
from bellmax.keys import APART, make_key
from bellmax.networks.packing import from_named, to_named

SPACE = Box((3,))


def batch(n: int, seed: int = 0) -> tuple[Transition, jax.Array]:
    rng = np.random.default_rng(seed)
    obs, next_obs = rng.normal(size=(2, n, 3)).astype(np.float32)
    action = rng.integers(0, 2, n).astype(np.int32)
    reward = rng.normal(size=n).astype(np.float32)
    discount = np.where(rng.random(n) < 0.3, 0.0, 0.9).astype(np.float32)
    return jax.tree.map(jnp.asarray, (Transition(obs, action, reward, discount, next_obs), np.ones(n, np.float32)))


def learner(**settings):
    config = bx.DQN(**{"net_arch": (8,), "gamma": 0.9, "learning_rate_schedule": "constant", **settings})
    agent = config.make(SPACE, 2, 1000)
    return config, agent, jax.jit(agent.learn), agent.init(make_key(0))


def test_hard_target_is_copied_every_period() -> None:
    _, _, learn, state = learner(target_update_interval=3)
    first = state.target_params
    for k in range(1, 8):
        state, _ = learn(state, batch(16, k), make_key(k))
        if k < 3:
            np.testing.assert_array_equal(state.target_params, first)
        if k % 3 == 0:
            np.testing.assert_array_equal(state.target_params, state.params)
            copied = state.params
        elif k > 3:
            np.testing.assert_array_equal(state.target_params, copied)


@pytest.mark.parametrize(("gradient_steps", "period"), [(1, 2), (3, 6)])
def test_the_period_counts_environment_steps(gradient_steps: int, period: int) -> None:
    """A round is 4 environment steps, so the copy comes with every second one, whatever is learned in a round."""
    _, _, learn, state = learner(target_update_interval=8, train_freq=2, num_envs=2, gradient_steps=gradient_steps)
    for k in range(1, 2 * period + 1):
        state, _ = learn(state, batch(16, k), make_key(k))
        assert (state.target_params == state.params).all() == (k % period == 0)


def test_soft_target_follows() -> None:
    _, _, learn, state = learner(target_update_interval=1, tau=0.25)
    before = state.target_params
    state, _ = learn(state, batch(16), make_key(0))
    np.testing.assert_allclose(state.target_params, 0.25 * state.params + 0.75 * before, rtol=1e-6)


@pytest.mark.parametrize("loss", ["huber", "squared"])
@pytest.mark.parametrize("double", [False, True])
def test_gradient_equals_finite_differences(loss: str, double: bool) -> None:
    config, agent, _, state = learner(loss=loss, double=double, normalization="none")
    other, method = agent.init(make_key(1)), config.method()
    transitions, _ = batch(32)

    def value(params: jax.Array) -> jax.Array:
        def net(p):
            return lambda obs: method.output(agent.q_values(state._replace(params=p), (), obs)[0])

        one = lambda t: method.loss(net(params), net(other.params), t, jnp.float32(1.0), jnp.zeros(0))[0]  # noqa: E731
        return jnp.mean(jax.vmap(one)(transitions))

    direction = jax.random.normal(make_key(2), state.params.shape)
    direction /= jnp.linalg.norm(direction)
    slope = jax.grad(value)(state.params) @ direction
    step = 1e-2
    measured = (value(state.params + step * direction) - value(state.params - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(measured), rel=0.05, abs=2e-3)


def test_gradients_are_clipped_by_their_global_norm() -> None:
    optimizer = make_optimizer(bx.DQN(max_grad_norm=1.0, learning_rate_schedule="constant"), 100)
    reference = optax.adam(2.5e-4, eps=1e-5)
    gradient = jnp.array([3.0, 4.0, 0.0])
    ours, _ = optimizer.update(gradient, optimizer.init(gradient))
    theirs, _ = reference.update(gradient / 5.0, reference.init(gradient))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_linear_schedule_ends_at_zero() -> None:
    config = bx.DQN(learning_rate=1e-2, learning_starts=20, train_freq=4)
    optimizer = make_optimizer(config, 100)  # 20 gradient steps
    state = optimizer.init(jnp.zeros(1))
    sizes = []
    for _ in range(21):
        change, state = optimizer.update(jnp.ones(1), state)
        sizes.append(float(-change[0]))
    assert sizes[0] == pytest.approx(1e-2, rel=1e-2)
    assert sizes[10] == pytest.approx(5e-3, rel=1e-2)
    assert sizes[20] == 0.0


def test_average_weighs_late_parameters_more() -> None:
    values = np.random.default_rng(0).normal(size=200)
    average = jnp.float32(99.0)  # the start counts nothing
    for k, x in enumerate(values, start=1):
        average = averaged(average, jnp.float32(x), jnp.float32(k))
    k = np.arange(1, 201)
    weight = k * (k + 1.0) * (k + 2.0)
    assert float(average) == pytest.approx((weight * values).sum() / weight.sum(), abs=1e-5)


def test_average_of_a_long_run_forgets_networks_that_are_far_behind() -> None:
    """40,000 gradient steps at 0, then 10,000 at 1: the window is no longer a share of the run."""

    def go(x: float, average: jax.Array, first: int, steps: int) -> jax.Array:
        return jax.lax.fori_loop(first, first + steps, lambda k, mean: averaged(mean, jnp.float32(x), k), average)

    average = go(1.0, go(0.0, jnp.float32(7.0), 1, 40_000), 40_001, 10_000)
    assert float(average) == pytest.approx(1.0 - (1.0 - 1.0 / LONGEST_AVERAGE) ** 10_000, abs=1e-3)
    assert float(average) > 0.98


def test_discrete_observations_are_one_hot() -> None:
    agent = bx.DQN(net_arch=()).make(Discrete(4), 2, 100)
    state = agent.init(make_key(0))
    named = agent.parameters(state)
    for obs in range(4):
        expected = named["head.advantage.layers.0.weight"][:, obs] + named["head.advantage.layers.0.bias"]
        np.testing.assert_allclose(agent.q_values(state, (), jnp.int32(obs))[0], expected, rtol=1e-6)


def test_every_optimizer_by_name_takes_a_step() -> None:
    for name in optimizers():
        _, agent, _, state = learner(optimizer=name)
        after, _ = agent.learn(state, batch(16), make_key(0))
        after, _ = agent.learn(after, batch(16), make_key(1))  # rprop's first step is none
        new, old = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(each.params)]) for each in (after, state))
        assert np.isfinite(new).all(), name
        assert (new != old).any(), name


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_pulls_to_zero(name: str) -> None:
    optimizer = make_optimizer(
        bx.DQN(optimizer=name, weight_decay=0.1, learning_rate=0.5, learning_rate_schedule="constant"), 100
    )
    params = jnp.array([2.0, -4.0])
    change, _ = optimizer.update(jnp.zeros(2), optimizer.init(params), params)
    np.testing.assert_allclose(change, -0.05 * params, rtol=1e-6)


def test_cosine_schedule_falls_from_its_start_to_zero() -> None:
    optimizer = make_optimizer(
        bx.DQN(optimizer="sgd", learning_rate=0.5, learning_rate_schedule="cosine", learning_starts=0), 10
    )
    state, sizes = optimizer.init(jnp.zeros(1)), []
    for _ in range(11):
        change, state = optimizer.update(jnp.ones(1), state)
        sizes.append(float(-change[0]))
    np.testing.assert_allclose(sizes, [0.25 * (1 + np.cos(np.pi * min(k, 10) / 10)) for k in range(11)], atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_reset_begins_the_head_anew_and_a_share_of_the_torso(share: float) -> None:
    settings = {
        "reset_interval": 3,
        "reset_share": share,
        "net_arch": (8, 8),
        "weight_averaging": False,
        "learning_starts": 0,
    }
    _, agent, learn, state = learner(**settings)
    _, _, plain, same = learner(**{**settings, "reset_interval": 0})
    for k in range(3):
        state, _ = learn(state, batch(16, k), make_key(k))
        same, _ = plain(same, batch(16, k), make_key(k))
        if k < 2:
            np.testing.assert_array_equal(state.params, same.params)
    after, before = agent.parameters(state), agent.parameters(same)
    for name in after:
        if name.endswith("weight"):  # the norms' parameters start alike
            unchanged = np.array_equal(after[name], before[name])
            assert unchanged == (share == 0.0 and not name.startswith("head")), name
    copies = [agent.parameters(s._replace(params=s.target_params)) for s in (state, same)]
    for name in after:  # the target network has the same fresh parameters, and of the rest its own
        if name.endswith("weight"):
            old = name.startswith("torso") and share == 0.0
            np.testing.assert_array_equal(copies[0][name], copies[1][name] if old else after[name], err_msg=name)
    assert int(state.optimizer[1][0].count) == 0
    assert int(state.updates) == 3


def test_n_and_gamma_move_to_their_values_after_each_reset() -> None:
    config = bx.DQN(
        n_steps=3, n_steps_initial=10, gamma=0.997, gamma_initial=0.97, anneal_interval=100, reset_interval=400
    )  # fmt: skip
    for base in (0, 400, 800):
        n, gamma = zip(*(horizon(config, base + k) for k in (0, 50, 100, 399)), strict=True)
        assert [int(x) for x in n] == [10, 5, 3, 3]
        np.testing.assert_allclose(gamma, [0.97, 1 - np.sqrt(0.03 * 0.003), 0.997, 0.997], rtol=1e-5)
    assert config.window == 10


@pytest.mark.parametrize("masked", [False, True], ids=["all allowed", "masked"])
def test_the_conservative_loss_is_added(masked: bool) -> None:
    """α (ln Σ exp Q - Q(s, a)) over the allowed actions, with the weight of its transition."""
    space, (transitions, _) = Masked(SPACE, Box((2,), "bool")) if masked else SPACE, batch(32)
    weight, mask = np.random.default_rng(1).uniform(0.2, 2.0, 32).astype(np.float32), np.ones((32, 2), bool)
    if masked:
        mask[::2, 0], transitions = False, transitions._replace(action=transitions.action.at[::2].set(1))
        transitions = transitions._replace(
            obs=Masked(transitions.obs, jnp.asarray(mask)), next_obs=Masked(transitions.next_obs, jnp.asarray(mask))
        )
    plain, cautious = (bx.DQN(net_arch=(8,), conservative_weight=w).make(space, 2, 1000) for w in (0.0, 2.0))
    state = plain.init(make_key(0))
    one, other = (jax.jit(agent.learn)(state, (transitions, weight), make_key(0))[1] for agent in (plain, cautious))
    q = np.asarray(jax.vmap(lambda obs: plain.q_values(state, (), obs)[0])(transitions.obs))
    gap = np.log(np.exp(q).sum(axis=1)) - q[np.arange(32), transitions.action]
    assert (np.abs(gap[::2]) < 1e-6).all() == masked  # one action is allowed there, and it is the one
    assert float(other.metrics["conservative_gap"]) == pytest.approx(gap.mean(), rel=1e-4)
    added = 2.0 * (weight * gap).mean()
    assert float(other.metrics["loss"] - one.metrics["loss"]) == pytest.approx(added, rel=1e-3)


def test_the_loss_of_a_batch_is_the_weighted_mean() -> None:
    _, _, learn, state = learner()
    transitions, _ = batch(8)
    parts = [jax.tree.map(lambda x, k=k: x[k : k + 1], transitions) for k in range(8)]
    single = [learn(state, (part, jnp.ones(1)), make_key(0)) for part in parts]
    losses = np.array([float(learned.metrics["loss"]) for _, learned in single])
    weight = np.linspace(0.1, 1.5, 8, dtype=np.float32)
    _, learned = learn(state, (transitions, weight), make_key(0))
    assert float(learned.metrics["loss"]) == pytest.approx((weight * losses).mean(), rel=1e-5)


def noisy_learner(n_actions: int, silent: str) -> tuple[Any, Any]:
    """(learn, state), the noise of the network or of its target network being silent."""
    config = bx.DQN(noisy=True, net_arch=(8,))
    agent, built = config.make(SPACE, n_actions, 1000), build_network(config, config.method(), SPACE, n_actions)
    params = built.fresh(make_key(0))
    module = built.module(params)
    quiet = {name: 0.0 * leaf if "sigma" in name else leaf for name, leaf in to_named(module).items()}
    without = built.pack(from_named(module, quiet))
    state = agent.init(make_key(0))._replace(params=without if silent == "network" else params)
    return jax.jit(agent.learn), state.with_target(without if silent == "target" else params)


@pytest.mark.parametrize("silent", ["network", "target"])
def test_both_networks_are_noisy_in_the_target(silent: str) -> None:
    """With one of them silent, the loss still depends on the key."""
    learn, state = noisy_learner(2, silent)
    losses = [float(learn(state, batch(16), make_key(k))[1].metrics["loss"]) for k in range(4)]
    assert len(set(losses)) == 4


def test_the_two_networks_have_noise_of_their_own() -> None:
    """Where a step pays nothing and leads back, the error is the difference of the two networks: 0 with one noise."""
    learn, state = noisy_learner(1, "none")
    transitions, weight = batch(16)
    transitions = transitions._replace(
        action=jnp.zeros(16, jnp.int32), reward=jnp.zeros(16), discount=jnp.ones(16), next_obs=transitions.obs
    )
    assert float(learn(state, (transitions, weight), make_key(0))[1].metrics["loss"]) > 1e-4


def test_contradictory_switches_are_all_in_one_message() -> None:
    with pytest.raises(bx.ConfigError) as caught:
        bx.R2D2(
            munchausen=True, exploration="ladder", num_envs=1, n_steps=30, learning_starts=5, anneal_interval=5,
            optimizer="adamm", network="mpl", noisy=True, normalization="spectral",
        )  # fmt: skip
    for part in (
        "unknown network 'mpl'; did you mean 'mlp'?",
        "unknown optimizer 'adamm'; did you mean 'adam",
        "exploration='ladder' gives each environment an ε of its own; set num_envs above 1",
        "noisy layers have no spectral normalization",
        "learning_starts=5 can come before each environment has stored a sequence of 30 steps; set it to 60 or more",
        "anneal_interval changes n within transitions",
        "n_steps=30 is longer than sequence_length=20",
        "munchausen and double cannot be combined; set double=False",
    ):
        assert part in str(caught.value)
    with pytest.raises(bx.ConfigError, match=r"v_min=5.0 is not below v_max=1.0"):
        bx.C51(v_min=5.0, v_max=1.0)
    with pytest.raises(
        bx.ConfigError, match="n_steps=200 does not fit into buffer_size=400 divided among 4 environments"
    ):
        bx.DQN(n_steps=200, buffer_size=400, num_envs=4)


def test_atoms_outside_the_returns_are_reported() -> None:
    def share(top: float) -> float:
        run = bx.train(
            "probe:time-limit", "c51", gamma=0.8, v_min=0.0, v_max=top, steps=1_500, learning_starts=100, records=1,
            eval_episodes=0, final_episodes=0,
        )  # fmt: skip
        return float(run.history["train/clipped_targets"][0, -1])

    with pytest.warns(bx.EnvWarning, match="v_max"):
        assert share(0.5) > 0.9
    assert share(20.0) < 0.1


def test_values_that_no_rewards_could_sum_to_stop_the_run() -> None:
    with pytest.raises(bx.NonFiniteError, match=r"it diverges; lower learning_rate, or give normalization"):
        bx.train(
            "probe:time-limit", "dqn", gamma=0.5, learning_rate=100.0, normalization="none", steps=3_000,
            learning_starts=100, records=30, eval_episodes=0, final_episodes=0,
        )  # fmt: skip


def test_the_average_begins_anew_at_a_reset() -> None:
    _, _, learn, state = learner(reset_interval=3, net_arch=(8, 8), learning_starts=0)
    for k in range(5):
        state, _ = learn(state, batch(16, k), make_key(k))
        if k in (2, 3):  # right after a reset it is what it began with, and after one step that
            np.testing.assert_allclose(state.average, state.params, rtol=1e-5)
    assert not np.allclose(state.average, state.params, rtol=1e-5)


def test_the_step_size_goes_on_falling_over_resets() -> None:
    settings = {"reset_interval": 4, "learning_starts": 0, "learning_rate_schedule": "linear", "optimizer": "sgd"}
    _, _, learn, state = learner(**settings)
    for k in range(10):
        state, _ = learn(state, batch(16, k), make_key(k))
    clocks = [int(leaf.count) for leaf in jax.tree.leaves(state.optimizer, is_leaf=is_schedule) if is_schedule(leaf)]
    assert clocks == [10]


def test_keys_that_stand_apart_are_none_of_a_split() -> None:
    key = make_key(0)
    apart = np.asarray(jax.random.key_data(jax.random.fold_in(key, APART)))
    assert not (np.asarray(jax.random.key_data(jax.random.split(key, 4096))) == apart).all(axis=1).any()
