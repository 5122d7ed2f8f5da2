"""Games as functions of a coalition, and what attributions say of each feature."""

import numpy as np
import pytest

from causalprune_studies.ch11_explanations.shapley import exact_shapley, global_importance


def test_a_game_is_asked_for_every_coalition():
    asked = []

    def gloves(players):  # 0 has a left glove, 1 and 2 a right one each
        asked.append(players)
        return float(0 in players and len(players) > 1)

    np.testing.assert_allclose(exact_shapley(gloves, 3), [2 / 3, 1 / 6, 1 / 6])
    assert len(set(asked)) == len(asked) == 8


def test_worths_can_be_arrays():
    values = exact_shapley(lambda players: np.array([len(players), 2.0 * (0 in players)]), 3)
    np.testing.assert_allclose(values, [[1, 2], [1, 0], [1, 0]], atol=1e-12)
    with pytest.raises(ValueError, match="n must be at most 16"):
        exact_shapley(len, 17)


def test_global_importance_by_hand():
    values = np.array([[[1, 0], [-2, 4]], [[-3, 0], [0, 0]]], dtype=float)  # (2, 2, 2)
    np.testing.assert_allclose(global_importance(values), [1, 1.5])
    np.testing.assert_allclose(global_importance(values, normalise=True), [0.4, 0.6])
    assert global_importance(0 * values, normalise=True).tolist() == [0, 0]
