"""Draw the style pictures that are not paintings, as WebP files in examples/style: `python scripts/draw_styles.py`.

One function per technique: it takes a seeded generator and returns RGB values in 0..255, shape (H, W, 3), at
twice the saved size, so that scaling down smooths every edge. The same seed always draws the same picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

STYLES = Path(__file__).parents[1] / "examples" / "style"
W, H = 1280, 1024
Y, X = np.mgrid[0:H, 0:W].astype(float)


# What the techniques share. A field is an array of shape (H, W); lengths are in pixels of the large picture.


def noise(rng: Generator, scale: float, stretch: tuple[float, float] = (1, 1)) -> np.ndarray:
    """A cloudy field, mean 0, deviation 1, of features of `scale` and up, drawn out in x, y by `stretch`."""
    f = scale * np.hypot(np.fft.rfftfreq(W) * stretch[0], np.fft.fftfreq(H)[:, None] * stretch[1])
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((H, W))) / (1 + f**2) ** 1.3, s=(H, W))
    return (field - field.mean()) / field.std()


def smooth(field: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """0 where the field is below `low`, 1 above `high`, an S between (`low` > `high` turns it round)."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(under: np.ndarray, over: np.ndarray | tuple[int, ...], amount: np.ndarray) -> np.ndarray:
    """The colours `under`, covered by `over` where the field `amount` is 1 and not where it is 0."""
    return under + (np.asarray(over) - under) * amount[..., None]


def palette(colours: str) -> np.ndarray:
    """RGB values (n, 3) of colours written as rrggbb."""
    return np.array([list(bytes.fromhex(colour)) for colour in colours.split()], float)


def gradient(t: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The colour at each t in 0..1 along a row of evenly spaced colours (n, 3)."""
    return np.stack([np.interp(t, np.linspace(0, 1, len(colours)), c) for c in np.transpose(colours)], -1)


def blur(field: np.ndarray, radius: float) -> np.ndarray:
    """A field in 0..1, blurred."""
    image = Image.fromarray((field * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius))) / 255


def relief(height: np.ndarray, strength: float) -> np.ndarray:
    """How bright a surface of that height is, (H, W, 1), lit from the upper left."""
    return np.clip(1 + strength * sum(np.gradient(height)), 0.45, 1.6)[..., None]


def voronoi(points: np.ndarray, reach: int, angles: np.ndarray | None = None) -> np.ndarray:
    """Index of the nearest point within `reach` of each pixel; with angles, cells are squares turned so."""
    nearest, label = np.full((H, W), np.inf), np.zeros((H, W), int)
    for i, (x, y) in enumerate(points.astype(int)):
        box = np.s_[max(0, y - reach) : max(0, y + reach), max(0, x - reach) : max(0, x + reach)]
        u, v = X[box] - points[i, 0], Y[box] - points[i, 1]
        if angles is None:
            distance = np.hypot(u, v)
        else:
            c, s = np.cos(angles[i]), np.sin(angles[i])
            distance = np.maximum(abs(u * c + v * s), abs(v * c - u * s))
        closer = distance < nearest[box]
        nearest[box][closer], label[box][closer] = distance[closer], i
    return label


def borders(label: np.ndarray) -> np.ndarray:
    """1 where a pixel differs from its right or lower neighbour, else 0."""
    right, lower = np.diff(label, axis=1, append=label[:, -1:]), np.diff(label, axis=0, append=label[-1:])
    return ((right != 0) | (lower != 0)).astype(float)


def streamlines(
    rng: Generator, angle: np.ndarray, region: np.ndarray, spacing: float, length: float
) -> Iterator[np.ndarray]:
    """Lines (n, 2) along the angles; each ends at `length`, near another line, or where its region does."""
    taken = Image.new("1", (W, H))
    pen, pixel = ImageDraw.Draw(taken), taken.load()
    assert pixel is not None
    for start in rng.uniform((0, 0), (W, H), (int(12 * W * H / spacing**2), 2)):
        home, halves = region[int(start[1]), int(start[0])], []
        for step in (-4, 4):
            (x, y), half = start, []
            while 0 <= x < W and 0 <= y < H and not pixel[x, y] and region[int(y), int(x)] == home:
                half.append((x, y))
                if len(half) * 8 > length:
                    break
                a = angle[int(y), int(x)]
                x, y = x + step * np.cos(a), y + step * np.sin(a)
            halves.append(half)
        line = halves[0][:0:-1] + halves[1]
        if len(line) > 5:
            pen.line(line, fill=1, width=int(2 * spacing))
            yield np.array(line)


def sides(line: np.ndarray) -> np.ndarray:
    """Unit normals (n, 2) of a line (n, 2)."""
    along = np.gradient(line, axis=0)
    return along[:, ::-1] * (-1, 1) / (np.hypot(*along.T)[:, None] + 1e-9)


def ribbon(line: np.ndarray, width: np.ndarray) -> list[float]:
    """Outline x0, y0, x1, y1, … of a stroke along the line, with a width for each point."""
    offset = sides(line) * width[:, None] / 2
    return np.concatenate([line + offset, (line - offset)[::-1]]).ravel().tolist()


def taper(n: int) -> np.ndarray:
    """n widths: thin, full for most of the way, thin again."""
    return np.sin(np.linspace(0.05, np.pi - 0.05, n)) ** 0.45


# The techniques.


def stained_glass(rng: Generator) -> np.ndarray:
    """Panes in rings around a sun, each with streaks and a light of its own, held by lead."""
    rings = palette("ffe282 ffbe28 f06e14 cd1928 96145a 3c1e96 1446c8 008cbe 0a966e 283ca0")
    points, hues = [], []
    for ring, radius in enumerate([0, 70, 150, 235, 325, 420, 520, 625, 735, 850, 970]):
        n = max(1, round(6.28 * radius / (62 + 5 * ring)))
        turns = 6.283 * (np.arange(n) + rng.random()) / n + rng.normal(0, 0.12 / (ring + 1), n)
        points += [(0.62 * W + radius * np.cos(a), 0.4 * H + radius * np.sin(a)) for a in turns]
        hues += [rng.random() if rng.random() < 0.2 else ring / 10 + rng.normal(0, 0.07) for _ in turns]
    label = voronoi(np.array(points) + rng.normal(0, 10, (len(points), 2)), 260)
    panes = gradient(np.array(hues), rings) * rng.normal(0.72, 0.15, (len(points), 1))
    lead = blur(borders(label), 5)
    glow = 0.55 * blur(smooth(lead, 0.1, 0.02), 22)
    streaks = 0.17 * noise(rng, 15, (1, 5)) + 0.08 * noise(rng, 24) + 0.05 * noise(rng, 4)
    glass = panes[label] * (1 + glow + streaks)[..., None]
    metal = (26, 24, 28) * relief(10 * blur(smooth(lead, 0.03, 0.09), 2), 0.9) ** 2
    return mix(glass, metal, smooth(lead, 0.045, 0.075))


def mosaic(rng: Generator) -> np.ndarray:
    """Two fish in a turning sea: small stones set along the outlines, with grout between."""
    sea = palette("08245c 0a588c 28a0a0 f0d682")
    rows = np.hypot(X - 0.5 * W, (Y - 0.5 * H) * 1.15) + 26 * noise(rng, 420)
    scene = gradient((np.sin(rows / 27) + 1) / 2, sea)
    for x, y, way, body in [(0.34, 0.3, 1, "ffe06e f0821e c4241e"), (0.66, 0.7, -1, "faecc8 ec963c aa1e3c")]:
        u, v = way * (X - x * W) / 260, way * (Y - y * H) / 260
        u, v = u + 0.1 * v, v - 0.1 * u + 0.16 * u**2
        tail = np.minimum(-0.22 - abs(v) - 0.62 * u, 1.4 + u - 0.4 * abs(v))
        inside = np.maximum(0.45 - abs(v) - 0.42 * u**2, tail)
        scene = mix(scene, (10, 14, 40), inside > -0.07)
        scales = 0.25 * np.sin(u * 26) * np.cos(v * 26)
        scene = mix(scene, gradient(0.5 + 1.1 * v + scales, palette(body)), inside > 0)
        scene = mix(scene, (20, 120, 150), (abs(u - 0.4 + v**2) < 0.04) & (inside > 0))
        for radius, colour in [(0.12, (255, 250, 230)), (0.06, (10, 14, 40))]:
            scene = mix(scene, colour, np.hypot(u - 0.65, v) < radius)
        rows = np.where(inside > -0.2, inside * 260, rows)
    angle = np.arctan2(*np.gradient(rows))
    points = np.stack(np.meshgrid(np.arange(9, W, 19.0), np.arange(9, H, 19.0)), -1).reshape(-1, 2)
    points += rng.normal(0, 5, points.shape)
    for _ in range(14):  # Lloyd's relaxation: points move to the middle of their cells, and fall in rows
        column, row = np.clip(points.T.astype(int), 0, [[W - 1], [H - 1]])
        label = voronoi(points, 32, angle[row, column])
        area = np.maximum(np.bincount(label.ravel(), minlength=len(points)), 1)
        points = np.stack([np.bincount(label.ravel(), at.ravel(), len(points)) / area for at in (X, Y)], 1)
    stones = scene[row, column] * rng.normal(1, 0.14, (len(points), 1)) + rng.normal(0, 10, (len(points), 3))
    tilt = rng.normal(0, 0.01, points.shape)
    facing = ((np.dstack([X, Y]) - points[label]) * tilt[label]).sum(-1)
    grout = blur(borders(label), 1.4)
    light = relief(smooth(grout, 0.25, 0), 0.18) * (1 + facing + 0.05 * noise(rng, 5))[..., None]
    return mix(stones[label] * light, (74, 66, 62) + 9 * noise(rng, 4)[..., None], smooth(grout, 0.14, 0.24))


def woodcut(rng: Generator) -> np.ndarray:
    """A moon over hills, firs and furrows: gouges of varying width, cut along the forms of a black block."""
    region, away = np.zeros((H, W), int), np.hypot(X - 0.7 * W, Y - 0.27 * H)
    angle = np.arctan2(Y - 0.27 * H, X - 0.7 * W) + np.pi / 2 + 0.25 * noise(rng, 260)
    light = 0.85 - 0.6 * smooth(away, 120, 680) + 0.16 * np.sin(away / 34) + 0.1 * noise(rng, 120)

    def cover(where: np.ndarray, number: int, angles: np.ndarray, lightness: np.ndarray) -> None:
        region[where], angle[where], light[where] = number, angles[where], lightness[where]

    for k, (rise, wave, turn) in enumerate([(90, 260, 0.9), (70, 210, -0.8), (60, 300, 0.7)], 1):
        bumps = 22 * np.sin(X / 67 + k) * np.cos(X / 151)
        top = (0.4 + 0.1 * k) * H + rise * np.sin(X / wave + 2.1 * k) + bumps
        slope = np.arctan(np.gradient(top, axis=1)) + turn + 0.3 * noise(rng, 120)
        shade = 0.86 - (Y - top) / 200 + 0.25 * np.sin(X / wave + 2.1 * k + 0.8) + 0.08 * noise(rng, 40)
        cover(Y > top, k, slope, shade)
    furrow = np.arctan2(Y - 0.62 * H, X - 0.35 * W)
    ploughed = 0.52 + 0.25 * np.sign(np.sin(28 * furrow)) + 0.1 * noise(rng, 40)
    cover(Y > 0.8 * H + 26 * np.sin(X / 240), 4, furrow, ploughed)
    for x, base, tall, wide in [(0.13, 0.86, 560, 92), (0.24, 0.83, 400, 70), (0.9, 0.88, 330, 62)]:
        t = np.clip((base * H - Y) / tall, 0, 1)
        branches = 1.05 + 0.4 * ((Y + x * 900 + 0.3 * X) / 46 % 1)
        edge = np.maximum(wide * t**0.2 * (1 - t) ** 0.75 * branches, 1)
        side = (X - x * W - 10 * np.sin(Y / 90)) / edge
        region[(abs(side) < 1 + 9 / edge) & (t > 0) & (t < 1)] = 6  # a rim of bare paper
        needles = 0.75 * side - np.pi / 2 + 0.3 * np.sin(Y / 30)
        cover((abs(side) < 1) & (t > 0) & (t < 1), 5, needles, 0.15 + 0.45 * smooth(side, -0.2, 0.9))
    region[(away < 96) & (region == 0)] = 6
    block = Image.new("L", (W, H))
    for line in streamlines(rng, angle, region, 11, 190):
        x, y = line.T.astype(int)
        gouge = ribbon(line, 13.5 * np.clip(light[y, x], 0.1, 0.93) * taper(len(line)))
        ImageDraw.Draw(block).polygon(gouge, fill=255)
    cut = blur(np.maximum(np.asarray(block) / 255, region == 6), 1.6)
    cut += 0.09 * noise(rng, 5) - smooth(blur(borders(region), 3.2), 0.04, 0.12) * (region != 6)
    paper = (242, 230, 204) + 3 * (noise(rng, 3) + noise(rng, 90))[..., None]
    ink = (28, 24, 24) + (16 * smooth(noise(rng, 8, (1, 12)), 1.2, 2.4) + 3 * noise(rng, 3))[..., None]
    return mix(ink, paper, smooth(cut, 0.4, 0.6))


def bamboo(rng: Generator) -> list[np.ndarray]:
    """Stems and leaves as four fields of ink in 0..1: strokes of one field cover, those of two add up."""
    brushes, t = [Image.new("L", (W, H)) for _ in range(4)], np.linspace(0, 1, 30)
    pens = [ImageDraw.Draw(brush) for brush in brushes]
    for x, lean, wide, tone in [(0.69, -18, 20, 90), (0.92, 7, 46, 190), (0.8, -10, 34, 150)]:
        foot = np.array([x * W, 1.03 * H])
        while foot[1] > 0:
            joint = foot + (lean, -rng.uniform(150, 200))
            stem = foot + t[:, None] * (joint - foot) * 0.985
            pens[0].polygon(ribbon(stem, wide * (1 + 0.25 * abs(2 * t - 1) ** 8)), fill=tone)
            way = rng.choice([-1, 1])
            twig = joint + np.stack([way * 90 * t, 30 * t**2 - 60 * t], 1)
            pens[1].polygon(ribbon(twig, 6 - 3 * t), fill=tone + 40)
            for i in range(rng.integers(3, 7)):
                droop, long = rng.uniform(-0.2, 1.25) + 0.25 * t, rng.uniform(110, 230)
                blade = np.stack([way * np.cos(droop) * t, np.sin(droop) * t], 1) * long
                leaf = ribbon(twig[rng.integers(8, 30)] + blade, 0.14 * long * np.sin(np.pi * t**0.7))
                pens[1 + i % 3].polygon(leaf, fill=int(tone + rng.integers(-60, 64)))
            foot = joint
    return [np.asarray(brush) / 255 for brush in brushes]


def ink_wash(rng: Generator) -> np.ndarray:
    """Mountains in mist, a red sun, bamboo: washes that pool, bleed and granulate on rough paper."""
    grain = 0.6 * noise(rng, 3) + 0.4 * noise(rng, 14)
    ragged = 13 * noise(rng, 90) + 4 * noise(rng, 18) + 2 * noise(rng, 5)
    indigo, grey = np.zeros((H, W)), np.zeros((H, W))

    def wash(depth: np.ndarray, soft: float) -> np.ndarray:
        """Ink for pixels `depth` inside an edge: more along the edge, and in the hollows of the paper."""
        pool = smooth(depth, 0, soft) * (0.75 + 0.6 * np.exp(-np.maximum(depth, 0) / 7))
        return pool * np.clip(1 + 0.22 * grain + 0.3 * noise(rng, 120), 0.1, 3)

    for x, y, radius in rng.uniform((0, 0, 70), (W, 0.45 * H, 260), (9, 3)):
        indigo += 0.2 * wash(radius - np.hypot(X - x, (Y - y) * 1.5) + ragged, rng.choice([8, 60, 120]))
    for k in range(6):
        phase = rng.uniform(0, 6, 2)
        top = (0.32 + 0.115 * k) * H - (190 - 20 * k) * np.sin(X / (150 + 30 * k) + phase[0]) ** 4
        depth = Y - top + 30 * np.sin(X / 83 + phase[1]) + (0.9 - 0.1 * k) * ragged + 10 * noise(rng, 60)
        mist = np.exp(-np.maximum(depth, 0) / (150 - 8 * k)) + 0.07
        body = (0.32 + 0.17 * k) * wash(depth, 5 + 3 * k) * mist
        indigo, grey = indigo + body * (0.85 - 0.1 * k), grey + body * (0.25 + 0.16 * k)
    sun = wash(74 - np.hypot(X - 0.27 * W, Y - 0.2 * H) + 0.25 * ragged, 5) * np.exp(-indigo)
    dry = np.clip(1 + 0.4 * noise(rng, 22) + 0.2 * noise(rng, 5, (10, 1)), 0.25, 2)
    for stroke in bamboo(rng):
        grey += 1.7 * dry * (blur(stroke, 1.5) + 0.5 * blur(borders(stroke), 2.5) * smooth(stroke, 0, 0.1))
    absorbed = indigo[..., None] * (1.25, 0.8, 0.42) + grey[..., None] * (1, 0.97, 0.86)
    absorbed = absorbed * np.clip(1 + 0.25 * grain, 0.3, 2)[..., None] + sun[..., None] * (0.12, 1.25, 1.5)
    return np.array([246, 239, 222]) * relief(2 * grain, 0.035) * np.exp(-absorbed)


def pointillism(rng: Generator) -> np.ndarray:
    """A river at evening in dots of pure pigment, chosen so that they mix in the eye."""
    pigments = palette(
        "faf6e8 fce26e fab032 ee6e32 d6323c f096aa 964696 463c96 1e50b4 5aa0dc 288c8c 287846 82b446 c8d75a 282850"
    )
    scene = gradient(Y / (0.55 * H), palette("5a8cd7 96b4dc f5c8aa fcd678"))
    sun = np.hypot(X - 0.66 * W, Y - 0.4 * H)
    scene = mix(scene, (255, 240, 170), np.maximum(np.exp(-sun / 130), smooth(sun, 66, 56)))
    clouds = smooth(noise(rng, 150, (2, 0.6)), 0.2, 1.6) * smooth(Y, 0.5 * H, 0.2 * H)
    scene = mix(scene, (250, 190, 190), clouds)
    violet = gradient(X / W, palette("4646a0 7864b4 be6e96 5a50a0"))
    scene = mix(scene, violet, Y > 0.47 * H - 40 * np.sin(X / 170) - 20 * np.sin(X / 71))
    bank = 0.53 * H + 14 * np.sin(X / 90)
    scene = mix(scene, (60, 120, 90), Y > bank)
    for x in [0.06, 0.13, 0.19, 0.27, 0.34, 0.86, 0.93]:
        t = np.clip((bank + 10 - Y) / rng.uniform(220, 380), 0, 1)
        poplar = abs(X - x * W) < 84 * np.sqrt(t * (1 - t))
        scene = mix(scene, gradient(X > x * W, palette("14506e 96b43c")), poplar)
    mirror = np.clip(1.16 * H - Y + 10 * noise(rng, 30, (5, 1)), 0, 0.58 * H).astype(int)
    scene = mix(scene, scene[mirror, X.astype(int)] * (0.82, 0.9, 1), Y > 0.58 * H)
    meadow = gradient(0.5 + 0.2 * noise(rng, 70), palette("1e645a 46963c d2d250"))
    meadow = mix(meadow, (214, 60, 70), noise(rng, 16) > 1.45)
    scene = mix(scene, meadow, Y > 0.8 * H + 0.16 * H * np.sin(X / 300 + 1.3) + 20 * noise(rng, 60))
    canvas = Image.new("RGB", (W, H), (236, 220, 190))
    pen = ImageDraw.Draw(canvas)
    for step, radius, spread in [(13, 9.5, 22), (11, 7, 34), (12, 5.2, 48)]:
        dots = np.stack(np.meshgrid(np.arange(0, W, step), np.arange(0, H, step)), -1).reshape(-1, 2)
        for x, y in rng.permutation(dots + rng.uniform(0, step, dots.shape)):
            wanted = scene[int(min(y, H - 1)), int(min(x, W - 1))] + rng.normal(0, spread, 3)
            colour = pigments[np.argmin(((pigments - wanted) ** 2).sum(1))] + rng.normal(0, 7, 3)
            rx, ry = radius * rng.uniform(0.75, 1.1, 2)
            pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=tuple(np.clip(colour, 0, 255).astype(int)))
    painted = np.asarray(canvas, float)
    return painted * relief(3 * blur(painted.mean(-1) / 255, 1.5) + 0.15 * noise(rng, 3), 0.35)


def frond(rng: Generator, foot: tuple[float, float], long: float, lean: float) -> list[list[float]]:
    """Outlines of a stem with rounded fingers on both sides."""
    t, pairs = np.linspace(0, 1, 40), rng.integers(5, 8)

    def curl(start: np.ndarray | tuple[float, float], angles: np.ndarray, length: float) -> np.ndarray:
        return start + np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1), 0) * length / 40

    bend = lean + rng.uniform(-0.5, 0.5) * t
    spine = curl(foot, bend, long)
    outlines = [ribbon(spine, long * (0.1 - 0.05 * t))]
    for k, way in np.ndindex(pairs, 2):
        i = 4 + 35 * k // pairs
        angles = bend[i] + (2 * way - 1) * (1.25 - 0.8 * t + rng.normal(0, 0.06))
        finger = curl(spine[i], angles, 0.4 * long * np.sin(np.pi * (0.25 + 0.65 * k / pairs)))
        outlines.append(ribbon(finger, long / pairs * (0.35 + 0.35 * t) * np.sqrt(1 - t**6)))
    return outlines


def flower(rng: Generator, x: float, y: float, radius: float, petals: int) -> list[float]:
    """Outline of a hand-cut disc with that many bumps."""
    a, (turn, lean) = np.linspace(0, 2 * np.pi, 160), rng.uniform(0, 6, 2)
    r = radius * (1 + 0.17 * np.sin(petals * a + turn) + 0.06 * np.sin(2 * a + lean))
    return np.stack([x + r * np.cos(a), y + r * np.sin(a)], 1).ravel().tolist()


def cut_paper(rng: Generator) -> np.ndarray:
    """Fronds, flowers and pebbles cut from painted paper and pasted in layers on bright panels."""
    colours = palette("e84034 faba1e 184eaa 0c8c6e f4eede ee78a0 222434 6e3c96 78bedc f68428")
    sheets, canvas = [], np.zeros((H, W, 3))
    for colour, a in zip(colours, rng.uniform(0, np.pi, 10), strict=True):
        streaks = np.sin((X * np.cos(a) + Y * np.sin(a)) / 6 + 3 * noise(rng, 90)) + noise(rng, 60)
        sheets.append(colour * (1 + 0.035 * streaks)[..., None])

    def paste(outlines: list[list[float]], colour: int) -> None:
        nonlocal canvas
        shape = Image.new("L", (W, H))
        for outline in outlines:
            ImageDraw.Draw(shape).polygon(outline, fill=255)
        shadow = 0.4 * blur(np.asarray(shape.rotate(0, translate=(6, 5))) / 255, 5)
        canvas = mix(mix(canvas, (0, 0, 0), shadow), sheets[colour], np.asarray(shape) / 255)

    columns, rows = [W * x for x in (0, 0.21, 0.47, 0.66, 1)], [H * y for y in (0, 0.36, 0.64, 1)]
    panels = [(columns[i], rows[j], columns[i + 1], rows[j + 1]) for j, i in np.ndindex(3, 4)]
    grounds = rng.permutation(np.tile(np.arange(10), 2))
    for (left, top, right, bottom), ground in zip(panels, grounds, strict=False):
        corners = [left - 9, top - 9, right + 9, top - 9, right + 9, bottom + 9, left - 9, bottom + 9]
        paste([(corners + rng.normal(0, 7, 8)).tolist()], ground)
    for n, (left, top, right, bottom) in enumerate(panels):
        wide, high = right - left, bottom - top
        first, second, third = rng.permutation(np.delete(np.arange(10), grounds[n]))[:3]
        if n % 3 == 1:
            x, y, size = left + wide / 2, top + high / 2, min(wide, high)
            paste([flower(rng, x, y, 0.4 * size, int(rng.integers(9, 15)))], first)
            paste([flower(rng, x, y, 0.24 * size, 6)], second)
        else:
            paste(frond(rng, (left + 0.4 * wide, bottom - 10), 0.9 * high, rng.normal(-1.5, 0.15)), first)
            paste(frond(rng, (left + 0.75 * wide, bottom - 30), 0.4 * high, rng.uniform(-1.6, -0.8)), second)
        spots = rng.uniform([left + 20, top + 20, 6], [right - 20, bottom - 20, 20], (9, 3))
        paste([flower(rng, x, y, radius, 2) for x, y, radius in spots], third)
    return canvas * relief(noise(rng, 3), 0.015)


def waves(rng: Generator) -> np.ndarray:
    """Curling waves as a colour print: striped flat blues, dark outlines, foam, the grain of the block."""
    line, foam = (20, 32, 62), (246, 240, 222)
    blues = [(28, 62, 112), (64, 122, 168), (30, 70, 124), (150, 192, 204)]
    sky = gradient(Y / (0.45 * H), palette("466e8c cec8b0 eed8b2 f0be96"))
    sky = mix(sky, (206, 74, 52), np.hypot(X - 0.24 * W, Y - 0.2 * H) < 100)
    canvas = Image.fromarray(sky.astype(np.uint8))
    pen, t, swell = ImageDraw.Draw(canvas), np.linspace(0, 1, 60)[:, None], np.linspace(0, W, 120)

    def curve(*points: tuple[float, float]) -> np.ndarray:
        """Two cubic Béziers end to end."""
        p = np.array(points)
        powers = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
        return np.concatenate([sum(f * q for f, q in zip(powers, p[i : i + 4], strict=True)) for i in (0, 3)])

    # A wave of size 1: its back and its hollow front run up to the same lip, its stripes lie between them.
    back = curve((-2, 0.25), (-0.9, 0), (-0.7, -1), (0.1, -1.05), (0.6, -1.08), (0.9, -0.85), (0.8, -0.5))
    front = curve((2, 0.3), (0.8, 0.25), (0, 0.05), (0.05, -0.4), (0.1, -0.8), (0.66, -0.9), (0.8, -0.5))
    for row, (level, size) in enumerate([(0.3, 80), (0.42, 115), (0.56, 160), (0.75, 215), (0.98, 280)]):
        for k in range(7):
            rise = 0.13 * k - 0.12 + 0.09 * np.sin(swell / (size * 0.62) + row * 2 + 0.35 * k)
            crest = np.stack([swell, level * H + size * rise], 1).ravel().tolist()
            pen.polygon([*crest, W, H, 0, H], fill=blues[(k + row) % 4])
            pen.line(crest, fill=line, width=3)
        for x in np.arange(-size * rng.uniform(0.2, 1.6), W + size, size * 2.35):
            at, s = (x + rng.normal(0, size * 0.12), level * H), size * rng.uniform(0.85, 1.2)
            curves = [at + s * (back * (1 - k) + front * k) for k in np.linspace(0, 1, 10)]
            for k in range(9):
                stripe = np.concatenate([curves[k], curves[k + 1][::-1]]).ravel().tolist()
                pen.polygon(stripe, fill=blues[k % 4] if k else foam, outline=line, width=3)
            froth = np.column_stack([curves[0][rng.integers(60, 120, 86)], s * rng.uniform(0.025, 0.085, 86)])
            froth[:, :2] += rng.normal(0, 0.07 * s, (86, 2))
            froth[46:] += rng.normal((0.2 * s, -0.05 * s, 0), (0.2 * s, 0.2 * s, 0), (40, 3))
            froth[46:, 2] *= 0.35
            for grow, colour in [(3, line), (0, foam)]:
                for bx, by, r in froth:
                    pen.circle((bx, by), r + grow, fill=colour)
    grain = 1 + 0.035 * noise(rng, 7, (24, 1)) + 0.02 * noise(rng, 3) + 0.025 * noise(rng, 80)
    return np.asarray(canvas) * grain[..., None]


def impasto(rng: Generator) -> np.ndarray:
    """Thick strokes of a loaded brush, turning in eddies, with every hair in relief."""
    colours = palette("102850 0a6074 28a096 fad664 f68232 d83246 78185a")
    heat = 0.3 * noise(rng, 260) + 0.7 * (Y / H - 0.5)
    flow = np.stack([np.ones((H, W)), 0.5 * noise(rng, 300)])
    for x, y, reach in rng.uniform((0, 0, 90), (W, H, 260), (9, 3)):
        away, way = np.hypot(X - x, Y - y), rng.choice([-1, 1])
        flow += way * 4 * np.exp(-away / reach) * np.stack([y - Y, X - x]) / (away + 9)
        heat += way * 0.5 * np.exp(-away / reach) * np.cos(away / 26)
    angle, everywhere = np.arctan2(flow[1], flow[0]), np.zeros((H, W), int)
    scene = np.clip(gradient(0.5 + 0.6 * heat, colours), 0, 255)
    canvas, height = Image.fromarray(scene.astype(np.uint8)), Image.new("L", (W, H), 60)
    paint, thickness = ImageDraw.Draw(canvas), ImageDraw.Draw(height)
    for spacing, length, wide in [(17, 420, 52), (13, 260, 34), (19, 130, 24)]:
        for line in streamlines(rng, angle, everywhere, spacing, length):
            x, y = line[len(line) // 2].astype(int)
            colour = scene[y, x] * rng.normal(1, 0.1) + rng.normal(0, 14, 3)
            width = wide * taper(len(line)) * rng.uniform(0.7, 1.1)
            for hair in np.linspace(-0.45, 0.45, 9):
                strand = ribbon(line + sides(line) * hair * width[:, None], width / 7)
                shade = np.clip(colour + rng.normal(0, 13), 0, 255).astype(int)
                paint.polygon(strand, fill=tuple(shade))
                thickness.polygon(strand, fill=int(rng.uniform(90, 250)))
    return np.asarray(canvas) * relief(5 * blur(np.asarray(height) / 255, 1.6), 0.55)


def main() -> None:
    """Draw every technique, each with its own seed."""
    techniques = [stained_glass, mosaic, woodcut, ink_wash, pointillism, cut_paper, waves, impasto]
    for seed, technique in enumerate(techniques):
        picture = Image.fromarray(np.clip(technique(np.random.default_rng(seed)), 0, 255).astype(np.uint8))
        path = STYLES / f"{technique.__name__.replace('_', '-')}.webp"
        picture.resize((W // 2, H // 2), Image.Resampling.LANCZOS).save(path, quality=85, method=6)


if __name__ == "__main__":
    main()
