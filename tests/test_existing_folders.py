"""An output folder that exists: what is asked for happens, and nothing that bellmax did not write is touched."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from saved import StopError, lose_power

import bellmax as bx
from bellmax.cli import main
from bellmax.training import trainer

ASKED = {"steps": 600, "seeds": 2, "records": 6, "final_episodes": 2}


def train(folder: Path, if_exists: str = "error", **values: object) -> bx.Run:
    said = values.pop("said", [])
    return bx.train("corridor", "q-learning", out=folder, if_exists=if_exists, say=said.append, **{**ASKED, **values})


def stopped(folder: Path, monkeypatch: pytest.MonkeyPatch, at: int = 300) -> None:
    """A run that lost power after the checkpoint at step `at`."""
    with monkeypatch.context() as patch:
        lose_power(patch, at)
        with pytest.raises(StopError):
            train(folder)


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_error_says_what_else_there_is(tmp_path: Path) -> None:
    train(tmp_path / "run")
    before = listing(tmp_path)
    with pytest.raises(bx.ConfigError, match=r"exists already.*if_exists='number', 'resume' or 'replace'"):
        train(tmp_path / "run")
    with pytest.raises(bx.ConfigError, match="unknown if_exists 'replce'; did you mean 'replace'"):
        train(tmp_path / "run", "replce")
    with pytest.raises(bx.ConfigError, match="if_exists='replace' needs out"):
        bx.train("corridor", "q-learning", steps=100, if_exists="replace")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("if_exists", ["error", "number", "resume", "replace"])
def test_what_does_not_exist_is_made(if_exists: str, tmp_path: Path) -> None:
    assert train(tmp_path / "run", if_exists).folder == tmp_path / "run"
    (tmp_path / "empty").mkdir()
    assert train(tmp_path / "empty", if_exists).folder == tmp_path / "empty"


def test_number(tmp_path: Path) -> None:
    folders = [train(tmp_path / "run", "number").folder for _ in range(3)]
    assert [folder.name for folder in folders] == ["run", "run-2", "run-3"]
    assert all(bx.load(folder).scores for folder in folders)


def test_the_present_folder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = train(Path("."), "number")
    assert bx.load(".").scores == run.scores
    assert CliRunner().invoke(main, ["eval", ".", "--episodes", "1"]).exit_code == 0
    with pytest.raises(bx.ConfigError, match="has ended at step 600"):
        bx.resume(".")
    for folder in (".", "..", "/"):  # have no name to which a number could be added
        with pytest.raises(bx.ConfigError, match=r"output folder .+ exists already"):
            train(Path(folder), "number")


def test_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch)
    (tmp_path / "run" / ".config.json.abc123").write_text("half")
    for page in ("report.html", "explain.html"):
        (tmp_path / "run" / page).write_text("of the run before")
    run = train(tmp_path / "run", "replace", seeds=1, gamma=0.5)
    assert not list((tmp_path / "run").glob("*.html"))
    assert (bx.load(run.folder).seeds, bx.load(run.folder).config.gamma) == ([0], 0.5)
    assert not (run.folder / "checkpoint").exists()
    assert sorted(path.name for path in (run.folder / "policies").iterdir()) == sorted(
        f"seed-0-{which}.{end}" for which in ("final", "best") for end in ("json", "safetensors")
    )


@pytest.mark.parametrize(
    "where", ["notes.txt", "policies/mine.txt", "checkpoint/mine.safetensors", "other/x", "policies/a/b"]
)
def test_replace_leaves_everything_where_something_is_foreign(where: str, tmp_path: Path) -> None:
    train(tmp_path / "run")
    (tmp_path / "run" / where).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / "run" / where).write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(bx.ConfigError, match="which bellmax did not write, so nothing is replaced"):
        train(tmp_path / "run", "replace")
    assert listing(tmp_path) == before


def test_replace_touches_no_folder_that_is_no_run(tmp_path: Path) -> None:
    for name, text in (("plain", None), ("other", '{"model": "mine"}'), ("list", "[]"), ("broken", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.csv").write_text("mine")
        if text is not None:
            (tmp_path / name / "config.json").write_text(text)
        before = listing(tmp_path)
        with pytest.raises(bx.ConfigError, match="does not hold a run"):
            train(tmp_path / name, "replace")
        assert listing(tmp_path) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(bx.BellmaxError):
        train(tmp_path / "file", "replace")


def test_replace_follows_no_link(tmp_path: Path) -> None:
    train(tmp_path / "run")
    train(tmp_path / "run-2")
    (tmp_path / "link").symlink_to("run", target_is_directory=True)
    for path in (tmp_path / "run-2" / "policies").iterdir():
        path.unlink()
    (tmp_path / "run-2" / "policies").rmdir()
    (tmp_path / "run-2" / "policies").symlink_to("../run/policies", target_is_directory=True)
    before = listing(tmp_path)
    for name in ("link", "run-2"):
        with pytest.raises(bx.BellmaxError, match="link"):
            train(tmp_path / name, "replace")
        assert listing(tmp_path) == before


def test_nothing_is_removed_before_everything_is_checked(tmp_path: Path) -> None:
    train(tmp_path / "run")
    before = listing(tmp_path)
    with pytest.raises(bx.ConfigError, match="gamma"):
        train(tmp_path / "run", "replace", gamma=2.0)
    assert listing(tmp_path) == before


def test_resume_finishes_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(tmp_path / "whole")
    stopped(tmp_path / "run", monkeypatch)
    said: list[str] = []
    run = train(tmp_path / "run", "resume", said=said, eval_episodes=3)
    assert "resumed at step 300 of 600" in said[0]
    np.testing.assert_array_equal(run.policy(1).table(), whole.policy(1).table())
    assert bx.load(tmp_path / "run").options.eval_episodes == 3
    before = listing(tmp_path / "run")
    again = train(tmp_path / "run", "resume", said=said, eval_episodes=3)
    assert "has ended" in said[-1]
    assert again.scores == run.scores
    assert listing(tmp_path / "run") == before


def test_resume_begins_at_the_start_where_no_step_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "train", lambda *words: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            train(tmp_path / "run")
    said: list[str] = []
    assert train(tmp_path / "run", "resume", said=said).scores
    assert "resumed at step 0 of 600" in said[0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"steps": 900}, "steps=900 (saved: 600)"), ({"gamma": 0.5}, "gamma=0.5 (saved: 0.99)"),
     ({"seeds": [1, 2]}, "seeds="), ({"records": 3}, "records=3 (saved: 6)"),
     ({"env_kwargs": {"n_states": 4}}, "env_kwargs={'n_states': 4} (saved: {})")],
)  # fmt: skip
def test_resume_refuses_another_run(changed: dict, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path / "run", monkeypatch)
    before = listing(tmp_path)
    with pytest.raises(bx.ConfigError, match="is another one") as caught:
        train(tmp_path / "run", "resume", **changed)
    assert said in str(caught.value)
    assert listing(tmp_path) == before


def test_arguments_that_would_not_come_back_are_refused(tmp_path: Path) -> None:
    for wrong in ({"desc": {1: 2}}, {"desc": [{(1, 2): 3}]}, {"desc": {1, 2}}, {"desc": np.zeros(2)}):
        with pytest.raises(bx.ConfigError, match="env_kwargs cannot be saved"):
            bx.train(lambda desc: bx.corridor(), "q-learning", steps=100, env_kwargs=wrong, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "corridor", "-a", "Q-Learning", "--steps", "1e3", "--json", "--quiet"]
    first = "corridor-q-learning"
    for extra, name in (
        ([], first),
        ([], f"{first}-2"),
        (["--if-exists", "replace"], first),
        (["--if-exists", "resume"], first),
        (["--out", f"runs/{first}", "--if-exists", "number"], f"{first}-3"),
    ):
        done = CliRunner().invoke(main, [*words, *extra])
        assert done.exit_code == 0, done.output
        assert f'"folder": "runs/{name}"' in done.output
    done = CliRunner().invoke(main, [*words, "--out", "runs/corridor-q-learning"])
    assert (done.exit_code, "--if-exists" in done.output) == (2, True)
    done = CliRunner().invoke(main, [*words, "--if-exists", "ask"])
    assert (done.exit_code, "known: error, number, replace, resume" in done.output) == (2, True)
    assert len(list((tmp_path / "runs").iterdir())) == 3


# the current folder


OWN = """
import gymnasium as gym, pathlib
pathlib.Path("was_imported").touch()

class Inventory(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return 0, {}
    def step(self, action):
        self.t += 1
        return self.t % 3, float(action), False, self.t >= 10, {}

class Wrap(gym.Wrapper):
    pass
"""


def run_here(folder: Path, *words: str, module: bool = False) -> subprocess.CompletedProcess:
    program = [sys.executable, "-m", "bellmax"] if module else [str(Path(sys.executable).parent / "bellmax")]
    return subprocess.run([*program, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_modules_of_the_current_folder_are_found_where_the_command_line_names_them(tmp_path: Path) -> None:
    (tmp_path / "myenvs.py").write_text(OWN)
    done = run_here(tmp_path, "check-env", "myenvs:Inventory", "--steps", "100")
    assert done.returncode == 0, done.stderr
    short = ["-a", "q-learning", "--steps", "500", "--quiet", "--json"]
    done = run_here(
        tmp_path, "train", "myenvs:Inventory", *short, "--out", "own", "--wrapper", "myenvs:Wrap", module=True
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "was_imported").unlink()
    for verb in (["eval", "own"], ["eval", "own", "--world", "CartPole-v1"]):
        done = run_here(tmp_path, *verb)
        assert done.returncode != 0
        assert not (tmp_path / "was_imported").exists()  # only the file named it
    done = run_here(tmp_path, "eval", "own", "--world", "myenvs:Inventory", "--env", "wrappers=['myenvs:Wrap']")
    assert done.returncode == 0, done.stderr


def test_what_lies_in_the_current_folder_hides_nothing(tmp_path: Path) -> None:
    """Neither an installed package, nor where an id alone asks for one."""
    for name in ("scipy", "jax", "numba", "minigrid"):
        (tmp_path / f"{name}.py").write_text("import pathlib; pathlib.Path('was_imported').touch(); 1 / 0")
    (tmp_path / "myenvs.py").write_text(OWN.replace("was_imported", "own"))
    for module in (False, True):
        done = run_here(tmp_path, "check-env", "myenvs:Inventory", "--steps", "10", module=module)
        assert done.returncode == 0, done.stderr
        done = run_here(tmp_path, "solve", "corridor", module=module)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "was_imported").exists()


def test_python_m_is_the_command(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    one, other = (
        subprocess.run([*program, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True, env=env).stdout
        for program in ([sys.executable, "-m", "bellmax"], [str(Path(sys.executable).parent / "bellmax")])
    )
    assert one == other
    assert one.startswith("Usage: bellmax ")
