"""Distillation: a small student learns the answers of a frozen teacher.

Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, arXiv:1503.02531.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

import ignite_recipes as ir

TEMPERATURE = 4.0


def digits():
    data = load_digits()
    return torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)  # (1797, 64), (1797,)


def trained_teacher(data):
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 10))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), 16, shuffle=True)
    ir.train_model_advanced(teacher, loader, epochs=5, learning_rate=3e-3, device="cpu", verbose=False, seed=0)
    return teacher.eval().requires_grad_(False)


def loss_with(teacher):
    def loss_fn(student, inputs, batch):
        answers = student(inputs)
        hard = cross_entropy(answers, batch[1])
        softened = [(logits / TEMPERATURE).log_softmax(1) for logits in (answers, teacher(inputs))]
        soft = kl_div(*softened, reduction="batchmean", log_target=True) * TEMPERATURE**2
        return {"loss": 0.1 * hard + 0.9 * soft, "hard_loss": hard}

    return loss_fn


def make_run(data, batch_size=64):
    teacher = trained_teacher(data)
    torch.manual_seed(1)
    student = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 10))
    trainer = ir.create_trainer(student, torch.optim.AdamW(student.parameters(), 3e-3), loss_with(teacher), seed=0)
    ir.EpochAverages().attach(trainer)
    ir.GradientClipper(1.0).attach(trainer)
    ir.ExponentialMovingAverage(0.99).attach(trainer)
    return trainer, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), batch_size, shuffle=True)


if __name__ == "__main__":
    trainer, loader = make_run(digits())
    print(trainer.run(loader, max_epochs=10).metrics)
