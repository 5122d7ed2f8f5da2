"""Random numbers by seed: repeatable, apart from each other, the global generators untouched."""

import pytest
import torch

from causalprune_lib._random import own_stream, seeded


def test_seeded_repeats_and_leaves_the_global_generator_alone_even_after_an_error():
    state, drawn = torch.get_rng_state(), []

    def draw_and_stop():
        with seeded(3):
            drawn.append(torch.rand(4))
            raise ValueError("stop")

    for _ in range(2):
        with pytest.raises(ValueError, match="stop"):
            draw_and_stop()
    assert torch.equal(*drawn)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_stream_of_ones_own_repeats_neither_another_nor_the_initial_weights():
    def drawn(generator: torch.Generator) -> torch.Tensor:
        return torch.rand(100, generator=generator)

    masks = drawn(own_stream(0, "masks"))
    assert torch.equal(masks, drawn(own_stream(0, "masks")))
    for other in (
        own_stream(1, "masks"),
        own_stream(0, "orders"),
        torch.Generator().manual_seed(0),
    ):
        assert not torch.isin(masks, drawn(other)).any()
    with pytest.raises(ValueError, match="seed must be >= 0; got -1"):
        own_stream(-1, "masks")
