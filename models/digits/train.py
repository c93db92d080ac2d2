#!/usr/bin/python3
"""Makes models/digits: draws the data, trains the classifier, exports model.onnx and writes the test files.

Needs Debian 12 with python3-torch python3-onnx python3-pil python3-scipy and the font packages in FONTS.
Run it from anywhere: /usr/bin/python3 models/digits/train.py. It takes about five minutes on one core and gives the same
files on every run with the same packages on the same machine.
"""

import argparse
import pathlib
import struct

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).resolve().parent
SIDE = 28
GLYPH = 4 * SIDE  # glyphs are drawn at four times the size and sampled down

# Debian package -> beginnings of its font files' names.
FONTS = {
    "train": {
        "fonts-dejavu-core": ["DejaVuSans", "DejaVuSerif"],
        "fonts-dejavu-extra": ["DejaVuSansCondensed", "DejaVuSerifCondensed"],
        "fonts-liberation": ["LiberationMono", "LiberationSans", "LiberationSerif"],
        "fonts-freefont-ttf": ["FreeMono", "FreeSans", "FreeSerif"],
        "fonts-noto-core": ["NotoSans-", "NotoSansDisplay-", "NotoSerif-", "NotoSerifDisplay-"],
        "fonts-urw-base35": ["C059-", "NimbusMonoPS", "NimbusRoman", "NimbusSans", "P052-", "URWBookman", "URWGothic", "Z003"],
        "fonts-roboto-unhinted": ["Roboto-", "RobotoCondensed-"],
        "fonts-open-sans": ["OpenSans-"],
        "fonts-cabin": ["Cabin-"],
        "fonts-tuffy": ["Tuffy"],
        "fonts-dosis": ["Dosis-"],
        "fonts-comfortaa": ["Comfortaa-"],
        "fonts-comic-neue": ["ComicNeue-"],
        "fonts-dancingscript": ["DancingScript-"],
        "fonts-dkg-handwriting": ["dkg"],
        "fonts-ecolier-court": ["Ecolier-court"],
        "fonts-rufscript": ["Rufscript"],
    },
    "test": {
        "fonts-lato": ["Lato-"],
        "fonts-averia-sans-gwf": ["AveriaSansGWF-"],
        "fonts-breip": ["Breip"],
        "fonts-humor-sans": ["Humor-Sans"],
        "fonts-inconsolata": ["Inconsolata"],
        "fonts-junction": ["Junction"],
        "fonts-jura": ["Jura-"],
        "fonts-kaushanscript": ["KaushanScript"],
        "fonts-oldstandard": ["OldStandard-"],
        "fonts-quattrocento": ["Quattrocento-"],
    },
}
TOO_THIN = ("Thin", "Hairline", "ExtraLight")


def font_files(split):
    """Paths by family, so that a family with many weights is not seen more often than one with a single file."""
    found = sorted(p for ext in ("ttf", "otf") for p in pathlib.Path("/usr/share/fonts").rglob(f"*.{ext}"))
    families = {}
    for package, prefixes in FONTS[split].items():
        for prefix in prefixes:
            files = {p.name: p for p in found if p.name.startswith(prefix) and not any(t in p.name for t in TOO_THIN)}
            if not files:
                raise SystemExit(f"no font file {prefix}*: apt-get install {package}")
            families[prefix] = [files[name] for name in sorted(files)]
    return families


def draw_glyph(path, digit):
    """The digit, white on black, its larger side 80 of GLYPH pixels, centred; blurred a little against aliasing."""
    text = str(digit)
    left, top, right, bottom = ImageFont.truetype(str(path), 100).getbbox(text)
    font = ImageFont.truetype(str(path), max(1, round(100 * 80 / max(right - left, bottom - top))))
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (GLYPH, GLYPH))
    ImageDraw.Draw(image).text(((GLYPH - left - right) / 2, (GLYPH - top - bottom) / 2), text, fill=255, font=font)
    return gaussian_filter(np.asarray(image, np.float32) / 255, 1.2)


class Renderer:
    """Draws distorted digits from the fonts of one split. `hard` adds the distortions that training never sees."""

    def __init__(self, split, seed, hard):
        self.rng = np.random.default_rng(seed)
        self.hard = hard
        self.families = [[{d: draw_glyph(path, d) for d in range(10)} for path in paths]
                         for paths in font_files(split).values()]
        axis = np.arange(SIDE, dtype=np.float64) - (SIDE - 1) / 2
        self.grid = np.stack(np.meshgrid(axis, axis, indexing="ij"))  # y, x about the centre

    def coordinates(self):
        """Where each output pixel reads from, in output pixels about the centre: the inverse of the distortion."""
        rng = self.rng
        angle = np.deg2rad(rng.normal(0, 8))
        scale_y, scale_x = rng.uniform(0.85, 1.2, 2)
        matrix = (np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
                  @ np.array([[1, 0], [rng.normal(0, 0.15), 1]]) @ np.diag([1 / scale_y, 1 / scale_x]))
        at = np.einsum("ij,jyx->iyx", matrix, self.grid) + rng.normal(0, 1, (2, 1, 1))
        if self.hard:  # perspective
            at = at / (1 + np.einsum("i,iyx->yx", rng.normal(0, 0.007, 2), self.grid))
        sigma, strength = (3.0, 1.2) if self.hard else (4.5, 1.1)
        field = gaussian_filter(rng.standard_normal((2, SIDE, SIDE)), (0, sigma, sigma))
        return at + field * (strength / field.std()) * rng.uniform(0.2, 1)

    def image(self, digit):
        rng = self.rng
        family = self.families[rng.integers(len(self.families))]
        glyph = family[rng.integers(len(family))][digit]
        at = self.coordinates() * (GLYPH / SIDE) + (GLYPH - 1) / 2
        image = map_coordinates(glyph, at, order=1)
        image = gaussian_filter(image, rng.uniform(0.2, 0.9))
        image = rng.uniform(0.55, 1) * image / max(image.max(), 1e-3) + rng.uniform(0, 0.15)
        image += rng.standard_normal(image.shape) * rng.uniform(0, 0.12)
        dead = rng.integers(0, 7)  # dead and hot pixels
        image[tuple(rng.integers(0, SIDE, (2, dead)))] = rng.integers(0, 2, dead)
        if self.hard and rng.random() < 0.5:  # a scratch
            y, slope = rng.uniform(4, SIDE - 4), rng.normal(0, 0.4)
            x = np.arange(SIDE)
            rows = np.round(y + slope * (x - SIDE / 2)).astype(int)
            inside = (rows >= 0) & (rows < SIDE)
            image[rows[inside], x[inside]] = rng.uniform(0, 0.7)
        return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)

    def images(self, count):
        labels = self.rng.permutation(np.arange(count) % 10).astype(np.uint8)
        return np.stack([self.image(int(d)) for d in labels]), labels


def conv(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
                         nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first, self.second = conv(channels, channels, 3), conv(channels, channels, 3)

    def forward(self, x):
        return F.relu(x + self.second(F.relu(self.first(x))))


class Inverted(nn.Module):
    """Expand, depthwise, squeeze-and-excite, project, with a residual connection (MobileNetV3, arXiv:1905.02244)."""

    def __init__(self, channels, wide):
        super().__init__()
        self.expand, self.depthwise, self.project = conv(channels, wide, 1), conv(wide, wide, 3, 1, wide), conv(wide, channels, 1)
        self.squeeze, self.excite = nn.Conv2d(wide, 16, 1), nn.Conv2d(16, wide, 1)

    def forward(self, x):
        y = F.silu(self.depthwise(F.silu(self.expand(x))))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        return x + self.project(y * gate)


class Digits(nn.Module):
    """image [N, 1, 28, 28] in [0, 1] -> logits [N, 10], probabilities [N, 10]."""

    def __init__(self):
        super().__init__()
        self.stem = conv(1, 16, 3)
        self.depthwise, self.pointwise = conv(16, 16, 3, 2, 16), conv(16, 32, 1)
        self.residual = Residual(32)
        self.widen = conv(32, 48, 3, 1, 4)
        self.inverted = Inverted(48, 96)
        self.dropout = nn.Dropout(0.1)
        self.classify = nn.Linear(48, 10)

    def forward(self, image):
        x = F.relu(self.stem((image - 0.2) / 0.3))
        x = F.relu(self.pointwise(F.relu(self.depthwise(x))))
        x = F.max_pool2d(self.residual(x), 3, 2, 1)
        x = self.inverted(F.relu(self.widen(x)))
        logits = self.classify(self.dropout(x.mean((2, 3))))
        return logits, F.softmax(logits, 1)


def to_input(images):
    return torch.from_numpy(images.astype(np.float32)[:, None] / 255)


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        answers = torch.cat([model(part)[0].argmax(1) for part in to_input(images).split(250)])
    return (answers.numpy() == labels).mean()


def train(model, renderer, test, epochs, per_epoch):
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3, weight_decay=1e-2)
    batch = 128
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * (per_epoch // batch))
    for epoch in range(epochs):
        images, labels = renderer.images(per_epoch)
        inputs, targets = to_input(images), torch.from_numpy(labels.astype(np.int64))
        model.train()
        total = 0.0
        for start in range(0, per_epoch - batch + 1, batch):
            loss = F.cross_entropy(model(inputs[start:start + batch])[0], targets[start:start + batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * batch
        print(f"epoch {epoch}: loss {total / per_epoch:.4f}, test accuracy {accuracy(model, *test):.4f}", flush=True)


def write_idx(path, array):
    """The IDX format of MNIST: 0, 0, type (8: unsigned byte), rank, big-endian dims, data."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def write_case(folder, model, images):
    folder.mkdir(exist_ok=True)
    inputs = to_input(images)
    with torch.no_grad():
        outputs = model(inputs)
    files = {"input_0": ("image", inputs), "output_0": ("logits", outputs[0]), "output_1": ("probabilities", outputs[1])}
    for stem, (name, value) in files.items():
        (folder / f"{stem}.pb").write_bytes(onnx.numpy_helper.from_array(value.numpy(), name).SerializeToString())


def export(model, path):
    # TrainingMode.PRESERVE with the model in eval mode keeps the batch norms instead of folding them into the weights:
    # folding is the compiler's work.
    torch.onnx.export(model, torch.zeros(1, 1, SIDE, SIDE), str(path), opset_version=14, do_constant_folding=False,
                      training=torch.onnx.TrainingMode.PRESERVE, input_names=["image"],
                      output_names=["logits", "probabilities"],
                      dynamic_axes={name: {0: "batch"} for name in ("image", "logits", "probabilities")})
    exported = onnx.load(str(path))
    for node in exported.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(exported)
    onnx.save(exported, str(path))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--per-epoch", type=int, default=25600)
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    args = parser.parse_args()

    torch.manual_seed(1)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    test = Renderer("test", seed=2, hard=True).images(1000)
    model = Digits()
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    train(model, Renderer("train", seed=3, hard=False), test, args.epochs, args.per_epoch)

    model.eval()
    args.out.mkdir(exist_ok=True)
    export(model, args.out / "model.onnx")
    write_idx(args.out / "data" / "test-images.idx3-ubyte", test[0])
    write_idx(args.out / "data" / "test-labels.idx1-ubyte", test[1])
    write_case(args.out / "test_data_set_0", model, test[0][:8])
    write_case(args.out / "test_data_set_1", model, test[0][8:9])
    print(f"accuracy on the test set: {accuracy(model, *test):.4f}")


if __name__ == "__main__":
    main()
