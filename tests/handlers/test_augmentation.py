"""Noise and masks: what they keep, what they change and by how much; attached, only the model sees them."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events

from ignite_recipes import DataAugmentation, InputAugmentation, NoiseAugmentation, TrainEvents, add_noise

law = settings(deadline=None, max_examples=80)
seeds = st.integers(0, 2**32)
dtypes = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
shapes = st.lists(st.integers(1, 12), min_size=2, max_size=4).map(tuple)

augmenter = DataAugmentation()
AUGMENTATIONS = [
    add_noise,
    augmenter.augment_audio_features,
    augmenter.augment_emotion_embedding,
    augmenter.augment_note_probabilities,
]
every_augmentation = pytest.mark.parametrize("augment", AUGMENTATIONS, ids=lambda function: function.__name__)


def uniform(shape, seed, dtype=torch.float32):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@every_augmentation
@law
@given(shape=shapes, seed=seeds, dtype=dtypes)
def test_shape_and_dtype_stay_and_the_input_is_not_touched(augment, shape, seed, dtype):
    data = uniform(shape, seed, dtype)
    before = data.clone()
    result = augment(data)
    assert (result.shape, result.dtype, result.device) == (data.shape, data.dtype, data.device)
    assert torch.equal(data, before)
    assert result.data_ptr() != data.data_ptr()


@law
@given(shape=shapes, seed=seeds, dtype=dtypes)
def test_without_noise_masks_and_dropout_nothing_changes(shape, seed, dtype):
    data = 3 * uniform(shape, seed, dtype) - 1
    probabilities = uniform(shape, seed, dtype)
    for same, original in (
        (add_noise(data, noise_std=0.0), data),
        (augmenter.augment_audio_features(data, 0.0, time_mask=False, freq_mask=False), data),
        (augmenter.augment_emotion_embedding(data, 0.0), data),
        (augmenter.augment_note_probabilities(probabilities, dropout_prob=0.0, noise_level=0.0), probabilities),
    ):
        assert torch.equal(same, original)
        assert same.data_ptr() != original.data_ptr()


@law
@given(seed=seeds, noise_std=st.floats(0.01, 5), low=st.floats(-2, 0), high=st.floats(0.5, 2))
def test_noise_stays_within_its_clamps(seed, noise_std, low, high):
    noisy = add_noise(uniform((50,), seed), noise_std, low, high)
    assert (noisy >= low).all()
    assert (noisy <= high).all()


@pytest.mark.parametrize(
    ("clamps", "below", "above"),
    [((), False, False), ((None, 1.0), True, False), ((0.0, None), False, True), ((None, None), True, True)],
)
def test_none_leaves_a_side_open(clamps, below, above):
    noisy = add_noise(torch.full((1000,), 0.5), 1.0, *clamps)
    assert ((noisy < 0).any().item(), (noisy > 1).any().item()) == (below, above)


@pytest.mark.parametrize("scale", [0.01, 0.5, 20.0])
def test_noise_is_centred_and_has_the_given_standard_deviation(scale):
    data = torch.full((100_000,), 2.0, dtype=torch.float64)
    for noisy in (
        add_noise(data, scale, None, None),
        augmenter.augment_emotion_embedding(data, scale),
        augmenter.augment_audio_features(data, scale, time_mask=False, freq_mask=False),
    ):
        noise = noisy - data
        assert noise.std().item() == pytest.approx(scale, rel=0.01)
        assert abs(noise.mean().item()) < 0.02 * scale


@law
@given(shape=shapes, seed=seeds, dropout_prob=st.floats(0, 1), noise_level=st.floats(0, 3))
def test_probabilities_stay_probabilities(shape, seed, dropout_prob, noise_level):
    notes = augmenter.augment_note_probabilities(uniform(shape, seed), dropout_prob, noise_level)
    assert (notes >= 0).all()
    assert (notes <= 1).all()


@pytest.mark.parametrize("dropout_prob", [0.0, 0.1, 0.5, 1.0])
def test_the_given_share_of_notes_is_dropped(dropout_prob):
    notes = augmenter.augment_note_probabilities(torch.full((50_000,), 0.5), dropout_prob, noise_level=0.01)
    assert (notes == 0).float().mean().item() == pytest.approx(dropout_prob, abs=0.01)


# Masks. Data of ones without noise: a 0 can only come from a mask.


def masked(shape, **masks):
    return augmenter.augment_audio_features(torch.ones(shape), 0.0, **masks)


def blocks(lines):
    """For each sample: the lines of an axis that are 0, which must be neighbours."""
    for sample in lines.reshape(-1, lines.shape[-1]):
        positions = sample.nonzero().flatten().tolist()
        assert positions == list(range(positions[0], positions[0] + len(positions)))
        yield positions


@pytest.mark.parametrize("shape", [(7, 30), (5, 7, 30), (2, 3, 7, 30), (4, 1, 1), (3, 40, 11)])
@pytest.mark.parametrize("axis", [-1, -2])
def test_a_mask_sets_whole_neighbouring_columns_or_rows_to_zero_and_nothing_else(shape, axis):
    widest = -(-shape[axis] // 10)
    widths = set()
    for _ in range(50):
        features = masked(shape, time_mask=axis == -1, freq_mask=axis == -2)
        other = -2 if axis == -1 else -1
        zero = (features == 0).all(other)
        assert torch.equal(zero, (features == 0).any(other))
        widths |= {len(block) for block in blocks(zero)}
    assert widths == set(range(1, widest + 1))


def test_both_masks_together_hit_every_sample():
    features = masked((100, 20, 30))
    assert (features == 0).all(-2).any(-1).all()
    assert (features == 0).all(-1).any(-1).all()
    assert (features == 1).any()


def test_each_sample_gets_masks_of_its_own_anywhere_on_the_axis():
    features = masked((400, 8, 20), freq_mask=False)
    columns = (features == 0).all(-2)
    assert len(columns.unique(dim=0)) > 20
    assert columns.any(0).all()


def test_samples_do_not_depend_on_each_other():
    data = uniform((3, 6, 20), seed=1)
    other = data.clone()
    other[1:] *= 100
    results = []
    for batch in (data, other):
        torch.manual_seed(5)
        results.append(augmenter.augment_audio_features(batch))
    assert torch.equal(results[0][0], results[1][0])


# Refusals.


@pytest.mark.parametrize("level", [-0.1, float("nan")])
@pytest.mark.parametrize(
    "augment",
    [*AUGMENTATIONS[:3], lambda data, level: augmenter.augment_note_probabilities(data, noise_level=level)],
)
def test_a_negative_level_is_refused(augment, level):
    with pytest.raises(ValueError, match=f"must not be negative.*got {level}"):
        augment(torch.ones(2, 2), level)


def test_a_negative_level_is_refused_when_the_handler_is_made():
    with pytest.raises(ValueError, match="must not be negative"):
        NoiseAugmentation(-1.0)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(probability):
    with pytest.raises(ValueError, match="dropout_prob must be from 0 to 1"):
        augmenter.augment_note_probabilities(torch.ones(2), probability)


@every_augmentation
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_data_that_is_not_floating_point_is_refused_with_the_remedy(augment, dtype):
    with pytest.raises(TypeError, match=r"floating point data; got torch\..*data\.float\(\)"):
        augment(torch.ones(2, 2).to(dtype))


def test_masks_on_vectors_are_refused_unless_switched_off():
    with pytest.raises(ValueError, match=r"\(\.\.\., frequency, time\); got \(5,\).*time_mask=False, freq_mask=False"):
        augmenter.augment_audio_features(torch.ones(5))
    assert augmenter.augment_audio_features(torch.ones(5), time_mask=False, freq_mask=False).shape == (5,)


def test_another_kind_is_refused_naming_those_there_are():
    with pytest.raises(ValueError, match="audio_features, emotion_embedding, note_probabilities; got 'image'"):
        augmenter.attach(Engine(lambda engine, batch: None), "image")


# Attached.

HANDLERS = [
    pytest.param(lambda: InputAugmentation(lambda inputs: inputs + 1), (), {}, id="function"),
    pytest.param(lambda: NoiseAugmentation(0.5, None, None), (), {}, id="noise"),
    pytest.param(DataAugmentation, ("emotion_embedding",), {"noise_level": 0.5}, id="embedding"),
    pytest.param(DataAugmentation, (), {}, id="audio"),
    pytest.param(DataAugmentation, ("note_probabilities",), {"dropout_prob": 0.5}, id="notes"),
]


def seen_by(task, make, args, settings, *, seed=1):
    """What the model was fed with and what the loss compared with, over one epoch."""
    seen = []

    def loss_fn(model, inputs, batch):
        seen.append((inputs, batch))
        return task.loss_fn(model, inputs, batch)

    trainer = task.trainer(loss_fn=loss_fn, seed=seed)
    handler = make()
    assert handler.attach(trainer, *args, **settings) is handler
    trainer.run(task.batches, max_epochs=1)
    return seen


@pytest.mark.parametrize(("make", "args", "settings"), HANDLERS)
def test_attached_the_inputs_change_and_the_batch_stays_clean(task, make, args, settings):
    originals = [tuple(tensor.clone() for tensor in batch) for batch in task.batches]
    seen = seen_by(task, make, args, settings)
    assert task.same([list(batch) for _, batch in seen], [list(batch) for batch in originals])
    assert all(not torch.equal(inputs, batch[0]) for inputs, batch in seen)
    assert task.same([list(batch) for batch in task.batches], [list(batch) for batch in originals])


@pytest.mark.parametrize(("make", "args", "settings"), HANDLERS[1:])
def test_the_same_seed_gives_the_same_noise_and_another_seed_another(task, make, args, settings):
    one, again, other = ([inputs for inputs, _ in seen_by(task, make, args, settings, seed=seed)] for seed in (1, 1, 2))
    assert task.same(one, again)
    assert not task.same(one, other)
    assert not torch.equal(one[0] - task.batches[0][0], one[1] - task.batches[1][0])


def test_augmentations_follow_each_other_in_the_order_of_attachment(task):
    trainer = task.trainer()
    InputAugmentation(lambda inputs: inputs + 1).attach(trainer)
    InputAugmentation(lambda inputs: inputs * 0).attach(trainer)
    seen = []
    trainer.add_event_handler(TrainEvents.LOSSES_READY, lambda: seen.append(trainer.state.inputs))
    trainer.run(task.batches, max_epochs=1)
    assert all((inputs == 0).all() for inputs in seen)


class Pair(NamedTuple):
    inputs: torch.Tensor
    targets: torch.Tensor


@pytest.mark.parametrize(
    "kind",
    [tuple, list, lambda items: Pair(*items), lambda items: items[0]],
    ids=["tuple", "list", "namedtuple", "tensor"],
)
def test_on_an_engine_of_ones_own_the_first_item_changes_and_the_targets_do_not(kind):
    seen = []
    engine = Engine(lambda engine, batch: seen.append(engine.state.batch))
    InputAugmentation(lambda inputs: inputs + 1).attach(engine)
    batch = kind([torch.zeros(2), torch.zeros(3)])
    engine.run([batch])
    assert type(seen[0]) is type(batch)
    first, *rest = seen[0] if isinstance(batch, (tuple, list)) else [seen[0]]
    assert torch.equal(first, torch.ones(2))
    assert all(torch.equal(target, torch.zeros(3)) for target in rest)


def test_on_an_engine_of_ones_own_that_fires_inputs_ready_the_inputs_change(task):
    model = task.model()
    engine = task.own_engine(model, torch.optim.SGD(model.parameters(), lr=0.1))
    InputAugmentation(torch.zeros_like).attach(engine)
    seen = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(engine.state.inputs))
    engine.run(task.batches)
    assert len(seen) == 4
    assert all((inputs == 0).all() for inputs in seen)
    assert all((batch[0] != 0).any() for batch in task.batches)
