"""Plain Python, with Starlette. One open page: a thread that learns, and the messages to and from it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bellmax.contracts import BellmaxError, counted
from bellmax.playground.edited_grid import Grid
from bellmax.playground.session import FIRST_AGENTS, Session, blank_session, restart, tick
from bellmax.playground.session_messages import Reply, describe_grid, describe_session, greeting, make_frame, obey

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

FRAME = 1.0 / 30.0  # seconds
MOST_WAITING = 256  # commands that a page may send ahead
AHEAD = 3  # frames that are sent before the page has received the first of them
IDLE = 1.0  # seconds between looks while nothing learns
LONGEST_PAUSE = 0.25  # seconds of steps that are caught up with after a frame that took long
WAKE = ""  # no command: what waits for one looks at `gone`
RECEIVED = '{"do":"received"}'  # what a page says of each frame


@dataclass
class Desk:
    """What the thread that learns and the page exchange.

    Attributes:
        notify: called in the thread when there is something to send.
        commands: from the page, as texts.
        replies: to the page, as texts.
        frame: the newest frame; None once it has been sent.
        sent, received: frames so far.
        gone: the page has closed; commands that still wait are dropped.
        thread: it runs `work` with this desk.
    """

    notify: Callable[[], None]
    commands: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    replies: deque[str] = field(default_factory=deque)
    frame: bytes | None = None
    sent: int = 0
    received: int = 0
    gone: bool = False
    thread: threading.Thread = field(default_factory=threading.Thread)

    def reply(self, replies: Sequence[Reply]) -> None:
        """Send these to the page."""
        self.replies.extend(map(as_text, replies))
        self.notify()


def as_text(reply: Reply) -> str:
    """A message to the page."""
    return json.dumps(reply, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def refusal(error: Exception) -> Reply:
    """An error in words."""
    if isinstance(error, BellmaxError):
        return {"kind": "refused", "words": str(error)}
    words = f"a bug in bellmax: {type(error).__name__}: {str(error)[:300]}; please report it"
    return {"kind": "refused", "words": words}


def work(desk: Desk, grid: Grid) -> None:
    """Do what the page says, and learn in between, until it closes; for a thread of its own."""
    desk.reply([greeting()])
    try:
        session = blank_session(grid)
        desk.reply([describe_session(session) | {"agents": list(FIRST_AGENTS)}, describe_grid(session)])
        restart(session, FIRST_AGENTS, session.seed)  # may compile for seconds; the page shows the grid until then
    except Exception as error:
        desk.reply([refusal(error)])
        return
    dirty, due, last = True, time.monotonic(), time.monotonic()
    while True:
        wait = max(0.0, due - time.monotonic()) if session.playing or dirty else IDLE
        try:
            text = desk.commands.get(timeout=wait)
        except queue.Empty:
            text = None
        if desk.gone:
            return
        if text is not None:
            before = session.playing
            desk.reply(replies_of(lambda text=text: obey(session, text)))  # type: ignore[misc]
            dirty, last = True, last if before else time.monotonic()
        present = time.monotonic()
        if present >= due:
            due = max(due + FRAME, present)
            if session.playing:
                elapsed = min(present - last, LONGEST_PAUSE)
                desk.reply(replies_of(lambda: as_updates(session, elapsed)))  # noqa: B023 - called at once
                dirty = True
            last = present
        if dirty and desk.frame is None:
            desk.frame, dirty = make_frame(session), False
            desk.notify()


def as_updates(session: Session, seconds: float) -> list[Reply]:
    """The steps that are due, and the updates that are written out."""
    return [{"kind": "update", "table": i, **update} for i, update in enumerate(tick(session, seconds))]


def replies_of(action: Callable[[], list[Reply]]) -> list[Reply]:
    """What an action replies, or its error in words."""
    try:
        return action()
    except Exception as error:
        return [refusal(error)]


async def talk(socket: WebSocket, grid: Grid, desks: list[Desk], most: int) -> None:
    """Serve one page from its first message to its last; `desks` are those whose threads have not ended."""
    await socket.accept()
    if sum(not desk.gone for desk in desks) >= most:
        words = f"{counted(most, 'page')} of this playground are open; close one, then load this one again"
        await socket.send_text(as_text({"kind": "refused", "words": words}))
        await socket.close(1013)
        return
    loop, wake = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(wake.set)

    desk = Desk(notify)
    desk.thread = threading.Thread(target=work, args=(desk, grid), daemon=True, name="playground")
    desks[:] = [*(each for each in desks if each.thread.is_alive()), desk]
    desk.thread.start()
    sender = asyncio.create_task(send(socket, desk, wake))
    try:
        await receive(socket, desk, wake)
    finally:
        desk.gone = True
        desk.commands.put(WAKE)
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await sender


async def send(socket: WebSocket, desk: Desk, wake: asyncio.Event) -> None:
    """Send what there is, frames only as fast as the page receives them."""
    while True:
        await wake.wait()
        wake.clear()
        while desk.replies:
            await socket.send_text(desk.replies.popleft())
        if desk.frame is not None and desk.sent - desk.received < AHEAD:
            frame, desk.frame = desk.frame, None
            desk.sent += 1
            await socket.send_bytes(frame)


async def receive(socket: WebSocket, desk: Desk, wake: asyncio.Event) -> None:
    """Pass commands on until the page closes, or sends more than can be done."""
    while True:
        message = await socket.receive()
        if message["type"] != "websocket.receive":
            return
        text = message.get("text")
        if text == RECEIVED:
            desk.received = min(desk.received + 1, desk.sent)
            wake.set()
        elif not text:
            desk.reply([{"kind": "refused", "words": "a command is a text in JSON; got bytes, or nothing"}])
        elif desk.commands.qsize() >= MOST_WAITING:
            desk.reply([{"kind": "refused", "words": f"more than {MOST_WAITING} commands are waiting; send fewer"}])
            await asyncio.sleep(0.1)
        else:
            desk.commands.put(text)
