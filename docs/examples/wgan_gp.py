"""A Wasserstein GAN with gradient penalty on the digits: five steps of the critic for each of the generator.

Gulrajani et al., Improved Training of Wasserstein GANs, arXiv:1704.00028.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import ignite_recipes as ir

LATENT, PENALTY = 16, 10.0


def images():
    return torch.tensor(load_digits().data, dtype=torch.float32) / 16  # (1797, 64), in [0, 1]


def perceptron(inputs, outputs, *last):
    hidden = (nn.Linear(inputs, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU())
    return nn.Sequential(*hidden, nn.Linear(128, outputs), *last)


def critic_loss(models, real, batch):
    critic, fake = models["critic"], models["generator"](torch.randn(len(real), LATENT, device=real.device))
    fake = fake.detach().to(real.dtype)  # of half precision under autocast
    between = torch.lerp(fake, real, torch.rand(len(real), 1, device=real.device)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    distance = critic(real).mean() - critic(fake).mean()
    return {"loss": PENALTY * (slope.norm(dim=1) - 1).square().mean() - distance, "distance": distance}


def generator_loss(models, real, batch):
    return {"loss": -models["critic"](models["generator"](torch.randn(len(real), LATENT, device=real.device))).mean()}


def make_run(data, batch_size=64):
    torch.manual_seed(0)
    models = {"generator": perceptron(LATENT, 64, nn.Sigmoid()), "critic": perceptron(64, 1)}
    adam = {name: torch.optim.Adam(model.parameters(), 1e-3, (0.0, 0.9)) for name, model in models.items()}
    updates = [
        ir.Update(adam["critic"], critic_loss, name="critic"),
        ir.Update(adam["generator"], generator_loss, name="generator", every=5),
    ]
    trainer = ir.create_trainer(models, updates=updates, seed=0)
    ir.EpochAverages("train_").attach(trainer)
    evaluator = ir.create_evaluator(trainer.model, critic_loss, enable_grad=True)  # the penalty is made of derivatives
    ir.EpochAverages().attach(evaluator)
    ir.Validation(evaluator, torch.utils.data.DataLoader(data[: len(data) // 5], batch_size)).attach(trainer)
    ir.ExponentialMovingAverage(0.99, validate=False).attach(trainer.updates["generator"])
    return trainer, torch.utils.data.DataLoader(data[len(data) // 5 :], batch_size, shuffle=True)


if __name__ == "__main__":
    trainer, loader = make_run(images())
    ir.ProgressBar().attach(trainer)
    print(trainer.run(loader, max_epochs=20).metrics)
