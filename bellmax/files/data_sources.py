"""NumPy. Where data come from: a `Dataset`, a file, a run that kept its experience, or Minari."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bellmax.arguments import path_of
from bellmax.contracts import ConfigError
from bellmax.files.dataset import Dataset, join

WANTED = (
    "give a run's folder, a .safetensors file, minari:NAME, or in Python a bellmax.Dataset(obs=..., action=..., "
    "reward=..., terminated=..., truncated=..., next_obs=...)"
)


def name_of(data: Any) -> str:
    """How a run remembers where its data came from; an object has no name by which it could be found again."""
    return "<dataset>" if isinstance(data, Dataset) else str(data)


def read_data(data: Any) -> Dataset:
    """The data themselves, not yet held against a world.

    Raises:
        ConfigError: there is nothing there, or it is none of these.
        CorruptCheckpoint, IncompatibleCheckpoint: a file is damaged, or a newer version wrote it.
    """
    if isinstance(data, Dataset):
        return data.tidy()
    if not isinstance(data, str | Path):
        raise ConfigError(f"data is a {type(data).__name__}; {WANTED}")
    if str(data) == "<dataset>":
        raise ConfigError("the data were an object, not a name: give them again as data")
    if str(data).startswith("minari:"):
        return from_minari(str(data).removeprefix("minari:"))
    path = path_of("data", data)
    if path.is_dir():
        return from_run(path)
    if not path.exists():
        raise ConfigError(f"data {str(data)!r}: there is no such file or folder; {WANTED}")
    if path.suffix != ".safetensors":
        raise ConfigError(f"data {str(data)!r} is no .safetensors file, and no other kind is opened; {WANTED}")
    return Dataset.load(path)


def from_run(folder: Path) -> Dataset:
    """What a run kept, seed after seed.

    Raises:
        ConfigError: it kept nothing.
    """
    files = sorted((folder / "experience").glob("seed-*.safetensors"), key=lambda path: int(path.stem[5:]))
    if not files:
        raise ConfigError(
            f"data {str(folder)!r}: this folder has no experience; train with keep_experience=True (--keep-experience)"
        )
    return join([Dataset.load(path) for path in files])


def from_minari(name: str) -> Dataset:
    """A Minari data set that is on this machine; nothing is fetched.

    Raises:
        ConfigError: Minari or the data set is not installed, or its actions are not integers.
    """
    try:
        import gymnasium as gym
        import minari
    except ImportError as error:
        raise ConfigError(f"data 'minari:{name}' need Minari: pip install 'bellmax[minari]'") from error
    try:
        source = minari.load_dataset(name)
        episodes = list(source.iterate_episodes())
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ConfigError(
            f"data 'minari:{name}' cannot be read: {error}; `minari list local` says what is here, "
            f"`minari download {name}` fetches it"
        ) from error
    actions, observations = source.action_space, source.observation_space
    if not isinstance(actions, gym.spaces.Discrete):
        raise ConfigError(f"data 'minari:{name}': actions are {actions}, not Discrete")
    first = int(observations.start) if isinstance(observations, gym.spaces.Discrete) else 0
    parts = []
    for episode in episodes:
        obs = episode.observations  # one more than there are actions
        if isinstance(obs, dict):
            raise ConfigError(f"data 'minari:{name}': observations are {observations}; flatten them")
        if not len(episode.actions):
            continue
        before, after = _slice(obs, slice(None, -1), first), _slice(obs, slice(1, None), first)
        ends = np.asarray(episode.terminations, np.bool_), np.asarray(episode.truncations, np.bool_)
        chosen = np.asarray(episode.actions).astype(np.int64) - int(actions.start)
        parts.append(Dataset(before, chosen, np.asarray(episode.rewards), ends[0], ends[1] & ~ends[0], after))
    if not parts:
        raise ConfigError(f"data 'minari:{name}' are empty")
    return join(parts)


def _slice(obs: Any, which: slice, first: int) -> Any:
    if isinstance(obs, tuple):
        return tuple(_slice(part, which, first) for part in obs)
    return np.asarray(obs)[which] - first if first else np.asarray(obs)[which]
