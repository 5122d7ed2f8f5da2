"""Using `CausalScores`: other loops, noise, resuming, saving, and errors that say what is wrong."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from causalprune_lib.causality.scores import CausalScores, solver_step_sizes

STEPS = 12


class Noisy(nn.Module):
    """Batch normalisation and dropout around two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def noisy() -> Noisy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Noisy()


def batches(steps: int = STEPS):
    noise = torch.Generator().manual_seed(1)
    return [
        (torch.randn(16, 4, generator=noise), torch.randint(3, (16,), generator=noise))
        for _ in range(steps)
    ]


def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(model(x), y)


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def step(model, optimizer, scores, x, y) -> float:
    if scores is not None and scores.loss == "same_batch":
        scores.batch(x, y)
    optimizer.zero_grad()
    loss = loss_of(model, x, y)
    loss.backward()
    if scores is not None and scores.loss == "two_batch":
        scores.log(loss=loss)
    optimizer.step()
    return loss.item()


def options_of(loss: str) -> dict:
    return {"loss": loss, "n_steps": STEPS, "probe": loss_of if loss == "same_batch" else None}


def run(model: nn.Module, scores=None, steps=None) -> list:
    """Train with momentum under a fixed random state; losses and the state that is left."""
    optimizer = sgd(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        losses = [step(model, optimizer, scores, x, y) for x, y in steps or batches()]
        return [*losses, torch.rand(()).item()]


@pytest.mark.parametrize("loss", ["two_batch", "same_batch"])
def test_batch_norm_dropout_random_state_and_modes_are_untouched(loss):
    plain, watched = noisy(), noisy()
    losses = run(plain)

    def probe(model, x, y):
        assert not any(m.training for m in model.modules())
        return loss_of(model, x, y) + 0 * torch.rand(())

    with CausalScores(watched, **{**options_of(loss), "probe": probe}) as scores:
        if loss == "two_batch":  # a probe in place of the logged losses

            class Probed:
                loss = "same_batch"
                batch = staticmethod(scores.batch)

            assert run(watched, Probed) == losses
        else:
            assert run(watched, scores) == losses
    assert scores.n_recorded == STEPS - (loss == "two_batch")
    mine, theirs = watched.state_dict(), plain.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert mine["body.1.num_batches_tracked"] == STEPS
    assert [m.training for m in watched.modules()] == [m.training for m in plain.modules()]


def test_the_two_batch_loss_with_a_probe_takes_one_look_per_step():
    model, calls = noisy(), []

    def probe(model, x, y):
        calls.append(1)
        return loss_of(model, x, y)

    with CausalScores(model, n_steps=STEPS, probe=probe) as scores:
        optimizer = sgd(model)
        for x, y in batches():
            scores.batch(x, y)
            step(model, optimizer, None, x, y)
    assert len(calls) == STEPS
    assert scores.n_recorded == STEPS - 1


def test_without_noise_a_step_of_size_zero_has_no_same_batch_change():
    model = noisy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with CausalScores(model, **options_of("same_batch")) as scores:
        for x, y in batches():
            step(model, optimizer, scores, x, y)
    assert scores.n_recorded == STEPS
    assert all(bool((s == 0).all()) for s in scores.sums.values())
    assert set(scores.alpha_ratio(1e-3).values()) == {math.inf}
    with pytest.raises(
        ValueError, match=r"alpha must be below alpha_max.*'body\.0\.weight' with 0"
    ):
        scores.support(1e-30)


@pytest.mark.parametrize("loss", ["two_batch", "same_batch"])
@pytest.mark.parametrize("form", ["vanilla", "momentum_paper"])
@pytest.mark.parametrize("stop", [1, 5])
@pytest.mark.filterwarnings("ignore:only .* of the .* announced")
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, loss, form, stop):
    options = {**options_of(loss), "form": form}
    whole = noisy()
    with CausalScores(whole, **options) as expected:
        run(whole, expected)

    model = noisy()
    optimizer = sgd(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        with CausalScores(model, **options) as first:
            for x, y in batches()[:stop]:
                step(model, optimizer, first, x, y)
            first.save(tmp_path / "scores.pt")
            saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
            noise = torch.get_rng_state()
            for x, y in batches()[stop : stop + 2]:  # and then it is killed
                step(model, optimizer, first, x, y)

        other = noisy()  # as in another process
        optimizer = sgd(other)
        other.load_state_dict(saved[0])
        optimizer.load_state_dict(saved[1])
        torch.set_rng_state(noise)
        with CausalScores(other, **options).load(tmp_path / "scores.pt") as resumed:
            for x, y in batches()[stop:]:
                step(other, optimizer, resumed, x, y)
    assert (
        resumed.n_recorded
        == expected.n_recorded
        == STEPS - (loss == "two_batch") - (form != "vanilla")
    )
    assert resumed.total_step == expected.total_step
    for feature, sums in expected.feature_sums().items():
        for name, values in sums.items():
            assert torch.equal(resumed.feature_sums()[feature][name], values)
    assert torch.equal(resumed.movement["head.weight"], expected.movement["head.weight"])


def test_saved_scores_can_be_read_without_going_on(tmp_path):
    model = noisy()
    with CausalScores(model, correlation=True, **options_of("two_batch")) as scores:
        run(model, scores)
    scores.save(tmp_path / "scores.pt")
    read = CausalScores(model, correlation=True, **options_of("two_batch"))
    read.load(tmp_path / "scores.pt")
    for kind in ("released", "movement", "correlation"):
        for name, values in scores.scores(kind).items():
            assert torch.equal(read.scores(kind)[name], values)
    assert read.alpha_max == scores.alpha_max


def test_a_failing_save_leaves_the_old_file(tmp_path, monkeypatch):
    model = noisy()
    with CausalScores(model, **options_of("two_batch")) as scores:
        run(model, scores)
        scores.save(tmp_path / "scores.pt")
        old = (tmp_path / "scores.pt").read_bytes()

        def full(state, path):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left"):
            scores.save(tmp_path / "scores.pt")
    assert (tmp_path / "scores.pt").read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["scores.pt"]


def test_the_room_is_checked_before_anything_is_written(tmp_path, monkeypatch):
    model = noisy()
    room = "causalprune_lib._memory"
    with CausalScores(model, **options_of("two_batch")) as scores:
        run(model, scores)
        monkeypatch.setattr(f"{room}.available_disk", lambda path: 10)
        with pytest.raises(OSError, match=r"Saving causal scores needs 1\.12 kB"):
            scores.save(tmp_path / "scores.pt")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(f"{room}.available_memory", lambda: 10)
    with (
        pytest.raises(MemoryError, match=r"scores of 56 weights needs 1\.12 kB"),
        CausalScores(model, **options_of("two_batch")),
    ):
        pass


def test_a_state_of_something_else_is_refused():
    model = noisy()
    with CausalScores(model, **options_of("two_batch")) as scores:
        run(model, scores)
    state = scores.state_dict()
    for options, message in (
        (options_of("same_batch"), r"loss='same_batch'; got 'two_batch'"),
        ({"n_steps": STEPS + 1}, r"same step sizes \(n_steps\); these are T = 12, those T = 11"),
        ({"step_sizes": "constant"}, r"these are ones, those T = 11"),
        ({"n_steps": STEPS, "correlation": True}, "correlation=True; got False"),
        ({"n_steps": STEPS + 1, "form": "momentum"}, "form='momentum'; got 'vanilla'"),
    ):
        with pytest.raises(ValueError, match=message):
            CausalScores(model, **options).load_state_dict(state)
    with pytest.raises(ValueError, match="model with the same layers, of the same shapes"):
        CausalScores(nn.Linear(4, 3), n_steps=STEPS).load_state_dict(state)
    with pytest.raises(RuntimeError, match="needs fresh CausalScores"):
        scores.load_state_dict(state)
    other = CausalScores(noisy(), n_steps=STEPS)  # the weights of another moment
    other.load_state_dict(state)
    with pytest.raises(ValueError, match="must hold the weights at which the scores were saved"):
        other.__enter__()


def test_one_more_loss_finishes_the_last_update():
    steps = batches()
    for sizes, booked in (("constant", STEPS), (solver_step_sizes(STEPS), STEPS)):
        model = noisy()
        with CausalScores(model, step_sizes=sizes) as scores:
            run(model, scores, steps)
            scores.log(loss=0.25)
        assert scores.n_recorded == booked
        assert scores.n_unfinished == 0
    model = noisy()
    with CausalScores(model, n_steps=STEPS) as scores:  # as released: T = STEPS - 1
        run(model, scores, steps)
        scores.log(loss=0.25)
    assert scores.n_recorded == STEPS - 1
    assert scores.n_unfinished == 1


@pytest.mark.parametrize("loss", ["two_batch", "same_batch"])
def test_more_or_fewer_steps_than_announced(loss):
    planned = STEPS - (loss == "two_batch")
    model = noisy()
    with (
        pytest.warns(UserWarning, match=f"3 updates came after the {planned - 3} announced"),
        CausalScores(model, **{**options_of(loss), "n_steps": STEPS - 3}) as scores,
    ):
        run(model, scores)
    assert (scores.n_recorded, scores.n_late) == (planned - 3, 3)
    model = noisy()
    with (
        pytest.warns(UserWarning, match=f"only {planned} of the {planned + 2} announced"),
        CausalScores(model, **{**options_of(loss), "n_steps": STEPS + 2}) as scores,
    ):
        run(model, scores)
    assert scores.n_recorded == planned


def test_the_last_of_several_losses_before_a_step_counts():
    """Gradient accumulation: two batches, then a step."""
    sums = []
    for noise in (0.0, 9.0):
        model = noisy()
        with CausalScores(model, step_sizes="constant") as scores:
            for t in range(6):
                scores.log(loss=noise)
                scores.log(loss=0.5**t)
                with torch.no_grad():
                    model.head.weight.add_(0.1)
                scores.step()
        sums.append(scores.sums["head.weight"])
    assert torch.equal(*sums)
    torch.testing.assert_close(sums[0], torch.full((3, 8), 0.01 * (0.5**5 - 1)))


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_gradient_scaler_skips_is_none(fused):
    model = noisy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with CausalScores(model, step_sizes="constant") as scores:
        for t, (x, y) in enumerate(batches()):
            loss = loss_of(model, x, y) * (math.inf if t in (0, 4) else 1.0)
            scores.log(loss=loss)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    assert scores.n_recorded == STEPS - 2 - 1
    assert scores.n_dropped == 0


def test_only_the_named_optimizer_counts():
    model = noisy()
    body, head = sgd(model.body), sgd(model.head)
    with CausalScores(model, n_steps=STEPS, optimizer=head) as scores:
        for x, y in batches():
            loss = loss_of(model, x, y)
            loss.backward()
            scores.log(loss=loss)
            body.step()
            head.step()
    assert scores.n_recorded == STEPS - 1


def test_a_block_without_steps_or_losses_says_so():
    model = noisy()
    with (
        pytest.warns(UserWarning, match="No optimizer step of this model was seen"),
        CausalScores(model, n_steps=STEPS) as scores,
    ):
        pass
    with pytest.raises(RuntimeError, match=r"No update is recorded.*0 updates were dropped"):
        scores.support(1.0)
    with (
        pytest.warns(UserWarning, match=r"11 of 11 updates.*log\(loss=\.\.\.\) before each step"),
        CausalScores(model, n_steps=STEPS) as scores,
    ):
        run(model, None)
    for read in (scores.scores, lambda: scores.sums, lambda: scores.alpha_max):
        with pytest.raises(RuntimeError, match=r"No update is recorded.*11 updates were dropped"):
            read()


def test_an_error_in_the_block_passes_and_the_steps_stay():
    model = noisy()
    scores = CausalScores(model, n_steps=STEPS)

    def stopped() -> None:
        with scores:
            run(model, scores, batches()[:5])
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        stopped()
    assert scores.n_recorded == 4
    run(model)  # no longer heard
    assert scores.n_recorded == 4


def test_a_model_that_changed_is_noticed():
    model = noisy()
    with CausalScores(model, n_steps=STEPS) as scores:
        run(model, scores)
    head, model.head = model.head, nn.Linear(8, 2)
    with pytest.raises(ValueError, match=r"'head.weight' must have shape \(3, 8\); got \(2, 8\)"):
        scores.support(1e-9)
    model.head = nn.Identity()
    with pytest.raises(ValueError, match=r"must have the parameter 'head\.weight'"):
        _ = scores.sums
    model.head = head
    assert scores.movement["head.weight"].shape == (3, 8)

    model = noisy()
    with CausalScores(model, step_sizes="constant") as scores:
        run(model, scores)
        model.head = nn.Linear(8, 3)
    with pytest.raises(ValueError, match=r"parameters of head\.weight were replaced in the block"):
        scores.scores()


def test_weights_that_overflow_under_a_finite_loss_are_named():
    model = noisy()
    with CausalScores(model, step_sizes="constant") as scores:
        for t in range(4):
            scores.log(loss=float(t))
            with torch.no_grad():
                model.head.weight.add_(1e-3 if t == 0 else 1e30)
            scores.step()
    with pytest.raises(ValueError, match=r"sums of 'head\.weight' hold NaN or infinity"):
        _ = scores.sums


def test_wrong_use_is_named():
    model = noisy()
    make = lambda **options: CausalScores(model, **options)  # noqa: E731
    with pytest.raises(ValueError, match="n_steps must be given"):
        make()
    with pytest.raises(ValueError, match="Did you mean 'constant'"):
        make(step_sizes="constants")
    with pytest.raises(ValueError, match="n_steps must be None with a tensor"):
        make(step_sizes=torch.ones(3), n_steps=3)
    with pytest.raises(ValueError, match="n_steps must be >= 2; got 1"):
        make(n_steps=1)
    with pytest.raises(ValueError, match="n_steps must be >= 3; got 2"):
        make(n_steps=2, form="momentum")
    with pytest.raises(ValueError, match="Did you mean 'two_batch'"):
        make(loss="twobatch", n_steps=3)
    with pytest.raises(ValueError, match="loss='same_batch' needs probe="):
        make(loss="same_batch", n_steps=3)
    with pytest.raises(ValueError, match="reuse_loss needs loss='same_batch'"):
        make(reuse_loss=True, probe=loss_of, n_steps=3)
    with pytest.raises(ValueError, match="correlation needs form='vanilla'"):
        make(correlation=True, form="momentum", n_steps=9)
    with pytest.raises(RuntimeError, match="inside its with block"):
        make(n_steps=3).log(loss=1.0)
    with pytest.raises(RuntimeError, match="No update is recorded"):
        make(n_steps=3).scores()
    with make(n_steps=STEPS) as scores:
        with pytest.raises(TypeError, match="loss must give one number"):
            scores.log(loss=torch.ones(2))
        run(model, scores)
    with pytest.raises(RuntimeError, match="records once"):
        scores.__enter__()
    with pytest.raises(RuntimeError, match=r"correlation=True, or step_sizes=.constant"):
        scores.scores("correlation")
    with pytest.raises(ValueError, match="Did you mean 'released'"):
        scores.scores("relased")
    with pytest.raises(ValueError, match=r"alpha must be a finite number > 0; got 0"):
        scores.support(0)
    with pytest.raises(ValueError, match=r"alpha\['head.weight'\] must be .* > 0; got -1"):
        scores.support({"head.weight": -1, "body.0.weight": 1.0})
    with make(n_steps=STEPS, form="momentum") as scores:
        run(model, scores)
    with pytest.raises(RuntimeError, match="squared_norms is kept with form='vanilla' only"):
        _ = scores.squared_norms
    optimizer = sgd(model)
    with make(step_sizes="constant") as scores:
        x, y = batches()[0]
        step(model, optimizer, None, x, y)
        with pytest.raises(ValueError, match="the first one came after the first step"):
            scores.log(loss=1.0)
