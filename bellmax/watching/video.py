"""NumPy, with Pillow and imageio-ffmpeg (extra `watch`). Pictures [H, W, 3] as a GIF or an MP4 file."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from bellmax.arguments import brief, describe, path_of
from bellmax.contracts import ConfigError, ResourceError
from bellmax.files.storage import check_writable

ENDINGS = (".mp4", ".gif")
FASTEST_SHOWN = {".mp4": 60.0, ".gif": 50.0}  # pictures per second; browsers play faster GIFs slowly
LONGEST_GIF = 5_000  # pictures: all are in memory until the file is written
COLORS = 128  # of a picture in a GIF


def video_path(given: object) -> Path:
    """Return the path of a video that is to be written.

    Raises:
        ConfigError: it is not a path, does not end in .mp4 or .gif, its folder cannot be written to, or what writes
            such files is not installed.
    """
    path = path_of("video", given)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(f"`video` must end in .mp4 or .gif; got {describe(path)}")
    if ending == ".mp4" and not can_write_mp4():
        raise ConfigError("MP4 files need imageio-ffmpeg: pip install 'bellmax[watch]'; or give a name with .gif")
    if path.parent.is_dir():
        check_writable(path.parent)
    return path


def can_write_mp4() -> bool:
    """Whether imageio-ffmpeg is installed."""
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        return False
    return True


def stride_of(speed: float, ending: str) -> int:
    """Return k, where every k-th picture is shown: more per second than `FASTEST_SHOWN` cannot be seen."""
    return max(1, math.ceil(speed / FASTEST_SHOWN[ending] - 1e-9))


def write_video(
    path: Path, images: Iterable[np.ndarray], speed: float, say: Callable[[str], None] = lambda line: None
) -> int:
    """Write pictures of equal size to a file that `video_path` accepts; return how many were written.

    The file appears when it is complete, in a folder that is created if it does not exist.

    Args:
        path: of the file.
        images: [H, W, 3] uint8, at least one.
        speed: pictures per second.
        say: called with a line if a GIF has no room for all of them.

    Raises:
        ResourceError: the file cannot be written.
    """
    unfinished = path.with_name(f".{path.stem}.part{path.suffix.lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".gif":
            written = _write_gif(unfinished, images, speed, say)
        else:
            written = _write_mp4(unfinished, images, speed)
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:  # of ffmpeg
        raise ResourceError(f"cannot write {path}: {brief(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return written


def _write_gif(path: Path, images: Iterable[np.ndarray], speed: float, say: Callable[[str], None]) -> int:
    from PIL import Image

    hundredths, count = 100 / speed, 0

    def frames() -> Iterator[Image.Image]:
        nonlocal count
        palette: Image.Image | None = None
        for image in images:
            if count < LONGEST_GIF:
                picture = Image.fromarray(image)
                palette = palette or picture.quantize(COLORS)
                frame = picture.quantize(palette=palette, dither=Image.Dither.NONE)
                if _differs(image, np.asarray(frame.convert("RGB"))):  # new colors came up
                    palette = picture.quantize(COLORS)
                    frame = picture.quantize(palette=palette, dither=Image.Dither.NONE)
                lasts = round((count + 1) * hundredths) - round(count * hundredths)
                frame.info["duration"] = 10 * lasts
                yield frame
            elif count == LONGEST_GIF:
                say(f"the GIF ends after {LONGEST_GIF:,} pictures; an .mp4 file has room for all")
            count += 1

    each = frames()
    with path.open("wb") as file:  # closed on Ctrl-C too
        next(each).save(file, format="GIF", save_all=True, append_images=each, loop=0, optimize=False, disposal=1)
    return min(count, LONGEST_GIF)


def _differs(image: np.ndarray, drawn: np.ndarray) -> bool:
    """Whether many pixels of an image have other colors in a drawing of it."""
    gap = np.abs(image[::4, ::4].astype(np.int16) - drawn[::4, ::4]).max(axis=2)
    return bool((gap > 40).mean() > 0.005)


def _write_mp4(path: Path, images: Iterable[np.ndarray], speed: float) -> int:
    process, count = None, 0
    with tempfile.TemporaryFile() as said:
        for image in images:
            height, width = (side + side % 2 for side in image.shape[:2])  # the usual pixel format wants even sides
            if process is None:
                process = _ffmpeg(path, width, height, speed, said)
            padding = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            try:
                process.stdin.write(np.pad(image, padding, mode="edge").tobytes())
            except OSError:  # ffmpeg has ended, and what it said is reported below
                break
            count += 1
        if process is None:
            return 0
        with contextlib.suppress(OSError):
            process.communicate()
        if process.wait() != 0:
            said.seek(0)
            raise RuntimeError(f"ffmpeg: {said.read().decode(errors='replace').strip()[-300:]}")
    return count


def _ffmpeg(path: Path, width: int, height: int, speed: float, said: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start ffmpeg, which reads pictures until its input is closed.

    Not by imageio's own `write_frames`: it runs code in the forked process, where JAX's threads are missing.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [
        get_ffmpeg_exe(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
        "-r", f"{speed:.6f}", "-i", "-", "-an", "-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p",
        "-movflags", "+faststart", str(path.absolute()),
    ]  # fmt: skip
    group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}  # Ctrl-C is for us
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said, **group)  # noqa: S603 - no shell
