#!/usr/bin/env python3
"""Prints the numbers that resize_test.cpp and audio_test.cpp expect: images by Pillow, sounds by NumPy alone.

    python3 tests/eval/preprocess_expected.py

The inputs are closed forms, written again in the tests.
"""
import zlib

import numpy as np
from PIL import Image


def image(h, w):
    y, x, c = np.mgrid[0:h, 0:w, 0:3]
    return ((x * 37 + y * 91 + c * 53 + (x * y) % 17 * 11) % 256).astype(np.uint8)


def resizes():
    filters = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC,
               "lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX, "hamming": Image.Resampling.HAMMING}
    for (h, w), (th, tw) in [((37, 53), (16, 24)), ((16, 24), (37, 53)), ((40, 30), (40, 15)), ((31, 64), (7, 64))]:
        for name, f in filters.items():
            out = np.asarray(Image.fromarray(image(h, w)).resize((tw, th), f))
            print(f'{{{h}, {w}, {th}, {tw}, Filter::k{name.capitalize()}, 0x{zlib.crc32(out.tobytes()):08x}}},')
    f32 = np.asarray(Image.fromarray(image(9, 11)[:, :, 0].astype(np.float32), mode="F").resize((5, 4), Image.Resampling.BICUBIC))
    print("f32 bicubic 9x11 -> 4x5:", ", ".join(f"{v:.6g}" for v in f32.ravel()))
    grey = np.asarray(Image.fromarray(image(5, 7)).convert("L"))
    print(f"grey 5x7: 0x{zlib.crc32(grey.tobytes()):08x}")


def sound(n):
    t = np.arange(n)
    return (0.5 * np.sin(2 * np.pi * 440 * t / 16000) + 0.25 * np.sin(2 * np.pi * 3000 * t / 16000) + 0.01 * ((t * 7919) % 101 - 50) / 50).astype(np.float32)


def hz_to_mel(f, htk):
    f = np.asarray(f, dtype=np.float64)
    if htk:
        return 2595 * np.log10(1 + f / 700)
    return np.where(f < 1000, f * 3 / 200, 15 + 27 * np.log(np.maximum(f, 1e-9) / 1000) / np.log(6.4))


def mel_to_hz(m, htk):
    if htk:
        return 700 * (10 ** (m / 2595) - 1)
    return np.where(m < 15, m * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (m - 15)))


def mel(x, rate=16000, n_fft=400, hop=160, mels=80, htk=False, norm=True, low=0, high=8000, center=True):
    if center:
        x = np.pad(x, n_fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    frames = 1 + (len(x) - n_fft) // hop
    power = np.stack([np.abs(np.fft.rfft(x[t * hop:t * hop + n_fft].astype(np.float64) * window)) ** 2 for t in range(frames)], axis=1)
    edges = mel_to_hz(np.linspace(hz_to_mel(low, htk), hz_to_mel(high, htk), mels + 2), htk)
    hz = np.arange(n_fft // 2 + 1) * rate / n_fft
    filters = np.zeros((mels, len(hz)))
    for m in range(mels):
        filters[m] = np.maximum(0, np.minimum((hz - edges[m]) / (edges[m + 1] - edges[m]), (edges[m + 2] - hz) / (edges[m + 2] - edges[m + 1])))
        if norm:
            filters[m] *= 2 / (edges[m + 2] - edges[m])
    return filters @ power


def mels():
    x = sound(1600)
    whisper = np.log10(np.maximum(mel(x), 1e-10))[:, :-1]
    whisper = (np.maximum(whisper, whisper.max() - 8) + 4) / 4
    htk = np.log(np.maximum(mel(x, n_fft=512, hop=256, mels=20, htk=True, norm=False, low=50, high=7000, center=False), 1e-10))
    for name, m in [("whisper", whisper), ("htk", htk)]:
        places = [(0, 0), (5, 3), (10, 1), (len(m) - 1, m.shape[1] - 1), (len(m) // 2, m.shape[1] // 2)]
        print(name, m.shape, ", ".join(f"{{{r}, {c}, {m[r, c]:.6f}}}" for r, c in places), f"mean {m.mean():.6f}")


resizes()
mels()
