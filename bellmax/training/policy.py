"""NumPy and JAX. What was learnt: arrays, and how to act on them. Files are safetensors and JSON: data, no code."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from bellmax import spaces
from bellmax.catalog import agent_class
from bellmax.config import AgentConfig, build
from bellmax.training import storage
from bellmax.training.loops import is_tabular
from bellmax.types import ConfigError, CorruptCheckpoint, Discrete, Masked, Space


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
        coding: how the world counts its actions and observations, if not from 0.
        from_file: it was read from a file, which may come from anybody.
    """

    world: str
    config: AgentConfig
    space: Space
    n_actions: int
    arrays: dict[str, Any]
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    coding: dict[str, Any] = field(default_factory=dict)
    from_file: bool = field(default=False, compare=False)

    def q_values(self, obs: Any) -> Any:
        """Action values of one observation [A], or of a batch [B, A]; -inf where an action is not allowed.

        Raises:
            ConfigError: `obs` has neither the shape of one observation nor that of a batch, or is no state; or the
                policy has a memory cell, whose values depend on what came before.
        """
        if getattr(self.config, "recurrent", "none") != "none":
            raise ConfigError(f"{self.config.name} remembers: give its carry too, q, carry = policy.look(carry, obs)")
        return self.look(None, obs)[0]

    def act(self, obs: Any) -> Any:
        """The greedy action (int) of one observation, or actions [B] of a batch; lowest index among equals."""
        q = self.q_values(obs)
        return int(np.argmax(q)) if q.ndim == 1 else np.argmax(q, axis=1)

    def world_action(self, obs: Any) -> Any:
        """What `act` chooses, for an observation as the world gives it, as its `step` wants it: each with its start."""
        return spaces.to_native(self.act(spaces.from_native(self.space, obs, self.coding)), self.coding)

    def begin(self, n: int) -> Any:
        """What `look` wants for n worlds in which an episode begins: of a memory cell, else ()."""
        return () if self.config_is_tabular else network_function(self.config, self.space, self.n_actions)[0](n)

    def look(self, carry: Any, obs: Any) -> tuple[Any, Any]:
        """(action values, carry) of a batch of n worlds, one step after another; without a memory cell, of anything.

        Raises: as `q_values`.
        """
        batch, single = spaces.read(self.space, obs)
        if "q" in self.arrays:
            q = self._table(batch)
        else:
            n = len(next(iter(_leaves(batch))))
            carry = self.begin(n) if carry is None else carry
            q, carry = network_function(self.config, self.space, self.n_actions)[1](self.arrays, carry, batch)
            q = np.asarray(q)
        return q[0] if single else q, carry

    @property
    def config_is_tabular(self) -> bool:
        """Whether it is a table."""
        return is_tabular(self.config)

    def _table(self, batch: Any) -> Any:
        if "low" not in self.arrays:
            return self.arrays["q"][batch]
        from bellmax.tabular.tiles import encode

        return self.arrays["q"][encode(self._coder, batch)].sum(axis=1)

    @functools.cached_property
    def _coder(self) -> Any:
        """From observations to rows of the table; None where a state is its row."""
        if "low" not in self.arrays:
            return None
        from bellmax.tabular.cells import make_coder

        return make_coder(self.config, self.space, self.arrays["low"], self.arrays["high"], self.n_actions)

    def table(self) -> Any:
        """Q of every state [S, A], where observations are made of integers; row i is that of observation i of `states`.

        Raises:
            ConfigError: there are real numbers in the observations.
        """
        states = self.states()
        if isinstance(self.space, Masked):  # as if all actions were allowed
            n = len(next(iter(_leaves(states))))
            return self.q_values(Masked(states, np.ones((n, self.n_actions), np.bool_)))
        return self.q_values(states)

    def states(self) -> Any:
        """All observations, where they are made of integers, as one batch [S, ...] in the order of `table`.

        Integers count from 0, as in `q_values`; parts are tuples, and dictionaries where they have names.

        Raises:
            ConfigError: there are real numbers in the observations.
        """
        from bellmax.tabular.cells import states_of

        return spaces.named(spaces.visible(self.space), states_of(self.space))

    def card(self) -> dict[str, Any]:
        """All but the arrays, as JSON: the same at every save of a run."""
        return {
            "format": storage.FORMAT,
            "world": self.world,
            "env_kwargs": self.env_kwargs,
            "agent": self.config.name,
            "hyper_parameters": asdict(self.config),
            "space": spaces.to_json(self.space),
            "n_actions": self.n_actions,
            **({"action_coding": self.coding} if self.coding else {}),
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
        check_named(card)
        space = spaces.from_json(card["space"])
        config = build(agent_class(card["agent"]), card["hyper_parameters"])
        policy = Policy(card["world"], config, space, int(card["n_actions"]), arrays, card["env_kwargs"],
                        card.get("action_coding", {}), from_file=True)  # fmt: skip
        shapes = expected_shapes(config, policy.space, policy.n_actions)
        expected = {name: (*lead, *shape) for name, shape in shapes.items()}
        if is_tabular(config) and "visits" not in arrays:
            del expected["visits"]  # older versions did not save them
        if (shapes := {name: array.shape for name, array in arrays.items()}) != expected:
            raise ValueError(f"arrays are {shapes}, expected {expected}")
        return policy
    except (*storage.MALFORMED, OSError, SafetensorError, ConfigError) as error:
        raise CorruptCheckpoint(f"{tensors} and its .json do not make a policy: {error}") from error


def check_named(card: Mapping[str, Any]) -> None:
    """The types of what says where a policy or run comes from, before it is used.

    Raises:
        TypeError: one is wrong.
    """
    kinds = {"world": str, "env_kwargs": dict, "agent": str, "hyper_parameters": dict}
    for name, kind in kinds.items():
        if type(card[name]) is not kind:
            raise TypeError(f"{name}={card[name]!r} is not of type {kind.__name__}")


def _leaves(batch: Any) -> Iterator[Any]:
    """The arrays of a batch of observations."""
    if isinstance(batch, tuple):
        for part in batch:
            yield from _leaves(part)
    else:
        yield batch


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
        from bellmax.tabular.cells import make_coder, numbers_of

        end = (int(numbers_of(space).ranged.sum()),)
        table = (make_coder(config, space, np.zeros(end), np.ones(end), n_actions).n_tiles, n_actions)
        return {"q": table, "visits": table, "low": end, "high": end}
    import jax

    from bellmax.networks.network import skeleton, to_named

    named = jax.eval_shape(lambda: to_named(skeleton(space, n_actions, config.spec)))
    return {name: leaf.shape for name, leaf in named.items()}


@functools.lru_cache(maxsize=16)
def network_function(config: Any, space: Space, n_actions: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`begin(n) -> carry [n]` and `look(arrays, carry, batch) -> (q [n, A], carry)`, once for each kind of policy."""
    import jax

    if is_tabular(config):
        return lambda n: (), jax.jit(lambda arrays, carry, batch: (arrays["q"][batch], carry))

    from bellmax.deep.learner import LearnerState
    from bellmax.networks.network import flatten, from_named, skeleton
    from bellmax.random import make_key

    agent, blank = config.make(space, n_actions, 1), skeleton(space, n_actions, config.spec)

    def begin(n: int) -> Any:
        return jax.vmap(agent.begin, (0, None))(jax.random.split(make_key(0), n), 0.0)

    def look(arrays: dict[str, Any], carry: Any, batch: Any) -> Any:
        state = LearnerState(flatten(from_named(blank, arrays))[0], (), (), (), ())
        return jax.vmap(agent.q_values, (None, 0, 0))(state, carry, batch)

    return begin, jax.jit(look)
