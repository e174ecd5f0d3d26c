"""`python -m study.data.glyphs FOLDER`: pictures of the letters A to J.

They become the four idx files of a data set in the layout of MNIST: 28 x 28 grey, ten classes.

Each picture is a letter in one of 22 faces of the fonts that matplotlib ships (DejaVu, STIX and
Computer Modern; free licences), turned, sheared, scaled and shifted at random, with noise of the
pixels: a task between digits and photographs that needs no download. The faces of validation are
those of training, their distortions are not.
"""

from __future__ import annotations

import argparse
import gzip
import math
import struct
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from study.data.base import DataError
from study.store.atomic import write_atomically

LETTERS = "ABCDEFGHIJ"
SIDE = 28
"""Height and width of a picture, in pixels."""
CANVAS = 112
"""Pixels of the side on which a letter is drawn before it is made small."""
FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmb10", "cmmi10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
MOST = 1_000_000
"""Pictures of a split."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 the files are written, 2 the request is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m study.data.glyphs",
        description="Write pictures of letters as idx files, which `data.source` reads.",
    )
    parser.add_argument("folder", type=Path, help="folder to write; made if it is missing")
    parser.add_argument("--train", type=int, default=3000, help="pictures to train on")
    parser.add_argument("--val", type=int, default=1000, help="pictures of validation")
    parser.add_argument("--seed", type=int, default=0, help="of faces and distortions")
    options = parser.parse_args(arguments)
    try:
        write(options.folder, train=options.train, val=options.val, seed=options.seed)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    counts = f"{options.train:,} and {options.val:,}"
    print(f"{counts} pictures of {len(LETTERS)} letters: {options.folder}")
    return 0


def write(folder: Path, *, train: int, val: int, seed: int) -> None:
    """Write both splits as idx files, compressed; classes have as many pictures each.

    Raises DataError for numbers that ten classes do not share alike, or a negative seed.
    """
    for name, count in (("--train", train), ("--val", val)):
        if not 0 < count <= MOST or count % len(LETTERS):
            raise DataError(
                f"{name} is {count}: give a multiple of {len(LETTERS)} from {len(LETTERS)} to "
                f"{MOST:,}, so that letters have as many pictures each"
            )
    if seed < 0:
        raise DataError(f"--seed is {seed}: give 0 or more")
    folder.mkdir(parents=True, exist_ok=True)
    for split, stem, count in ((0, "train", train), (1, "t10k", val)):
        images, labels = glyphs(count, np.random.default_rng([seed, split]))
        _write_idx(folder / f"{stem}-images-idx3-ubyte.gz", images)
        _write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", labels)


def glyphs(
    count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """(count, 28, 28) pictures, and their classes 0 to 9 in turn."""
    labels = (np.arange(count) % len(LETTERS)).astype(np.uint8)
    images = np.stack([_picture(LETTERS[label], rng) for label in labels])
    return images, labels


def _picture(letter: str, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """One letter in a random face, distorted."""
    canvas = Image.new("L", (CANVAS, CANVAS))
    font = _font(FACES[rng.integers(len(FACES))])
    middle = CANVAS / 2
    ImageDraw.Draw(canvas).text((middle, middle), letter, fill=255, font=font, anchor="mm")
    angle, shear = rng.uniform(-0.4, 0.4), rng.uniform(-0.3, 0.3)
    scale = rng.uniform(0.75, 1.15)
    shift = rng.uniform(-0.1, 0.1, 2) * CANVAS
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    # Pillow maps a pixel of the result to one of the canvas.
    inverse = np.linalg.inv(scale * turn @ np.array([[1.0, shear], [0.0, 1.0]]))
    offset = middle - inverse @ (middle + shift)
    matrix = (*inverse[0], offset[0], *inverse[1], offset[1])
    distorted = canvas.transform(
        canvas.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    small = np.asarray(distorted.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    noisy = small * rng.uniform(0.6, 1.0) + rng.normal(0.0, 12.0, small.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


@cache
def _font(face: str) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf"), 84)


def _write_idx(path: Path, values: npt.NDArray[np.uint8]) -> None:
    """Write bytes in the format of MNIST: magic number, sizes, values."""
    head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    write_atomically(path, gzip.compress(head + values.tobytes(), mtime=0))


if __name__ == "__main__":
    sys.exit(main())
