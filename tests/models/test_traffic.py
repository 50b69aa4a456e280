"""The path is exact for polynomials, the features are the geometry of its points, and the losses add up."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ignite_recipes.data.traffic import TrafficDataset, make_traffic_windows
from ignite_recipes.models.traffic import TrafficPredictor, traffic_losses


def batch(n=8, num_features=2, len_source=10, len_target=5):
    context = torch.rand(n + len_source + len_target - 1, num_features)
    made = make_traffic_windows(context, torch.randint(0, 2, (len(context),)), len_source, len_target)
    return TrafficDataset(made).__getitems__(list(range(n)))


def predict(model, data):
    return model(data.sources, data.last_transmitted, data.source_traffic)


@settings(deadline=None)
@given(st.integers(0, 3), st.integers(0, 20), st.integers(1, 6), st.sampled_from([1e-3, 0.01, 1.0, 60.0]), st.data())
def test_extrapolation_is_exact_for_polynomials(degree, more, len_target, dt, data):
    len_source = degree + 1 + more
    model = TrafficPredictor(1, len_target, hidden_size=4, num_layers=1, dt=dt, degree=degree, len_source=len_source)
    coefficients = data.draw(st.lists(st.floats(-1, 1), min_size=degree + 1, max_size=degree + 1))
    values = np.polyval(coefficients, np.linspace(-1, 1, len_source + len_target))
    values = (values - values.min()) / max(np.ptp(values), 1)  # in [0, 1]
    source, target = np.split(values, [len_source])
    path = model.extrapolate(torch.tensor(source, dtype=torch.float32).reshape(1, -1, 1)).flatten()
    size = model.extrapolation.abs().sum(dim=1).max().item()
    np.testing.assert_allclose(path, target, atol=1e-6 * (1 + size))


def test_the_map_is_as_good_as_float64_can_make_it():
    model = TrafficPredictor(1, 5, len_source=10, dt=1e-6)
    times = np.arange(15) / 10
    for power in range(4):
        values = times**power
        np.testing.assert_allclose(model.extrapolation.double().numpy() @ values[:10], values[10:], rtol=2e-6)


def test_the_path_stays_in_the_unit_range():
    path = predict(TrafficPredictor(2, 5), batch()).path
    assert (path.min(), path.max()) == (0, 1)


def test_features_are_magnitudes_distances_and_traffic():
    model = TrafficPredictor(2, 2)
    path, last = torch.tensor([[[0.3, 0.4], [0.0, 0.0]]]), torch.tensor([[[0.0, 0.8]]])
    features = model.features(path, last, torch.tensor([[0.7]]))
    torch.testing.assert_close(features, torch.tensor([[0.5, 0.0, 0.8, 0.5, 0.5, 0.8, 0.7]]))


def test_shapes_and_range():
    for n in (1, 4):
        prediction = predict(TrafficPredictor(3, 4, num_classes=7).eval(), batch(n, 3, 10, 4))
        assert [tuple(x.shape) for x in prediction] == [(n, 4, 3), (n, 1), (n, 7), (n, 4)]
        assert prediction.traffic.ge(0).all()
        assert prediction.traffic.le(1).all()


def test_gradients_are_finite_where_points_are_the_same():
    model = TrafficPredictor(2, 5)
    sources = torch.zeros(4, 10, 2, requires_grad=True)
    last = torch.zeros(4, 1, 2, requires_grad=True)
    outputs = model(sources, last, torch.zeros(4, 1))
    sum(output.sum() for output in outputs).backward()
    assert sources.grad.isfinite().all()
    assert last.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_state_has_no_constants_and_a_model_can_be_pickled():
    model = TrafficPredictor(2, 5).eval()
    assert not {"extrapolation", "upper"} & set(model.state_dict())
    data = batch()
    for output, expected in zip(predict(pickle.loads(pickle.dumps(model)), data), predict(model, data), strict=True):
        assert torch.equal(output, expected)


def test_the_total_is_the_weighted_sum_of_what_torch_says():
    data, model = batch(), TrafficPredictor(2, 5)
    outputs = predict(model, data)
    expected = {
        "traffic": (outputs.traffic - data.target_traffic).square().mean(),
        "classification": cross_entropy(outputs.class_logits, data.target_class.squeeze(1)),
        "transmission": binary_cross_entropy_with_logits(outputs.transmission_logits, data.transmissions),
        "context": (outputs.path - data.targets).square().mean(),
    }
    losses = traffic_losses(outputs, data, 2.0, 3.0, 4.0)
    total = losses.pop("loss")
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(total, sum(w * losses[k] for w, k in zip((1, 2, 3, 4), expected, strict=True)))


def test_default_weights_are_the_documented_ones():
    data = batch()
    outputs = predict(TrafficPredictor(2, 5), data)
    assert traffic_losses(outputs, data) == traffic_losses(outputs, data, 100.0, 500.0, 100.0)


def test_losses_and_path_are_float32_under_autocast():
    data, model = batch(), TrafficPredictor(2, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = predict(model, data)
        losses = traffic_losses(outputs, data)
    assert torch.equal(outputs.path, model.extrapolate(data.sources))
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    losses["loss"].backward()


def test_it_learns():
    data, model = batch(32), TrafficPredictor(2, 5, dropout_rate=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = traffic_losses(predict(model, data), data)
        optimizer.zero_grad()
        loss["loss"].backward()
        optimizer.step()
        losses.append({name: value.item() for name, value in loss.items()})
    for name in ("traffic", "classification", "transmission"):
        assert losses[-1][name] < losses[0][name] / 4
    assert losses[-1]["context"] == losses[0]["context"]  # the path has nothing to train


@pytest.mark.parametrize(
    "name", ["input_size", "output_size", "num_classes", "hidden_size", "num_layers", "len_source"]
)
def test_sizes_must_be_at_least_one(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
        TrafficPredictor(**{"input_size": 2, "output_size": 5, name: 0})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"len_source": 3}, r"len_source must be at least degree \+ 1 = 4.*got 3.*degree=2"),
        ({"degree": -1}, "degree must be at least 0"),
        ({"dt": 0}, "dt a time above 0"),
    ],
)
def test_a_polynomial_must_be_possible(options, message):
    with pytest.raises(ValueError, match=message):
        TrafficPredictor(2, 5, **options)


def test_sources_must_be_of_the_models_sizes():
    data = batch(len_source=9)
    with pytest.raises(ValueError, match=r"sources must be \(windows, len_source 10, input_size 2\); got \(8, 9, 2\)"):
        predict(TrafficPredictor(2, 5), data)


def autoregression(length=400, seed=0):
    generator = np.random.default_rng(seed)
    series = generator.uniform(0.45, 0.55, (length, 2))
    for t in range(2, length):
        series[t] += 0.7 * (series[t - 1] - 0.5) - 0.2 * (series[t - 2, ::-1] - 0.5)
    return make_traffic_windows(series, np.ones(length), 6, 3)


def test_a_fitted_path_is_the_polynomials_until_it_is_fitted_then_the_least_squares_fit():
    windows = autoregression()
    plain, fitted = TrafficPredictor(2, 3, len_source=6), TrafficPredictor(2, 3, len_source=6, fits_path=True)
    torch.testing.assert_close(fitted.extrapolate(windows.sources), plain.extrapolate(windows.sources))
    fitted.fit_path(windows)
    seen = np.column_stack([windows.sources.flatten(1).double(), np.ones(len(windows.sources))])
    best = seen @ np.linalg.lstsq(seen, windows.targets.flatten(1).double().numpy(), rcond=None)[0]
    found = fitted.extrapolate(windows.sources).flatten(1).numpy()
    # The least squares are a minimum: what the ridge changes of the fit changes its error in second order only.
    errors = [np.square(path - windows.targets.flatten(1).numpy()).mean() for path in (best, found)]
    assert errors[0] <= errors[1] * (1 + 1e-6) < 1.05 * errors[0]
    polynomial = plain.extrapolate(windows.sources)
    assert errors[1] < 0.2 * float((polynomial - windows.targets).square().mean())


def test_windows_that_say_nothing_leave_the_path_with_the_polynomial_or_on_their_line():
    still = make_traffic_windows(np.full((20, 1), 0.25), np.ones(20), 6, 3)
    model = TrafficPredictor(1, 3, len_source=6, fits_path=True)
    before = model.extrapolation.clone()
    model.fit_path(still)
    torch.testing.assert_close(model.extrapolation, before)
    torch.testing.assert_close(model.extrapolate(still.sources), still.targets)


def test_a_fitted_path_travels_with_the_weights_and_a_polynomial_has_none():
    model, other = (TrafficPredictor(2, 3, len_source=6, fits_path=True) for _ in range(2))
    model.fit_path(autoregression())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.extrapolation, model.extrapolation)
    assert "extrapolation" not in TrafficPredictor(2, 3, len_source=6).state_dict()
    with pytest.raises(ValueError, match="fits_path=True"):
        TrafficPredictor(2, 3, len_source=6).fit_path(autoregression())
    with pytest.raises(ValueError, match=r"len_source, output_size, input_size \(10, 3, 2\); got \(6, 3, 2\)"):
        TrafficPredictor(2, 3, fits_path=True).fit_path(autoregression())
