"""Learning-rate schedules with PyTorch's names: after each epoch, `scheduler.step()` sets the optimizer's "lr".

A schedule is a formula, `rate(base, epoch)`: the rate in an epoch, computed from the rate that the optimizer began
with. So use one schedule per optimizer: of two, the last to step wins. SequentialLR runs several, one after the other;
write other combinations as a LambdaLR. ReduceLROnPlateau alone has no formula: it looks at a loss.

A group that is added to the optimizer later has a base rate of its own, the "lr" that it came with, from the next step
on. A rate that is no finite number, at least 0, is refused: `step()` raises ValueError, and nothing has changed.

>>> from pygrad import Value, optim
>>> optimizer = optim.SGD([Value(1.0)], lr=0.5)
>>> scheduler = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
>>> scheduler.step()
>>> scheduler.get_last_lr()
[0.25]
"""

import math
from bisect import bisect_right

from pygrad.common.numbers import describe, shown, to_float, to_whole
from pygrad.common.whole import restored_on_error


class LRScheduler:
    """Base class of the schedules. A subclass defines `rate(base, epoch)`, or `rates(epoch)` for all groups.

    `base_lrs` are the rates that the optimizer began with, one per parameter group. `last_epoch` is the current epoch;
    the first is 0.

    To go on after a break, load the `state_dict()` of the optimizer and of the scheduler. Or pass `last_epoch`: then
    each group of the optimizer must have its "initial_lr", else a ValueError.

    Every schedule raises TypeError for what is no optimizer or no number, ValueError for an option out of range; the
    optimizer is left as it was.
    """

    _options = ()  # the names of the options, which are attributes

    def __init__(self, optimizer, last_epoch=-1, **options):
        groups = _groups_of(optimizer)
        self.optimizer, self.last_epoch, self.base_lrs = optimizer, to_whole(last_epoch, "last_epoch", -1), []
        vars(self).update(self.checked(**options))
        self._options = tuple(options)
        if last_epoch != -1 and not all("initial_lr" in group for group in groups):
            raise ValueError('to go on from last_epoch, each parameter group needs its "initial_lr"')
        self.step()

    def step(self):
        """Go to the next epoch: set "lr" in each parameter group. An exception, Ctrl-C for one, changes nothing.

        Raises ValueError if a rate would be no finite number, or below 0.
        """
        with restored_on_error(*self._changed()):
            self._fit_groups()
            self._go_to(self.last_epoch + 1)

    def rates(self, epoch):
        """Return the rate of each parameter group in this epoch."""
        return [self.rate(base, epoch) for base in self.base_lrs]

    def get_last_lr(self):
        """Return the rate that each parameter group has now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self):
        """Return the epoch, the base rates and the options; not the functions of a LambdaLR."""
        options = {name: getattr(self, name) for name in self._options}
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs), **options}

    def load_state_dict(self, state_dict):
        """Load a `state_dict()`, and set the rates of its epoch in the optimizer.

        Raises ValueError, and changes nothing, if it has another number of parameter groups than the optimizer, or is
        damaged.
        """
        with restored_on_error(*self._changed()):
            try:
                epoch = self._load(state_dict)
            except (TypeError, KeyError, AttributeError, OverflowError) as error:
                raise ValueError(f"this is not the state_dict() of a {type(self).__name__}: {error!r}") from None
            self._go_to(epoch)

    # What subclasses of pygrad's own may define besides.

    @staticmethod
    def checked(**options):
        """Return the options as the schedule keeps them, in attributes; TypeError or ValueError for a bad one."""
        return options

    def settings(self, epoch):
        """Return what each parameter group gets in this epoch, as a dict."""
        return [{"lr": _checked_rate(rate, epoch)} for rate in self.rates(epoch)]

    def _base(self, place, group):
        """Return the base rate of the group at this place, which the schedule sees for the first time."""
        return group.setdefault("initial_lr", group["lr"])

    def _changed(self):
        """Return the dicts that a step changes."""
        return [vars(self), *self.optimizer.param_groups]

    def _fit_groups(self):
        """Note the base rates of groups that are new in the optimizer."""
        groups, known = self.optimizer.param_groups, len(self.base_lrs)
        if len(groups) < known:
            raise ValueError(f"the optimizer had {known} parameter groups, and has {len(groups)}: make a new schedule")
        new = [to_float(self._base(place, groups[place]), "lr") for place in range(known, len(groups))]
        self.base_lrs = [*self.base_lrs, *new]

    def _go_to(self, epoch):
        self.last_epoch = epoch
        groups, settings = self.optimizer.param_groups, self.settings(epoch)
        if len(settings) != len(groups):
            raise ValueError(f"the schedule gives {len(settings)} rates, and the optimizer has {len(groups)} groups")
        for group, setting in zip(groups, settings):
            group.update(setting)

    def _load(self, state):
        """Take everything from a state_dict() but the epoch, which is returned."""
        groups = self.optimizer.param_groups
        base_lrs = [_at_least("a base rate", rate, 0) for rate in state["base_lrs"]]
        if len(base_lrs) != len(groups):
            raise ValueError(f"this state has {len(base_lrs)} learning rates, and the optimizer {len(groups)}")
        vars(self).update(self.checked(**{name: state.get(name, getattr(self, name)) for name in self._options}))
        self._fit_groups()
        self.base_lrs = base_lrs
        for group, base in zip(groups, base_lrs):
            group["initial_lr"] = base
        return to_whole(state["last_epoch"], "last_epoch", 0)


class LambdaLR(LRScheduler):
    """base * lr_lambda(epoch), with a function of your own, or a list of functions, one per parameter group."""

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        groups, is_list = len(_groups_of(optimizer)), isinstance(lr_lambda, (list, tuple))
        self.lr_lambdas = list(lr_lambda) if is_list else [lr_lambda] * groups
        self._is_one = not is_list
        for f in self.lr_lambdas:
            if not callable(f):
                raise TypeError(f"lr_lambda must be a function of the epoch, or a list of them, not {describe(f)}")
        super().__init__(optimizer, last_epoch)

    def _fit_groups(self):
        super()._fit_groups()
        groups = len(self.base_lrs)
        if self._is_one:
            self.lr_lambdas = self.lr_lambdas[:1] * groups
        if len(self.lr_lambdas) != groups:
            raise ValueError(
                f"{groups} parameter groups need as many functions, not {len(self.lr_lambdas)}: give a group that is "
                "added its function in lr_lambdas"
            )

    def rates(self, epoch):
        factors = [to_float(f(epoch), "what lr_lambda returns") for f in self.lr_lambdas]
        return [base * factor for base, factor in zip(self.base_lrs, factors, strict=True)]


class StepLR(LRScheduler):
    """base * gamma**(epoch // step_size): the rate is multiplied by `gamma` every `step_size` epochs."""

    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        super().__init__(optimizer, last_epoch, step_size=step_size, gamma=gamma)

    @staticmethod
    def checked(step_size, gamma):
        return {"step_size": _at_least("step_size", step_size, 1), "gamma": _at_least("gamma", gamma, 0)}

    def rate(self, base, epoch):
        return base * _power(self.gamma, epoch // self.step_size)


class ExponentialLR(LRScheduler):
    """base * gamma**epoch."""

    def __init__(self, optimizer, gamma, last_epoch=-1):
        super().__init__(optimizer, last_epoch, gamma=gamma)

    @staticmethod
    def checked(gamma):
        return {"gamma": _at_least("gamma", gamma, 0)}

    def rate(self, base, epoch):
        return base * _power(self.gamma, epoch)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine wave from base down to `eta_min` in `T_max` epochs (Loshchilov and Hutter, SGDR, 2017)."""

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        super().__init__(optimizer, last_epoch, T_max=T_max, eta_min=eta_min)

    @staticmethod
    def checked(T_max, eta_min):
        return {"T_max": _at_least("T_max", T_max, 1), "eta_min": _at_least("eta_min", eta_min, 0)}

    def rate(self, base, epoch):
        return _wave(base, self.eta_min, epoch / self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine wave from base down to `eta_min` in `T_0` epochs; then again, each `T_mult` times as long.

    Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts" (2017). T_0 and T_mult are whole
    numbers, at least 1.
    """

    def __init__(self, optimizer, T_0, T_mult=1, eta_min=0.0, last_epoch=-1):
        super().__init__(optimizer, last_epoch, T_0=T_0, T_mult=T_mult, eta_min=eta_min)

    @staticmethod
    def checked(T_0, T_mult, eta_min):
        lengths = {"T_0": to_whole(T_0, "T_0", 1), "T_mult": to_whole(T_mult, "T_mult", 1)}
        return {**lengths, "eta_min": _at_least("eta_min", eta_min, 0)}

    def rate(self, base, epoch):
        length, done = self.T_0, epoch % self.T_0 if self.T_mult == 1 else epoch
        while done >= length:
            done, length = done - length, length * self.T_mult
        return _wave(base, self.eta_min, done / length)


class LinearLR(LRScheduler):
    """base * factor; the factor changes linearly from `start_factor` to `end_factor` in `total_iters` epochs."""

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        options = {"start_factor": start_factor, "end_factor": end_factor, "total_iters": total_iters}
        super().__init__(optimizer, last_epoch, **options)

    @staticmethod
    def checked(start_factor, end_factor, total_iters):
        start, end = to_float(start_factor, "start_factor"), to_float(end_factor, "end_factor")
        if not 0 < start <= 1 or not 0 <= end <= 1:
            raise ValueError(f"factors must be from 0 to 1, the first above 0, not {start} and {end}")
        return {"start_factor": start, "end_factor": end, "total_iters": _at_least("total_iters", total_iters, 1)}

    def rate(self, base, epoch):
        done = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to `max_lr`, and down to 1 / final_div_factor of the first rate, in `total_steps`.

    Smith and Topin, "Super-convergence" (2018). `pct_start` is the share of the steps that go up. With `three_phase`
    the rate first goes down to where it began, in as many steps. `anneal_strategy` is "cos" or "linear". Instead of
    total_steps give epochs and steps_per_epoch. With `cycle_momentum` the optimizer's momentum, or the first of its
    betas, goes from `max_momentum` to `base_momentum` and back. max_lr and the momenta may be lists, one number per
    group. The base rates are max_lr / div_factor. `step()` raises ValueError after total_steps.

    In PyTorch it is mostly stepped after each batch. `fit` steps it after each epoch; for a rate a batch pass a
    function as its schedule: lambda step: scheduler.rates(step)[0].

    >>> from pygrad import Value, optim
    >>> optimizer = optim.SGD([Value(1.0)], momentum=0.9)
    >>> scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10, anneal_strategy="linear")
    >>> [round(scheduler.rates(step)[0], 2) for step in range(10)]
    [0.04, 0.52, 1.0, 0.86, 0.71, 0.57, 0.43, 0.29, 0.14, 0.0]
    """

    def __init__(
        self,
        optimizer,
        max_lr,
        total_steps=None,
        epochs=None,
        steps_per_epoch=None,
        pct_start=0.3,
        anneal_strategy="cos",
        cycle_momentum=True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25.0,
        final_div_factor=1e4,
        three_phase=False,
        last_epoch=-1,
    ):
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
            total_steps = to_whole(epochs, "epochs", 1) * to_whole(steps_per_epoch, "steps_per_epoch", 1)
        groups = _groups_of(optimizer)
        if cycle_momentum and not all("betas" in group or "momentum" in group for group in groups):
            raise ValueError("this optimizer has no momentum: pass cycle_momentum=False")
        options = {"max_lr": max_lr, "total_steps": total_steps, "pct_start": pct_start}
        options |= {"anneal_strategy": anneal_strategy, "cycle_momentum": cycle_momentum}
        options |= {"base_momentum": base_momentum, "max_momentum": max_momentum, "div_factor": div_factor}
        options |= {"final_div_factor": final_div_factor, "three_phase": three_phase}
        for name in ("max_lr", "base_momentum", "max_momentum"):
            _check_count(name, options[name], len(groups))
        super().__init__(optimizer, last_epoch, **options)

    @staticmethod
    def checked(*, max_lr, total_steps, pct_start, anneal_strategy, div_factor, final_div_factor, **others):
        for name in ("base_momentum", "max_momentum"):
            others[name] = _one_or_many(name, others[name], 1.0)
        if not 0 <= to_float(pct_start, "pct_start") <= 1:
            raise ValueError(f"pct_start must be from 0 to 1, not {shown(pct_start)}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'anneal_strategy must be "cos" or "linear", not {shown(anneal_strategy)}')
        for name, factor in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if not 0 < to_float(factor, name) < math.inf:
                raise ValueError(f"{name} must be above 0, not {shown(factor)}")
        return {
            "max_lr": _one_or_many("max_lr", max_lr, math.inf),
            "total_steps": to_whole(total_steps, "total_steps", 1),
            "pct_start": to_float(pct_start, "pct_start"),
            "anneal_strategy": anneal_strategy,
            "div_factor": to_float(div_factor, "div_factor"),
            "final_div_factor": to_float(final_div_factor, "final_div_factor"),
            **others,
        }

    def _base(self, place, group):
        group["initial_lr"] = _of_group("max_lr", self.max_lr, place) / self.div_factor
        return group["initial_lr"]

    def rates(self, epoch):
        first, second, share = self._phase(epoch)
        found = []
        for place, start in enumerate(self.base_lrs):
            rates = {"start": start, "max": _of_group("max_lr", self.max_lr, place)}
            rates["end"] = start / self.final_div_factor
            # PyTorch's line goes on below the end, and maybe below 0, in the step after the last
            found.append(max(0.0, self._between(rates[first], rates[second], share)))
        return found

    def settings(self, epoch):
        settings = super().settings(epoch)
        for place, group in enumerate(self.optimizer.param_groups if self.cycle_momentum else []):
            momentum = self._momentum(place, epoch)
            settings[place] |= (
                {"betas": (momentum, *group["betas"][1:])} if "betas" in group else {"momentum": momentum}
            )
        return settings

    def _momentum(self, place, epoch):
        largest, smallest = (_of_group(name, getattr(self, name), place) for name in ("max_momentum", "base_momentum"))
        first, second, share = self._phase(epoch)
        momenta = {"start": largest, "max": smallest, "end": largest}
        return self._between(momenta[first], momenta[second], share)

    def _phase(self, epoch):
        """Return the names of the numbers between which this step lies, and where: 0 is at the first of them."""
        if epoch > self.total_steps:
            raise ValueError(f"this cycle has {self.total_steps} steps, and it cannot go to step {epoch}")
        up, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        phases = [("start", "max", up), ("max", "end", last)]  # from, to, last step
        if self.three_phase:
            phases[1:] = [("max", "start", 2 * self.pct_start * self.total_steps - 2), ("start", "end", last)]
        begin = 0.0
        while len(phases) > 1 and epoch > phases[0][2]:
            begin = phases.pop(0)[2]
        first, second, end = phases[0]
        return first, second, (epoch - begin) / (end - begin) if end != begin else 1.0

    def _between(self, start, end, share):
        if self.anneal_strategy == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


class SequentialLR(LRScheduler):
    """One schedule after the other: from epoch milestones[k] on schedulers[k + 1] runs, beginning with its epoch 0.

    All of them belong to the same optimizer. ReduceLROnPlateau cannot be among them: it needs a loss.

    >>> from pygrad import Value, optim
    >>> optimizer = optim.SGD([Value(1.0)], lr=1.0)
    >>> warm = optim.lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> then = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> scheduler = optim.lr_scheduler.SequentialLR(optimizer, [warm, then], milestones=[2])
    >>> rates = scheduler.get_last_lr()
    >>> for _ in range(3):
    ...     scheduler.step()
    ...     rates += scheduler.get_last_lr()
    >>> rates
    [0.25, 0.5, 1.0, 0.5]
    """

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        _groups_of(optimizer)
        self.schedulers = _listed("schedulers", schedulers)
        if not self.schedulers:
            raise ValueError("a SequentialLR needs at least one schedule: this list is empty")
        for scheduler in self.schedulers:
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(f"SequentialLR is made of schedules, not of {describe(scheduler)}")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError("SequentialLR cannot run a ReduceLROnPlateau, which needs a loss in each step")
            if scheduler.optimizer is not optimizer:
                raise ValueError("all schedules of a SequentialLR must be of its optimizer")
        super().__init__(optimizer, last_epoch, milestones=milestones, count=len(self.schedulers))

    @staticmethod
    def checked(milestones, count):
        milestones = [to_whole(milestone, "a milestone", 0) for milestone in _listed("milestones", milestones)]
        if len(milestones) != count - 1:
            raise ValueError(f"{count} schedules need {max(count - 1, 0)} milestones, not {len(milestones)}")
        if milestones != sorted(milestones):
            raise ValueError(f"milestones must ascend, unlike {shown(milestones)}")
        return {"milestones": milestones, "count": count}

    def settings(self, epoch):
        place = bisect_right(self.milestones, epoch)
        scheduler = self.schedulers[place]
        scheduler._fit_groups()
        scheduler.last_epoch = epoch - (self.milestones[place - 1] if place else 0)
        return scheduler.settings(scheduler.last_epoch)

    def rates(self, epoch):
        place = bisect_right(self.milestones, epoch)
        return self.schedulers[place].rates(epoch - (self.milestones[place - 1] if place else 0))

    def _changed(self):
        return super()._changed() + [vars for scheduler in self.schedulers for vars in scheduler._changed()]

    def state_dict(self):
        return {**super().state_dict(), "schedulers": [scheduler.state_dict() for scheduler in self.schedulers]}

    def _load(self, state):
        states = list(state["schedulers"])
        if len(states) != len(self.schedulers):
            raise ValueError(f"this state is of {len(states)} schedules, and there are {len(self.schedulers)}")
        for scheduler, its in zip(self.schedulers, states):
            scheduler.load_state_dict(its)
        return super()._load(state)


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rates by `factor` when a loss has not improved for more than `patience` epochs.

    `step(metrics)` takes the loss, or with mode="max" a score. It has improved if it is better than the best one by a
    share `threshold` of that, or, with threshold_mode="abs", by `threshold`. After a reduction `cooldown` epochs are
    not counted. No rate falls below `min_lr`, a number or a list of one per group, or changes by less than `eps`.
    In `fit` the loss is the mean of the epoch's losses.

    >>> from pygrad import Value, optim
    >>> optimizer = optim.SGD([Value(1.0)], lr=1.0)
    >>> scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     scheduler.step(loss)
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer,
        mode="min",
        factor=0.1,
        patience=10,
        threshold=1e-4,
        threshold_mode="rel",
        cooldown=0,
        min_lr=0,
        eps=1e-8,
    ):
        _groups_of(optimizer)
        options = {"mode": mode, "factor": factor, "patience": patience, "threshold": threshold}
        options |= {"threshold_mode": threshold_mode, "cooldown": cooldown, "min_lr": min_lr, "eps": eps}
        self.optimizer, self.last_epoch, self._options = optimizer, 0, tuple(options)
        vars(self).update(self.checked(**options))
        _check_count("min_lr", self.min_lr, len(optimizer.param_groups))
        self.best, self.num_bad_epochs, self.cooldown_counter = self._worst(), 0, 0

    @staticmethod
    def checked(*, mode, factor, patience, threshold, threshold_mode, cooldown, min_lr, eps):
        if mode not in ("min", "max"):
            raise ValueError(f'mode must be "min" or "max", not {shown(mode)}')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'threshold_mode must be "rel" or "abs", not {shown(threshold_mode)}')
        if not 0 <= to_float(factor, "factor") < 1:
            raise ValueError(f"factor must be at least 0 and below 1, not {shown(factor)}")
        return {
            "mode": mode,
            "factor": to_float(factor, "factor"),
            "patience": to_whole(patience, "patience", 0),
            "threshold": _at_least("threshold", threshold, 0),
            "threshold_mode": threshold_mode,
            "cooldown": to_whole(cooldown, "cooldown", 0),
            "min_lr": _one_or_many("min_lr", min_lr, math.inf),
            "eps": _at_least("eps", eps, 0),
        }

    def step(self, metrics):
        """Note the loss, or score, of an epoch, and reduce the rates if it is time. An exception changes nothing.

        Raises TypeError if `metrics` is no number. A nan has not improved.
        """
        metrics = to_float(metrics, "metrics")
        with restored_on_error(*self._changed()):
            self._go_to(self.last_epoch + 1)
            if self._is_better(metrics):
                self.best, self.num_bad_epochs = metrics, 0
            else:
                self.num_bad_epochs += 1
            if self.cooldown_counter > 0:
                self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
            if self.num_bad_epochs > self.patience:
                self._reduce()
                self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _reduce(self):
        for group, least in zip(self.optimizer.param_groups, self._min_lrs()):
            old = to_float(group["lr"], "lr")
            new = max(old * self.factor, least)
            if old - new > self.eps:
                group["lr"] = new

    def _min_lrs(self):
        return [_of_group("min_lr", self.min_lr, place) for place in range(len(self.optimizer.param_groups))]

    def _is_better(self, metrics):
        if self.threshold_mode == "rel":
            share = 1.0 - self.threshold if self.mode == "min" else 1.0 + self.threshold
            limit = self.best * share
        else:
            limit = self.best - self.threshold if self.mode == "min" else self.best + self.threshold
        return metrics < limit if self.mode == "min" else metrics > limit

    def _worst(self):
        return math.inf if self.mode == "min" else -math.inf

    def rates(self, epoch):
        raise TypeError("a ReduceLROnPlateau has no rates by epoch: they depend on the losses")

    def state_dict(self):
        """Return the epoch, the best loss, the counts, the options and the rates."""
        names = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter", *self._options)
        return {**{name: getattr(self, name) for name in names}, "lrs": self.get_last_lr()}

    def _load(self, state):
        groups, rates = self.optimizer.param_groups, [_checked_rate(rate, "loaded") for rate in state["lrs"]]
        if len(rates) != len(groups):
            raise ValueError(f"this state has {len(rates)} learning rates, and the optimizer {len(groups)}")
        vars(self).update(self.checked(**{name: state[name] for name in self._options}))
        vars(self).update({name: to_whole(state[name], name, 0) for name in ("num_bad_epochs", "cooldown_counter")})
        self.best = to_float(state["best"], "best")
        self._min_lrs()
        for group, rate in zip(groups, rates):
            group["lr"] = rate
        return to_whole(state["last_epoch"], "last_epoch", 0)

    def _go_to(self, epoch):
        self.last_epoch = epoch


# --- formulas and checks ----------------------------------------------------------------------------------------------


def _wave(start, end, share):
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _power(gamma, times):
    try:
        return float(gamma) ** times
    except OverflowError:
        return math.inf


def _groups_of(optimizer):
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(groups, list):
        raise TypeError(f"a schedule needs an optimizer, with its param_groups, not {describe(optimizer)}")
    return groups


def _listed(name, given):
    if not hasattr(given, "__iter__"):
        raise TypeError(f"{name} must be a list, not {describe(given)}")
    return list(given)


def _checked_rate(rate, epoch):
    """Return a learning rate as a float. Raises TypeError if it is no number, ValueError if it is none that can be."""
    number = to_float(rate, "a learning rate")
    if not 0 <= number < math.inf:
        raise ValueError(f"a learning rate must be finite and at least 0: that of epoch {epoch} would be {number}")
    return number


def _at_least(name, given, least):
    """Return an option as it is. Raises TypeError if it is no number, ValueError if it is below `least`, or nan."""
    if not to_float(given, name) >= least:
        raise ValueError(f"{name} must be at least {least}, not {shown(given)}")
    return given if isinstance(given, int) else to_float(given, name)


def _one_or_many(name, given, below):
    """Return an option of each group, a number or a list of numbers: at least 0 and below a limit, else ValueError."""
    for number in given if isinstance(given, (list, tuple)) else [given]:
        if not 0 <= to_float(number, name) < below:
            limit = "" if below == math.inf else f" and below {below:g}"
            raise ValueError(f"{name} must be at least 0{limit}, not {shown(number)}")
    return list(map(float, given)) if isinstance(given, (list, tuple)) else float(given)


def _check_count(name, given, groups):
    if isinstance(given, (list, tuple)) and len(given) != groups:
        raise ValueError(f"{name} must be a number, or a list of one for each of {groups} groups, not of {len(given)}")


def _of_group(name, given, place):
    """Return the number of the group at this place of an option that is one number or a list."""
    if not isinstance(given, list):
        return given
    if place >= len(given):
        raise ValueError(f"{name} has numbers for {len(given)} parameter groups: append one for the group that is new")
    return given[place]
