"""Images: recognized or said not to be, with every axis where it belongs and every pixel from 0 to 1."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces as native
from worlds import Cue

import bellmax as bx
from bellmax.contracts import Box, EnvWarning
from bellmax.envs.host_world import open_world
from bellmax.files.policy_files import write_files
from bellmax.networks.images import channels_last, image_of, image_shape, remarks
from bellmax.networks.layers import is_numbers
from bellmax.networks.torsos import choose_torso, flat

TINY: dict[str, Any] = {
    "net_arch": (8,), "learning_starts": 8, "buffer_size": 64, "eval_episodes": 0, "final_episodes": 0, "steps": 8,
}  # fmt: skip


def ours(low: Any, high: Any, shape: tuple[int, ...], dtype: Any = np.uint8) -> Box:
    space = native.Box(low, high, shape, dtype)
    seen = open_world(functools.partial(Cue, space, (np.full(shape, low, dtype),) * 2)).observation_space
    assert isinstance(seen, Box)
    return seen


@pytest.mark.parametrize(
    ("low", "high", "dtype", "value", "seen"),
    [
        (0, 255, np.uint8, 51, 0.2),
        (0, 1, np.uint8, 1, 1.0),
        (0, 3, np.uint8, 2, 2 / 3),
        (0, 255, np.int64, 51, 0.2),
        (0, 255, np.int16, 255, 1.0),
        (-2, 2, np.int8, -2, 0.0),
        (-2, 2, np.int8, 1, 0.75),
        (100, 100, np.uint8, 100, 0.0),
        (0.0, 1.0, np.float32, 0.5, 0.5),
    ],
)
def test_the_range_of_a_pixel_is_that_of_its_space(low: Any, high: Any, dtype: Any, value: Any, seen: float) -> None:
    for shape in ((9, 9, 2), (2, 9, 9)):
        box = ours(low, high, shape, dtype)
        image = jnp.asarray(np.full(shape, value, dtype if dtype != np.int64 else np.int32))
        np.testing.assert_allclose(channels_last(box, image), seen, rtol=1e-6)
        np.testing.assert_allclose(flat(box, image), seen, rtol=1e-6)
        assert is_numbers(box) == (dtype == np.float32)


def test_each_pixel_may_have_a_range_of_its_own() -> None:
    high = np.full((9, 9, 2), 10, np.uint8)
    high[..., 1] = 200
    box = Box((9, 9, 2), "uint8", 0, tuple(high.ravel().tolist()))
    np.testing.assert_allclose(channels_last(box, jnp.asarray(high // 2)), 0.5)


@pytest.mark.parametrize(
    ("shape", "read", "torso"),
    [
        ((84, 84), (84, 84, 1), "nature"),
        ((84, 84, 4), (84, 84, 4), "nature"),
        ((4, 84, 84), (84, 84, 4), "nature"),
        ((210, 160, 3), (210, 160, 3), "nature"),
        ((10, 10, 16), (10, 10, 16), "minatar"),
        ((16, 10, 10), (10, 10, 16), "minatar"),
        ((8, 8, 8), (8, 8, 8), "minatar"),
        ((4, 84, 84, 1), (84, 84, 4), "nature"),
        ((4, 84, 84, 3), (84, 84, 12), "nature"),
        ((4, 3, 84, 80), (84, 80, 12), "nature"),
        ((64, 60, 3, 4), (64, 60, 12), "nature"),
        ((19, 19), (19, 19, 1), "minatar"),
    ],
)
def test_every_layout_is_read_as_it_is(shape: tuple[int, ...], read: tuple[int, ...], torso: str) -> None:
    box = ours(0, 255, shape)
    assert image_of(box) is not None
    assert (image_shape(box), choose_torso("auto", box), remarks(box, False)) == (read, torso, [])
    image = np.arange(np.prod(shape), dtype=np.int64).reshape(shape) % 251
    seen = np.asarray(channels_last(box, jnp.asarray(image, jnp.uint8)))
    assert seen.shape == read
    axis = next(k for k in range(len(shape) - 1) if shape[k : k + 2] == read[:2])
    expected = np.moveaxis(image, (axis, axis + 1), (0, 1)).reshape(read) / 255
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 8, 16), "are read as images of 8 x 16 with 6 channels; if that is wrong"),
        ((4, 128), "4 x 128 integers up to 255 are not images, .* normalize_observations=True"),
        ((16, 8, 8, 3), "16 x 8 x 8 x 3 integers up to 255 are not images"),
        ((128,), "128 integers up to 255 are not images"),
    ],
)
def test_what_may_not_be_meant_is_said(shape: tuple[int, ...], message: str) -> None:
    world = functools.partial(Cue, native.Box(0, 255, shape, np.uint8), (np.zeros(shape, "u1"), np.ones(shape, "u1")))
    with pytest.warns(EnvWarning, match=message):
        bx.train(world, "dqn", **TINY)
    if len(shape) != 3:
        assert remarks(ours(0, 255, shape), True) == []  # asked for
    assert remarks(ours(0, 3, shape), False)[len(shape) == 3 :] == []


def test_an_image_of_bytes_without_channels_is_learned_from() -> None:
    dark, bright = np.zeros((20, 20), np.uint8), np.ones((20, 20), np.uint8)
    world = functools.partial(Cue, native.Box(0, 1, (20, 20), np.uint8), (dark, bright))
    run = bx.train(
        world, "dqn", steps=320, net_arch=(16,), learning_starts=40, buffer_size=400, learning_rate=1e-2, gamma=0.1,
        batch_size=32, weight_averaging=False, eval_episodes=0, final_episodes=4,
    )  # fmt: skip
    assert run.scores == [5.0]
    assert "torso.layers.0.weight" in run.policy().arrays


def test_large_integers_are_told_apart_by_networks() -> None:
    low = 1_700_000_000
    box = ours(low, low + 9, (2,), np.int64)
    seen = np.asarray(flat(box, jnp.asarray([low + 3, low + 4], jnp.int32)))
    assert seen.tolist() == [3.0, 4.0]
    small = ours(-5, 5, (2,), np.int64)
    assert np.asarray(flat(small, jnp.asarray([-5, 2], jnp.int32))).tolist() == [-5.0, 2.0]  # as they are


def test_images_of_older_files_are_what_they_were() -> None:
    assert image_of(Box((84, 84), "uint8")) is None
    assert choose_torso("auto", Box((84, 84), "uint8")) == "mlp"
    assert image_of(Box((84, 84), "float32")) is None


@pytest.mark.parametrize(("low", "dtype"), [(100, np.uint8), (-30_000, np.int16), (10**9, np.int64), (0, np.uint8)])
def test_integers_far_from_zero_are_told_apart(low: int, dtype: Any) -> None:
    box = ours(low, low + 3, (1,), dtype)
    seen = [flat(box, jnp.asarray([value], box.dtype)).tolist() for value in range(low, low + 4)]
    assert seen == [[0.0], [1.0], [2.0], [3.0]]


def test_integers_near_zero_stay_as_they_are() -> None:
    for low, high in ((-5, 4), (1, 6), (0, 255), (50, 150)):
        box = ours(low, high, (3,), np.int16)
        assert flat(box, jnp.asarray([low, low + 1, high], "int32")).tolist() == [low, low + 1, high]
    mixed = Box((2,), "int32", (-5, 100), (4, 103))
    assert flat(mixed, jnp.asarray([-5, 101], "int32")).tolist() == [-5, 1]


def test_a_policy_of_integers_far_from_zero(tmp_path: Path) -> None:
    """It acts alike after loading; one of an older version, without the mark, sees the numbers as they were."""
    space = native.Box(100, 103, (1,), np.uint8)
    cue = functools.partial(Cue, space, (np.full(1, 100, np.uint8), np.full(1, 103, np.uint8)))
    policy = bx.train(cue, "dqn", progress=False, **TINY).policy()
    policy.save(tmp_path / "new")
    obs = np.array([[101], [103]], np.uint8)
    np.testing.assert_array_equal(bx.load_policy(tmp_path / "new").q_values(obs), policy.q_values(obs))
    card = json.loads((tmp_path / "new.json").read_text())
    del card["space"]["counted"]
    write_files(tmp_path / "old", card, policy.arrays)
    old = bx.load_policy(tmp_path / "old")
    assert old.space == Box((1,))
    assert not np.array_equal(old.q_values(obs), policy.q_values(obs))
    assert np.isfinite(bx.evaluate(old, cue, episodes=2).returns).all()


@pytest.mark.parametrize("low", [100.0, -103.0])
def test_real_numbers_far_from_zero_are_said(low: float) -> None:
    space = native.Box(low, low + 3, (1,), np.float32)
    cue = functools.partial(Cue, space, (np.full(1, low, np.float32), np.full(1, low + 3, np.float32)))
    with pytest.warns(EnvWarning, match="number 0 of an observation is between .* set normalize_observations=True"):
        bx.train(cue, "dqn", progress=False, **TINY)
    bx.train(cue, "dqn", progress=False, normalize_observations=True, **TINY)


@pytest.mark.parametrize(("low", "dtype"), [(1e9, np.float64), (-1e9, np.float64), (2**53, np.int64)])
def test_the_rounding_of_float32_is_not_outside_of_a_space(low: Any, dtype: Any) -> None:
    values = np.array([low]).astype(dtype), np.array([low]).astype(dtype) + 3
    world = open_world(functools.partial(Cue, native.Box(low, low + 3, (1,), dtype), values))
    for seed in range(4):
        world.reset(seed)
