"""NumPy and JAX. What was learnt: arrays, and how to act on them. Files are safetensors and JSON: data, no code."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from bellmax.catalog import agent_class
from bellmax.config import AgentConfig, build
from bellmax.training import storage
from bellmax.training.loops import is_tabular
from bellmax.types import Box, ConfigError, CorruptCheckpoint, Discrete, Space


@dataclass(frozen=True)
class Policy:
    """The greedy policy of one seed.

    Attributes:
        world: the name of the world that it was learnt in.
        config: the agent's hyper-parameters.
        space: of one observation.
        n_actions: A.
        arrays: a table's `q` [S, A] and how often its pairs were updated, `visits` [S, A]; with tiles, of which there
            are S, also the range `low`, `high` [k] of the observations; or a network's parameters by name.
        env_kwargs: arguments of the world.
    """

    world: str
    config: AgentConfig
    space: Space
    n_actions: int
    arrays: dict[str, Any]
    env_kwargs: dict[str, Any] = field(default_factory=dict)

    def q_values(self, obs: Any) -> Any:
        """Action values of one observation [A], or of a batch [B, A].

        Raises:
            ConfigError: `obs` has neither the shape of one observation nor that of a batch, or is no state.
        """
        shape = self.space.shape if isinstance(self.space, Box) else ()
        try:
            array = np.asarray(obs)
        except ValueError as error:
            raise ConfigError(f"observation is no array: {error}") from error
        if array.shape != shape and array.shape[1:] != shape:
            raise ConfigError(f"observation of shape {array.shape}; one is {shape}, a batch is [B, *{shape}]")
        if isinstance(self.space, Discrete) and not holds(array, self.space.n):
            raise ConfigError(f"observation {obs!r} is outside the integers from 0 to {self.space.n - 1}")
        single = array.shape == shape
        batch = array[None] if single else array
        q = self._table(batch) if "q" in self.arrays else self._network(batch)
        return q[0] if single else q

    def act(self, obs: Any) -> Any:
        """The greedy action (int) of one observation, or actions [B] of a batch; lowest index among equals."""
        q = self.q_values(obs)
        return int(np.argmax(q)) if q.ndim == 1 else np.argmax(q, axis=1)

    def _table(self, batch: Any) -> Any:
        if "low" not in self.arrays:
            return self.arrays["q"][batch]
        from bellmax.tabular.tiles import Coder, encode

        config: Any = self.config
        coder = Coder(self.arrays["low"], self.arrays["high"], config.bins, config.tilings)
        return self.arrays["q"][encode(coder, batch)].sum(axis=1)

    def _network(self, batch: Any) -> Any:
        forward = network_function(self.config, self.space, self.n_actions)
        dtype = self.space.dtype if isinstance(self.space, Box) else "int32"
        return np.asarray(forward(self.arrays, batch.astype(dtype)))

    def table(self) -> Any:
        """Q of every state of a finite world [S, A].

        Raises:
            ConfigError: the world's observations are not discrete.
        """
        if not isinstance(self.space, Discrete):
            raise ConfigError(f"{self.world} has no finite list of states; ask for q_values(obs) instead")
        return self.q_values(np.arange(self.space.n))

    def card(self) -> dict[str, Any]:
        """All but the arrays, as JSON: the same at every save of a run."""
        return {
            "format": storage.FORMAT,
            "world": self.world,
            "env_kwargs": self.env_kwargs,
            "agent": self.config.name,
            "hyper_parameters": asdict(self.config),
            "space": {"kind": type(self.space).__name__, **self.space._asdict()},
            "n_actions": self.n_actions,
        }

    def save(self, stem: Path) -> None:
        """Write `stem`.safetensors, with a hash over both files, and `stem`.json."""
        write_files(stem, self.card(), self.arrays)


def save_together(policies: Sequence[Policy], stem: Path) -> None:
    """Write the n policies of a run as one: every array with a leading axis [n]."""
    names = policies[0].arrays
    arrays = {name: np.stack([policy.arrays[name] for policy in policies]) for name in names}
    write_files(stem, policies[0].card(), arrays)


def write_files(stem: Path, card: dict[str, Any], arrays: dict[str, Any]) -> None:
    """The arrays first: a new card would not fit the old ones."""
    data = to_bytes(arrays, metadata={"sha256": fingerprint(card, arrays)})
    storage.write(stem.with_suffix(".safetensors"), data)
    storage.write_json(stem.with_suffix(".json"), card)


def load_policy(stem: Path) -> Policy:
    """Read what `Policy.save` wrote.

    Raises:
        CorruptCheckpoint: a file is missing, damaged or does not fit the other.
        IncompatibleCheckpoint: a newer version wrote it.
    """
    return _read_files(stem, ())


def load_together(stem: Path, n: int) -> list[Policy]:
    """Read the n policies that `save_together` wrote. Raises as `load_policy`."""
    whole = _read_files(stem, (n,))
    return [replace(whole, arrays={name: array[i] for name, array in whole.arrays.items()}) for i in range(n)]


def _read_files(stem: Path, lead: tuple[int, ...]) -> Policy:
    """A policy whose arrays have the axes `lead` in front."""
    card = storage.read_json(stem.with_suffix(".json"))
    storage.check_format(card, stem.with_suffix(".json"))
    tensors = stem.with_suffix(".safetensors")
    try:
        with safe_open(tensors, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            recorded = (file.metadata() or {}).get("sha256")
        if fingerprint(card, arrays) != recorded:
            raise ValueError("their content is not what was written")
        space = dict(card["space"])
        kind = {"Box": Box, "Discrete": Discrete}[space.pop("kind")]
        if kind is Box:
            space["shape"] = tuple(space["shape"])
        config = build(agent_class(card["agent"]), card["hyper_parameters"])
        policy = Policy(card["world"], config, kind(**space), int(card["n_actions"]), arrays, card["env_kwargs"])
        shapes = expected_shapes(config, policy.space, policy.n_actions)
        expected = {name: (*lead, *shape) for name, shape in shapes.items()}
        if is_tabular(config) and "visits" not in arrays:
            del expected["visits"]  # older versions did not save them
        if (shapes := {name: array.shape for name, array in arrays.items()}) != expected:
            raise ValueError(f"arrays are {shapes}, expected {expected}")
        return policy
    except (*storage.MALFORMED, OSError, SafetensorError, ConfigError) as error:
        raise CorruptCheckpoint(f"{tensors} and its .json do not make a policy: {error}") from error


def holds(states: Any, n: int) -> bool:
    """Whether all are integers from 0 to n - 1: NumPy would count -1 from the end, and JAX see no state there."""
    return states.size == 0 or (states.dtype.kind in "iu" and states.min() >= 0 and states.max() < n)


def fingerprint(card: dict[str, Any], arrays: dict[str, Any]) -> str:
    """SHA-256 of a policy's card and of its arrays, their names, types and shapes."""
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def expected_shapes(config: Any, space: Space, n_actions: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a policy's arrays, by name."""
    if is_tabular(config):
        if isinstance(space, Discrete):
            return {"q": (space.n, n_actions), "visits": (space.n, n_actions)}
        from bellmax.tabular.tiles import Coder

        end = (math.prod(space.shape),)
        table = (Coder(np.zeros(end), np.ones(end), config.bins, config.tilings).n_tiles, n_actions)
        return {"q": table, "visits": table, "low": end, "high": end}
    import jax

    from bellmax.networks import to_named

    named = jax.eval_shape(lambda: to_named(fresh_network(config, space, n_actions)))
    return {name: leaf.shape for name, leaf in named.items()}


def fresh_network(config: Any, space: Space, n_actions: int) -> Any:
    """A network of a policy's kind, untrained."""
    import jax

    from bellmax.networks import q_network

    return q_network(space, n_actions, config.net_arch, config.layer_norm, jax.random.key(0))


@functools.lru_cache(maxsize=16)
def network_function(config: Any, space: Space, n_actions: int) -> Callable[[dict[str, Any], Any], Any]:
    """`f(arrays, batch) -> q [B, A]`, compiled once for all policies of one kind."""
    import jax

    if is_tabular(config):
        return jax.jit(lambda arrays, batch: arrays["q"][batch])

    from bellmax.networks import encode, from_named

    skeleton = fresh_network(config, space, n_actions)

    def forward(arrays: dict[str, Any], batch: Any) -> Any:
        module = from_named(skeleton, arrays)
        return jax.vmap(lambda obs: module(encode(space, obs)))(batch)

    return jax.jit(forward)
