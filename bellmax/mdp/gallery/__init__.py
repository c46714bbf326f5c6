"""NumPy. Environments from the literature, with known answers; each is a function that returns a `FiniteMDP`."""

from __future__ import annotations

from collections.abc import Callable

from bellmax.mdp.gallery.chains import chain, corridor, maximization_bias, random_walk, river_swim
from bellmax.mdp.gallery.garnet import random_garnet
from bellmax.mdp.gallery.grids import cliff, deep_sea, four_rooms, gridworld, windy_gridworld
from bellmax.mdp.gallery.mazes import blocking_maze, dyna_maze, shortcut_maze
from bellmax.mdp.gallery.operations import admission_control, gamblers_problem, inventory, machine_replacement
from bellmax.mdp.gallery.rental import car_rental
from bellmax.mdp.model import FiniteMDP
from bellmax.registry import Registry

GALLERY: Registry[Callable[..., FiniteMDP]] = Registry(
    "model",
    {
        "corridor": corridor,
        "random-walk": random_walk,
        "chain": chain,
        "river-swim": river_swim,
        "maximization-bias": maximization_bias,
        "gridworld": gridworld,
        "cliff": cliff,
        "windy-gridworld": windy_gridworld,
        "four-rooms": four_rooms,
        "deep-sea": deep_sea,
        "dyna-maze": dyna_maze,
        "blocking-maze": blocking_maze,
        "shortcut-maze": shortcut_maze,
        "gamblers-problem": gamblers_problem,
        "car-rental": car_rental,
        "inventory": inventory,
        "machine-replacement": machine_replacement,
        "admission-control": admission_control,
        "garnet": random_garnet,
    },
)
"""The name on the command line -> the function."""

__all__ = [
    "GALLERY",
    "admission_control",
    "blocking_maze",
    "car_rental",
    "chain",
    "cliff",
    "corridor",
    "deep_sea",
    "dyna_maze",
    "four_rooms",
    "gamblers_problem",
    "gridworld",
    "inventory",
    "machine_replacement",
    "maximization_bias",
    "random_garnet",
    "random_walk",
    "river_swim",
    "shortcut_maze",
    "windy_gridworld",
]
