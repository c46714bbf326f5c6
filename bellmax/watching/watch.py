"""NumPy. `watch`: episodes of a policy in a window or as a video, with the values of the actions beside the picture."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Never

import numpy as np

from bellmax import stderr
from bellmax.arguments import check_call, check_flag, describe, integer, path_of, real
from bellmax.contracts import ConfigError, counted
from bellmax.printing import plain
from bellmax.sources import Source
from bellmax.training.actors import find_actors
from bellmax.training.function_policy import Actor
from bellmax.training.play import Evaluation, check_results
from bellmax.training.policy import Policy
from bellmax.training.progress import compiling_shown, is_wanted
from bellmax.training.run import Run, Which
from bellmax.training.saved_runs import load
from bellmax.watching.drawing import SMALLEST, ValueAxis, canvas_of, compose, draw_panel, need_pillow, widened
from bellmax.watching.on_screen import NoWindow, has_display, show_in_window
from bellmax.watching.staging import Stage, StagedMoment, opened_stage
from bellmax.watching.video import can_write_mp4, stride_of, video_path, write_video

TICK = 10.0  # seconds between lines on how far it is
SLOWEST, QUICKEST = 1e-3, 1e3  # times the usual speed
HOLD = 1.0  # seconds for which the end of an episode stays


class Watched(NamedTuple):
    """What was seen.

    Attributes:
        evaluation: the returns and lengths of the episodes, as far as they were played.
        complete: whether each episode ended by itself, and was not cut by `max_steps` or by closing the window.
        video: the file, or None if there was a window.
        pictures: how many were shown or written.
        seconds: for how long they last.
    """

    evaluation: Evaluation
    complete: bool
    video: Path | None
    pictures: int
    seconds: float

    def __str__(self) -> str:
        each = [
            f"episode {i}: return {total:.6g}, {counted(int(length), 'step')}"
            for i, (total, length) in enumerate(zip(*self.evaluation, strict=True), 1)
        ]
        cut = [] if self.complete else ["the last return is not complete, because its episode was cut"]
        pictures = f"{counted(self.pictures, 'picture')}, {self.seconds:.1f} s"
        where = f"shown in a window: {pictures}" if self.video is None else f"video: {self.video} ({pictures})"
        return plain("\n".join([*each, *cut, where]))


class Subject(NamedTuple):
    """Whose episodes are watched, and where.

    Attributes:
        actor: the policy.
        source: its environment.
        valued: whether the policy has values for its actions.
        words: what it is called.
        file: where a video is written if no file is named, without its ending.
    """

    actor: Actor
    source: Source
    valued: bool
    words: str
    file: Path


class WatchRequest(NamedTuple):
    """How it is watched; see `watch`."""

    episodes: int
    episode_seed: int
    cap: int
    speed: float
    stride: int
    panel: bool
    progress: bool

    @property
    def shown_speed(self) -> float:
        """Pictures per second."""
        return self.speed / self.stride


def watch(
    policy: object,
    world: object = None,
    *misplaced: Never,
    episodes: int = 1,
    seed: int | None = None,
    episode_seed: int = 1,
    which: Which = "final",
    speed: float = 1.0,
    video: str | os.PathLike[str] | None = None,
    panel: bool = True,
    max_steps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
    **unknown_names: Never,
) -> Watched:
    """Watch greedy episodes in a window, or write them to a video where there is no display.

    The environment has the wrappers, arguments and masks of training, and an Atari game its protocol; the screen of a
    game is shown as it is. Beside the picture are the values of the moment, with the chosen action marked; of C51,
    QR-DQN and IQN the distributions of the return. The first episode is that of
    `bx.evaluate(policy, episodes=1, seed=episode_seed)`, the next one that of `episode_seed` + 1, and so on.

    Args:
        policy: as in `evaluate`; of a run, the policy of one seed.
        *misplaced: an error, which says what to write.
        **unknown_names: an error, which says what to write.
        world: anything that `train` accepts; None: the policy's own.
        episodes: how many.
        seed: of the run, whose policy is watched; by default its first. Only for a run.
        episode_seed: of the environment in the first episode.
        which: "final" or "best" policy of a run.
        speed: 2 is twice as fast as the environment is meant to be seen.
        video: a file .mp4 or .gif to write. By default a window is opened, or, without a display, a file is written in
            the folder of the run, else in the current folder.
        panel: whether the values are shown beside the picture.
        max_steps: of an episode, which is then cut.
        env_kwargs: of an environment given by name; in the policy's own, they replace those of training one by one.
        progress: say every ten seconds how far it is; by default only if standard error is a terminal.
        say: called with a line on what differs from training; without it, such lines are dropped.

    Raises:
        ConfigError: `policy` cannot act, the environment does not fit it or cannot be rendered, or Pillow, or what
            writes the video, is not installed.
        UnsafeFile: only a file asks for a wrapper or argument that imports, writes or opens a window.
        ResourceError: the video cannot be written.
        EnvContractError: the environment renders something else than an image.
    """
    meant = {"env": "world", "n_eval_episodes": "episodes", "fps": "speed", "path": "video", "out": "video"}
    check_call(watch, "episodes", misplaced, unknown_names, meant)
    episodes, episode_seed = integer("episodes", episodes), integer("episode_seed", episode_seed, 0)
    speed, longest = real("speed", speed, SLOWEST, QUICKEST), _longest(max_steps)
    for name, flag in (("panel", panel), ("progress", progress)):
        check_flag(name, flag)
    check_results("episodes", episodes, 1)
    need_pillow()
    told, remark = stderr.voices(say)
    file = None if video is None else video_path(video)
    subject = _find(policy, world, env_kwargs, seed, which, told)
    if subject.source.reward_wrappers:
        remark(
            f"returns are in the rewards of {', '.join(subject.source.reward_wrappers)}, not in the environment's own"
        )
    with compiling_shown(progress), opened_stage(subject.actor, subject.source, valued=subject.valued) as stage:
        asked = WatchRequest(
            episodes, episode_seed, min(stage.limit, longest), stage.speed * speed, 1, panel is not False,
            is_wanted(progress),
        )  # fmt: skip
        return _show(stage, subject, asked, file, told)


def _show(
    stage: Stage, subject: Subject, asked: WatchRequest, file: Path | None, say: Callable[[str], None]
) -> Watched:
    """Show the episodes in a window, or write a file."""
    ends: list[StagedMoment] = []

    def started(ending: str) -> tuple[WatchRequest, Iterator[np.ndarray]]:
        ends.clear()
        thin = asked._replace(stride=stride_of(asked.speed, ending))
        return thin, images_of(stage, subject.words, thin, ends)

    if file is None and has_display():
        try:
            thin, images = started(".mp4")
            pictures = show_in_window(images, thin.shown_speed, f"{subject.words} - bellmax")
            return _watched(stage, thin, ends, None, pictures)
        except NoWindow as error:
            say(f"{error}; a file is written instead")
    if stage.own_window:
        raise ConfigError(
            f"{stage.name} only draws in a window of its own, and there is no display, or a file is wanted: add "
            "'rgb_array' to metadata['render_modes'], and return an array [height, width, 3] from render()"
        )
    if file is None:
        file = video_path(subject.file.with_suffix(".mp4" if can_write_mp4() else ".gif"))
    thin, images = started(file.suffix.lower())
    pictures = write_video(file, images, thin.shown_speed, say)
    return _watched(stage, thin, ends, file, pictures)


def _watched(stage: Stage, asked: WatchRequest, ends: list[StagedMoment], file: Path | None, pictures: int) -> Watched:
    returns, lengths = np.array([end.total for end in ends]), np.array([end.step for end in ends], np.int64)
    whole = all(end.end in ("terminated", "truncated") or end.step == stage.limit for end in ends)
    complete = whole and len(ends) == asked.episodes
    return Watched(Evaluation(returns, lengths), complete, file, pictures, pictures / asked.shown_speed)


def images_of(stage: Stage, words: str, asked: WatchRequest, ends: list[StagedMoment]) -> Iterator[np.ndarray]:
    """Yield the pictures [H, W, 3] of the episodes, all of one size; the last moment of each episode is put in `ends`.

    Args:
        stage: the environment.
        words: what is watched, at the top of the panel.
        asked: which episodes, and every how many steps a picture is yielded.
        ends: an empty list, which grows.
    """
    canvas: tuple[int, int] | None = None
    axis: ValueAxis | None = None
    said = time.monotonic()
    for episode in range(asked.episodes):
        for moment in stage.play(asked.episode_seed + episode, asked.cap):
            ends[episode:] = [moment]
            axis = widened(axis, moment.q, moment.spread)
            if asked.progress and time.monotonic() - said >= TICK:
                said = time.monotonic()
                stderr.say(f"episode {episode + 1}, step {moment.step:,}, return {moment.total:.6g}")
            if moment.image is None or (moment.step % asked.stride and not moment.end):
                continue
            canvas = canvas or canvas_of(moment.image)
            place = f"episode {episode + 1}, step {moment.step:,}, return {moment.total:.6g}"
            lines = (stage.name, words, place)
            height = max(canvas[1], SMALLEST[1])
            panel = (
                draw_panel(height, lines, stage.action_names, axis, *moment[1:4], moment.end) if asked.panel else None
            )
            image = compose(moment.image, canvas, panel)
            for _ in range(1 + round(HOLD * asked.shown_speed) if moment.end else 1):
                yield image


def _longest(max_steps: object) -> int:
    return integer("max_steps", 2**62 if max_steps is None else max_steps)


def _find(
    given: object,
    world: object,
    env_kwargs: Mapping[str, Any] | None,
    seed: int | None,
    which: Which,
    say: Callable[[str], None],
) -> Subject:
    """The policy that is watched, and its environment; raises as `watch`."""
    valued = isinstance(given, Policy | Run | str | os.PathLike)
    if isinstance(given, str | os.PathLike):
        folder = path_of("policy", given)
        given = load(folder) if (folder / "config.json").is_file() else given
    if not isinstance(given, Run) or not given.policies:
        if seed is not None and not isinstance(given, Run):
            raise ConfigError(
                f"seed={describe(seed)} chooses a policy of a run, and this is one policy; the seed of the environment "
                "is episode_seed"
            )
        actors, source = find_actors(given, world, env_kwargs, which, "watch", say)
        name = actors[0].config.name if isinstance(actors[0], Policy) and valued else "a given policy"
        return Subject(actors[0], source, valued, name, Path("watch"))
    seed = given.seeds[0] if seed is None else seed
    policy = given.policy(seed, which)
    (actor,), source = find_actors(policy, world, env_kwargs, "final", "watch", say)
    best = "best, " if which == "best" else ""
    file = (given.folder or Path()) / f"watch-{'best-' if best else ''}seed-{seed}"
    return Subject(actor, source, True, f"{given.config.name}, {best}seed {seed}", file)
