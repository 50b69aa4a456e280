"""An actor and a critic in your own update function: advantage actor-critic with one-step returns.

Sutton, Barto, Reinforcement Learning: An Introduction, 2nd edition, 2018, section 13.5. The walker starts anywhere in a
corridor and is to reach its right end, where it gets 1; every step costs 0.01.
"""

import torch
from ignite.engine import Engine
from torch import nn
from torch.nn.functional import one_hot

import ignite_recipes as ir

LENGTH, STEPS, DISCOUNT = 10, 20, 0.95


def starts():
    return torch.arange(LENGTH - 1).repeat(20)  # (180,), a start of an episode each


def make_run(data, batch_size=20):
    torch.manual_seed(0)
    actor, critic = nn.Linear(LENGTH, 2), nn.Linear(LENGTH, 1)
    update_actor = ir.Update(torch.optim.Adam(actor.parameters(), 0.05), name="actor")
    update_critic = ir.Update(torch.optim.Adam(critic.parameters(), 0.1), name="critic")

    def update(engine, places):
        reward = torch.zeros(len(places))
        for _ in range(STEPS):
            seen, walks = one_hot(places, LENGTH).float(), places < LENGTH - 1
            chances = actor(seen).log_softmax(1)
            action = chances.detach().exp().multinomial(1)  # 0 is left, 1 is right
            places = torch.where(walks, (places + 2 * action[:, 0] - 1).clamp(min=0), places)
            gain = walks * ((places == LENGTH - 1).float() - 0.01)
            ahead = critic(one_hot(places, LENGTH).float())[:, 0].detach() * (places < LENGTH - 1)
            advantage = gain + DISCOUNT * ahead - critic(seen)[:, 0]
            update_critic(engine, (walks * advantage.square()).mean())
            update_actor(engine, -(walks * advantage.detach() * chances.gather(1, action)[:, 0]).mean())
            reward += gain
        return {"loss": -reward.mean(), "reward": reward.mean()}

    trainer = ir.make_resumable(
        Engine(update), {"actor": actor, "critic": critic, "update_a": update_actor, "update_c": update_critic}, seed=0
    )
    ir.EpochAverages().attach(trainer)
    ir.GradientClipper(1.0).attach(update_actor)
    ir.NonFiniteGuard().attach(trainer)
    return trainer, torch.utils.data.DataLoader(data, batch_size, shuffle=True)


if __name__ == "__main__":
    trainer, loader = make_run(starts())
    print(trainer.run(loader, max_epochs=5).metrics)
