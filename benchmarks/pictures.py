"""Pictures of few colours: read a screenshot, find the colours that its pixels need most, write a PNG or an animated GIF of them.

The colours are found in all pictures of an animation together, and nothing is dithered: what stands still does not flicker.
Needs Pillow (requirements-dev.txt).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MOST_COLOURS, MOST_MOVING = 256, 63  # of a picture, and of an animation, where one more says "unchanged"
CLOSE_AT_ONCE = 4096  # colours compared with the palette at once
Pixels = Any  # numpy array (H, W) of uint32, 0xRRGGBB
Palette = Any  # numpy array (P,) of uint32


def pixels_of(picture: bytes) -> Pixels:
    """Decode a PNG."""
    from PIL import Image

    red, green, blue = np.moveaxis(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


def palette_of(pictures: Iterable[Pixels], most: int = MOST_COLOURS) -> Palette:
    """Return the most frequent colours of some pictures.

    >>> palette_of([np.array([[0xFFFFFF, 0xFFFFFF, 0x000000]], np.uint32)]).tolist()
    [16777215, 0]
    """
    counts: Counter[int] = Counter()
    for pixels in pictures:
        colours, times = np.unique(pixels, return_counts=True)
        counts.update(dict(zip(colours.tolist(), times.tolist(), strict=True)))
    return np.array([colour for colour, _ in counts.most_common(most)], np.uint32)


def in_palette(pixels: Pixels, palette: Palette) -> Any:
    """Return for each pixel the number of the nearest colour, (H, W) of uint8.

    >>> in_palette(np.array([[0xFEFEFE, 0x010000]], np.uint32), np.array([0xFFFFFF, 0x000000], np.uint32)).tolist()
    [[0, 1]]
    """
    colours, where = np.unique(pixels, return_inverse=True)
    parts = [colours[start : start + CLOSE_AT_ONCE] for start in range(0, len(colours), CLOSE_AT_ONCE)]
    distances = (((_channels(part)[:, None] - _channels(palette)[None]) ** 2).sum(-1) for part in parts)  # (C, P)
    nearest = np.concatenate([each.argmin(1) for each in distances]).astype(np.uint8)
    return nearest[where.reshape(-1)].reshape(pixels.shape)


def _channels(colours: Palette) -> Any:
    return np.stack([colours >> 16 & 255, colours >> 8 & 255, colours & 255], -1).astype(np.int32)  # (P, 3)


def write_png(path: Path, picture: bytes) -> None:
    pixels = pixels_of(picture)
    palette = palette_of([pixels])
    _image(pixels, palette).save(path, optimize=True)


def write_gif(path: Path, pictures: Sequence[bytes], milliseconds: Sequence[int]) -> None:
    """Write an animation that begins anew at its end; each picture stands for so many milliseconds."""
    pixels = [pixels_of(picture) for picture in pictures]
    palette = palette_of(pixels, MOST_MOVING)
    first, *others = [_image(each, palette) for each in pixels]
    first.save(path, save_all=True, append_images=others, duration=list(milliseconds), loop=0, optimize=True)


def _image(pixels: Pixels, palette: Palette) -> Any:
    from PIL import Image

    image = Image.fromarray(in_palette(pixels, palette), "P")
    image.putpalette(_channels(palette).astype(np.uint8).tobytes())
    return image
