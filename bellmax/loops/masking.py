"""NumPy. Environments in which not every action is always allowed: observations with action masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bellmax.agent_config import AgentConfig
from bellmax.catalog import is_tabular
from bellmax.contracts import Box, EnvWarning, Masked
from bellmax.envs.raising import closed_at_the_end
from bellmax.sources import Source
from bellmax.stderr import warn

if TYPE_CHECKING:
    from bellmax.envs.functional import World
    from bellmax.envs.host_world import HostWorld


def with_action_masks(source: Source) -> Source:
    """Return the source with `Masked` observations, if its environment has action masks; else unchanged.

    A model has them if a state lacks an action. A Gymnasium environment has them if its resets return
    info["action_mask"], or by `action_masks()`; its transition table or twin has no masks and is left out.
    """
    if isinstance(source.space, Masked) or not has_masks(source):
        return source

    def compile_() -> World[Any]:
        from bellmax.envs.tabulated import as_world

        assert source.mdp is not None  # noqa: S101 - there is no other compiled environment here
        return as_world(source.mdp, masked=True)

    def using(make: Callable[[int], HostWorld] | None) -> Callable[[int], HostWorld] | None:
        def open_(n: int) -> HostWorld:
            assert make is not None  # noqa: S101 - else this function is not returned
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


def masked_as_asked(config: AgentConfig, source: Source, loop: str) -> tuple[Source, str]:
    """Return the source as an agent learns in it with `loop` ("auto", "compiled" or "host"), and a note on its masks.

    A compiled loop of a Gymnasium environment has no masks: it uses a transition table, in which all actions have
    outcomes, or a twin. A table needs no masks in a model, because it knows how many actions each state has.
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
    """Return whether the environment is a model in which a state lacks an action."""
    return source.mdp is not None and not source.mdp.allowed.all()


def has_masks(source: Source) -> bool:
    """Return whether the environment has action masks; warn if something in it only looks like one."""
    if lacks_actions(source):
        return True
    if source.open is None or (source.mdp is not None and source.work is None):
        return False
    world = source.open(1)
    with closed_at_the_end(world):
        world.reset(0)
        if not world.gives_masks and world.mask_part:
            warn(
                f"{source.name}: observation[{world.mask_part!r}] looks like an action mask; as a part of the "
                "observation it has no effect: return it as info['action_mask'], at every reset and step",
                EnvWarning,
            )
        if not world.gives_masks and (name := world.misnamed_mask):
            warn(
                f"{source.name}: info[{name!r}] looks like an action mask, but has no effect: return "
                f"info['action_mask'], one flag for each of the {source.n_actions} actions, at every reset and step",
                EnvWarning,
            )
        return bool(world.gives_masks)
