"""NumPy, and pygame (part of gymnasium[classic-control]). Pictures [H, W, 3] in a window of pygame."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

import numpy as np

from bellmax.contracts import ConfigError
from bellmax.printing import plain

NO_DISPLAY = ("dummy", "offscreen")  # drivers of SDL that nobody sees
LAST_SECONDS = 1.5  # for which the last picture stays


class NoWindow(ConfigError):
    """There is no display, though it seemed so."""


def has_display() -> bool:
    """Whether a window can be seen: there is a screen, and pygame draws on it."""
    if os.environ.get("SDL_VIDEODRIVER", "") in NO_DISPLAY:
        return False
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def silence_drivers() -> None:
    """Without a display, let SDL look for neither screen nor sound: it would write lines to standard error.

    This changes the environment variables of the process, so it is for the command line.
    """
    if not has_display():
        for name in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
            os.environ.setdefault(name, NO_DISPLAY[0])


def show_in_window(images: Iterable[np.ndarray], speed: float, title: str) -> int:
    """Show pictures at `speed` per second until they end or the window is closed; return how many were shown.

    The space bar pauses, Escape or Q ends.

    Raises:
        ConfigError: pygame is not installed.
        NoWindow: there is no display after all; no picture was shown.
    """
    try:
        import pygame
    except ImportError as error:
        raise ConfigError("a window needs pygame: pip install pygame-ce; or write a file with --video FILE") from error
    shown, window, due = 0, None, time.monotonic()
    try:
        for image in images:
            height, width = image.shape[:2]
            if window is None:
                pygame.display.init()
                window = pygame.display.set_mode((width, height))
                pygame.display.set_caption(plain(title))
            window.blit(pygame.surfarray.make_surface(np.swapaxes(image, 0, 1)), (0, 0))
            pygame.display.flip()
            shown += 1
            due = max(due + 1 / speed, time.monotonic() - 1.0)  # after a pause or a slow step it does not hurry
            if not _waited(due):
                return shown
        if window is not None:
            _waited(time.monotonic() + LAST_SECONDS)
    except pygame.error as error:
        raise NoWindow(f"cannot show a window: {error}") from error
    finally:
        pygame.display.quit()
    return shown


def _waited(until: float) -> bool:
    """Wait, also while the user pauses; False if the user wants to end."""
    import pygame

    paused = False
    while True:
        for event in pygame.event.get():
            key = event.key if event.type == pygame.KEYDOWN else None
            if event.type == pygame.QUIT or key in (pygame.K_ESCAPE, pygame.K_q):
                return False
            if key == pygame.K_SPACE:
                paused = not paused
        left = until - time.monotonic()
        if left <= 0 and not paused:
            return True
        time.sleep(min(max(left, 0.0), 0.02) if not paused else 0.02)
