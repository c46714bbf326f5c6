"""NumPy. Read the data of an offline run: a `Dataset`, a file, the experience that a run stored, or Minari."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bellmax.arguments import describe, path_of
from bellmax.contracts import ConfigError, HostObs
from bellmax.files.dataset import Dataset, join_data
from bellmax.files.saved_files import files_of

WANTED = (
    "pass a run's folder, a .safetensors file, minari:NAME, or in Python a bellmax.Dataset(obs=..., action=..., "
    "reward=..., terminated=..., truncated=..., next_obs=...)"
)


def name_of(data: object) -> str:
    """Return the name by which a run finds its data again: a path or minari:NAME; `<dataset>` for an object."""
    return "<dataset>" if isinstance(data, Dataset) else str(data)


def read_data(data: object) -> Dataset:
    """Return the data that an argument stands for; they are not yet compared with an environment.

    Raises:
        ConfigError: the data set does not exist, or the argument has another type.
        CorruptCheckpoint, IncompatibleCheckpoint: a file is damaged, or a newer version wrote it.
    """
    if isinstance(data, Dataset):
        return data.tidy()
    if not isinstance(data, str | Path):
        raise ConfigError(f"cannot read data from {describe(data)}; {WANTED}")
    if str(data) == "<dataset>":
        raise ConfigError("the data were an object, not a name; pass them again as data")
    if str(data).startswith("minari:"):
        return from_minari(str(data).removeprefix("minari:"))
    path = path_of("data", data)
    if path.is_dir():
        return from_run(path)
    if not path.exists():
        raise ConfigError(f"data {str(data)!r}: there is no such file or folder; {WANTED}")
    if path.suffix != ".safetensors":
        raise ConfigError(f"data {str(data)!r} is not a .safetensors file; {WANTED}")
    return Dataset.load(path)


def from_run(folder: Path) -> Dataset:
    """Return the experience that a run stored, seed after seed.

    Raises:
        ConfigError: it stored none.
        CorruptCheckpoint: a file is not what was saved.
    """
    files = files_of(folder)
    names = [name for name in files.names() if name.startswith("experience/")]
    if not names:
        raise ConfigError(
            f"data {str(folder)!r}: this folder has no experience; train with keep_experience=True (--keep-experience)"
        )
    names.sort(key=lambda name: int(Path(name).stem.removeprefix("seed-")))
    return join_data([Dataset.from_arrays(*files.tensors(name), folder / name) for name in names])


def from_minari(name: str) -> Dataset:
    """Return a Minari data set that is on this machine; nothing is downloaded.

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
            f"data 'minari:{name}' cannot be read: {error}; `minari list local` shows what is installed, "
            f"`minari download {name}` downloads it"
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
    return join_data(parts)


def _slice(obs: object, which: slice, first: int) -> HostObs:
    if isinstance(obs, tuple):
        return tuple(_slice(part, which, first) for part in obs)
    return np.asarray(obs)[which] - first if first else np.asarray(obs)[which]
