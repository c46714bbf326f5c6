"""NumPy and JAX. What was learnt: arrays, and how to act on them. Files are safetensors and JSON: data, no code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from bellmax.catalog import agent_class
from bellmax.config import AgentConfig, build
from bellmax.training import storage
from bellmax.types import Box, ConfigError, CorruptCheckpoint, Discrete, Space


@dataclass(frozen=True)
class Policy:
    """The greedy policy of one seed.

    Attributes:
        world: the name of the world that it was learnt in.
        config: the agent's hyper-parameters.
        space: of one observation.
        n_actions: A.
        arrays: a table's `q` [S, A], or a network's parameters by name.
    """

    world: str
    config: AgentConfig
    space: Space
    n_actions: int
    arrays: dict[str, Any]

    def q_values(self, obs: Any) -> Any:
        """Action values of one observation [A], or of a batch [B, A].

        Raises:
            ConfigError: `obs` has neither the shape of one observation nor that of a batch.
        """
        shape = self.space.shape if isinstance(self.space, Box) else ()
        array = np.asarray(obs)
        if array.shape != shape and array.shape[1:] != shape:
            raise ConfigError(f"observation of shape {array.shape}; one is {shape}, a batch is [B, *{shape}]")
        single = array.shape == shape
        batch = array[None] if single else array
        q = self.arrays["q"][batch] if "q" in self.arrays else self._network(batch)
        return q[0] if single else q

    def act(self, obs: Any) -> Any:
        """The greedy action (int) of one observation, or actions [B] of a batch; lowest index among equals."""
        q = self.q_values(obs)
        return int(np.argmax(q)) if q.ndim == 1 else np.argmax(q, axis=1)

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

    def save(self, stem: Path) -> None:
        """Write `stem`.safetensors and, last, `stem`.json."""
        storage.write(stem.with_suffix(".safetensors"), to_bytes(self.arrays))
        storage.write_json(
            stem.with_suffix(".json"),
            {
                "format": 1,
                "world": self.world,
                "agent": self.config.name,
                "hyper_parameters": asdict(self.config),
                "space": {"kind": type(self.space).__name__, **self.space._asdict()},
                "n_actions": self.n_actions,
            },
        )


def load_policy(stem: Path) -> Policy:
    """Read what `Policy.save` wrote.

    Raises:
        CorruptCheckpoint: a file is missing, damaged or does not fit the other.
    """
    card = storage.read_json(stem.with_suffix(".json"))
    tensors = stem.with_suffix(".safetensors")
    try:
        space = dict(card["space"])
        kind = {"Box": Box, "Discrete": Discrete}[space.pop("kind")]
        if kind is Box:
            space["shape"] = tuple(space["shape"])
        config = build(agent_class(card["agent"]), card["hyper_parameters"])
        arrays = load_file(tensors)
        return Policy(card["world"], config, kind(**space), int(card["n_actions"]), arrays)
    except (KeyError, TypeError, OSError, SafetensorError, ConfigError) as error:
        raise CorruptCheckpoint(f"{tensors} and its .json do not make a policy: {error}") from error


@functools.lru_cache(maxsize=16)
def network_function(config: Any, space: Space, n_actions: int) -> Callable[[dict[str, Any], Any], Any]:
    """`f(arrays, batch) -> q [B, A]`, compiled once for all policies of one kind."""
    import jax

    from bellmax.networks import encode, from_named, q_network

    skeleton = q_network(space, n_actions, config.net_arch, config.layer_norm, jax.random.key(0))

    def forward(arrays: dict[str, Any], batch: Any) -> Any:
        module = from_named(skeleton, arrays)
        return jax.vmap(lambda obs: module(encode(space, obs)))(batch)

    return jax.jit(forward)
