"""A spectrum and a landscape in a few numbers, for the rows of `FlatMinima`."""

from __future__ import annotations

from causalprune_lib.diagnostics.density import SpectralDensity
from causalprune_lib.diagnostics.landscape import LossSurface


def spectrum_summary(density: SpectralDensity) -> dict[str, float]:
    """Three numbers of a spectrum: is this a minimum, and in how many directions does it bend?

    `lowest`: the lowest node. `negative`: the part of sum |lambda| that negative eigenvalues make
    up; zero at a minimum. `near_zero`: the share of eigenvalues within 1% of the largest, on either
    side of zero.
    """
    sizes = density.weights * density.nodes.abs()
    below = density.nodes < 0
    near = 0.01 * float(density.nodes[-1])
    return {
        "lowest": float(density.nodes[0]),
        "negative": float(sizes[below].sum() / sizes.sum()),
        "near_zero": density.mass_within(-near, near),
    }


def landscape_summary(surface: LossSurface) -> dict[str, float]:
    """How much log(1 + loss) rises around the network: the mean over the plane, less the centre.

    `rise` is over the whole plane, `rise_half` where neither direction goes more than half as far.
    The plane must have a point in its middle.
    """
    log_loss = surface.log_loss
    centre = log_loss[len(surface.alphas) // 2, len(surface.betas) // 2]
    near = [axis.abs() <= 0.5 * axis.abs().max() + 1e-9 for axis in (surface.alphas, surface.betas)]
    half = log_loss[near[0]][:, near[1]]
    return {"rise": float(log_loss.mean() - centre), "rise_half": float(half.mean() - centre)}
