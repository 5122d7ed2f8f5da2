"""The masks that LEGCNet's authors published, and the trials that their tables show.

Paper: arXiv:2308.09955. The tables print one trial of five for each dataset, without saying which;
re-running with the published initial weights and masks tells.
"""

from __future__ import annotations

from causalprune_lib._validation import check_choice
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks
from causalprune_studies.paper_networks.settings import legcnet_settings
from causalprune_studies.tables import published


def published_masks(dataset: str, *, variant: str) -> list[Masks]:
    """The published masks of one dataset, one for each of the five trials.

    Parameters
    ----------
    dataset : {"cancer", "titanic", "banknote", "iris_csv", "iris3f"}
        None are published for vowel.
    variant : {"FT", "PT"}

    Returns
    -------
    list of Masks
        With the layers "fc1.weight" and "fc2.weight", as `SigmoidNetworks.model` names them.

    Examples
    --------
    >>> [mask.n - mask.n_kept for mask in published_masks("cancer", variant="FT")]
    [10, 6, 4, 4, 2]
    """
    table = published("legcnet_masks")
    names = table.row.str.split("/", expand=True)
    check_choice("dataset", dataset, names[0].unique())
    check_choice("variant", variant, ("FT", "PT"))
    d, h, k = legcnet_settings(dataset).sizes
    layout = ParameterLayout(("fc1.weight", "fc2.weight"), ((h, d), (k, h)))
    rows = table[(names[0] == dataset) & (names[1] == variant)]
    masks = []
    for _, cells in rows.groupby("row"):  # trials 1 to 5
        indices = cells.value[cells.unit == "flat index"].astype(int)
        masks.append(Masks.from_indices(layout, indices.tolist()))
    return masks


def published_trial(dataset: str, *, column: str) -> int | None:
    """The trial, from 1, that the tables print for a dataset; None where none gives that row.

    Parameters
    ----------
    dataset : str
        A name of `LEGCNET_SETTINGS`.
    column : {"DN", "LEGCNet-FT", "LEGCNet-PT"}
        Dense network or method.

    Examples
    --------
    >>> published_trial("titanic", column="DN"), published_trial("vowel", column="DN")
    (1, None)
    """
    dataset = legcnet_settings(dataset).dataset
    check_choice("column", column, ("DN", "LEGCNet-FT", "LEGCNet-PT"))
    table = published("legcnet_trials")
    found = table.value[(table.row == dataset) & (table.column == column)]
    return int(found.iloc[0]) if len(found) else None
