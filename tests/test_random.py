"""The unrolled Threefry gives JAX's own numbers, bit for bit."""

import jax
import numpy as np
import pytest

from bellmax.keys import make_key


def words(key: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(key))


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**31 - 1])
def test_same_numbers_as_jax(seed: int) -> None:
    ours, theirs = make_key(seed), jax.random.key(seed, impl="threefry2x32")
    assert (words(ours) == words(theirs)).all()
    assert (words(jax.random.split(ours, 5)) == words(jax.random.split(theirs, 5))).all()
    assert (words(jax.random.split(ours, (2, 3))) == words(jax.random.split(theirs, (2, 3)))).all()
    for data in (0, 7, 10**6):
        assert (words(jax.random.fold_in(ours, data)) == words(jax.random.fold_in(theirs, data))).all()
    for shape in ((), (3,), (4, 5)):
        assert (jax.random.uniform(ours, shape) == jax.random.uniform(theirs, shape)).all()
        assert (jax.random.normal(ours, shape) == jax.random.normal(theirs, shape)).all()
        assert (jax.random.randint(ours, shape, 0, 7) == jax.random.randint(theirs, shape, 0, 7)).all()
    assert (jax.random.bits(ours, (9,), "uint8") == jax.random.bits(theirs, (9,), "uint8")).all()
    assert (jax.random.permutation(ours, 20) == jax.random.permutation(theirs, 20)).all()


def test_64_bit_numbers_too() -> None:
    with jax.enable_x64(True):
        ours, theirs = make_key(3), jax.random.key(3, impl="threefry2x32")
        assert (jax.random.uniform(ours, (6,), "float64") == jax.random.uniform(theirs, (6,), "float64")).all()


def test_under_vmap_and_jit() -> None:
    keys = jax.random.split(make_key(1), 4)
    batched = jax.jit(jax.vmap(lambda k: jax.random.uniform(k, (3,))))(keys)
    for key, row in zip(keys, batched, strict=True):
        assert (row == jax.random.uniform(key, (3,))).all()
