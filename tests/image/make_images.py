#!/usr/bin/env python3
"""Writes the files of tests/image/data with Pillow, which also says what they hold: NAME.ppm is convert("RGB") of NAME.*."""
import io
import os
import struct

import numpy as np
from PIL import Image

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
W, H = 21, 13
y, x = np.mgrid[0:H, 0:W]
rgb = np.stack([12 * x, 19 * y, 255 - 6 * x - 9 * y], axis=-1).clip(0, 255).astype(np.uint8)
alpha = (255 - 11 * x).astype(np.uint8)
colour = Image.fromarray(rgb)
grey = colour.convert("L")


def save(name, image, expected=None, **options):
    stem, _ = os.path.splitext(name)
    image.save(os.path.join(HERE, name), **options)
    if expected is None:
        expected = Image.open(os.path.join(HERE, name)).convert("RGB")
    expected.save(os.path.join(HERE, stem + ".ppm"))


save("jpeg_420.jpg", colour, quality=80)
save("jpeg_422.jpg", colour, quality=80, subsampling=1)
save("jpeg_444_progressive.jpg", colour, quality=80, subsampling=0, progressive=True)
save("jpeg_grey.jpg", grey)
save("jpeg_cmyk.jpg", colour.convert("CMYK"))
save("png_rgba.png", Image.fromarray(np.dstack([rgb, alpha])))
save("png_palette.png", colour.quantize(16), bits=4)
save("png_bits.png", grey.convert("1"))
sixteen = (y * 5000 + x * 97).astype(np.uint16)
eight = np.round(sixteen / 65535 * 255).astype(np.uint8)
save("png_16.png", Image.fromarray(sixteen), Image.fromarray(np.dstack([eight] * 3)))
save("webp_lossless.webp", Image.fromarray(np.dstack([rgb, alpha])), lossless=True, exact=True)
save("webp_lossy.webp", colour, quality=80)
save("jp2_lossless.jp2", colour)
save("jp2_lossy.jp2", colour, irreversible=True, quality_mode="rates", quality_layers=[4])
save("j2k_grey.j2k", grey)
save("tiff_lzw.tiff", colour, compression="tiff_lzw")
save("tiff_deflate_grey.tiff", grey, compression="tiff_adobe_deflate")
save("tiff_palette.tiff", colour.quantize(16))
save("bmp_24.bmp", colour)
save("bmp_palette.bmp", colour.quantize(16))
save("bmp_bits.bmp", grey.convert("1"))
save("bmp_32.bmp", Image.fromarray(np.dstack([rgb, alpha])))
