"""Numba. Record the steps of a table: in a compiled environment, in Gymnasium environments, and from data.

Each function here does what one turn of a loop in `tabular/stepping.py` does, kernel by kernel; a test compares the
bits.
"""

from __future__ import annotations

import numpy as np

from bellmax.contracts import BoolArray, IntArray, Json, Masked
from bellmax.envs.host_steps import HostStep
from bellmax.loops.table_gymnasium import NO_MASKS, GymnasiumTable, TabularRun
from bellmax.recording.table_parts import RESET, STEP, TableParts, action_of, cell_of, q_row
from bellmax.recording.window import Phase, RecordedStep, first_rows, shown
from bellmax.tabular.agent import Step
from bellmax.tabular.kernel import uniform
from bellmax.tabular.representation import MaskedTable, MaskedTiles, Representation
from bellmax.tabular.stepping import Batch, CompiledWorld, count

DRAW = "i = np.int64(uniform(state.generator) * batch.obs.shape[0])"


def observed(parts: TableParts, obs: int, seen: Json = None) -> Phase:
    """Return the phase that shows the present observation and its values; `seen` are the numbers behind it."""
    values = {"obs": cell_of(parts.state.q, obs), "q": q_row(parts.state.q, obs, parts.order)}
    return Phase("observe", values if seen is None else {**values, "seen": seen})


def taken_step(parts: TableParts, step: Step, continues: float, score: float, seen: Json = None) -> Phase:
    """Return the phase that shows what the environment returned; `score` is the return of the episode so far."""
    q, ended = parts.state.q, continues == 0.0
    values: dict[str, Json] = {
        "obs": cell_of(q, int(step.obs)), "action": action_of(parts.order, int(step.obs), int(step.action)),
        "reward": float(step.reward), "next_obs": cell_of(q, int(step.next_obs)), "terminated": ended,
        "truncated": bool(step.over) and not ended, "discount": float(step.discount), "episode_return": score,
    }  # fmt: skip
    return Phase("step", values if seen is None else {**values, "seen": seen}, code=STEP)


def compiled_step(parts: TableParts, world: CompiledWorld) -> RecordedStep:
    """Take one step in a compiled environment, as `run_steps` does, and record it."""
    state, learner, rates = parts.state, parts.learner, parts.learner.rates
    q, clock, place = state.q, state.clock, state.place
    t, ended, length = int(clock.time[0]), int(clock.ended[0]), int(clock.length[0])
    now = parts.now(ended if rates.by_episode else t)
    if clock.obs[0] < 0:
        clock.obs[0] = world.begin(world, place, q, state.generator)
        clock.action[0] = parts.choose(int(clock.obs[0]), now)
    obs, action = int(clock.obs[0]), int(clock.action[0])
    numbers = shown(place[:-1]) if place.size else None
    phases = [observed(parts, obs, numbers), parts.taken(obs, action)]
    next_obs, reward, continues = world.step(world, place, q, obs, action, state.generator)
    next_obs, continues = int(next_obs), float(continues)
    alpha = count(q, state.visits, obs, action, rates)
    state.episode_return[0] += reward
    over = continues == 0.0 or length + 1 >= world.time_limit
    if not rates.by_episode:
        now = parts.now(t + 1)
    next_action = parts.choose(next_obs, now) if learner.look_ahead else -1
    step = Step(obs, action, float(reward), rates.gamma * continues, next_obs, next_action, over, float(alpha))
    numbers = shown(place[:-1]) if place.size else None
    phases.append(taken_step(parts, step, continues, float(state.episode_return[0]), numbers))
    phases += looked_ahead(parts)
    error, learned = parts.learn(step, now)
    phases += learned
    clock.time[0], clock.length[0] = t + 1, length + 1
    state.error[0] += abs(error)
    state.error[1] += 1
    following = next_obs
    if over:
        score = float(state.episode_return[0])
        clock.ended[0], clock.length[0], state.episode_return[0] = ended + 1, 0, 0.0
        following = int(world.begin(world, place, q, state.generator))
        phases.append(
            Phase("reset", {"episode_return": score, "episode_length": length + 1, "obs": cell_of(q, following)},
                  code=RESET)
        )  # fmt: skip
        if rates.by_episode:
            now = parts.now(ended + 1)
    if over or not learner.look_ahead:
        next_action = parts.choose(following, now)
    clock.obs[0], clock.action[0] = following, next_action
    return RecordedStep(t, length, tuple(phases))


def looked_ahead(parts: TableParts) -> list[Phase]:
    """Return the phase in which an agent that looks ahead has chosen the next action; [] of the others."""
    if not parts.learner.look_ahead or parts.chosen is None:
        return []
    return [parts.chosen._replace(name="look ahead")]


class RecordedTable(GymnasiumTable):
    """The loop in Gymnasium environments, which learns part by part and records the first environment.

    `parts` plays them; `recorded` are the steps so far, in which other environments only count.
    """

    parts: TableParts
    recorded: list[RecordedStep]
    recording: bool = False

    def learn(self, run: TabularRun, obs: IntArray, step: HostStep, following: IntArray, acting: IntArray) -> float:
        """Learn from one transition of every environment, as the kernel `observe` does, and choose what follows."""
        if not self.recording:
            return super().learn(run, obs, step, following, acting)
        masks = NO_MASKS
        if self.setup.masked:
            three = (run.seen, step.next_obs, step.obs)
            masks = np.stack([seen.mask for seen in three if isinstance(seen, Masked)])
        continues, over = 1.0 - step.terminated, step.terminated | step.truncated
        batch = Batch(obs, run.actions, step.reward, continues, over, following, masks)
        chosen, error = np.empty_like(run.actions), 0.0
        parts, clock, rates = self.parts, run.table.clock, self.learner.rates
        t, length = int(clock.time[0]), int(run.episodes.running_length[0])
        clock.time[0] += batch.obs.shape[0]
        now = parts.now(int(clock.ended[0] if rates.by_episode else clock.time[0]))
        phases = first_phases(parts, batch, run, step) if batch.obs.size else []
        for i in range(acting.shape[0]):
            chosen[i] = -1
            if i < batch.obs.shape[0] and step.valid[i]:
                alpha = count(parts.state.q, parts.state.visits, int(obs[i]), int(batch.action[i]), rates)
                allow(parts.state.q, int(obs[i]), masks, 0, i)
                allow(parts.state.q, int(following[i]), masks, 1, i)
                if self.learner.look_ahead:
                    chosen[i] = self.act(i, int(following[i]))
                row = transition_of(batch, i, rates.gamma, int(chosen[i]), float(alpha))
                score = float(run.episodes.running_return[0]) + float(step.reward[0])
                ahead = [
                    taken_step(parts, row, float(continues[i]), score, seen_of(step.next_obs)),
                    *looked_ahead(parts),
                ]
                found, learned = parts.learn(row, now)
                error += abs(found)
                phases += [*ahead, *learned] if i == 0 else []
                if over[i]:
                    chosen[i] = -1
                    clock.ended[0] += 1
                    if rates.by_episode:
                        now = parts.now(int(clock.ended[0]))
                    phases += [reset_phase(parts, score, length, int(acting[0]), step)] if i == 0 else []
            allow(parts.state.q, int(acting[i]), masks, 2, i)
            if not self.learner.look_ahead or chosen[i] < 0:
                chosen[i] = self.act(i, int(acting[i]))
        run.actions = chosen
        if batch.obs.size:
            self.recorded.append(RecordedStep(t, length, tuple(phases)))
        return error

    def act(self, i: int, obs: int) -> int:
        """Choose an action in environment i; only the choice of the first is recorded."""
        parts, clock = self.parts, self.parts.state.clock
        now = parts.now(int(clock.ended[0] if self.learner.rates.by_episode else clock.time[0]))
        if i == 0:
            return parts.choose(obs, now)
        return int(self.learner.behavior.act(parts.state.q, obs, now))


def first_phases(parts: TableParts, batch: Batch, run: TabularRun, step: HostStep) -> list[Phase]:
    """Return the phases before the step of the first environment; a step that does not count is said to be left out."""
    obs = int(batch.obs[0])
    phases = [observed(parts, obs, seen_of(run.seen)), parts.taken(obs, int(batch.action[0]))]
    if not step.valid[0]:
        phases.append(Phase("step", {"left_out": True, "why": "the environment reset itself or was recreated"}))
    return phases


def reset_phase(parts: TableParts, score: float, length: int, obs: int, step: HostStep) -> Phase:
    """Return the phase in which an episode of the first environment ended and the next one began."""
    values: dict[str, Json] = {"episode_return": score, "episode_length": length + 1}
    return Phase("reset", {**values, "obs": cell_of(parts.state.q, obs), "seen": seen_of(step.obs)}, code=RESET)


def seen_of(seen: object) -> Json:
    """Return the observation of the first environment as it gave it."""
    return first_rows(seen, 1)[0]


def allow(q: Representation, obs: int, masks: BoolArray, which: int, i: int) -> None:
    """Note the actions that are allowed in `obs`, as `set_allowed` does in kernels."""
    if isinstance(q, MaskedTable | MaskedTiles):
        q.allowed[obs] = masks[which, i]


def transition_of(batch: Batch, i: int, gamma: float, next_action: int, alpha: float) -> Step:
    """Return row i of a batch, as a kernel sees it."""
    discount = gamma * float(batch.continues[i])
    return Step(
        int(batch.obs[i]), int(batch.action[i]), float(batch.reward[i]), discount, int(batch.next_obs[i]), next_action,
        bool(batch.over[i]), alpha,
    )  # fmt: skip


def data_step(parts: TableParts, rows: Batch) -> RecordedStep:
    """Learn once from a transition drawn from the data, as `learn_from_data` does, and record it."""
    state, rates = parts.state, parts.learner.rates
    t, n = int(state.clock.time[0]), rows.obs.shape[0]
    draw = float(uniform(state.generator))
    i = int(draw * n)
    alpha = count(state.q, state.visits, int(rows.obs[i]), int(rows.action[i]), rates)
    allow(state.q, int(rows.obs[i]), rows.masks, 0, i)
    allow(state.q, int(rows.next_obs[i]), rows.masks, 1, i)
    step = transition_of(rows, i, rates.gamma, -1, float(alpha))
    taken = taken_step(parts, step, float(rows.continues[i]), 0.0).values
    values = {name: part for name, part in taken.items() if name != "episode_return"}
    values |= {"q": q_row(state.q, int(step.obs), parts.order), "draw": draw, "index": i, "size": n}
    error, learned = parts.learn(step, parts.now(0)._replace(level=0.0))
    state.clock.time[0] = t + 1
    state.error[0] += abs(error)
    state.error[1] += 1
    return RecordedStep(t, 0, (Phase("sample", values, code=DRAW), *learned))
