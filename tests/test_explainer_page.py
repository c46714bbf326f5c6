"""The explainer in a browser: each number on the page is one of the recorded window, by buttons, keys and links."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Seen, opened
from click.testing import CliRunner

import bellmax as bx
from bellmax.cli import main
from bellmax.contracts import ConfigError
from bellmax.page.explainer import explainer_page, window_title
from bellmax.page.replay_section import numbers_in, replay_section
from bellmax.page.windows import chosen_steps, windows_of

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"


def term(symbol: str, name: str, value: object) -> dict[str, Any]:
    return {"symbol": symbol, "name": name, "value": value}


def made_window(first: int, name: str = "corridor") -> dict[str, Any]:
    """A window of two steps with every kind of value, as `Window.to_json` makes it."""
    steps = []
    for t in (first, first + 1):
        target = [term("y", "target", 1.5 + t), "=", term("r", "reward", 1.0), "+", term("γ", "discount", 0.5), "·",
                  term("max Q(s′, a)", "bootstrap value", [1.0, 2.0 + t])]  # fmt: skip
        phases = [
            {"name": "observe", "values": {"q": [0.25, -1.5e-7, 3.0], "action": 2, "obs": [1, 2]}, "equation": [],
             "code": ""},
            {"name": "step", "values": {"reward": 1.0, "terminated": False, "next_obs": 4, "info": None},
             "equation": [], "code": "next_obs, reward = world.step(...)"},
            {"name": "sample", "values": {"index": [3, 1, 2, 0, 9, 8], "age": [1, 2, 3, 4, 5, 6],
             "priority": [0.1, 0.2, 0.3, 0.4, 0.5, 123456.789]}, "equation": [], "code": ""},
            {"name": "target", "values": {"target": 1.5 + t}, "equation": target, "code": "y = r + γ * max"},
            {"name": "update", "values": {
             "cells": [{"state": 1, "action": 2, "before": 0.1, "after": 0.30000000000000004}],
             "matrix": [[1.0, 2.0], [3.0, 4.5]], "words": {"what": HOSTILE, "n": 12_345}}, "equation": [], "code": ""},
            {"name": "update", "values": {}, "equation": [], "code": ""},
        ]  # fmt: skip
        steps.append({"t": t, "episode_step": t % 7, "phases": phases})
    flow = ["observe", "step", "sample", "target", "update", "sync"]
    return {
        "world": name,
        "agent": "q-learning",
        "seed": 0,
        "start": first,
        "steps": steps,
        "settings": {},
        "flow": flow,
    }


def as_shown(value: object) -> str:
    """How the page writes a value."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.5g}"


def read_back(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def at_path(phases: list[dict[str, Any]], phase: dict[str, Any], path: str) -> object:
    """The recorded value that an element names by its path."""
    kind, *rest = path.split(".")
    if kind == "equation":
        return phases[int(rest[0])]["equation"][int(rest[1])]["value"]
    value: Any = phase["values"][kind]
    for key in rest:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def check_page(seen: Seen, step: dict[str, Any], index: int) -> int:
    """Compare every number that is shown with the recorded one; return how many there are."""
    phases, phase = step["phases"], step["phases"][index]
    shown = seen.page.evaluate(
        """() => [...document.querySelectorAll("#stage [data-value]")].map((each) =>
            [each.dataset.path, each.dataset.value, each.textContent])"""
    )
    for path, exact, text in shown:
        if exact == "":
            assert text == "·", "a number that is not known yet"
            assert int(path.split(".")[1]) > index
            continue
        recorded = at_path(phases, phase, path)
        assert json.loads(exact) == recorded, path
        if isinstance(recorded, int | float) and not isinstance(recorded, bool):
            assert read_back(text) == pytest.approx(recorded, rel=5e-5)
            assert len(text) <= len(as_shown(recorded)) + 2
        elif not isinstance(recorded, list | dict):
            assert text == as_shown(recorded)
    named = {path.split(".")[0] for path, exact, _ in shown if exact}
    assert set(phase["values"]) <= named, "every recorded value is on the page"
    known = {path for path, exact, _ in shown if path.startswith("equation") and exact}
    for i, each in enumerate(phases[: index + 1]):
        wanted = {f"equation.{i}.{j}" for j, piece in enumerate(each["equation"]) if isinstance(piece, dict)}
        assert wanted <= known
    return len(shown)


def walk(seen: Seen, window: dict[str, Any]) -> int:
    """Step through a window by the arrow keys, to its end and back; return how many numbers were compared."""
    page, numbers = seen.page, 0
    page.locator("#stage").focus()
    page.keyboard.press("Home")
    places = [(s, p) for s, step in enumerate(window["steps"]) for p in range(len(step["phases"]))]
    for s, p in places:
        step = window["steps"][s]
        assert f"Step {step['t']:,}, {step['phases'][p]['name']}" in page.locator(".where").inner_text()
        numbers += check_page(seen, step, p)
        current = page.locator('.flow [aria-current="step"]')
        assert current.count() == 1
        assert current.inner_text() == step["phases"][p]["name"].replace("_", " ")
        code = step["phases"][p]["code"]
        assert page.locator('[data-part="code"]').text_content() == code
        page.keyboard.press("ArrowRight")
    assert page.locator('[data-part="forward"]').is_disabled()
    for _ in places[1:]:
        page.keyboard.press("ArrowLeft")
    assert f"Step {window['steps'][0]['t']:,}," in page.locator(".where").inner_text()
    assert page.locator('[data-part="back"]').is_disabled()
    return numbers


def written(windows: list[dict[str, Any]], path: Path) -> str:
    path.write_text(explainer_page(windows), encoding="utf-8")
    return path.as_uri()


def test_every_number_is_a_recorded_one(tmp_path: Path) -> None:
    windows = [made_window(5), made_window(1_000)]
    with opened(written(windows, tmp_path / "it.html")) as seen:
        assert walk(seen, windows[0]) > 50
        seen.page.locator("select").select_option("1")
        assert walk(seen, windows[1]) > 50
        assert seen.errors == seen.requests == []
        assert seen.page.evaluate("window.hacked") is None


def test_terms_in_play_are_lit(tmp_path: Path) -> None:
    with opened(written([made_window(5)], tmp_path / "it.html")) as seen:
        page = seen.page
        page.goto(page.url + "#step-5-target")
        assert page.locator(".term.lit").count() == 4
        page.goto(page.url.split("#")[0] + "#step-5-update")
        assert page.locator(".term.lit").count() == 0
        assert page.locator(".bars").count() == 0
        page.goto(page.url.split("#")[0] + "#step-5-step")
        assert page.locator('.term.lit[data-name="reward"] .number-below').text_content() == "1", (
            "known before the target"
        )
        assert page.locator(".term.lit").count() == 1
        page.goto(page.url.split("#")[0] + "#step-5-observe")
        assert page.locator(".bars rect").count() == 3
        assert page.locator(".bars rect.chosen title").text_content() == "2: 3"
        assert page.locator("tr.lit th").text_content() == "2"
        assert page.locator(".equation.waiting").count() == 1


def comes_to(page: Any, hash_: str) -> None:
    """Wait until the address of the page ends so."""
    for _ in range(250):
        if page.evaluate("location.hash") == hash_:
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"the address ends with {page.evaluate('location.hash')}, not {hash_}")


def test_a_link_names_a_step(tmp_path: Path) -> None:
    url = written([made_window(5), made_window(6, "other")], tmp_path / "it.html")
    with opened(url, own=url) as seen:
        page = seen.page
        page.goto(url + "#step-6-update-2")
        assert "Step 6, update (6 of 6)" in page.locator(".where").inner_text()
        assert page.locator('[data-part="link"]').get_attribute("href") == "#step-6-update-2"
        page.goto(url + "#window-2-step-6-target")
        assert page.locator("select").input_value() == "1"
        page.locator('[data-part="forward"]').click()
        comes_to(page, "#window-2-step-6-update")
        page.keyboard.press("Shift+ArrowRight")
        comes_to(page, "#step-7-observe")
        page.locator('.flow a[data-phase="step"]').press("Enter")
        page.locator(".where", has_text="Step 7, step (2 of 6)").wait_for()
        page.keyboard.press("ArrowRight")
        comes_to(page, "#step-7-sample")  # the arrow keys still work after a link
        page.goto(url + "#step-99-target")
        assert "Step 7, sample" in page.locator(".where").inner_text()
        assert seen.errors == []


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 390)])
def test_it_can_be_used_by_everyone(dark: bool, width: int, tmp_path: Path) -> None:
    with opened(written([made_window(5)], tmp_path / "it.html"), dark=dark, width=width) as seen:
        for phase in ("observe", "sample", "target", "update"):
            seen.page.goto(seen.page.url.split("#")[0] + f"#step-5-{phase}")
            assert seen.violations() == []
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        seen.page.locator('[data-part="large"]').click()
        assert "large" in (seen.page.locator("#stage").get_attribute("class") or "")
        assert seen.violations() == []


def test_full_screen_is_large_and_listens_to_a_presenter(tmp_path: Path) -> None:
    with opened(written([made_window(5)], tmp_path / "it.html")) as seen:
        page = seen.page
        page.locator('[data-part="full"]').click()
        page.wait_for_function("document.fullscreenElement !== null")
        assert "large" in (page.locator("#stage").get_attribute("class") or "")
        page.keyboard.press("PageDown")
        assert "Step 5, step" in page.locator(".where").inner_text()
        page.keyboard.press("PageUp")
        assert "Step 5, observe" in page.locator(".where").inner_text()


def test_titles_of_windows() -> None:
    assert window_title(made_window(5)) == "q-learning on corridor, seed 0, steps 5 to 6"
    one = made_window(5)
    one["steps"] = one["steps"][:1]
    assert window_title(one) == "q-learning on corridor, seed 0, step 5"
    with pytest.raises(ConfigError, match="has no steps"):
        window_title({**one, "steps": []})


# ---- windows of real runs


def check_run(world: str, agent: Any, at: int, steps: int, path: Path) -> dict[str, Any]:
    """Train, record a window and step through it in a browser, every number compared; return the window."""
    run = bx.train(world, agent, steps=at + 100, records=2, eval_episodes=0, final_episodes=1)
    window = json.loads(json.dumps(bx.explain(run, at=at, steps=steps).to_json()))
    with opened(written([window], path)) as seen:
        assert walk(seen, window) > 50
        assert seen.errors == seen.requests == []
        assert seen.violations() == []
    return dict(window)


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["q-learning", "sarsa-lambda"])
def test_a_table_step_by_step(agent: str, tmp_path: Path) -> None:
    window = check_run("cliff", agent, 500, 2, tmp_path / "it.html")
    assert [phase["name"] for phase in window["steps"][0]["phases"]][:3] == ["observe", "choose", "step"]


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["dqn", "c51", "prioritized", "pqn"])
def test_a_network_step_by_step(agent: str, tmp_path: Path) -> None:
    small = {"net_arch": (16,), "batch_size": 8, "learning_starts": 100}
    agents = {
        "dqn": bx.DQN(**small), "c51": bx.C51(**small, n_atoms=11), "prioritized": bx.DQN(**small, prioritized=True),
        "pqn": bx.PQN(net_arch=(16,), num_envs=4, train_freq=8, epochs=1, minibatches=2),
    }  # fmt: skip
    check_run("CartPole-v1", agents[agent], 128, 1, tmp_path / "it.html")


def test_the_cell_that_changes(tmp_path: Path) -> None:
    run = bx.train("corridor", bx.QLearning(learning_rate=0.5), steps=400, records=1, final_episodes=1)
    window = bx.explain(run, at=380, steps=20).to_json()
    with opened(written([dict(window)], tmp_path / "it.html")) as seen:
        page = seen.page
        page.locator("#stage").focus()
        page.keyboard.press("End")
        cells = page.evaluate(
            """() => [...document.querySelectorAll("[data-cell]")].map((cell) =>
                [...cell.dataset.cell.split(" ").map(Number), JSON.parse(cell.dataset.number)])"""
        )
        q = run.policy().table()
        assert len(cells) > 2
        for state, action, number in cells:
            assert number == q[state, action], "after the last step it is the learned table"
        last = json.loads(json.dumps(window))["steps"][-1]["phases"]
        changed = [cell for phase in last if phase["name"] == "update" for cell in phase["values"]["changed"]]
        page.goto(page.url.split("#")[0] + f"#step-{window['steps'][-1]['t']}-update")
        lit = page.locator("td.lit[data-cell]")
        assert [text.split() for text in lit.evaluate_all("all => all.map((each) => each.dataset.cell)")] == [
            [str(cell["state"]), str(cell["action"])] for cell in changed
        ]


def test_the_report_has_an_early_and_a_late_window(tmp_path: Path) -> None:
    run = bx.train("cliff", "q-learning", steps=2_000, final_episodes=1)
    assert chosen_steps(run, 8) == [40, 1_992]
    path = bx.write_report(run, tmp_path / "it.html")
    with opened(path.as_uri()) as seen:
        titles = seen.page.locator("#stage select option").all_text_contents()
        assert [title.partition(", steps ")[2] for title in titles] == ["40 to 47", "1,992 to 1,999"]
        assert "#stage" not in seen.page.url
        assert seen.errors == []
    assert "explainer" not in bx.write_report(run, tmp_path / "it.html", explain=()).read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="beyond the run"):
        bx.write_report(run, tmp_path / "it.html", explain=2_000)
    with pytest.raises(ConfigError, match="up to 6 steps"):
        bx.write_report(run, tmp_path / "it.html", explain=list(range(7)))
    assert windows_of({"it": run}, (7,), None)[0]["start"] == 7


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    bx.train("corridor", "q-learning", steps=50, final_episodes=1, out=tmp_path / "run")
    page = tmp_path / "it.html"
    done = CliRunner().invoke(
        main, ["explain", str(tmp_path / "run"), "--at", "7", "--steps", "1", "--html", str(page)]
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(page)
    assert "q-learning on corridor, seed 0, step 7" in page.read_text(encoding="utf-8")
    wrong = ["explain", str(tmp_path / "run"), "--at", "7", "--html", str(tmp_path / "a" / "b.html")]
    assert "does not exist; create it first" in CliRunner().invoke(main, wrong).output


def test_what_was_drawn_is_summed_up() -> None:
    window = made_window(3)
    np.testing.assert_array_equal(numbers_in(window, "age"), [1, 2, 3, 4, 5, 6] * 2)
    section = replay_section([window])
    assert "age (steps since it was stored)" in section.body
    assert ">3.5<" in section.body
    assert "Of the 12 transitions drawn in these steps" in section.body
    sample = window["steps"][0]["phases"][2]["values"]
    sample |= {"batch_size": 9, "whole_batch": {"age": [1, 2, 3, 4, 5, 6, 100, 200]}}
    np.testing.assert_array_equal(numbers_in(window, "age"), [1, 2, 3, 4, 5, 6, 100, 200, 1, 2, 3, 4, 5, 6])
    assert "Of 14 of the 15 transitions drawn in these steps" in replay_section([window]).body
    assert replay_section([{**window, "steps": [{"t": 1, "phases": []}]}]).body == ""
