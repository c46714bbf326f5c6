"""The command line as a user meets it: whole processes, their exit codes, and what they write where."""

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bellmax as bx
from bellmax.command import folder_name, read_env
from bellmax.contracts import Discrete
from bellmax.files.existing_folders import claimed
from bellmax.values import read_pairs

BELLMAX = str(Path(sys.executable).parent / "bellmax")
VERBS = ["train", "eval", "solve", "doctor", "resume", "check-env", "show", "watch", "compare"]
SHORT = ["--agent", "q-learning", "--steps", "2000"]

FRAGILE = '''
import gymnasium as gym

class Fragile(gym.Env):
    """Walk among five states for 20 steps; step `at` breaks."""
    observation_space, action_space = gym.spaces.Discrete(5), gym.spaces.Discrete(2)

    def __init__(self, at=0):
        self.at, self.total = at, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.time = 2, 0
        return self.state, {}

    def step(self, action):
        self.total += 1
        self.time += 1
        if self.total == self.at:
            raise RuntimeError("motor\\nburnt out")
        self.state = min(max(self.state + 2 * int(action) - 1, 0), 4)
        return self.state, float(self.state == 4), False, self.time == 20, {}

gym.register("Fragile-v0", entry_point=Fragile)
'''


def bellmax(*words: str | Path, cwd: Path | None = None, **kwargs) -> subprocess.CompletedProcess:
    options = {"capture_output": True, "text": True, "timeout": 120, "check": False, **kwargs}
    return subprocess.run([BELLMAX, *map(str, words)], cwd=cwd, **options)


def strict(text: str) -> dict:
    """Text that is one line, one JSON object, without NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    assert text.count("\n") == 1
    value = json.loads(text, parse_constant=refuse)
    assert isinstance(value, dict)
    return value


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess, float]:
    """A run in a folder whose name needs quotes, how it was reported, and its seconds."""
    folder, begin = tmp_path_factory.mktemp("cli") / "my run", time.monotonic()
    done = bellmax("train", "corridor", *SHORT, "--seeds", "2", "--out", folder, "gamma=0.9")
    return folder, done, time.monotonic() - begin


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_has_an_example(verb: str) -> None:
    done = bellmax(verb, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert re.search(rf"Example:?\s+bellmax {verb}\b", done.stdout)


def test_the_help_of_train_lists_agents_and_their_settings() -> None:
    assert "q-learning" in bellmax("train", "--help").stdout
    text = bellmax("train", "--agent", "q-learning", "--help").stdout
    assert "learning_rate_decay=0.0" in text
    assert "step size" in text


def test_help_and_version_are_quick() -> None:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        done = bellmax("--help")
        times.append(time.perf_counter() - begin)
        assert done.returncode == 0
        assert all(f"\n  {verb}" in done.stdout for verb in VERBS)
    assert min(times) < 0.5
    assert bellmax("--version").stdout == f"bellmax, version {bx.__version__}\n"


@pytest.mark.parametrize(
    ("world", "value", "within_limit"), [("FrozenLake-v1", 0.5420259, 0.740165), ("FrozenLake8x8-v1", 0.4146404, None)]
)
def test_solve_knows_the_frozen_lakes(world: str, value: float, within_limit: float | None) -> None:
    done = bellmax("solve", world, "--gamma", "0.99", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    result = strict(done.stdout)
    assert result["start_value"] == pytest.approx(value, abs=1e-6)
    assert result["bound"] < 1e-9
    if within_limit is not None:
        assert result["return_within_limit"] == pytest.approx(within_limit, abs=1e-6)
    assert np.array(result["q"]).shape == (result["states"], 4)
    np.testing.assert_allclose(np.max(result["q"], axis=1), result["v"], atol=1e-9)


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["FrozenLake-v1", "--gamma", "1"], "start_value", 14 / 17),
        (["FrozenLake-v1", "--horizon", "100"], "start_value", 0.744190),
        (["cliff", "--gamma", "1", "--epsilon", "0.1"], "start_value", -20.7077),
        (["corridor", "--average"], "start_gain", 0.2),
        (["corridor", "--method", "linear-programming"], "start_value", 0.99**4),
    ],
)
def test_solve_answers_other_questions_too(words: list[str], key: str, value: float) -> None:
    done = bellmax("solve", *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    result = strict(done.stdout)
    assert result[key] == pytest.approx(value, abs=1e-4)
    assert result["bound"] < 1e-9
    text = bellmax("solve", *words).stdout
    assert "from the start" in text or "value of the start" in text


def test_solve_in_words_and_with_arguments_of_the_world() -> None:
    done = bellmax("solve", "corridor", "--env", "n_states=4", "--gamma", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    assert "value of the start 0.2500000" in done.stdout
    assert "\x1b" not in done.stdout  # no colors in a pipe
    slippery = {"false": 1.0, "true": 0.740165}
    for word, expected in slippery.items():
        done = bellmax("solve", "FrozenLake-v1", "--env", f"is_slippery={word}", "--json")
        assert strict(done.stdout)["return_within_limit"] == pytest.approx(expected, abs=1e-6)


def test_train_says_what_came_out_where_it_is_and_what_is_next(trained: tuple) -> None:
    folder, done, seconds = trained
    assert done.returncode == 0
    said, *progress = done.stderr.splitlines()
    assert said == "q-learning on corridor: 2,000 steps x 2 seeds, compiled loop (corridor has a transition table)"
    assert not progress or seconds > 2.0  # there is none of what takes no time
    assert f"saved in {folder}: config, history.csv, policies" in done.stdout
    assert "IQM 1, mean 1, range 1 to 1 over 2 seeds; intervals need 5 seeds" in done.stdout
    run = bx.load(folder)
    assert (run.config, run.steps, run.seeds) == (bx.QLearning(gamma=0.9), 2000, [0, 1])
    words = shlex.split(re.search("^next: (.*)$", done.stdout, re.MULTILINE)[1])
    assert words == ["bellmax", "eval", str(folder), "--episodes", "100"]
    after = bellmax(*words[1:])
    assert (after.returncode, after.stderr) == (0, "")
    assert "final policies of " in after.stdout
    assert "over 2 seeds" in after.stdout


def test_eval_lists_every_return(trained: tuple) -> None:
    folder, _, _ = trained
    first, again = (bellmax("eval", folder, "--episodes", "7", "--which", "best", "--json") for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == again.stdout
    result = strict(first.stdout)
    assert result["returns"] == {"0": [1.0] * 7, "1": [1.0] * 7}
    assert result["summary"]["scores"] == [1.0, 1.0]
    assert result["summary"]["n"] == 2


def test_train_as_json(tmp_path: Path) -> None:
    done = bellmax("train", "corridor", *SHORT, "--out", "run", "--json", cwd=tmp_path)
    assert done.returncode == 0
    result = strict(done.stdout)
    assert result["folder"] == "run"
    assert result["scores"] == [1.0]
    assert result["summary"]["iqm_low"] is None  # one seed has no interval
    assert result["exact/policy_return"] == pytest.approx([0.99**4])
    assert "corridor has a transition table" in done.stderr


def test_runs_without_a_name_get_folders_of_their_own(tmp_path: Path) -> None:
    """Also when they start together."""
    command = [BELLMAX, "train", "corridor", *SHORT, "--quiet", "--json"]
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **options) for _ in range(2)]
    folders = {strict(process.communicate(timeout=120)[0])["folder"] for process in processes}
    assert folders == {"runs/corridor-q-learning", "runs/corridor-q-learning-2"}
    for folder in folders:
        assert bx.load(tmp_path / folder).scores == [1.0]
    refused = bellmax("train", "corridor", *SHORT, "gamma=2", cwd=tmp_path)
    assert refused.returncode == 2
    assert len(list((tmp_path / "runs").iterdir())) == 2  # nothing is left of a run that never began


def test_a_free_folder(tmp_path: Path) -> None:
    name = folder_name("ALE/Pong-v5:x", "DQN")
    assert name == Path("runs/ALE-Pong-v5-x-dqn")
    with contextlib.ExitStack() as held:
        folders = [held.enter_context(claimed(tmp_path / name, "number")) for _ in range(3)]
    assert [folder.name for folder in folders] == [name.name, f"{name.name}-2", f"{name.name}-3"]
    (tmp_path / "file").touch()
    with pytest.raises(bx.ConfigError, match=r"cannot create folder .*; choose another one \(--out\)"):
        bx.train("corridor", "q-learning", steps=100, out=tmp_path / "file" / "x", if_exists="number")


def test_pairs() -> None:
    assert read_pairs(("a=1", "b=x=y", "c="), "thing") == {"a": "1", "b": "x=y", "c": ""}
    for wrong in ("a", "=1", ""):
        with pytest.raises(bx.ConfigError, match=f"thing '{wrong}' is not of the form key=value"):
            read_pairs(("b=1", wrong), "thing")
    words = ("a=1", "b=true", "c=0.5", "d=8x8", "e=[1, 2]", 'f="1"', "g=")
    assert read_env(words) == {"a": 1, "b": True, "c": 0.5, "d": "8x8", "e": [1, 2], "f": "1", "g": ""}


LEARN = ["train", "FrozenLake-v1", "-a", "q-learning", "--steps", "1000"]
BAD = {
    "world": (["train", "FrozenLak-v1", "-a", "q-learning"], "did you mean 'FrozenLake"),
    "world to solve": (["solve", "coridor"], "unknown environment 'coridor'; did you mean 'corridor'"),
    "option of another library": (["train", "corridor", "--total-timesteps", "9"], "write --steps VALUE. See"),
    "setting as an option": (["train", "corridor", "--lr", "9"], "write learning_rate=VALUE. See"),
    "verb": (["evall"], "'eval'? See `"),
    "argument": (["train", "FrozenLake-v1", "--env", "is_slipery=true"], "id you mean 'is_slippery'?"),
    "value of an argument": (["train", "FrozenLake-v1", "--env", "map_name=9x9"], "map_name='9x9' is not a value that"),
    "nothing near": (["train", "Nope-v0"], "unknown environment 'Nope-v0'; known: "),
    "agent without its option": (["train", "corridor", "q-learning"], "did you mean --agent q-learning?"),
    "agent": (["train", "corridor", "-a", "q-lerning"], "unknown agent 'q-lerning'; did you mean 'q-learning'?"),
    "hyper-parameter": ([*LEARN, "learning_rat=0.1"], "'learning_rat'; did you mean 'learning_rate'?"),
    "type": ([*LEARN, "learning_rate=fast"], "learning_rate='fast'"),
    "range": ([*LEARN, "gamma=1.5"], "gamma=1.5 is outside [0, 1]"),
    "not a number": ([*LEARN, "initial_q=nan"], "initial_q=nan is outside"),
    "two problems": ([*LEARN, "gamma=1.5", "alpha=1"], "unknown hyper-parameter 'alpha'; write learning_rate=1"),
    "no value": ([*LEARN, "gamma"], "hyper-parameter 'gamma' is not of the form key=value"),
    "no steps": (
        ["train", "corridor", "-a", "q-learning", "--steps", "0"],
        "`steps` must be a positive integer; got 0",
    ),
    "no seeds": ([*LEARN, "--seeds", "0"], "different integers from 0 to 999999; got 0"),
    "loop": ([*LEARN, "--loop", "fast"], "`loop` must be 'auto', 'compiled' or 'host'; got 'fast'"),
    "misplaced option": ([*LEARN, "steps=5"], "steps is not a hyper-parameter but an argument of bx.train, on"),
    "existing folder": ([*LEARN, "--out", "full"], "output folder full exists already"),
    "folder below a file": ([*LEARN, "--out", "full/file/run"], "cannot create folder full/file/run"),
    "folder that no one may make": ([*LEARN, "--out", "/proc/run"], "cannot create folder /proc/run"),
    "continuous actions": (["train", "Pendulum-v1"], "is not Discrete"),
    "a model of tiles": (["train", "CartPole-v1", "-a", "dyna-q", "tilings=8"], "keeps a model of states"),
    "mistyped gallery": (["solve", "clif"], "did you mean 'cliff'?"),
    "reward above r_max": (["train", "river-swim", "-a", "r-max"], "are up to 10000; use r_max=10000"),
    "--env without =": (["solve", "corridor", "--env", "n_states"], "--env 'n_states' is not of the form key=value"),
    "--env that the world has not": (["solve", "corridor", "--env", "n=3"], "corridor: unknown argument 'n'"),
    "no table to solve": (["solve", "CartPole-v1"], "CartPole-v1 has no exact answer: it has no transition table"),
    "gamma": (["solve", "corridor", "--gamma", "1.5"], "gamma=1.5 is outside [0, 1]"),
    "no end": (
        [
            "solve",
            "garnet",
            "--gamma",
            "1",
            "--env",
            "n_states=3",
            "--env",
            "n_actions=1",
            "--env",
            "branching=1",
            "--env",
            "seed=0",
        ],
        "gamma=1: no policy ever ends the episode from states 0, 1, 2",
    ),
    "method": (["solve", "corridor", "--method", "value-iter"], "did you mean 'value-iteration'?"),
    "two questions": (["solve", "corridor", "--average", "--horizon", "3"], "--horizon and --average exclude each"),
    "discounted average": (["solve", "corridor", "--average", "--gamma", "0.9"], "leave out --gamma"),
    "method of a horizon": (["solve", "corridor", "--horizon", "3", "--method", "gauss-seidel"], "with --horizon"),
    "tolerance": (["solve", "corridor", "--tolerance", "-1"], "tolerance=-1.0"),
    "no run": (["eval", "nowhere"], "no run in nowhere"),
    "folder that is no run": (["eval", "full"], "no run in full: it has no config.json"),
    "no verb": (["trane"], "No such command 'trane'"),
    "no world": (["train"], "Missing argument 'ENV'"),
    "unknown option": (["train", "corridor", "--stepz", "3"], "--stepz"),
    "option of the wrong type": (["train", "corridor", "--steps", "many"], "'many' is not a valid integer"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case: str, tmp_path: Path) -> None:
    words, message = BAD[case]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    done = bellmax(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.name != "runs"] == ["full", "full/file"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--episodes", "0"], "`episodes` must be a positive integer; got 0"),
        (["--which", "worst"], "no 'worst' policy of seed 0"),
        (["--seed", "-1"], "`seed` must be a non-negative integer; got -1"),
        (["--world", "cliff"], "the policy is for Discrete(n=6) with 2 actions; cliff has"),
    ],
)
def test_bad_input_to_eval(words: list[str], message: str, trained: tuple) -> None:
    done = bellmax("eval", trained[0], *words)
    assert (done.returncode, done.stdout) == (2, "")
    *_, error = done.stderr.splitlines()  # before it, what differs from training
    assert error.startswith("error: ")
    assert message in error


def test_a_quiet_evaluation_says_only_the_result(trained: tuple) -> None:
    words = ["eval", trained[0], "--episodes", "2", "--env", "n_states=6"]
    loud, quiet = bellmax(*words), bellmax(*words, "--quiet")
    assert "n_states" in loud.stderr
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, loud.stdout, "")


def test_a_damaged_run_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    done = bellmax("eval", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"error: {tmp_path}/config.json is not the JSON that bellmax wrote")


def test_debug_shows_where() -> None:
    done = bellmax("--debug", "eval", "nowhere")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ConfigError: no run in nowhere" in done.stderr


def test_a_world_that_crashes_leaves_what_was_learned(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = ["train", "fragile:Fragile-v0", "-a", "q-learning", "--steps", "5000", "--env", "at=3333"]
    done = bellmax(*words, "--out", "run", cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert done.stdout == ""
    *_, stopped, then, error = done.stderr.splitlines()
    assert stopped == "stopped; the state at step 3,332 is saved in run"
    assert then == "next: bellmax resume run --world fragile:Fragile-v0"
    assert error.startswith("error: Fragile-v0: environment 0, episode 167, step 13, action ")
    assert "step raised RuntimeError: motor burnt out; seed 0, last actions [" in error
    assert done.stderr.count("error") == 1
    run = bx.load(tmp_path / "run")
    assert run.history["step"][-1] == 3250
    assert (run.scores, run.policy().space) == ([], Discrete(5))
    assert run.policy().table().max() > 1.0
    again = bellmax("eval", "run", "--world", "fragile:Fragile-v0", "--episodes", "2", "--json", cwd=tmp_path, env=env)
    assert strict(again.stdout)["returns"] == {"0": [19.0, 19.0]}


def wait_for(process: subprocess.Popen, pattern: str) -> list[str]:
    """The lines of standard error up to the first that matches."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if re.search(pattern, line):
            return lines
    raise AssertionError("".join(lines))


@pytest.mark.parametrize(("loop", "steps"), [("compiled", 2_000_000_000), ("host", 400_000)])
def test_progress_in_plain_lines_and_ctrl_c(loop: str, steps: int, tmp_path: Path) -> None:
    words = ["train", "FrozenLake-v1", "-a", "q-learning", "--loop", loop, "--steps", str(steps), "--out", "run"]
    process = subprocess.Popen(
        [BELLMAX, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = wait_for(process, "%")
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert lines[1:-1] in ([], ["compiling ...\n"])
    assert re.match(r"q-learning FrozenLake-v1: {1,4}\d+%, (warming up|[\d,]+ steps/s, [\d,]+ s left)", lines[-1])
    assert process.returncode == 130
    assert out == ""
    assert re.search(r"^stopped; the state at step \d[\d,]* is saved in run$", rest, re.MULTILINE)
    assert rest.splitlines()[-1] == "interrupted"
    assert "Traceback" not in rest
    run = bx.load(tmp_path / "run")
    assert run.scores == []
    assert len(run.history) >= 1
    assert run.policy(0).table().max() > 0.0
    done = bellmax("eval", "run", "--episodes", "3", "--json", cwd=tmp_path)
    assert len(strict(done.stdout)["returns"]["0"]) == 3


@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_gets_a_bar_unless_quiet(quiet: bool, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    words = ["train", "FrozenLake-v1", "-a", "q-learning", "--steps", "20000000", "--json", *["--quiet"] * quiet]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [BELLMAX, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=slave, text=True, env=env
    )
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 4096):
            shown += data
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    strict(out)
    text = shown.decode()
    assert ("steps/s" in text) == (not quiet)
    assert ("\x1b[" in text) == (not quiet)
    assert "Traceback" not in text


def closed_pipe() -> int:
    """The writing end of a pipe that no one reads, as after `| head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("words", [["solve", "FrozenLake-v1"], ["solve", "FrozenLake-v1", "--json"], ["--help"]])
def test_a_closed_standard_output_is_no_error_of_ours(words: list[str]) -> None:
    pipe = closed_pipe()
    done = bellmax(*words, capture_output=False, stdout=pipe, stderr=subprocess.PIPE)
    os.close(pipe)
    assert done.returncode == 1
    assert done.stderr == ""


def test_that_no_one_listens_stops_no_training(tmp_path: Path) -> None:
    pipe = closed_pipe()
    bellmax("train", "corridor", *SHORT, "--out", tmp_path / "run", capture_output=False, stdout=pipe, stderr=pipe)
    os.close(pipe)
    assert bx.load(tmp_path / "run").scores == [1.0]


def test_doctor_tells_what_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from bellmax import cli, doctor

    def broken() -> str:
        raise OSError("no compiler")

    for name in ("_numba", "_jax", "_gymnasium"):
        monkeypatch.setattr(doctor, name, lambda: "something")
    done = CliRunner().invoke(cli.main, ["doctor"])
    assert done.exit_code == 0
    assert re.search(r"^numba works +yes, something in \d", done.output, re.MULTILINE)
    monkeypatch.setattr(doctor, "_jax", broken)
    done = CliRunner().invoke(cli.main, ["doctor", "--json"])
    assert done.exit_code == 1
    findings = strict(done.output)
    assert findings["jax works"] == "no: OSError: no compiler"
    assert findings["bellmax"] == bx.__version__
