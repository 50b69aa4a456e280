"""What people bring is compared as what it means: equal to the same batch written as torch wants it, and said once."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from ignite_recipes.recipes.as_meant import AsMeant
from ignite_recipes.recipes.supervised_loss import SupervisedLoss

N = 6
DRAW = torch.Generator().manual_seed(0)
X, Y = torch.randn(N, 3, generator=DRAW), torch.randn(N, 1, generator=DRAW)
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])
WHOLE = (X * 10).round()


def net(outputs=1):
    torch.manual_seed(0)
    return nn.Linear(3, outputs)


def embedding():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(20, 2), nn.Flatten(), nn.Linear(6, 1))


# what is brought -> criterion, model, batch, the same batch as torch wants it, what is said
CASES = {
    "float64 targets": (nn.MSELoss(), net, (X, Y.double()), (X, Y), "targets are float64"),
    "float64 of both": (nn.L1Loss(), net, (X.double(), Y.double()), (X, Y), "inputs are float64"),
    "float64 for a function of the user's": (
        lambda outputs, targets: (outputs - targets).square().mean(),
        net,
        (X, Y.double()),
        (X, Y),
        "targets are float64",
    ),
    "halves": (None, net, (X.half(), Y), (X.half().float(), Y), "inputs are float16"),
    "whole numbers for a linear layer": (None, net, (WHOLE.long(), Y), (WHOLE, Y), "inputs are int64"),
    "bytes for a convolution": (
        None,
        lambda: nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 1, 3), nn.Flatten()),
        (WHOLE.abs().byte(), Y),
        (WHOLE.abs(), Y),
        "inputs are uint8",
    ),
    "whole numbers for an embedding": (None, embedding, (WHOLE.long().abs() % 20, Y), None, None),
    "a row of targets, one output": (nn.MSELoss(), net, (X, Y[:, 0]), (X, Y), r"targets are (N,)"),
    "a row of targets, a function": (functional.l1_loss, net, (X, Y[:, 0]), (X, Y), r"targets are (N,)"),
    "labels in a column": (nn.CrossEntropyLoss(), lambda: net(2), (X, LABELS[:, None]), (X, LABELS), "a column (N, 1)"),
    "labels of 32 bits": (nn.CrossEntropyLoss(), lambda: net(2), (X, LABELS.int()), (X, LABELS), None),
    "booleans as classes": (nn.CrossEntropyLoss(), lambda: net(2), (X, LABELS > 0), (X, LABELS), "False is class 0"),
    "booleans in a column": (nn.CrossEntropyLoss(), lambda: net(2), (X, LABELS[:, None] > 0), (X, LABELS), "False"),
    "booleans as chances": (
        nn.BCEWithLogitsLoss(),
        net,
        (X, LABELS > 0),
        (X, LABELS.float()[:, None]),
        "compared as numbers",
    ),
    "whole numbers as targets": (nn.MSELoss(), net, (X, LABELS * 5), (X, LABELS.float()[:, None] * 5), "as numbers"),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_those_of_the_batch_as_torch_wants_it(name, caplog):
    criterion, make, brought, wanted, said = CASES[name]
    found = []
    for batch in (brought, wanted or brought):
        model, loss = make(), SupervisedLoss(criterion)
        for _ in range(2):  # what is said is said once
            losses = loss(model, batch[0], batch)
        torch.manual_seed(0)
        losses["loss"].backward()
        found.append([losses["loss"], *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)) or name == "bytes for a convolution"
    told = [record.getMessage() for record in caplog.records]
    assert any(said in text for text in told) if said else told == []
    assert len(told) == len(set(told))


def test_booleans_for_one_output_are_its_logistic_regression_with_an_accuracy():
    model = net()
    losses = SupervisedLoss(None)(model, X, (X, LABELS > 0))
    logit = model(X)[:, 0]
    torch.testing.assert_close(
        losses["loss"], functional.binary_cross_entropy_with_logits(logit, LABELS.float()), rtol=1e-6, atol=1e-6
    )
    assert losses["accuracy"].item() == pytest.approx(100 * ((logit > 0) == (LABELS > 0)).float().mean().item())


@pytest.mark.parametrize(
    ("criterion", "outputs", "targets"),
    [
        (nn.MSELoss(), torch.zeros(4, 3), torch.zeros(4, 3)),
        (None, torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)),
        (nn.CrossEntropyLoss(), torch.zeros(4, 3), torch.full((4, 3), 1 / 3)),
        (lambda outputs, targets: outputs.sum(), torch.zeros(4), torch.ones(4, 1, dtype=torch.bool)),
        (nn.CrossEntropyLoss(), torch.zeros(4, 3, 5, 5), torch.zeros(4, 5, 5, dtype=torch.int64)),
    ],
)
def test_what_fits_already_stays_the_same_object(criterion, outputs, targets):
    as_meant = AsMeant(criterion)
    result = as_meant.outputs_and_targets(outputs, targets)
    assert result[0] is outputs
    assert result[1] is targets or torch.equal(result[1], targets)
    assert as_meant.inputs(net(3), outputs) is outputs
