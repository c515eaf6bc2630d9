"""Mixup and cutmix as functions of keys: partner and weight depend on (seed, key, view), never on a batch."""

import math
from dataclasses import replace

import numpy as np

from stillroom.draw import uniforms
from stillroom.modalities.images.fields import CELLS, SHARES, Policy, View
from stillroom.modalities.images.samples import Sample
from stillroom.samples import Samples

FIRST = 24  # of the words of a (seed, key, view) that are kept for mixing: policies draw those before


def mixed(recipe: Policy, seed: int, samples: Samples, row: Sample, view: int, drawn: View) -> View:
    """A drawn view with what is mixed into it: the same view, as it is drawn unmixed, of another sample.

    Mixup (Zhang et al. 2018) blends with a weight of Beta(alpha, alpha); cutmix (Yun et al. 2019) puts a
    square of the partner with such a share of the area, its centre uniform. What stands over the border is
    cut off
    first: the share that is kept is the rectangle's true area. Corners lie on a grid of `CELLS` a side, so at
    every size that `CELLS` divides the share is that of the pixels too.

    Args:
        samples: the training samples; the partner is any other one of them, or of those of its fold
            (`Samples.fold`): then a cross-fitted teacher was fitted to neither.
        drawn: the sample's own view, unmixed.
    """
    if not recipe.mixes or len(samples) < 2:
        return drawn
    chance, which, other, weight, x, y = uniforms(seed, row.key, view, FIRST + 6)[FIRST:].tolist()
    if chance >= recipe.mixup_prob:
        return drawn
    position = samples.row_of(row.key)
    companions = samples.companions(position)
    if len(companions) < 2:
        return drawn
    number = math.floor(other * (len(companions) - 1))
    number += companions[number] >= position
    partner = int(companions[number])
    cuts = recipe.cutmix > 0 and (recipe.mixup == 0 or which < recipe.mixup_switch_prob)
    share = _beta(recipe.cutmix if cuts else recipe.mixup, weight)
    if not cuts:
        share = min(SHARES - 1, math.floor(SHARES * share))
        return replace(drawn, mix_partner=partner, mix_share=share) if share else drawn
    side = min(CELLS - 1, math.floor(CELLS * math.sqrt(share) + 0.5))
    x0, y0 = math.floor(CELLS * x) - side // 2, math.floor(CELLS * y) - side // 2
    x1, y1 = min(CELLS, x0 + side), min(CELLS, y0 + side)
    x0, y0 = max(0, x0), max(0, y0)
    share = (x1 - x0) * (y1 - y0) * SHARES // CELLS**2
    if not share:
        return drawn
    return replace(drawn, mix_partner=partner, mix_share=share, mix_cut=(x0, y0, x1, y1))


def _beta(alpha: float, u: float) -> float:
    """The value below which a share u of Beta(alpha, alpha) lies."""
    from scipy.special import betaincinv

    return float(betaincinv(alpha, alpha, u))


def blend(own: np.ndarray, partner: np.ndarray, view: View) -> np.ndarray:
    """Mix a partner's pixels into a view's, in whole numbers, rounded half up.

    Args:
        own, partner: uint8 [S, S, 3], rendered.
        view: whose `mix_share` and `mix_cut` count.

    Returns:
        uint8 [S, S, 3].
    """
    if any(view.mix_cut):
        size = len(own)
        x0, y0, x1, y1 = ((edge * size + CELLS // 2) // CELLS for edge in view.mix_cut)
        pasted = own.copy()
        pasted[y0:y1, x0:x1] = partner[y0:y1, x0:x1]
        return pasted
    share = np.int32(view.mix_share)
    summed = own.astype(np.int32) * (SHARES - share) + partner.astype(np.int32) * share
    return ((summed + SHARES // 2) >> 16).astype(np.uint8)
