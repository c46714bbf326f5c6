"""NumPy and JAX. Which observations are images, where their height, width and channels are, and the range of pixels."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from bellmax.contracts import Array, Box, FloatArray, Space
from bellmax.spaces import bounds_of, far_starts, leaves_of

LEAST = 16  # pixels along each side of an image without a channel axis, or with a frame axis; smaller ones are tables
MOST_CHANNELS = 4  # of an obvious image; more are reported
FEW = 15  # integers of a smaller range need no scale


def height_axis(box: Box) -> int | None:
    """Return the axis of the height of an image, before that of its width; None if the Box is not an image.

    With three axes, the channels are the first or last one: the one that differs from two equal axes, else the smaller
    one. Integers with two axes of at least 16 are an image without channels. Integers with four axes are an image with
    frames and channels if two neighboring axes are at least 16 and longer than the others.
    """
    shape = box.shape
    if len(shape) == 3:
        if shape[0] == shape[1] != shape[2]:
            return 0
        if shape[1] == shape[2] != shape[0]:
            return 1
        return 1 if shape[0] < shape[-1] else 0
    if box.low is None:  # real numbers, flags, and bytes of saved runs that are older than this distinction
        return None
    if len(shape) == 2:
        return 0 if min(shape) >= LEAST else None
    if len(shape) == 4:
        for axis in range(3):
            others = shape[:axis] + shape[axis + 2 :]
            if min(shape[axis : axis + 2]) >= max(LEAST, max(others) + 1):
                return axis
    return None


def image_of(space: Space) -> Box | None:
    """Return the space if it is an image, else None."""
    return space if isinstance(space, Box) and height_axis(space) is not None else None


def image_shape(box: Box) -> tuple[int, int, int]:
    """Return (height, width, channels) of an image; frames and channels are multiplied."""
    axis = height_axis(box)
    assert axis is not None  # noqa: S101 - the caller checks it
    height, width = box.shape[axis : axis + 2]
    return height, width, math.prod(box.shape) // (height * width)


def channels_last(box: Box, obs: Array) -> Array:
    """Return an image as float32 [H, W, C], with integers scaled to 0 to 1."""
    axis, image = height_axis(box), scaled(box, obs)
    if box.shape == image_shape(box):
        return image
    assert axis is not None  # noqa: S101 - it is an image
    return jnp.moveaxis(image, (axis, axis + 1), (0, 1)).reshape(image_shape(box))


def scaled(box: Box, obs: Array) -> Array:
    """Return numbers as float32, with integers of an image scaled to 0 to 1 by the bounds of its space."""
    bounds = bounds_of(box)
    if bounds is None or image_of(box) is None:
        return _near(box, bounds, obs)
    low, high = (_one(end, box) for end in bounds)
    numbers = obs.astype(jnp.float32)
    if np.any(low):
        numbers = numbers - np.float32(low)
    return numbers / np.float32(np.maximum(high - low, 1))


def _near(box: Box, bounds: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None, obs: Array) -> Array:
    """Return numbers as they are, but integers far from 0, or too large for float32, relative to their lower bound."""
    if bounds is not None and jnp.issubdtype(obs.dtype, jnp.integer):
        if np.abs(bounds).max() > 2**24:
            obs = obs - _one(bounds[0], box)
        elif (starts := far_starts(box)) is not None:
            obs = obs.astype(jnp.int32) - _one(starts, box).astype(np.int32)
    return obs.astype(jnp.float32)


def _one(end: npt.NDArray[Any], box: Box) -> np.integer[Any] | npt.NDArray[Any]:
    """Return a bound as one number if it is the same everywhere, else in the shape of the Box."""
    return end.flat[0] if (end == end.flat[0]).all() else end.reshape(box.shape)


def remark_far(space: Space, bounds: tuple[FloatArray, FloatArray] | None, normalized: bool) -> list[str]:
    """Return a sentence about real numbers far from 0, if any; `bounds` are (low, high) [k] of the Boxes, or None."""
    boxes = [box for box in leaves_of(space) if isinstance(box, Box) and box.dtype != "bool"]
    real = [np.full(math.prod(box.shape), box.dtype == "float32") for box in boxes]
    if bounds is None or not real or bounds[0].size != sum(map(len, real)):
        return []
    low, high = bounds
    known = np.concatenate(real) & np.isfinite(low) & np.isfinite(high) & (low < high)
    far = known & (np.maximum(low, -high) > 10 * (high - low))
    lost = far & (np.maximum(low, -high) > 2.0**20 * (high - low))  # float32 distinguishes at most eight of them
    found = np.flatnonzero(lost if normalized or lost.any() else far)
    if not found.size:
        return []
    first = int(found[0])
    remedy = "" if lost.any() else "set normalize_observations=True, or "
    return [
        f"number {first} of an observation is between {low[first]:.16g} and {high[first]:.16g}, far from 0 for so "
        f"narrow a range, and a network can hardly distinguish such values; {remedy}subtract the lower bound in a "
        "wrapper"
    ]


def remarks(space: Space, normalized: bool) -> list[str]:
    """Return a sentence about each observation that could be an image; `normalized` if numbers are standardized."""
    said = []
    for box in leaves_of(space):
        if not isinstance(box, Box):
            continue
        shape, bounds = " x ".join(map(str, box.shape)), bounds_of(box)
        if image_of(box):
            height, width, channels = image_shape(box)
            if len(box.shape) == 3 and min(box.shape[0], box.shape[2]) > MOST_CHANNELS and len({*box.shape}) == 3:
                said.append(
                    f"observations of {shape} are read as images of {height} x {width} with {channels} channels; if "
                    "that is wrong, move the channels to the end and pad or crop the other axes to the same length"
                )
        elif bounds is not None and not normalized and math.prod(box.shape) >= LEAST:
            widest = int((bounds[1] - bounds[0]).max())
            if widest > FEW:
                said.append(
                    f"observations of {shape} integers up to {int(bounds[1].max())} are not images, so a network sees "
                    "them unscaled; set normalize_observations=True, or give images the axes (height, width, channels)"
                )
    return said
