"""Plain Python. Environments by name: what was probably meant by an id that nobody registered, and how to get it."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import gymnasium as gym

from bellmax.contracts import LONGEST_WORD, listed, nearest
from bellmax.registry import WORLDS

# ids that appear once a package is imported: how they begin, its module, how it is installed
PACKAGES = {
    "ALE/": ("ale_py", "bellmax[atari]"),
    "MiniGrid-": ("minigrid", "bellmax[minigrid]"),
    "BabyAI-": ("minigrid", "bellmax[minigrid]"),
}
# ids of packages that bellmax does not import by itself
OTHERS = {
    "highway-": ("highway_env", "highway-env"), "merge-": ("highway_env", "highway-env"),
    "parking-": ("highway_env", "highway-env"), "FlappyBird-": ("flappy_bird_gymnasium", "flappy-bird-gymnasium"),
    "Fetch": ("gymnasium_robotics", "gymnasium-robotics"), "AdroitHand": ("gymnasium_robotics", "gymnasium-robotics"),
    "MiniWorld-": ("miniworld", "miniworld"), "MiniHack-": ("minihack", "minihack"), "NetHack": ("nle", "nle"),
    "CrafterReward-": ("crafter", "crafter"), "SuperMarioBros-": ("gym_super_mario_bros", "gym-super-mario-bros"),
    "VizdoomBasic-": ("vizdoom.gymnasium_wrapper", "vizdoom"), "donkey-": ("gym_donkeycar", "gym-donkeycar"),
}  # fmt: skip
MINATAR = ("Asterix", "Breakout", "Freeway", "SpaceInvaders")
ATARI = (
    "Adventure", "AirRaid", "Alien", "Amidar", "Assault", "Asterix", "Asteroids", "Atlantis", "BankHeist",
    "BattleZone", "BeamRider", "Berzerk", "Bowling", "Boxing", "Breakout", "Carnival", "Centipede", "ChopperCommand",
    "CrazyClimber", "Defender", "DemonAttack", "DonkeyKong", "DoubleDunk", "ElevatorAction", "Enduro", "FishingDerby",
    "Freeway", "Frostbite", "Galaxian", "Gopher", "Gravitar", "Hero", "IceHockey", "Jamesbond", "JourneyEscape",
    "Kaboom", "Kangaroo", "Krull", "KungFuMaster", "MontezumaRevenge", "MsPacman", "NameThisGame", "Phoenix",
    "Pitfall", "Pong", "Pooyan", "PrivateEye", "Qbert", "Riverraid", "RoadRunner", "Robotank", "Seaquest", "Skiing",
    "Solaris", "SpaceInvaders", "StarGunner", "Surround", "Tennis", "TimePilot", "Tutankham", "UpNDown", "Venture",
    "VideoPinball", "WizardOfWor", "YarsRevenge", "Zaxxon",
)  # fmt: skip


def base(name: str) -> str:
    """An id without its namespace, its version and the endings that old Atari ids have, in lower case."""
    stem = name.rpartition("/")[2].rpartition(":")[2]
    stem = re.sub(r"[-_ ]?v?\d+$", "", stem) if re.search(r"v\d+$", stem) else stem
    return re.sub(r"(NoFrameskip|Deterministic|-ram)$", "", stem).lower().replace("_", "").replace(" ", "")


def game_of(name: str) -> str | None:
    """The Atari game that an id without `ALE/` names in one of its old spellings, such as PongNoFrameskip-v4."""
    if "/" in name or ":" in name or "minatar" in name.lower():
        return None
    return next((game for game in ATARI if game.lower() == base(name)), None)


def package_of(name: str) -> tuple[str, str] | None:
    """(module, what to install) of the package that registers such ids; None where it is not known."""
    known = {**PACKAGES, **OTHERS}
    return next((known[prefix] for prefix in known if name.startswith(prefix)), None)


def id_meant(name: str) -> str:
    """What to do about an id that is not registered."""
    from bellmax.envs.probes import PROBES
    from bellmax.mdp.gallery import GALLERY

    own = [*GALLERY, *PROBES, *WORLDS]
    if (write := module_meant(name)) and name not in own:
        return f"did you mean {write!r}?"
    registered = {known for known in gym.registry if not known.startswith(("GymV21", "GymV26")) and not game_of(known)}
    stem = base(name)
    if game := game_of(name):
        missing = importlib.util.find_spec("ale_py") is None
        return f"did you mean 'ALE/{game}-v5'?" + (" It needs pip install 'bellmax[atari]'" if missing else "")
    if "minatar" in name.lower():
        game = nearest(re.sub("minatar|[-/:]|gymnax|v[0-9]", "", name.lower()), MINATAR) or MINATAR[1]
        missing = importlib.util.find_spec("gymnax") is None
        return f"did you mean 'gymnax:{game}-MinAtar'?" + (" It needs pip install 'bellmax[gymnax]'" if missing else "")
    same = [known for known in registered if base(known) == stem]
    same = sorted([known for known in same if "/" not in known] or same, key=_version)
    if same:
        old = _stem(name) == _stem(same[-1]) != name
        why = f" (Gymnasium {gym.__version__} does not have this version)" if old else ""
        return f"did you mean {same[-1]!r}?{why}"
    package = package_of(name)
    if package and package[0] not in {"ale_py", "minigrid"}:
        module, install = package
        return f"it comes with {install}: pip install {install}, and give '{module}:{name}', so that it is imported"
    newest = {_stem(known): known for known in sorted(registered, key=_version)}
    if part := [each for each in own if ":" in each and each.partition(":")[2] == name.lower()]:
        return f"did you mean {part[0]!r}?"
    whole = nearest(name, [*registered, *own], cutoff=0.8)
    near = whole or newest.get(nearest(_stem(name), newest, cutoff=0.65) or "") or nearest(name, own, cutoff=0.65)
    if near is not None:
        return f"did you mean {_newest(near, newest)!r}?"
    return (
        f"known: {listed(sorted({*registered, *own}))}; an id of another package is given as "
        f"'package:{name[:LONGEST_WORD]}', so that it is imported"
    )


def module_meant(name: str) -> str | None:
    """`module:Class`, where a name is `module.Class`, only a module, or has the module's file; None if it is not."""
    path, colon, own = name.partition(":")
    path = path.removesuffix(".py").replace("/", ".").strip(".")
    if not colon and path == name and "." in name:
        path, _, own = path.rpartition(".")
    first = path.partition(".")[0]
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", path) or (colon and name == f"{path}:{own}"):
        return None
    here = Path.cwd() / first[:LONGEST_WORD]
    if not (here.with_suffix(".py").is_file() or (here / "__init__.py").is_file()):
        return None
    return f"{path}:{own or 'CLASS'}"


def _stem(name: str) -> str:
    return re.sub(r"-v\d+$", "", name)


def _version(name: str) -> int:
    found = re.search(r"v(\d+)$", name)
    return int(found.group(1)) if found else -1


def _newest(name: str, newest: dict[str, str]) -> str:
    return newest.get(_stem(name), name)


def meant_in(module: ModuleType, name: str) -> str:
    """What to do about `module:name` where the module has no such thing, and nothing is registered by this name."""
    there = [
        each for each, value in vars(module).items()
        if not each.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    ]  # fmt: skip
    there += [each for each, spec in gym.registry.items() if str(spec.entry_point).startswith(f"{module.__name__}:")]
    there += [each for each, spec in gym.registry.items() if inspect.getmodule(spec.entry_point) is module]
    near = nearest(name, there)
    if near is not None:
        return f"did you mean '{module.__name__}:{near}'?"
    if there:
        return f"the module has {listed(sorted(set(there)))}"
    return "the module defines no class and no function, and registers no environment"
