"""Looking at a network in mid-training: what it computes then, and that it is left as it was."""

from __future__ import annotations

import pytest
import torch

from causalprune_lib.dynamics.recorder import undisturbed


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_undisturbed_uses_the_statistics_that_it_says(noisy, batch_statistics):
    model, x = noisy(), torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    model.body[1].running_mean += 3.0
    with undisturbed(model, batch_statistics=batch_statistics):
        seen = model(x)
    hidden = model.body[0](x)
    if batch_statistics:
        mean, variance = hidden.mean(0), hidden.var(0, unbiased=False)
    else:
        mean, variance = model.body[1].running_mean, model.body[1].running_var
    hidden = ((hidden - mean) / (variance + 1e-5).sqrt()).relu() / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(seen, model.head(hidden), atol=1e-5, rtol=1e-5)
    assert not seen.requires_grad
    with torch.autocast("cpu", torch.bfloat16), undisturbed(model):
        assert model(x).dtype == torch.float32


def test_undisturbed_restores_after_an_error(noisy):
    model = noisy()
    mean, state = model.body[1].running_mean, torch.get_rng_state()

    def look():
        with undisturbed(model):
            torch.rand(3)
            model.train()
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        look()
    assert model.body[1].running_mean is mean
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.frozen.training
    assert torch.is_grad_enabled()
