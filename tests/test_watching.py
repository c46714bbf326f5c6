"""Watching: the pictures are those of the environment, the bars are the values, and the score is the evaluation's."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import bellmax as bx
from bellmax.cli import main
from bellmax.contracts import ConfigError, EnvContractError, ResourceError
from bellmax.envs.screens import action_names, screen_image
from bellmax.mdp.layout import find_layout
from bellmax.mdp.outcomes import reachable
from bellmax.sources import find_world
from bellmax.training.actors import find_actors
from bellmax.watching import drawing
from bellmax.watching.drawing import ValueAxis, bar_length, compose, draw_panel, shown_rows, text_image
from bellmax.watching.on_screen import show_in_window
from bellmax.watching.staging import StagedMoment, opened_stage
from bellmax.watching.state_drawing import EDGE, HIGH, LOW, cell_side, state_drawer
from bellmax.watching.video import stride_of, write_video


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def different_images(n: int, height: int = 40, width: int = 60) -> list[np.ndarray]:
    """Images of one color each with a block that moves."""
    images = np.full((n, height, width, 3), 240, np.uint8)
    for i, image in enumerate(images):
        image[5:15, 2 * i : 2 * i + 10] = (20, 90, 160)
    return list(images)


# files


@pytest.mark.parametrize("size", [(40, 60), (41, 61)])
def test_a_gif_has_every_picture_and_its_time(size: tuple[int, int], tmp_path: Path) -> None:
    images = different_images(12, *size)
    assert write_video(tmp_path / "new" / "a.gif", images, 30.0) == 12
    with Image.open(tmp_path / "new" / "a.gif") as gif:
        assert (gif.n_frames, gif.size) == (12, size[::-1])
        total = 0
        for i, image in enumerate(images):
            gif.seek(i)
            total += gif.info["duration"]
            assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - image).max() <= 8
    assert total == 400  # 12 pictures at 30 a second, though a GIF counts in hundredths
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.gif"]


@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
def test_an_mp4_has_every_picture(size: tuple[int, int], tmp_path: Path) -> None:
    images = different_images(20, *size)
    assert write_video(tmp_path / "a.mp4", iter(images), 10.0) == 20
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4")) == (20, 2.0)
    read = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", tmp_path / "a.mp4", "-f", "rawvideo"]
    raw = subprocess.run([*read, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    seen = np.frombuffer(raw, np.uint8).reshape(20, 64, 96, 3)  # even sides
    for image, frame in zip(images, seen, strict=True):
        assert np.abs(frame[: size[0], : size[1]].astype(int) - image).mean() < 6


def test_colors_that_come_up_later_are_shown(tmp_path: Path) -> None:
    images = different_images(3)
    images.append(np.full_like(images[0], (200, 30, 40)))
    write_video(tmp_path / "a.gif", images, 10.0)
    with Image.open(tmp_path / "a.gif") as gif:
        gif.seek(3)
        assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - (200, 30, 40)).max() <= 8


def test_a_file_that_cannot_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"cannot write .*file/a.gif"):
        write_video(tmp_path / "file" / "a.gif", different_images(2), 10.0)
    (tmp_path / "a.gif").mkdir()
    with pytest.raises(ResourceError, match="cannot write"):
        write_video(tmp_path / "a.gif", different_images(2), 10.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "file"]


def test_pictures_that_nobody_can_see_are_left_out() -> None:
    assert [stride_of(speed, ".gif") for speed in (4, 50, 50.1, 100, 150)] == [1, 1, 2, 2, 3]
    assert [stride_of(speed, ".mp4") for speed in (50, 60, 61)] == [1, 1, 2]


# the panel


def bars_of(panel: np.ndarray, n: int, chosen: int) -> list[int]:
    """The lengths of the bars in pixels, by the colors in the lowest line of each."""
    lengths = []
    for row in shown_rows(n, chosen, panel.shape[0], drawing.ROW):
        color = drawing.CHOSEN if row.action == chosen else drawing.BAR
        left, right = drawing.plot_of(row)
        line = panel[row.top + row.height - 8, left : right + 1]
        lengths.append(int((line == color).all(axis=1).sum()))
    return lengths


@pytest.mark.parametrize("q", [[1.0, 2.0, 4.0], [-3.0, 0.0, 3.0, 2.5, -2.5], [0.5, 0.5]])
def test_bars_are_as_long_as_the_values(q: list[float]) -> None:
    values = np.array(q)
    axis = ValueAxis(float(values.min()), float(values.max()))
    chosen = int(values.argmax())
    panel = np.asarray(draw_panel(400, ["a"], [f"action {i}" for i in range(len(q))], axis, values, None, chosen))
    width = drawing.WIDTH - 2 * drawing.MARGIN
    spread = axis.high - axis.low
    expected = [1 + round((value - axis.low) / spread * (width - 1)) if spread else width for value in q]
    assert bars_of(panel, len(q), chosen) == expected


def test_the_chosen_action_is_marked_and_one_that_is_not_allowed_has_no_bar() -> None:
    q = np.array([5.0, -np.inf, 1.0])
    panel = np.asarray(draw_panel(400, [], ["a", "b", "c"], ValueAxis(0.0, 5.0), q, None, 0))
    lengths = bars_of(panel, 3, 0)
    assert lengths[1] == 0
    assert lengths[2] == bar_length(1.0, ValueAxis(0.0, 5.0), 272)
    glowing = (panel[:, drawing.WIDTH - 2] == drawing.GLOW).all(axis=1)
    rows = shown_rows(3, 0, 400, drawing.ROW)
    assert np.flatnonzero(glowing).tolist() == list(range(rows[0].top, rows[0].top + rows[0].height - 2))


def test_distributions_are_drawn_by_their_probabilities() -> None:
    atoms = np.linspace(0.0, 10.0, 51)
    p = np.exp(-0.5 * ((atoms - np.array([[3.0], [7.0]])) / 1.0) ** 2)
    p /= p.sum(axis=1, keepdims=True)
    spread = bx.ReturnDistribution(np.stack([atoms, atoms]), p)
    panel = np.asarray(draw_panel(400, [], ["a", "b"], ValueAxis(0.0, 10.0), spread.mean, spread, 1))
    for row, color, peak in zip(
        shown_rows(2, 1, 400, drawing.TALL_ROW), (drawing.BAR, drawing.CHOSEN), (3, 7), strict=True
    ):
        left, right = drawing.plot_of(row)
        area = (panel[row.top + 20 : row.top + row.height - 7, left : right + 1] == color).all(axis=2).sum(axis=0)
        centers = (np.arange(area.size) + 0.5) / area.size * 10
        assert abs(float((centers * area).sum() / area.sum()) - peak) < 0.15
        share = area.reshape(-1)[np.argmin(np.abs(centers - (peak + 1.0)))] / area.max()
        assert share == pytest.approx(np.exp(-0.5), abs=0.1)


@pytest.mark.parametrize("n", [1, 2, 18, 19, 500])
def test_many_actions_have_room_and_the_chosen_one_is_there(n: int) -> None:
    rows = shown_rows(n, n - 1, 420, drawing.ROW)
    assert rows[-1].action == n - 1
    assert all(row.top + row.height <= 420 - drawing.BOTTOM for row in rows)
    assert [a.top + a.height for a in rows[:-1]] == [b.top for b in rows[1:]]
    assert len({row.action for row in rows}) == len(rows)
    draw_panel(420, ["x"], [str(i) for i in range(n)], ValueAxis(0, 1), np.linspace(0, 1, n), None, n - 1)


def test_a_panel_bears_strange_words_and_numbers() -> None:
    names = ["\x1b[31m\x00" + "x" * 1_000, "ε → 世界 \u202e", ""]
    axis = drawing.widened(None, np.array([1e308, -1e308, 1e-320]), None)
    for lines in (names, []):
        draw_panel(300, lines, names, axis, np.array([1e308, -1e308, 1e-320]), None, 2)
    draw_panel(300, names, names, None, None, None, 0)
    draw_panel(300, names, names, None, None, None, None, "terminated")


@pytest.mark.parametrize("size", [(210, 160), (400, 600), (3, 2), (5_000, 10), (1_080, 1_920)])
def test_a_picture_of_any_size_has_its_place(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    canvas = drawing.canvas_of(image)
    whole = compose(image, canvas, draw_panel(max(canvas[1], 300), [], ["a"], None, None, None, 0))
    assert whole.shape[1] == max(canvas[0], 320) + drawing.WIDTH
    assert 300 <= whole.shape[0] <= 720
    if canvas[0] % size[1] == canvas[1] % size[0] == 0 and canvas[0] >= 320:  # by a whole factor: pixel by pixel
        k = canvas[0] // size[1]
        np.testing.assert_array_equal(whole[: canvas[1] : k, : canvas[0] : k], image)
    assert compose(image[: size[0] // 2 + 1], canvas, None).shape[:2] == (
        whole.shape[0],
        whole.shape[1] - drawing.WIDTH,
    )


def test_text_is_drawn_and_what_is_marked_is_inverted() -> None:
    image = text_image("ab\n\x1b[41mc\x1b[0md\n\x1b[1;33mbold\x1b[0m")
    assert image.shape == (3 * 12 + 12, 4 * 6 + 12, 3)
    marked = (image == drawing.CHOSEN).all(axis=2)
    rows, columns = np.nonzero(marked)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (18, 29, 6, 11)  # the letter c
    assert (text_image("W") != text_image("i")).any()


# the policy's distributions


@pytest.mark.parametrize(
    ("agent", "settings"),
    [("c51", {}), ("qr-dqn", {"value_rescaling": True}), ("iqn", {}), ("rainbow", {"v_min": -1.0, "v_max": 3.0})],
)
def test_the_mean_of_a_distribution_is_the_value(agent: str, settings: dict[str, Any]) -> None:
    run = bx.train("CartPole-v1", agent, steps=300, final_episodes=1, eval_episodes=0, net_arch=(8,), **settings)
    policy, obs = run.policy(), np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    batch, one = policy.distribution(obs), policy.distribution(obs[2])
    assert batch.values.shape == batch.probabilities.shape
    assert batch.values.shape[:2] == (5, 2)
    np.testing.assert_allclose(batch.probabilities.sum(axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(batch.mean, policy.q_values(obs), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one.values, batch.values[2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one.probabilities, batch.probabilities[2], rtol=1e-4, atol=1e-6)
    if agent == "rainbow":
        assert (batch.values[0, 0, 0], batch.values[0, 0, -1]) == (-1.0, 3.0)
    with pytest.raises(ConfigError, match="shape"):
        policy.distribution(np.zeros(3))


def test_a_policy_without_distributions_says_who_has_them() -> None:
    with pytest.raises(ConfigError, match="q-learning learns expected returns in a table; 'c51'"):
        bx.train("corridor", "q-learning", steps=50, final_episodes=1).policy().distribution(0)
    run = bx.train("CartPole-v1", "dqn", steps=200, final_episodes=1, eval_episodes=0, net_arch=(8,))
    with pytest.raises(ConfigError, match="the network of dqn learns expected returns; 'c51'"):
        run.policy().distribution(np.zeros(4, np.float32))


# the score, the pictures and the values


def evaluated(policy: object, episodes: int, world: object = None, **kwargs: Any) -> list[float]:
    """The returns of `bx.evaluate`, one episode at a time."""
    return [float(bx.evaluate(policy, world, episodes=1, seed=1 + e, **kwargs).returns[0]) for e in range(episodes)]


def moments_of(policy: object, world: object = None, seed: int = 1, **kwargs: Any) -> list[StagedMoment]:
    actors, source = find_actors(policy, world, kwargs or None)
    with opened_stage(actors[0], source) as stage:
        return list(stage.play(seed, stage.limit))


@pytest.fixture(scope="module")
def pole(tmp_path_factory: pytest.TempPathFactory) -> bx.Run:
    folder = tmp_path_factory.mktemp("runs") / "pole"
    return bx.train(
        "CartPole-v1", "dqn", steps=600, seeds=[3, 5], final_episodes=1, eval_episodes=0, net_arch=(8,), out=folder
    )


def test_the_score_of_a_network_is_the_evaluations_and_the_file_is_in_the_folder(pole: bx.Run) -> None:
    seen = bx.watch(pole, seed=5, episodes=2)
    assert seen.evaluation.returns.tolist() == evaluated(pole.policy(5), 2)
    assert seen.evaluation.lengths.tolist() == seen.evaluation.returns.tolist()
    assert seen.complete
    assert seen.video == pole.folder / "watch-seed-5.mp4"
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(seen.video))
    assert frames == seen.pictures == seen.evaluation.lengths.sum() + 2 + 2 * 50  # the last one stays for a second
    assert str(seen.video) in str(seen)
    bx.load(pole.folder)  # is still whole


def test_the_pictures_are_those_of_the_environment_and_the_values_those_of_the_policy(pole: bx.Run) -> None:
    policy = pole.policy(3)
    env = gym.make("CartPole-v1", render_mode="rgb_array")
    obs, _ = env.reset(seed=4)
    *moments, last = moments_of(policy, seed=4)
    for t, moment in enumerate(moments):
        np.testing.assert_array_equal(moment.image, env.render())
        np.testing.assert_allclose(moment.q, policy.q_values(obs), rtol=1e-6)
        assert (moment.action, moment.step, moment.total) == (policy.act(obs), t, t)
        obs, *_, terminated, _, _ = env.step(moment.action)
    np.testing.assert_array_equal(last.image, env.render())  # not that of the next episode
    assert (last.action, last.q, last.step, last.end) == (None, None, len(moments), "terminated")
    assert terminated
    env.close()


def test_tables_models_functions_and_cells(tmp_path: Path) -> None:
    lake = bx.train("FrozenLake-v1", "q-learning", steps=3_000, final_episodes=1)
    wind = bx.train("windy-gridworld", "sarsa", steps=20_000, final_episodes=1)
    walk = bx.train("random-walk", "q-learning", steps=2_000, final_episodes=1)
    mdp = bx.corridor(5)
    cases: list[tuple[object, object]] = [
        (lake, None), (wind, None), (walk, None), (lambda obs: 1, "corridor"), (bx.solve(mdp, 0.9), mdp),
        (lambda obs: int(obs[2] > 0), "CartPole-v1"),
    ]  # fmt: skip
    for i, (policy, world) in enumerate(cases):
        seen = bx.watch(policy, world, episodes=3, video=tmp_path / f"{i}.gif")
        assert seen.evaluation.returns.tolist() == evaluated(policy, 3, world), (policy, world)
        assert seen.complete


def test_a_memory_cell_is_carried_along(tmp_path: Path) -> None:
    run = bx.train("CartPole-v1", "r2d2", steps=400, final_episodes=1, eval_episodes=0, net_arch=(8,))
    seen = bx.watch(run, episodes=2, video=tmp_path / "a.gif", panel=False)
    assert seen.evaluation.returns.tolist() == evaluated(run, 2)
    policy = run.policy()
    *moments, _ = moments_of(policy)
    env = gym.make("CartPole-v1")
    obs, carry = env.reset(seed=1)[0], policy.begin(1)
    for moment in moments:
        q, carry = policy.look(carry, obs[None])
        np.testing.assert_allclose(moment.q, q[0], rtol=1e-5)
        obs = env.step(moment.action)[0]


def test_wrappers_arguments_and_masks_are_those_of_training(tmp_path: Path) -> None:
    run = bx.train(
        "Taxi-v4", "q-learning", steps=2_000, final_episodes=1,
        wrappers=[{"name": "TimeLimit", "max_episode_steps": 30}], loop="host",
    )  # fmt: skip
    seen = bx.watch(run, video=tmp_path / "a.gif")
    assert seen.evaluation.lengths[0] <= 30
    assert seen.evaluation.returns.tolist() == evaluated(run, 1)


def test_max_steps_cuts_and_says_so(pole: bx.Run, tmp_path: Path) -> None:
    seen = bx.watch(pole, max_steps=3, video=tmp_path / "a.gif", speed=0.5)
    assert (seen.evaluation.lengths.tolist(), seen.complete) == ([3], False)
    assert "not complete" in str(seen)
    assert seen.seconds == pytest.approx(4 / 25 + 1.0, abs=0.05)


# a game


def test_a_game_is_seen_on_its_own_screen_while_it_is_played_by_the_protocol() -> None:
    """Against the emulator itself: the same no-ops and actions, four frames each, the last two together."""
    import ale_py

    kwargs = {"max_num_frames_per_episode": 400, "noop_max": 0, "use_fire_reset": False}
    moments = moments_of(lambda obs: int(obs.mean()) % 6, "ALE/Pong-v5", **kwargs)
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", 1)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(ale_py.roms.get_rom_path("pong"))
    ale.reset_game()
    actions = ale.getMinimalActionSet()
    np.testing.assert_array_equal(moments[0].image, ale.getScreenRGB())
    for before, after in itertools.pairwise(moments[:-1]):
        screens = []
        for _ in range(4):
            ale.act(actions[before.action])
            screens.append(ale.getScreenRGB())
        np.testing.assert_array_equal(after.image, np.maximum(screens[2], screens[3]))
    assert moments[0].image.shape == (210, 160, 3)
    assert len(moments) == 101
    changed = (moments[-1].image != moments[-2].image).any(axis=2).sum()
    assert 0 < changed < 200 < (moments[-1].image != moments[0].image).any(axis=2).sum()  # not yet the next game
    assert moments[-1].end == "truncated"


def test_the_score_of_a_game_is_the_evaluations_and_its_actions_have_names(tmp_path: Path) -> None:
    def act(obs: np.ndarray) -> int:
        return int(obs.sum()) % 4

    kwargs = {"max_num_frames_per_episode": 2_000}
    source = find_world("ALE/Breakout-v5", kwargs)
    with opened_stage(find_actors(act, "ALE/Breakout-v5", kwargs)[0][0], source) as stage:
        assert stage.action_names == ("noop", "fire", "right", "left")
        assert stage.speed == 15.0
    seen = bx.watch(act, "ALE/Breakout-v5", episodes=2, env_kwargs=kwargs, video=tmp_path / "a.gif")
    assert seen.evaluation.returns.tolist() == evaluated(act, 2, "ALE/Breakout-v5", env_kwargs=kwargs)


# environments that render in other ways, or not


class Plain(gym.Env[Any, Any]):
    """Five steps to the right; renders as its class says."""

    observation_space, action_space = gym.spaces.Discrete(6), gym.spaces.Discrete(2)
    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.at = render_mode, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0
        return 0, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.at += 1
        return self.at, 1.0, self.at == 5, False, {}


class Written(Plain):
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 2}

    def render(self) -> Any:
        return "." * self.at + "\x1b[41mA\x1b[0m" + "." * (5 - self.at)


class Wrong(Plain):
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def render(self) -> Any:
        return np.zeros((3, 4, 5))


def always(obs: object) -> int:
    del obs
    return 1


def test_text_becomes_a_picture(tmp_path: Path) -> None:
    moments = moments_of(always, Written)
    for moment in moments:
        columns = np.flatnonzero((moment.image == drawing.CHOSEN).all(axis=2).any(axis=0))
        assert columns.min() == 6 + 6 * moment.step
    seen = bx.watch(always, Written, video=tmp_path / "a.gif")
    assert (seen.evaluation.returns.tolist(), seen.pictures) == ([5.0], 6 + 2)


@pytest.mark.parametrize(
    ("policy", "world", "kwargs", "message"),
    [
        (
            always,
            Plain,
            {},
            "Plain cannot be watched: it does not render at all, and an array of pixels is needed: add",
        ),
        (always, Written(), {}, "Written was created without a render mode, .*: create it with render_mode='ansi', or"),
        (always, "probe:match", {}, "probe:match cannot be watched: it exists only compiled"),
        (always, Written, {"video": "a.avi"}, "`video` must end in .mp4 or .gif; got 'a.avi'"),
        (always, Written, {"seed": 3}, "seed=3 chooses a policy of a run, and this is one policy"),
        (always, Written, {"speed": 0}, "speed=0 is outside"),
        (always, Written, {"fps": 30}, "watch has no argument 'fps'; write speed=30"),
        (always, lambda: gym.make_vec("CartPole-v1", 2), {}, "needs one plain environment, not a vector"),
        ("nowhere", None, {}, "neither the folder of a run"),
    ],
)
def test_what_cannot_be_watched_is_said_in_words(policy: Any, world: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bx.watch(policy, world, **kwargs)


def test_a_picture_that_is_none_is_an_error_in_words() -> None:
    with pytest.raises(EnvContractError, match=r"Wrong.*render\(\) returned an array of float64 \[3, 4, 5\]"):
        bx.watch(always, Wrong)
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert screen_image("x", gray, text_image).shape == (3, 4, 3)
    assert screen_image("x", np.zeros((3, 4, 4), np.uint8), text_image).shape == (3, 4, 3)
    for wrong in (None, 3, [], np.zeros((0, 4, 3), np.uint8), [[1.0]]):
        with pytest.raises(EnvContractError, match="must return an array"):
            screen_image("x", wrong, text_image)


def test_actions_are_called_what_the_environment_calls_them() -> None:
    assert action_names(gym.make("CartPole-v1").unwrapped, 2, {}) == ("left", "right")
    assert action_names(object(), 3, {"start": 5}) == ("5", "6", "7")
    assert action_names(object(), 4, {"sizes": [2, 2], "start": [0, 0], "dtype": "int64"})[3] == "[1, 1]"


@pytest.mark.parametrize(("module", "words"), [("imageio_ffmpeg", "imageio-ffmpeg"), ("PIL.ImageFont", "Pillow")])
def test_what_is_not_installed_is_said_with_the_command(
    module: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ConfigError, match=rf"{words}.*pip install 'bellmax\[watch\]'"):
        bx.watch(always, Written, video=tmp_path / "a.mp4")
    if module == "imageio_ffmpeg":
        assert bx.watch(always, Written).video == Path("watch.gif")  # what can be written without it


# a window


def test_a_window_shows_the_last_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    import pygame

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("bellmax.watching.on_screen.LAST_SECONDS", 0.0)
    seen: list[np.ndarray] = []

    def watched() -> Any:
        for image in different_images(5, 40, 60):
            yield image
            seen.append(np.swapaxes(pygame.surfarray.array3d(pygame.display.get_surface()), 0, 1))

    assert show_in_window(watched(), 200.0, "title") == 5
    for image, on_screen in zip(different_images(5, 40, 60), seen, strict=True):
        np.testing.assert_array_equal(image, on_screen)
    assert not pygame.display.get_init()


@pytest.mark.parametrize("key", ["escape", "close"])
def test_a_closed_window_ends_the_episode(key: str, monkeypatch: pytest.MonkeyPatch, pole: bx.Run) -> None:
    import pygame

    from bellmax.watching import watch as module

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(module, "has_display", lambda: True)
    event = {"escape": (pygame.KEYDOWN, {"key": pygame.K_ESCAPE}), "close": (pygame.QUIT, {})}[key]
    posted = drawing.compose

    def composing(*args: Any) -> np.ndarray:
        if pygame.display.get_surface() is not None:
            pygame.event.post(pygame.event.Event(event[0], event[1]))
        return posted(*args)

    monkeypatch.setattr(module, "compose", composing)
    seen = bx.watch(pole)
    assert (seen.pictures, seen.complete, seen.video) == (2, False, None)
    assert seen.evaluation.lengths.tolist() == [1]


# the command line


def test_the_command_says_the_score_and_where_the_file_is(pole: bx.Run, tmp_path: Path) -> None:
    words = ["watch", str(pole.folder), "--seed", "5", "--episodes", "2", "--speed", "2", "--quiet"]
    done = CliRunner().invoke(main, words, prog_name="bellmax")
    assert done.exit_code == 0, done.output
    first, second = evaluated(pole.policy(5), 2)
    assert f"episode 1: return {first:g}, {first:g} steps\nepisode 2: return {second:g}" in done.output
    assert f"video: {pole.folder / 'watch-seed-5.mp4'}" in done.output
    done = CliRunner().invoke(main, [*words, "--json", "--video", str(tmp_path / "b.gif"), "--no-panel"])
    found = json.loads(done.stdout)
    assert found["returns"] == [first, second]
    with Image.open(found["video"]) as gif:
        assert gif.size == (600, 400)
    for wrong, code in ((["--seed", "4"], 2), (["--video", "x.png"], 2), (["--episodes", "0"], 2)):
        assert CliRunner().invoke(main, ["watch", str(pole.folder), *wrong], prog_name="bellmax").exit_code == code


def test_a_run_whose_folder_has_a_video_can_be_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = bx.train("corridor", "q-learning", steps=50, final_episodes=1, out=folder)
    bx.watch(run)
    bx.watch(run, which="best")
    assert sorted(path.name for path in folder.glob("watch-*")) == ["watch-best-seed-0.mp4", "watch-seed-0.mp4"]
    (folder / "watch-me.mp4").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds watch-me\.mp4, which bellmax did not write"):
        bx.train("corridor", "q-learning", steps=50, final_episodes=1, out=folder, if_exists="replace")
    (folder / "watch-me.mp4").unlink()
    bx.train("corridor", "q-learning", steps=50, final_episodes=1, out=folder, if_exists="replace")
    assert not list(folder.glob("watch-*"))


def test_a_model_is_drawn_on_its_map_with_a_dot_where_it_is_and_its_values_as_colors() -> None:
    mdp = bx.cliff()
    layout = find_layout(mdp)
    assert layout is not None
    v = np.arange(mdp.n_states, dtype=float)
    draw, side = state_drawer(mdp, v), cell_side(layout)
    shades = []
    for state in range(mdp.n_states):
        image = draw(state)
        rows, columns = np.nonzero((image == drawing.CHOSEN).all(axis=2))
        place = (int((rows.mean() - EDGE) // side), int((columns.mean() - EDGE) // side))
        assert place == divmod(int(layout.cell[state]), layout.columns)
        y, x = EDGE + side * place[0], EDGE + side * place[1]
        if reachable(mdp)[state]:
            shades.append(int(image[y + side - 3, x + 3, 0]))  # red falls from LOW to HIGH
        else:
            assert tuple(image[y + side - 3, x + 3]) == drawing.PAPER, "in a cliff or a goal no action is chosen"
    assert shades == sorted(shades, reverse=True)
    assert (len(shades), shades[0], shades[-1]) == (37, LOW[0], HIGH[0])
    nameless = bx.random_garnet(5, 2)
    assert find_layout(nameless) is None
    one, other = (state_drawer(nameless)(state) for state in (0, 1))
    assert one.shape == other.shape == (300, 320, 3)
    assert (one != other).any()


def test_a_model_that_is_watched_ends_where_it_ends() -> None:
    moments = moments_of(lambda obs: 1, bx.corridor(4))
    dots = [np.nonzero((moment.image == drawing.CHOSEN).all(axis=2))[1].mean() for moment in moments]
    np.testing.assert_allclose(np.diff(dots), cell_side(find_layout(bx.corridor(4))))
    assert [moment.end for moment in moments] == ["", "", "", "terminated"]
