"""A deep convolutional GAN on the digits: two updates of every batch, each with its optimizer.

Radford, Metz, Chintala, Unsupervised Representation Learning with Deep Convolutional GANs, arXiv:1511.06434.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

import ignite_recipes as ir

LATENT = 16


def images():
    return torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16  # (1797, 1, 8, 8), in [0, 1]


def discriminator_loss(models, real, batch):
    fake = models["generator"](torch.randn(len(real), LATENT, device=real.device))
    on_real, on_fake = models["discriminator"](real), models["discriminator"](fake.detach())
    right = cross_entropy(on_real, torch.ones_like(on_real)) + cross_entropy(on_fake, torch.zeros_like(on_fake))
    return {"loss": right, "accuracy": ((on_real > 0).float().mean() + (on_fake < 0).float().mean()) / 2}


def generator_loss(models, real, batch):
    verdict = models["discriminator"](models["generator"](torch.randn(len(real), LATENT, device=real.device)))
    return {"loss": cross_entropy(verdict, torch.ones_like(verdict))}


def make_run(data, batch_size=64):
    torch.manual_seed(0)
    generator = nn.Sequential(
        *(nn.Linear(LATENT, 256), nn.Unflatten(1, (64, 2, 2)), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 1, 4, 2, 1), nn.Sigmoid()),
    )
    discriminator = nn.Sequential(
        *(nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.BatchNorm2d(64)),
        *(nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(256, 1)),
    )
    adam_d, adam_g = (torch.optim.Adam(m.parameters(), 2e-4, (0.5, 0.999)) for m in (discriminator, generator))
    updates = [
        ir.Update(adam_d, discriminator_loss, name="discriminator"),
        ir.Update(adam_g, generator_loss, name="generator"),
    ]
    trainer = ir.create_trainer({"generator": generator, "discriminator": discriminator}, updates=updates, seed=0)
    ir.EpochAverages().attach(trainer)
    ir.GradientClipper(5.0).attach(trainer)
    ir.NonFiniteGuard("skip").attach(trainer)
    return trainer, torch.utils.data.DataLoader(data, batch_size, shuffle=True)


if __name__ == "__main__":
    trainer, loader = make_run(images())
    ir.ProgressBar().attach(trainer)
    ir.describe(trainer)
    print(trainer.run(loader, max_epochs=20).metrics)
