"""Schedulers as timm's are (timm.scheduler.scheduler.Scheduler): told the number of the epoch or of the step."""

import math

from torch.optim.lr_scheduler import ReduceLROnPlateau


class TimmLike:
    """A cosine after a linear warm-up, in epochs or in updates; whoever calls it for the other one changes nothing."""

    def __init__(self, optimizer, t_initial, warmup_t=0, t_in_epochs=True):
        self.optimizer = optimizer
        self.t_initial, self.warmup_t, self.t_in_epochs = t_initial, warmup_t, t_in_epochs
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_values = [group["initial_lr"] for group in optimizer.param_groups]
        self.metric = None
        self._set(0)

    def rates(self, t):
        if t < self.warmup_t:
            return [base * (t + 1) / (self.warmup_t + 1) for base in self.base_values]
        return [base * (1 + math.cos(math.pi * min(t / self.t_initial, 1))) / 2 for base in self.base_values]

    def _set(self, t):
        for group, rate in zip(self.optimizer.param_groups, self.rates(t), strict=True):
            group["lr"] = rate

    def step(self, epoch, metric=None):
        self.metric = metric
        if self.t_in_epochs:
            self._set(epoch)

    def step_update(self, num_updates, metric=None):
        if not self.t_in_epochs:
            self._set(num_updates)

    def state_dict(self):
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state):
        vars(self).update(state)


class TimmPlateau:
    """Torch's plateau under timm's methods."""

    def __init__(self, optimizer, patience, factor):
        self.inner = ReduceLROnPlateau(optimizer, patience=patience, factor=factor)

    def step(self, epoch, metric=None):
        self.inner.step(metric)

    def step_update(self, num_updates, metric=None):
        pass

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state):
        self.inner.load_state_dict(state)
