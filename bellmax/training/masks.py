"""NumPy. Worlds in which not every action is allowed everywhere, as networks see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bellmax.training.worlds import Source
from bellmax.types import Box, Masked


def with_masks(source: Source) -> Source:
    """The source with `Masked` observations, if its world tells which actions are allowed; else as it is.

    A model does where a state lacks an action, a Gymnasium environment where its resets give info["action_mask"].
    """
    if isinstance(source.space, Masked) or not tells_masks(source):
        return source

    def compile_() -> Any:
        from bellmax.envs.tabulated import as_world

        assert source.mdp is not None  # noqa: S101 - there is no other compiled world here
        return as_world(source.mdp, masked=True)

    def using(make: Callable[[int], Any] | None) -> Callable[[int], Any] | None:
        def open_(n: int) -> Any:
            assert make is not None  # noqa: S101 - nobody else gets this function
            world = make(n)
            world.use_masks()
            return world

        return None if make is None else open_

    space = Masked(source.space, Box((source.n_actions,), "bool"))
    compiled = compile_ if source.mdp is not None else None
    return source._replace(space=space, compiled=compiled, open=using(source.open), work=using(source.work))


def tells_masks(source: Source) -> bool:
    """Whether the world says which actions are allowed, and not always all."""
    if source.mdp is not None:
        return not source.mdp.allowed.all()
    if source.compiled is not None or source.open is None:
        return False
    world = source.open(1)
    try:
        world.reset(0)
        return bool(world.gives_masks)
    finally:
        world.close()
