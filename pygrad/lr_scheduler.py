"""Learning-rate schedules with PyTorch's names: after each epoch, `scheduler.step()` sets the optimizer's "lr".

A schedule is a formula, `rate(base, epoch)`: the rate in an epoch, computed from the rate that the optimizer began
with. So use one schedule per optimizer: of two, the last to step wins. Write their combination as a LambdaLR.

>>> from pygrad import Value, optim
>>> optimizer = optim.SGD([Value(1.0)], lr=0.5)
>>> scheduler = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
>>> scheduler.step()
>>> scheduler.get_last_lr()
[0.25]
"""

import math

from pygrad.common.whole import restored_on_error


class LRScheduler:
    """Base class of the schedules. A subclass defines `rate(base, epoch)`, or `rates(epoch)` for all groups.

    `base_lrs` are the rates that the optimizer began with, one per parameter group. `last_epoch` is the current epoch;
    the first is 0.

    To go on after a break, load the `state_dict()` of the optimizer and of the scheduler. Or pass `last_epoch`: then
    each group of the optimizer must have its "initial_lr", else a ValueError.
    """

    def __init__(self, optimizer, last_epoch=-1):
        self.optimizer, self.last_epoch = optimizer, last_epoch
        with restored_on_error(*optimizer.param_groups):
            for group in optimizer.param_groups:
                if last_epoch == -1:
                    group.setdefault("initial_lr", group["lr"])
                elif "initial_lr" not in group:
                    raise ValueError('to go on from last_epoch, each parameter group needs its "initial_lr"')
            self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
            self.step()

    def step(self):
        """Go to the next epoch: set "lr" in each parameter group. An exception, Ctrl-C for one, changes nothing."""
        groups = self.optimizer.param_groups
        with restored_on_error(vars(self), *groups):
            self.last_epoch += 1
            for group, rate in zip(groups, self.rates(self.last_epoch), strict=True):
                group["lr"] = rate

    def rates(self, epoch):
        """Return the rate of each parameter group in this epoch."""
        return [self.rate(base, epoch) for base in self.base_lrs]

    def get_last_lr(self):
        """Return the rate that each parameter group has now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self):
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict):
        """Load a `state_dict()`; ValueError, and no change, if it has another number of parameter groups."""
        last_epoch, base_lrs = state_dict["last_epoch"], list(state_dict["base_lrs"])
        if len(base_lrs) != len(self.base_lrs):
            raise ValueError(f"this state has {len(base_lrs)} learning rates, and the optimizer {len(self.base_lrs)}")
        vars(self).update(last_epoch=last_epoch, base_lrs=base_lrs)  # one call: nothing comes between


class LambdaLR(LRScheduler):
    """base * lr_lambda(epoch), with a function of your own, or a list of functions, one per parameter group."""

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        groups = len(optimizer.param_groups)
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"{groups} parameter groups need as many functions, not {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def rates(self, epoch):
        return [base * f(epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """base * gamma**(epoch // step_size): the rate is multiplied by `gamma` every `step_size` epochs."""

    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        self.step_size, self.gamma = _at_least_one("step_size", step_size), gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base, epoch):
        return base * self.gamma ** (epoch // self.step_size)


class ExponentialLR(LRScheduler):
    """base * gamma**epoch."""

    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base, epoch):
        return base * self.gamma**epoch


class CosineAnnealingLR(LRScheduler):
    """Half a cosine wave from base down to `eta_min` in `T_max` epochs (Loshchilov and Hutter, SGDR, 2017)."""

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        self.T_max, self.eta_min = _at_least_one("T_max", T_max), eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, base, epoch):
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class LinearLR(LRScheduler):
    """base * factor; the factor changes linearly from `start_factor` to `end_factor` in `total_iters` epochs."""

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(f"factors must be from 0 to 1, the first above 0, not {start_factor} and {end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = _at_least_one("total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def rate(self, base, epoch):
        done = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


def _at_least_one(name, epochs):
    if not epochs >= 1:
        raise ValueError(f"{name} must be at least 1, not {epochs}")
    return epochs
