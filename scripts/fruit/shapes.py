"""Kinds of fruit as layers: the place, height and colour of each body.

Each kind is a function from a `View` (one photo's coordinates and random generator) to `Layer`s, back to
front; `draw` lights and saves them. The origin of the coordinates is the fruit's middle, x points right, y
points down, and 1 is about half the fruit's size.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Plane = npt.NDArray[Any]  # float32, one number a pixel (H, W); colours are (3, H, W), plain ones (3, 1, 1)
Point = tuple[float, float]


class Layer(NamedTuple):
    """A body: `inside` is about the distance to its edge, above 0 on it; `height` rises to the viewer."""

    inside: Plane
    height: Plane
    colour: Plane
    gloss: float = 0.3


class View(NamedTuple):
    """The fruit's own coordinates of every pixel, and the photo's random generator."""

    x: Plane
    y: Plane
    rng: np.random.Generator

    def uniform(self, low: float, high: float) -> float:
        """Return one random number in the range."""
        return self.rng.uniform(low, high)

    def patches(self, cells: int) -> Plane:
        """Return smooth noise with about `cells` patches a side, mostly within -1 and 1."""
        coarse = Image.fromarray(self.rng.normal(0, 0.6, (cells, cells)).astype(np.float32))
        return np.asarray(coarse.resize(self.x.shape[::-1], Image.Resampling.BICUBIC))

    def streaks(self, position: Plane) -> Plane:
        """Return noise that depends only on `position` (within -130 and 130) and changes once a unit."""
        table = np.interp(np.arange(0, 261, 0.125), np.arange(262), self.rng.normal(0, 0.5, 262))
        return np.take(table.astype(np.float32), ((position + 130) * 8).astype(np.int32), mode="clip")

    def seeds(self, pitch: float, wobble: float) -> tuple[Plane, Plane, Plane]:
        """Return each pixel's offsets from its seed, across and down, and the seed's number.

        The seeds are staggered, and denser to the edge.
        """
        bend = (1.4 - 0.4 * dome(np.hypot(self.x, self.y))) / pitch
        v = self.y * bend + self.uniform(0, 9) + wobble * self.patches(12)
        row = np.round(v)
        u = self.x * bend + self.uniform(0, 9) + wobble * self.patches(12) + (row / 2 - np.floor(row / 2))
        return (u - np.round(u)) * pitch, (v - row) * pitch, row * 37 + np.round(u) * 11


def ink(code: str) -> Plane:
    """Return a colour, given as six hexadecimal digits, as three numbers from 0 to 1."""
    return np.frombuffer(bytes.fromhex(code), np.uint8).astype(np.float32).reshape(3, 1, 1) / 255


def mix(under: Plane, over: str, amount: Plane) -> Plane:
    """Return a colour under an ink of this amount a pixel, which is clipped to 0..1."""
    return np.asarray(under + (ink(over) - under) * np.clip(amount, 0, 1))


def ramp(start: float, end: float, value: Plane) -> Plane:
    """Return 0 before `start`, 1 after `end`, and a straight line between; `end` may be the smaller one."""
    return np.clip((value - start) / (end - start), 0, 1)


def dome(radius: Plane) -> Plane:
    """Return the height of a ball of radius 1 at a distance from its axis."""
    return np.asarray(np.sqrt(np.maximum(1 - radius * radius, 0)))


def lathe(view: View, width: Plane) -> tuple[Plane, Plane]:
    """Return the inside and the height of a profile, a half width for each y, turned about the y axis."""
    return width - np.abs(view.x), np.sqrt(np.clip(width**2 - view.x**2, 0, None))


def stalk(view: View, start: Point, end: Point, bend: float, colour: str) -> Layer:
    """Draw a bent stem from `start`, its thick end, down to `end`."""
    along = ramp(start[1], end[1], view.y)
    x = view.x - start[0] - (end[0] - start[0]) * along - bend * along * (1 - along)
    width = 0.035 + 0.03 * (1 - along) ** 4
    off = np.hypot(x, view.y - start[1] - (end[1] - start[1]) * along)
    return Layer(width - off, dome(off / width) * width, ink(colour), 0.1)


def apple(view: View, skin: str, blush: str, cover: tuple[float, float]) -> list[Layer]:
    """Draw a round body with a dimple and a stem, the blush running down it in streaks."""
    bearing = np.arctan2(view.x, -view.y)
    edge = 0.86 - 0.13 * np.exp(-4 * bearing**2) + 0.03 * np.cos(2 * bearing + 1.6)
    radius = np.hypot(view.x, view.y) / (edge - 0.05 * np.exp(-6 * (np.pi - np.abs(bearing)) ** 2))
    hollow = np.exp(-11 * view.x**2 - 39 * (view.y + 0.72) ** 2)
    streaks = 0.35 * view.streaks(np.arctan2(view.x, view.y + 1.15) * 45) + 0.5 * view.patches(4)
    colour = mix(ink(skin), blush, view.uniform(*cover) + streaks - 0.8 * hollow)
    body = Layer((1 - radius) * 0.8, 0.8 * dome(radius) - 0.2 * hollow, colour, 0.5)
    return [body, stalk(view, (view.uniform(-0.2, 0.2), -1.02), (0, -0.62), 0.1, "5b3d20")]


def avocado_half(view: View) -> list[Layer]:
    """Draw a cut avocado: dark skin, flesh from green to yellow, a round stone."""
    t, size = view.y / 0.95, view.uniform(0.27, 0.33)
    inside, _ = lathe(view, 0.53 * dome(t) * (1 + 0.36 * t - 0.1 * t**2))
    stone = np.hypot(view.x, view.y - 0.3) / size
    colour = mix(ink("26361c"), "8fae3a", ramp(0.035, 0.075, inside))
    colour = mix(colour, "eee39a", ramp(0.06, 0.26, inside + 0.02 * view.patches(8)))
    flesh = Layer(inside, 0.12 * ramp(0, 0.08, inside), mix(colour, "a98f4a", ramp(1.15, 1.09, stone)), 0.15)
    bark = mix(ink("7a4320"), "4a2410", 0.5 + view.patches(9))
    return [flesh, Layer((1 - stone) * size, dome(stone) * size, bark, 0.5)]


def banana(view: View) -> list[Layer]:
    """Draw a bent yellow body with edges along it, dark at both ends, brown flecks."""
    x, y = view.x, view.y + 0.62
    bend, off = np.arctan2(x, y) / 1.02, np.hypot(x, y) - 0.95
    width = 0.25 * np.clip(1 - np.abs(bend) ** 3.2, 0, None) ** 0.6
    width = np.maximum(width, np.float32(0.055) * ((bend > 0.8) & (bend < 1.17)))
    side = np.clip(off / np.maximum(width, 0.02), -1, 1)
    flecks = ramp(0.75, 1.0, view.patches(30) + 0.35 * view.patches(6)) * view.uniform(0, 0.9)
    colour = mix(mix(ink("f3cf2e"), "6a4316", flecks), "a9b23a", ramp(0.6, 0.95, bend) * view.uniform(0.3, 1))
    colour = mix(colour, "3c2a14", np.maximum(ramp(0.93, 0.99, -bend), ramp(1.08, 1.15, bend)))
    return [Layer(width - np.abs(off), width * (dome(side) - 0.07 * np.abs(side + 0.3)), colour, 0.12)]


def berry(view: View, taper: float, skin: tuple[str, str], pitch: float, drupelets: bool) -> list[Layer]:
    """Draw a tapered body under a green star: with yellow seeds in pits, or all of shining drupelets."""
    t = view.y / 0.9
    inside, height = lathe(view, 0.7 * dome(t) * (1 - taper * t))
    across, down, number = view.seeds(pitch, 0.1)
    off = np.hypot(across, down)
    bump = dome(off / (0.56 * pitch)) if drupelets else ramp(0.02, 0.07, off)
    colour = mix(ink(skin[0]), skin[1], bump + 0.2 * np.sin(number) + 0.2 * view.patches(6))
    colour = mix(colour, "f3cf6a", (not drupelets) * ramp(1.1, 0.8, np.hypot(across, down * 0.66) / 0.025))
    body = Layer(inside, height * 0.9 + (0.12 if drupelets else 0.035) * bump, colour, 0.45)
    x, y = view.x, (view.y + 0.8) * 1.9
    star = np.hypot(x, y) / (0.3 + 0.35 * np.abs(np.cos(3.5 * np.arctan2(y, x) + view.uniform(0, 3))))
    return [body, Layer(0.3 * (1 - star), 0.1 * (1 - star), mix(ink("2f6b22"), "7dae45", star), 0.15)]


def blueberry(view: View) -> list[Layer]:
    """Draw a dark blue ball with a pale bloom and a five-pointed crown."""
    radius = np.hypot(view.x, view.y) / 0.9
    x, y = view.x - view.uniform(-0.2, 0.2), view.y + view.uniform(0.05, 0.4)
    star = np.hypot(x, y) / (0.27 + 0.1 * np.cos(5 * np.arctan2(y, x) + view.uniform(0, 6)))
    colour = mix(ink("28305e"), "7486b8", 0.4 + 0.5 * view.patches(6) + 0.2 * view.patches(25))
    colour = mix(mix(colour, "10142c", ramp(1.0, 0.8, star)), "4a4258", ramp(0.55, 0.4, star))
    height = 0.9 * dome(radius) + 0.09 * np.exp(-16 * (star - 1.1) ** 2)
    return [Layer((1 - radius) * 0.9, height, colour, 0.12)]


def cherry(view: View) -> list[Layer]:
    """Draw two dark red balls on stems that meet."""
    layers = []
    for middle, bend in ((-0.45, -0.25), (0.45, 0.2)):
        size, low = view.uniform(0.4, 0.45), view.uniform(0.4, 0.52)
        x, y = view.x - middle, view.y - low
        height = size * dome(np.hypot(x, y) / size) - 0.1 * np.exp(-51 * x**2 - 204 * (y + 0.36) ** 2)
        skin = mix(ink("8c0a1c"), "c8202a", 0.4 + 0.7 * view.patches(4))
        stem = stalk(view, (0.03, -0.95), (middle, low - 0.34), bend, "6f7f2c")
        layers += [Layer(size - np.hypot(x, y), height, skin, 0.9), stem]
    return layers


def citrus(view: View, skin: tuple[str, str], plump: float, tip: float, stem: float) -> list[Layer]:
    """Draw a ball or, with tips, a spindle in dimpled peel; `stem` shows the button of the stem."""
    across, down, number = view.seeds(0.075, 0.4)
    pore = ramp(0.04, 0.0, np.hypot(across, down)) * (0.7 + 0.3 * np.sin(number))
    tips = tip * np.clip(1 - np.abs(view.y) / 0.98, 0, None) ** 0.45
    inside, height = lathe(view, np.maximum(plump * view.uniform(0.95, 1.05) * dome(view.y / 0.86), tips))
    button = np.hypot(view.x - view.uniform(-0.35, 0.35), view.y + view.uniform(0.2, 0.6))
    colour = mix(ink(skin[0]), skin[1], 0.5 * pore + 0.4 * view.patches(4))
    colour = mix(colour, "6d6a2a", stem * ramp(0.09, 0.06, button))
    return [Layer(inside, height - 0.015 * pore - 0.06 * stem * np.exp(-44 * button**2), colour)]


def grape(view: View) -> list[Layer]:
    """Draw a bunch: balls in rows that narrow downwards, some nearer than others."""
    inside, front, shade = (np.full_like(view.x, value) for value in (-1, 0, 0))
    rows = enumerate((4, 5, 4, 3, 2, 1))
    for across, down in ((place - (count - 1) / 2, row) for row, count in rows for place in range(count)):
        x = view.x - 0.33 * across - view.uniform(-0.04, 0.04)
        y = view.y + 0.58 - 0.27 * down - view.uniform(-0.03, 0.03)
        bulge = view.uniform(0.19, 0.22) ** 2 - x * x - y * y
        height = np.sqrt(np.maximum(bulge, 0)) + view.uniform(0.05, 0.3) * (bulge > 0)
        shade += (view.uniform(0, 0.6) - shade) * (height > front)
        front, inside = np.maximum(front, height), np.maximum(inside, bulge * 2.5)
    colour = mix(ink("5a1440"), "a8487c", shade + 0.3 * view.patches(20))
    return [stalk(view, (0.08, -1.1), (0, -0.5), 0.1, "7a6a30"), Layer(inside, front, colour, 0.45)]


def kiwi_cut(view: View) -> list[Layer]:
    """Draw a cut kiwi: brown skin, green flesh with rays, black seeds around a pale heart."""
    radius = np.hypot(view.x, view.y * 1.1) / (0.9 + 0.012 * view.patches(12))
    bearing = np.arctan2(view.y * 1.1, view.x) * 10
    rays, spoke = view.streaks(bearing), np.round(bearing / 1.745)
    colour = mix(ink("7fb32a"), "b6d65a", 0.3 + rays * ramp(0.2, 0.4, radius) + 0.3 * view.patches(20))
    colour = mix(colour, "eef0c4", ramp(0.3, 0.2, radius + 0.03 * rays))
    seed = np.hypot((bearing - spoke * 1.745) / 0.5, (radius - 0.44 - 0.08 * np.sin(spoke * 5)) / 0.055)
    colour = mix(mix(colour, "1c140e", ramp(1.1, 0.8, seed)), "6b4a26", ramp(0.93, 0.955, radius))
    return [Layer((1 - radius) * 0.9, 0.1 * ramp(1, 0.94, radius), colour, 0.12)]


def pear(view: View) -> list[Layer]:
    """Draw a yellow-green body with a neck, russet freckles and a stem."""
    t = view.y / 0.85
    inside, height = lathe(view, dome(t) * (0.47 + 0.2 * np.tanh(2.4 * t - 0.12) + 0.05 * t))
    across, down, _ = view.seeds(0.11, 0.5)
    colour = mix(ink("c9c83e"), "a08a2a", 0.25 + 0.5 * view.patches(4) + view.uniform(0, 0.3) * view.x)
    colour = mix(colour, "6d5420", 0.7 * ramp(0.02, 0.01, np.hypot(across, down)))
    stem = stalk(view, (view.uniform(-0.1, 0.1), -1.08), (0, -0.76), 0.1, "4d3a1c")
    return [stem, Layer(inside, height, colour)]


def pineapple(view: View) -> list[Layer]:
    """Draw an ochre barrel of diamonds, each with a dark eye, under a crown of leaves."""
    crown = np.full_like(view.x, -1)
    for angle in (-1.0, 1.0, -0.7, 0.7, -0.35, 0.35, -0.12, 0.14):
        lean, reach = (
            np.float32(angle + view.uniform(-0.1, 0.1)),
            view.uniform(0.6, 0.75) * (1 - 0.3 * abs(angle)),
        )
        along = (view.x * np.sin(lean) - (view.y + 0.3) * np.cos(lean)) / reach
        across = view.x * np.cos(lean) + (view.y + 0.3) * np.sin(lean) - 0.12 * lean * along**2
        crown = np.maximum(crown, 0.13 * np.clip(1 - along, 0, 1) * ramp(-0.2, 0.1, along) - np.abs(across))
    leaves = Layer(crown, crown, mix(ink("8cad58"), "24521f", 10 * crown + 0.4 * view.patches(9)), 0.15)
    inside, height = lathe(view, 0.5 * dome(np.clip((view.y - 0.32) / 0.66, -1, 1) ** 2))
    around = np.arcsin(np.clip(view.x / 0.53, -1, 1)) * 2.4
    u, v = around + 3.6 * view.y + view.uniform(0, 1), around - 3.6 * view.y
    edge = 2 * np.maximum(np.abs(u - np.round(u)), np.abs(v - np.round(v)))
    colour = mix(ink("c98a24"), "5b4a1c", ramp(0.65, 0.95, edge) + 0.3 * view.patches(12))
    colour = mix(colour, "4a2c10", ramp(0.35, 0.15, edge))
    return [leaves, Layer(inside, height + 0.05 * (1 - edge**2), colour, 0.2)]


def watermelon_slice(view: View) -> list[Layer]:
    """Draw a half disc: striped green rind, a pale band, red flesh with black seeds."""
    y = view.y + 0.42
    radius = np.hypot(view.x, y) / 0.95
    across, down, number = view.seeds(0.24, 0.1)
    seed = np.hypot(across + 0.03 * np.sin(number), (down + 0.03 * np.cos(number)) * 0.65) / 0.036
    colour = mix(ink("e2253a"), "f4606a", 0.4 + 0.4 * view.patches(12) + 0.2 * view.patches(40))
    colour = mix(colour, "20100c", ramp(1.1, 0.85, seed) * (radius < 0.76) * (y > 0.1))
    colour = mix(mix(colour, "e8efc0", ramp(0.8, 0.86, radius)), "1d5a26", ramp(0.9, 0.92, radius))
    stripes = ramp(-0.2, 0.2, np.sin(np.arctan2(view.x, y) * 16 + 3 * view.patches(4)))
    colour = mix(colour, "6ea845", stripes * ramp(0.9, 0.92, radius))
    return [Layer(np.minimum((1 - radius) * 0.95, y), 0.1 * ramp(1, 0.9, radius), colour, 0.1)]
