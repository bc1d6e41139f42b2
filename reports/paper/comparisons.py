"""The paper's claims, as comparisons of accuracies on the same images."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

NOISE = ("gaussian_noise", "shot_noise", "impulse_noise")
MODELS = ("vanilla", "blur", "tv_layer", "virolbi_fixed", "virolbi_iterative")
"""The defenses of the paper's Table 1."""
OURS = ("virolbi_fixed", "virolbi_iterative")
HIGH_LEVELS = ("virolbi_fixed:level=0.8", "virolbi_fixed:level=0.9")
EPSILON = "8/255"
MORE, LESS = (0.0, math.inf), (-math.inf, 0.0)
WITHIN_A_POINT = (-0.01, 0.01)


class Side(NamedTuple):
    """One side of a comparison: the mean accuracy of a defense."""

    defense: str
    suite: str
    conditions: tuple[str, ...] = ()
    """The mean is over these conditions of the suite; () stands for all."""
    preprocessed: bool = False
    threat: str = ""


class Comparison(NamedTuple):
    """The claim that the difference between two sides lies within bounds."""

    text: str
    first: Side
    second: Side
    bounds: tuple[float, float] = MORE
    """Of first − second, as shares."""


class Claim(NamedTuple):
    """A claim of the paper; it holds when all of its comparisons do."""

    text: str
    comparisons: tuple[Comparison, ...]
    needs: str
    """What to run for it: options of `run`."""


def _preprocessing_lifts(model: str) -> Comparison:
    noisy = Side(model, "corruption", NOISE)
    return Comparison(f"{model}: with − without", noisy._replace(preprocessed=True), noisy)


def _beats_on(noise: str, ours: str, peer: str) -> Comparison:
    scored = Side(ours, "corruption", (noise,), preprocessed=True)
    return Comparison(f"{noise}: {ours} − {peer}", scored, scored._replace(defense=peer))


def _against(first: str, second: str, scored: Side, bounds: tuple[float, float] = MORE) -> Comparison:
    sides = scored._replace(defense=first), scored._replace(defense=second)
    return Comparison(f"{first} − {second}", *sides, bounds)


def _robust_gain(model: str, threat: str) -> Comparison:
    plain = Side(model, "adversarial", threat="bare")
    return Comparison(f"{model}: with − without", plain._replace(preprocessed=True, threat=threat), plain)


_NOISY = Side("", "corruption", NOISE)
_LOW = Side("", "frequency", ("low r=6",))
CLAIMS = (
    Claim(
        "1. preprocessing lifts every model on noise",
        tuple(map(_preprocessing_lifts, MODELS)),
        f"--suite corruption --defense {','.join(MODELS)}",
    ),
    Claim(
        "2. preprocessed, Fix and Iterative beat Vanilla, Blur and TV layer on shot and impulse noise",
        tuple(
            _beats_on(*names)
            for names in itertools.product(("shot_noise", "impulse_noise"), OURS, ("vanilla", "blur", "tv_layer"))
        ),
        f"--suite corruption --defense {','.join(MODELS)}",
    ),
    Claim(
        "3. without preprocessing, Fix and Iterative lose to Vanilla on noise",
        tuple(_against(ours, "vanilla", _NOISY, LESS) for ours in OURS),
        f"--suite corruption --defense vanilla,{','.join(OURS)}",
    ),
    Claim(
        "4. clean accuracy of training at level 0.8 and above is within 1 point of Vanilla's",
        tuple(_against(level, "vanilla", Side("", "clean"), WITHIN_A_POINT) for level in HIGH_LEVELS),
        f"--suite clean --defense vanilla,{','.join(HIGH_LEVELS)}",
    ),
    Claim(
        "5. Fix and Iterative beat Vanilla at low resolution",
        tuple(_against(ours, "vanilla", Side("", "low_resolution")) for ours in OURS),
        f"--suite low_resolution --defense vanilla,{','.join(OURS)}",
    ),
    Claim(
        "6. Vanilla < Fix < Blur on low-frequency components",
        (_against("virolbi_fixed", "vanilla", _LOW), _against("blur", "virolbi_fixed", _LOW)),
        "--suite frequency --defense vanilla,blur,virolbi_fixed",
    ),
    Claim(
        "7. preprocessing raises robustness to bare attacks",
        tuple(_robust_gain(model, "bare") for model in MODELS),
        f"--suite adversarial --defense {','.join(MODELS)}",
    ),
    Claim(
        "7. and to adaptive attacks: what is left of it",
        tuple(_robust_gain(model, "adaptive") for model in MODELS),
        f"--suite adversarial --defense {','.join(MODELS)}",
    ),
)
"""In the paper's order. Robust means correct under every attack of a threat model at ε = 8/255."""
