"""A GAN with two optimizers in one update function, as Ignite's users write it."""

import torch
from ignite.engine import Engine, Events
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.utils.data import DataLoader


def images():
    return torch.tensor(load_digits().data, dtype=torch.float32) / 16  # (1797, 64), in [0, 1]


def main(data, epochs=5, folder="checkpoints"):
    torch.manual_seed(0)
    loader = DataLoader(data, 64, shuffle=True)
    generator = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 64), nn.Sigmoid())
    discriminator = nn.Sequential(nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))
    models = nn.ModuleDict({"generator": generator, "discriminator": discriminator})
    optimizer_g = torch.optim.Adam(generator.parameters(), 1e-3, betas=(0.5, 0.999))
    optimizer_d = torch.optim.Adam(discriminator.parameters(), 1e-3, betas=(0.5, 0.999))

    def loss_of_d(real, fake):
        on_real, on_fake = discriminator(real), discriminator(fake.detach())
        return cross_entropy(on_real, torch.ones_like(on_real)) + cross_entropy(on_fake, torch.zeros_like(on_fake))

    def loss_of_g(fake):
        verdict = discriminator(fake)
        return cross_entropy(verdict, torch.ones_like(verdict))

    def update(engine, real):
        fake = generator(torch.randn(len(real), 16))
        optimizer_d.zero_grad()
        loss_d = loss_of_d(real, fake)
        loss_d.backward()
        optimizer_d.step()
        optimizer_g.zero_grad()
        loss_g = loss_of_g(fake)
        loss_g.backward()
        optimizer_g.step()
        return {"loss_d": loss_d.detach(), "loss_g": loss_g.detach()}

    trainer = Engine(update)

    @trainer.on(Events.EPOCH_COMPLETED)
    def report(engine):
        print(f"epoch {engine.state.epoch}:", {k: round(v.item(), 3) for k, v in engine.state.output.items()})

    trainer.run(loader, max_epochs=epochs)
    return models, trainer.state.output


if __name__ == "__main__":
    main(images())
