# SPDX-License-Identifier: Apache-2.0
"""Small pictures of many kinds and their pixels: see tools/pictures/run."""
import pathlib
import random
import sys

from PIL import Image, ImageDraw, ImageOps

WIDTH, HEIGHT = 23, 17
FOLDER = pathlib.Path(sys.argv[1])


def scene(seed: int, mode: str = "RGB") -> Image.Image:
    """Areas of one colour and a few lines: what jpeg keeps well."""
    chance = random.Random(seed)
    picture = Image.new("RGB", (WIDTH, HEIGHT), (240, 230, 200))
    draw = ImageDraw.Draw(picture)
    for _ in range(4):
        left, top = chance.randrange(WIDTH), chance.randrange(HEIGHT)
        colour = tuple(chance.randrange(256) for _ in range(3))
        draw.rectangle([left, top, left + chance.randrange(4, 12), top + chance.randrange(4, 12)], fill=colour)
    if mode != "RGBA":
        return picture.convert(mode)
    alpha = Image.new("L", picture.size)
    alpha.putdata([(11 * x + 5 * y) % 256 for y in range(HEIGHT) for x in range(WIDTH)])
    picture.putalpha(alpha)
    return picture


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[274] = orientation
    return block


def seen(path: pathlib.Path) -> Image.Image:
    picture = Image.open(path)
    picture.seek(0)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("RGB", "L", "CMYK", "1"):
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture).convert("RGB")


def keep(name: str, picture: Image.Image, **options) -> None:
    path = FOLDER / name
    picture.save(path, **options)
    seen(path).save(path.with_name(name + ".ppm"))


def main() -> None:
    keep("plain.png", scene(1))
    keep("alpha.png", scene(2, "RGBA"))
    keep("one_bit.png", scene(3, "1"))
    keep("palette.png", scene(4, "P"), transparency=0)
    keep("turned.png", scene(5), exif=exif(8))
    keep("subsampled.jpg", scene(6), quality=95, subsampling="4:2:0")
    keep("progressive.jpg", scene(7), quality=95, subsampling="4:2:2", progressive=True)
    keep("grey.jpg", scene(8, "L"), quality=95)
    keep("cmyk.jpg", scene(9, "CMYK"), quality=95)
    for orientation in range(2, 9):
        keep(f"turned{orientation}.jpg", scene(10), quality=95, subsampling="4:4:4", exif=exif(orientation))
    keep("lossless.webp", scene(11, "RGBA"), lossless=True, exact=True)
    keep("lossy.webp", scene(12), quality=95)
    keep("lossy_alpha.webp", scene(13, "RGBA"), quality=95)
    keep("turned.webp", scene(14), lossless=True, exif=exif(6))
    keep("animated.webp", scene(15, "RGBA"), save_all=True, append_images=[scene(16, "RGBA")], lossless=True)
    keep("animated.gif", scene(17, "P"), save_all=True, append_images=[scene(18, "P")])
    keep("interlaced.gif", scene(19, "P"), interlace=1, transparency=2)


main()
