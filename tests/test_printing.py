"""What files and environments say reaches a terminal without control characters, and markup as it is."""

import json
import re
import traceback
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from click.testing import CliRunner
from saved import reseal

import bellmax as bx
from bellmax.cli import main
from bellmax.printing import plain
from bellmax.stderr import say, warn
from bellmax.training.history import History

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\r\u202e[bold]x[/bold]:boom:"
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


class Evil(gym.Env[Any, Any]):
    """Raises with control characters in its words."""

    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return 0, {EVIL: 1}

    def step(self, action: Any) -> Any:
        raise OSError(EVIL)


def test_what_is_written_out() -> None:
    assert plain(EVIL) == r"\x1b]0;title\x07\x1b[2J\x9b31m\r\u202e[bold]x[/bold]:boom:"
    assert plain("ε ≤ 1\tΔ\n│░ 日本 👩\u200d🚀") == "ε ≤ 1\tΔ\n│░ 日本 👩\u200d🚀"
    assert plain("\udc80") == r"\udc80"


def test_lines_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn(EVIL, bx.RunWarning)
    with pytest.raises(bx.EnvCrashed) as error:
        bx.train(Evil, "q-learning", steps=5, progress=False)
    shown = traceback.format_exception_only(error.value)
    for text in (capsys.readouterr().err, str(caught[0].message), str(error.value), "".join(shown)):
        assert not HARMFUL.search(text)
        assert plain(EVIL) in text


def test_a_run_whose_files_say_something_evil(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    bx.train("corridor", "q-learning", steps=40, records=2, final_episodes=0, out=folder, progress=False)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "world": f"corridor{EVIL}"}))
    environment = json.loads((folder / "environment.json").read_text())
    environment["continued"] = [{"step": 20, "differs": [EVIL], "environment": {}}]
    (folder / "environment.json").write_text(json.dumps(environment))
    reseal(folder)
    run = bx.load(folder)
    shown = CliRunner().invoke(main, ["eval", str(folder), "--world", "corridor", "--episodes", "2"])
    for text in (repr(run), shown.output):
        assert not HARMFUL.search(text)
        assert plain(EVIL) in text
    assert shown.exit_code == 0
    with pytest.raises(ValueError, match="not those of a history"):
        History.from_csv(f"seed,step,{EVIL.replace(chr(13), '')}\n0,1,2\n")


def test_words_of_the_command_line() -> None:
    for words in (["solve", EVIL], ["train", "corridor", f"{EVIL}=1"], ["solve", f"--{EVIL}"]):
        shown = CliRunner().invoke(main, words)
        assert shown.exit_code == 2
        assert not HARMFUL.search(shown.output)


def test_a_message_is_not_longer_than_a_page() -> None:
    """A value in a file may have millions of characters; what to do stands at the end."""
    text = str(bx.CorruptCheckpoint(f"x.json: name={'y' * 2_000_000!r} is not valid; train it again"))
    assert len(text) < 3_000
    assert text.startswith("x.json: name='yyy")
    assert text.endswith("yyy' is not valid; train it again")
