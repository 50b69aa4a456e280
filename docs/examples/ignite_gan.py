"""The same with clipping, an average, float16, a guard and exact resume."""

import torch
from ignite.engine import Engine, Events
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.utils.data import DataLoader

import ignite_recipes as ir


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

    step_d, step_g = ir.Update(optimizer_d, name="discriminator"), ir.Update(optimizer_g, name="generator")

    def update(engine, real):
        fake = generator(torch.randn(len(real), 16))
        loss_d = step_d(engine, lambda: loss_of_d(real, fake))
        loss_g = step_g(engine, lambda: loss_of_g(fake))
        return {"loss_d": loss_d.detach(), "loss_g": loss_g.detach()}

    trainer = ir.make_resumable(Engine(update), {"models": models, "d": step_d, "g": step_g}, seed=0)
    ir.MixedPrecisionTrainer(device="cpu", dtype=torch.float16).attach(trainer)
    ir.GradientClipper(1.0).attach(trainer)
    ir.NonFiniteGuard("skip").attach(trainer)
    ir.ExponentialMovingAverage(0.99).attach(trainer.updates["generator"])
    saves = ir.Checkpointing(folder, every_iterations=20, keep=2).attach(trainer)
    ir.StopOnSignal(saves.save).attach(trainer)
    ir.restore_newest(trainer, folder)

    @trainer.on(Events.EPOCH_COMPLETED)
    def report(engine):
        print(f"epoch {engine.state.epoch}:", {k: round(v.item(), 3) for k, v in engine.state.output.items()})

    trainer.run(loader, max_epochs=epochs)
    return models, trainer.state.output


if __name__ == "__main__":
    main(images())
