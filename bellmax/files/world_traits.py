"""NumPy. What distinguishes an environment from another of its name: `resume` compares it with what config.json says.

Hashes are of float32, so a model that was computed again on another machine, and differs in its last bits, is the same.
What a step of a compiled `World` or of a Gymnasium environment does is not hashed: those have functions, not arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from bellmax.contracts import IncompatibleCheckpoint, Json, listed
from bellmax.mdp.model import FiniteMDP
from bellmax.sources import Source

Traits: TypeAlias = dict[str, Json]  # numbers, which are shown to people, and hashes
ARRAYS = ("indptr", "successor", "probability", "reward", "terminated", "start", "reward_std", "allowed")
SIZES = ("n_states", "n_actions", "max_episode_steps")
PIECE = 1 << 20  # numbers that are converted at once


def traits_of(source: Source) -> Traits:
    """Return what is known of an environment beside its name: its model, else the spaces and arguments of an object."""
    if source.mdp is not None:
        return _of_model(source.mdp)
    if not source.name.startswith("<"):  # its versions are in environment.json
        return {}
    found: Traits = {"n_actions": source.n_actions, "max_episode_steps": source.max_episode_steps}
    bounds = source.wide_bounds or source.bounds or ()
    found["observation_space"] = _hash(repr(source.space).encode(), *map(np.asarray, bounds))
    if source.made_with:
        found["arguments"] = _hash(source.made_with.encode())
    return found


def _of_model(mdp: FiniteMDP) -> Traits:
    sizes: Traits = {name: getattr(mdp, name) for name in SIZES}
    return sizes | {name: _hash(b"", getattr(mdp, name)) for name in ARRAYS}


def _hash(text: bytes, *arrays: np.ndarray) -> str:
    """A hash of text and arrays; a part at a time is converted, since some arrays are one number seen many times."""
    digest = hashlib.sha256(text)
    for array in arrays:
        digest.update(repr(array.shape).encode())
        flat = array.reshape(-1)
        for begin in range(0, flat.size, PIECE):
            part = flat[begin : begin + PIECE]
            if part.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    part = part.astype(np.float32) + np.float32(0.0)  # -0.0 is 0.0
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def read_traits(card: Mapping[str, Any]) -> Traits:
    """Return what config.json says; {} of a run that an older version began.

    Raises:
        TypeError: it is something else.
    """
    said = card.get("world_traits", {})
    if type(said) is not dict or not all(value is None or type(value) in (int, str) for value in said.values()):
        raise TypeError(f"world_traits={said!r} are not numbers and hashes by name")
    return said


def find_other_traits(saved: Traits, now: Traits) -> list[str]:
    """Return the names of what differs, of numbers with both; sizes only, if those differ."""
    differing = [name for name in saved if name in now and saved[name] != now[name]]
    sizes = [f"{name}={now[name]} (saved: {saved[name]})" for name in differing if name in SIZES]
    return sizes or differing


def check_same_world(world: str, saved: Traits, source: Source) -> None:
    """Check that an environment is the one of training, and not only called the same.

    Raises:
        IncompatibleCheckpoint: it differs; the message names in what.
    """
    if differing := find_other_traits(saved, traits_of(source)):
        own = source.is_model and world.startswith("<")
        other = ", or give this one another name to continue in it on purpose" if own else ""
        raise IncompatibleCheckpoint(
            f"{world} differs from the environment of training, which had the same name, in {listed(differing)}; pass "
            f"the environment of training{other}"
        )
