"""Data as people have them: what can be read without loss is, and the rest is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bellmax as bx

QUICK = {"steps": 20, "batch_size": 8, "eval_episodes": 0, "final_episodes": 0, "net_arch": (4,)}


@pytest.fixture(scope="module")
def data() -> bx.Dataset:
    return bx.collect(None, "CartPole-v1", steps=60, seed=1)


SAME: dict[str, Any] = {
    "flags as floats": lambda d: d._replace(terminated=d.terminated.astype("f4"), truncated=d.truncated.astype("f8")),
    "flags as integers": lambda d: d._replace(terminated=d.terminated.astype("i8"), truncated=d.truncated.astype("u1")),
    "lists": lambda d: bx.Dataset(*(part.tolist() for part in d)),
    "columns": lambda d: d._replace(
        action=d.action[:, None], reward=d.reward[:, None], terminated=d.terminated[:, None]
    ),
    "rewards as flags": lambda d: d._replace(reward=d.reward.astype(bool)),
    "rewards as integers": lambda d: d._replace(reward=d.reward.astype("i4")),
}


@pytest.mark.parametrize("case", SAME)
def test_what_is_exact_is_learned_from_as_it_is_meant(case: str, data: bx.Dataset, tmp_path: Path) -> None:
    given = SAME[case](data)
    tidy = given.tidy()
    for name, part, wanted in zip(data._fields, tidy, data, strict=True):
        np.testing.assert_array_equal(part, wanted, err_msg=name)
    assert (tidy.terminated.dtype, tidy.action.dtype.kind) == (np.bool_, "i")
    np.testing.assert_array_equal(given.returns(), data.returns())
    given.save(tmp_path / "d.safetensors")
    np.testing.assert_array_equal(bx.Dataset.load(tmp_path / "d.safetensors").terminated, data.terminated)


@pytest.mark.parametrize("case", ["flags as floats", "lists"])
def test_it_trains_the_same(case: str, data: bx.Dataset) -> None:
    one, other = (bx.train("CartPole-v1", "cql", data=d, **QUICK).policy() for d in (data, SAME[case](data)))
    for name, array in one.arrays.items():
        np.testing.assert_allclose(other.arrays[name], array, rtol=1e-5, err_msg=name)


def changed(array: Any, row: int, value: Any) -> Any:
    array = np.array(array, np.float64)
    array[row] = value
    return array


BAD: dict[str, tuple[Any, str]] = {
    "a flag of 2": (
        lambda d: {"terminated": changed(d.terminated, 7, 2)},
        r"row 7: terminated is 2.0; a flag must be False",
    ),
    "half a flag": (lambda d: {"truncated": changed(d.truncated, 3, 0.5)}, r"row 3: truncated is 0.5"),
    "no flag": (lambda d: {"terminated": changed(d.terminated, 1, np.nan)}, r"row 1: terminated is nan"),
    "actions that are not integers": (lambda d: {"action": d.action * 1.0}, r"action is float64 \(60,\), not integers"),
    "words": (lambda d: {"reward": ["a"] * 60}, "`reward` must be numbers; got <U1"),
    "ragged": (lambda d: {"obs": [[0.0] * 4] * 59 + [[0.0]]}, "`obs` must be rows of numbers, all of one shape"),
    "too short": (lambda d: {"reward": d.reward[:-1]}, r"reward is float32 \(59,\), not numbers \(60,\)"),
    "flags too short": (lambda d: {"terminated": [0] * 59}, r"terminated is bool \(59,\), not bool \(60,\)"),
    "two columns": (lambda d: {"action": np.zeros((60, 2), int)}, r"action is int64 \(60, 2\), not integers"),
    "observations too short": (lambda d: {"next_obs": d.next_obs[:-1]}, r"next_obs is float32 \(59, 4\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_is_named(case: str, data: bx.Dataset) -> None:
    change, message = BAD[case]
    with pytest.raises(bx.ConfigError, match=message):
        bx.train("CartPole-v1", "cql", data=data._replace(**change(data)), **QUICK)


def test_all_that_is_wrong_comes_at_once(data: bx.Dataset) -> None:
    bad = data._replace(terminated=np.full(60, 3), reward=["x"] * 60)
    with pytest.raises(bx.ConfigError, match=r"`reward` must be numbers; got <U1; row 0: terminated is 3"):
        bx.train("CartPole-v1", "cql", data=bad, **QUICK)
