"""NumPy. Worlds in which not every action is allowed everywhere, as learners see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bellmax.catalog import is_tabular
from bellmax.contracts import Box, EnvWarning, Masked
from bellmax.sources import Source
from bellmax.stderr import warn


def with_action_masks(source: Source) -> Source:
    """The source with `Masked` observations, if its world tells which actions are allowed; else as it is.

    A model does where a state lacks an action. A Gymnasium environment does where its resets give
    info["action_mask"], or by `action_masks()`; its transition table or twin knows no masks and is left out.
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
    lacking = lacks_actions(source)
    return source._replace(
        space=space, mdp=source.mdp if lacking else None, compiled=compile_ if lacking else None,
        open=using(source.open), work=using(source.work),
    )  # fmt: skip


def masked_as_asked(config: Any, source: Source, loop: str) -> tuple[Source, str]:
    """The source as an agent learns in it with this `loop` ("auto", "compiled" or "host"), and a word about its masks.

    A compiled loop of a Gymnasium environment knows no masks: it has a transition table in which all actions have
    outcomes, or a twin. A table learns from a model's own states without them, as it knows how many actions each has.
    """
    table = is_tabular(config)
    if source.work is None or lacks_actions(source):
        return source if table else with_action_masks(source), ""
    compiled = source.mdp is not None or source.compiled is not None
    if table:
        from bellmax.loops.table_setup import is_compiled

        compiled = is_compiled(source)
    masked = with_action_masks(source)
    if masked is source or not compiled or loop == "host":
        return masked, ""
    return source, "; its info['action_mask'] is used in evaluation only: loop='host' learns with it"


def lacks_actions(source: Source) -> bool:
    """Whether the world is a model in which a state lacks an action."""
    return source.mdp is not None and not source.mdp.allowed.all()


def tells_masks(source: Source) -> bool:
    """Whether the world says which actions are allowed, and not always all."""
    if lacks_actions(source):
        return True
    if source.open is None or (source.mdp is not None and source.work is None):
        return False
    world = source.open(1)
    try:
        world.reset(0)
        if not world.gives_masks and world.mask_part:
            warn(
                f"{source.name}: observation[{world.mask_part!r}] looks like a mask of the actions; as a part of the "
                "observation it forbids nothing: return it as info['action_mask'], at every reset and step",
                EnvWarning,
            )
        if not world.gives_masks and (name := world.misnamed_mask):
            warn(
                f"{source.name}: info[{name!r}] looks like a mask of the actions, but forbids nothing: return "
                f"info['action_mask'], one flag for each of the {source.n_actions} actions, at every reset and step",
                EnvWarning,
            )
        return bool(world.gives_masks)
    finally:
        world.close()
