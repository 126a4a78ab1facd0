"""Training a compiled function: the loop over epochs and batches.

The loop runs in C (csrc/tape/fit.c) if the optimizer is pygrad's own and the parameters are plain Values, else in
Python. Either way the result has the same bits as this loop:

    for epoch in range(epochs):
        for batch in batches(*args, batch_size=batch_size, shuffle=shuffle, seed=seed):
            optimizer.zero_grad()
            losses.append(f.backward(*batch))
            clip_grad_norm_(parameters, clip_grad_norm)  # of all groups; if the option is given
            clip_grad_value_(parameters, clip_grad_value)
            optimizer.step()
"""

import sys
import time
from array import array

from pygrad import clipping, optim
from pygrad.common import forks
from pygrad.common.named_tuples import named_tuple
from pygrad.common.numbers import describe, generator, to_float, to_whole
from pygrad.common.whole import restored_on_error
from pygrad.engine import plain_ids
from pygrad.engine._lib import ffi, lib
from pygrad.lr_scheduler import LRScheduler, ReduceLROnPlateau

SECONDS = 0.05  # one call of C begins no step later than this, so that Python can handle Ctrl-C and show progress
MOST_STEPS = 4096  # of one call of C


@named_tuple
class Progress:
    """How far a training has come: the argument of a callback."""

    epoch: int  # epochs done
    epochs: int  # epochs in all
    step: int  # steps done
    loss: float  # of the last step


class Schedule:
    """The learning rates: the groups' own, which an LRScheduler may change; or a function of the step."""

    def __init__(self, given, optimizer):
        is_scheduler = isinstance(given, LRScheduler)
        if given is not None and not is_scheduler and not callable(given):
            raise TypeError("schedule must be an LRScheduler, stepped once an epoch, or a function of the step number")
        if is_scheduler and given.optimizer is not optimizer:
            raise ValueError("this schedule sets the rates of another optimizer: make one of the optimizer of this fit")
        self.optimizer = optimizer
        self.per_epoch, self.per_step = (given, None) if is_scheduler else (None, given)
        self._known, self._first = array("d"), 0  # rates of coming steps, and the number of the first of these steps

    def rates(self, step, count):
        """Return the rates of `count` steps, the first of them number `step`; None: each group's own rate.

        The function is asked for each step once. It finds the rate of the step before in the optimizer, as it does in a
        loop in Python, though C has not taken that step yet.
        """
        if self.per_step is None:
            return None
        self._known, self._first = self._known[step - self._first :], step
        if count == 1 and not self._known:
            return array("d", [self._ask(step)])
        groups = self.optimizer.param_groups
        with restored_on_error(*groups):
            before = [group["lr"] for group in groups]
            for i in range(len(self._known), count):
                for group in groups if i else []:
                    group["lr"] = self._known[-1]
                self._known.append(self._ask(step + i))
            for group, rate in zip(groups, before):
                group["lr"] = rate
        return self._known[:count]

    def _ask(self, step):
        rate = to_float(self.per_step(step), "a learning rate")
        if not rate >= 0:
            raise ValueError(f"a learning rate must be at least 0: that of step {step} would be {rate}")
        return rate

    def set(self, rate):
        """Set the rate of every group of the optimizer, as a loop in Python does before each step."""
        groups = self.optimizer.param_groups
        with restored_on_error(*groups):
            for group in groups:
                group["lr"] = rate

    def end_epoch(self, losses):
        """Step an LRScheduler after an epoch with these losses: their mean is the metric of ReduceLROnPlateau."""
        if isinstance(self.per_epoch, ReduceLROnPlateau):
            self.per_epoch.step(sum(losses) / len(losses))
        elif self.per_epoch:
            self.per_epoch.step()


class Clipping:
    """The limits of the gradients, checked as clip_grad_norm_ and clip_grad_value_ check them; None: there is none."""

    def __init__(self, max_norm, clip_value):
        self.max_norm = None if max_norm is None else clipping.checked_limit("clip_grad_norm", max_norm)
        self.clip_value = None if clip_value is None else clipping.checked_limit("clip_grad_value", clip_value)

    def fields(self):
        """Return the limits as C has them."""
        fields = {"max_norm": self.max_norm, "clip_value": self.clip_value}
        return {name: -1.0 if limit is None else limit for name, limit in fields.items()}

    def clip(self, optimizer):
        """Clip the gradients of an optimizer's parameters, as a loop in Python does."""
        if self.max_norm is not None:
            clipping.clip_grad_norm_(_parameters(optimizer), self.max_norm)
        if self.clip_value is not None:
            clipping.clip_grad_value_(_parameters(optimizer), self.clip_value)


def _parameters(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


class SampleOrder:
    """The sequence of the samples in each epoch, shuffled as `pygrad.data.batches` does with this seed."""

    def __init__(self, samples, shuffle, seed):
        self.samples, self.shuffle, self._random = samples, shuffle, generator(seed)

    def next(self):
        """Return the numbers of the samples as the next epoch uses them, one by one; None if they are not shuffled."""
        if not self.shuffle:
            return None
        order = list(range(self.samples))
        self._random.shuffle(order)
        return ffi.new("uint32_t[]", order)


def fit(run, optimizer, *, epochs, batch_size, shuffle, seed, drop_last, schedule, clip, progress, callback, by_hand):
    """Train, and return the loss of every step; see `Compiled.fit`. `by_hand(samples)` runs a batch in Python."""
    samples, epochs = run.n, to_whole(epochs, "epochs", 0)
    batch_size = samples if batch_size is None else to_whole(batch_size, "batch_size", 1)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function of a Progress, not {describe(callback)}")
    _check_optimizer(optimizer, run.tape)
    batches = _batches(samples, batch_size, drop_last)
    order = SampleOrder(samples, batch_size < samples if shuffle is None else shuffle, seed)
    schedule, clip = Schedule(schedule, optimizer), Clipping(*clip)
    trainer = _InC.of(run, optimizer, batch_size, batches, clip)
    trainer = trainer or _ByHand(optimizer, batch_size, batches, samples, clip, by_hand)
    together = 1 if order.shuffle or schedule.per_epoch or callback else max(epochs, 1)  # epochs in one go
    bar, losses = _bar(progress, epochs * batches), array("d")
    try:
        with bar:
            for epoch in range(together, epochs + 1, together):
                trainer.begin_epoch(order.next())
                _run_all(trainer, batches * together, schedule, bar, losses)
                schedule.end_epoch(losses[-batches:])
                if callback is not None and callback(Progress(epoch, epochs, len(losses), losses[-1])):
                    break
    finally:
        trainer.settle()  # Ctrl-C may have come anywhere, even within settle()
    return losses.tolist()


def _check_optimizer(optimizer, tape):
    """Raise TypeError for what is no optimizer, ValueError for one that moves nothing of the function's."""
    # Lists, not generators: Ctrl-C within a generator may be reported as ignored.
    lacking = [name for name in ("step", "zero_grad") if not callable(getattr(optimizer, name, None))]
    if lacking:
        raise TypeError(f"an optimizer has step() and zero_grad(), and {describe(optimizer)} has not")
    if not isinstance(optimizer, optim.Optimizer):
        return  # what the groups of others hold is their own
    parameters = _parameters(optimizer)
    used = [p for p in parameters if _is_used(p, tape)]
    if parameters and not used:
        raise ValueError(
            "the function uses none of the optimizer's parameters, so it cannot be trained: give the optimizer the "
            "Values that the function computes with, as model.parameters() of its model; a copy has Values of its own"
        )


def _is_used(parameter, tape):
    id = getattr(parameter, "_pg_id", 0)
    return id in tape.place_of_parameter or not getattr(parameter, "requires_grad", True)  # the user froze it


def _batches(samples, batch_size, drop_last):
    """Return how many batches an epoch has."""
    batches = samples // batch_size if drop_last else -(-samples // batch_size)
    if batches == 0:
        raise ValueError(f"drop_last leaves no batch: there are {samples} samples, and a batch has {batch_size}")
    return batches


def _run_all(trainer, steps, schedule, bar, losses):
    while steps:
        done = trainer.run_steps(min(steps, MOST_STEPS), len(losses), schedule, losses)
        steps -= done
        bar.update(done, losses)


class _ByHand:
    """The loop of the module's docstring, for optimizers and parameters that C does not know."""

    def __init__(self, optimizer, batch_size, batches, samples, clip, run_batch):
        self.optimizer, self.run_batch, self.samples, self.clip = optimizer, run_batch, samples, clip
        self.batch_size, self.batches = batch_size, batches

    def begin_epoch(self, order):
        self.order, self.next = list(order) if order else list(range(self.samples)), 0

    def run_steps(self, most, step, schedule, losses):
        rates = schedule.rates(step, 1)
        begin = self.next * self.batch_size
        self.optimizer.zero_grad()
        loss = self.run_batch(self.order[begin : begin + self.batch_size])
        if rates:
            schedule.set(rates[0])  # now, so that an error before leaves the rate of the last step
        self.clip.clip(self.optimizer)
        self.optimizer.step()
        losses.append(loss)
        self.next = (self.next + 1) % self.batches
        return 1

    def settle(self):
        """Nothing to do: each step has written everything."""


class _InC:
    """Steps of the optimizers of pygrad.optim on plain Values, many in one call."""

    @staticmethod
    def of(run, optimizer, batch_size, batches, clip):
        """Return an _InC, or None if C might do something else than the loop in Python: for subclasses and patches."""
        known = type(optimizer) in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop)
        known = known and not {"step", "zero_grad"} & {*vars(optimizer)}
        if not known or any(plain_ids(list(group["params"])) is None for group in optimizer.param_groups):
            return None
        return _InC(run, optimizer, batch_size, batches, clip)

    def __init__(self, run, optimizer, batch_size, batches, clip):
        self.run, self.optimizer = run, optimizer
        fields = {"samples": run.n, "columns": run.columns, "batches": batches}
        fields |= {"batch_size": min(batch_size, run.n)}  # more than C can count is all
        fields |= {"threads": run.batch.threads, "is_mean": run.reduction == "mean", "seconds": SECONDS}
        self.fit, self.steps = ffi.new("pg_fit *", {**fields, **clip.fields()}), None

    def begin_epoch(self, order):
        self.order, self.groups = order, []
        self.fit.order, self.fit.next_batch = (ffi.NULL if order is None else order), 0

    def _read_optimizer(self, has_rates):
        """Read the groups and the state, if a callback, a schedule, a signal handler or a thread has changed them."""
        pairs = list(self._pairs())
        if len(pairs) == len(self.groups) and all(
            read.is_current(*pair, struct, has_rates) for read, pair, struct in zip(self.groups, pairs, self.structs)
        ):
            return
        self.groups = [_Group(self.optimizer, *pair, self.run.tape) for pair in pairs]
        self.structs = ffi.new("pg_fit_group[]", [group.struct[0] for group in self.groups])
        self.clipped = ffi.new("double[]", sum([len(group.params) for group in self.groups]))
        self.fit.group_count, self.fit.groups, self.fit.clipped = len(self.groups), self.structs, self.clipped

    def run_steps(self, most, step, schedule, losses):
        rates = schedule.rates(step, most)
        self._read_optimizer(rates is not None)
        room, fit = ffi.new("double[]", most), self.fit
        fit.losses, fit.steps, fit.done, fit.is_stored = room, most, 0, 0
        fit.rates = ffi.NULL if rates is None else ffi.from_buffer("double[]", rates)
        self.set_rate = None if rates is None else lambda: schedule.set(rates[fit.done - 1])
        self.steps = _Steps(self.optimizer.state, self.groups, self.structs, fit)
        self.optimizer.begin(self.steps)
        status = lib.pg_fit_run(self.run.tape.replay, fit)
        self.settle()
        losses.frombytes(ffi.buffer(room, 8 * fit.done))
        self.run.check(status, fit)
        return fit.done

    def settle(self):
        """Keep the state and the rate after the last steps in C; go on with it, if Ctrl-C interrupted it."""
        if self.steps:
            self.optimizer.settle(self.steps)
            if self.set_rate and self.steps.is_done:
                self.set_rate()
            self.steps = None

    def _pairs(self):
        if len(self.optimizer.param_groups) != len(self.optimizer.state):
            self.optimizer.step()  # raises an error that says what is wrong
        return zip(self.optimizer.param_groups, self.optimizer.state)


class _Steps(optim.Change):
    """Steps in one call of C: done if one of them is complete, and when the parameters are in the arena."""

    def __init__(self, before, groups, structs, fit):
        self.before, self.groups, self.structs, self.fit = before, groups, structs, fit

    @property
    def is_done(self):
        return self.fit.is_stored

    @property
    def new(self):
        return [group.state_after(struct) for group, struct in zip(self.groups, self.structs)]


def _by_ids(group):
    """Return a parameter group with the ids of its parameters, for a class of Values may have an `==` of its own."""
    return {**group, "params": [*map(id, group["params"])]}


class _Group:
    """A parameter group of the optimizer as C's pg_fit_group; `state_after` reads the state back."""

    def __init__(self, optimizer, group, state, tape):
        params = list(group["params"])
        move = optimizer.prepare(group, state)  # raises an error if something is wrong
        self.params, self.new, n = params, move.new, len(params)  # `params` must live as long as `ids`
        self.seen = _by_ids(group)
        self.ids, self.frozen = plain_ids(params), plain_ids([p for p in params if not p.requires_grad])
        self.spans = ffi.new("pg_fit_span[]", _spans([self._place(id, tape) for id in self.ids]))
        self.data = ffi.new("double[]", n)
        self.by = move.in_c[-1]  # the options and the buffers
        fields = {"count": n, "ids": self.ids, "data": self.data, "lr": group["lr"], "by": self.by}
        fields |= {"spans": self.spans, "span_count": len(self.spans)}
        fields |= {"frozen": self.frozen, "frozen_count": len(self.frozen)}
        if isinstance(optimizer, optim.Adam):
            fields |= {"decoupled": optimizer.decoupled, "weight_decay": group["weight_decay"], "step": state["step"]}
        self.struct = ffi.new("pg_fit_group *", fields)

    @staticmethod
    def _place(id, tape):
        """Return the place of a parameter on the tape, -1 if it is not on the tape, None if it is frozen."""
        return None if lib.pg_is_frozen(id) else tape.place_of_parameter.get(id, -1)

    def is_current(self, group, state, struct, has_rates):
        """Return True if the group and its state are as they were read, but for the steps since then.

        With has_rates the group's own rate does not matter: a schedule gives the rates.
        """
        seen = {**self.seen, "lr": group.get("lr")} if has_rates else self.seen
        buffers = all(state.get(name) is kept for name, kept in self.new.items() if name != "step")
        return _by_ids(group) == seen and buffers and state.get("step", struct.step) == struct.step

    def state_after(self, struct):
        return {**self.new, "step": struct.step} if "step" in self.new else self.new


def _spans(places):
    """Return the runs of neighbours in `places` as [first, count, place].

    The parameters of a run stand side by side on the tape, or are all not on it (-1). Frozen ones (None) are left out.
    """
    spans = []
    for i, place in enumerate(places):
        if place is None:
            continue
        first, count, last = spans[-1] if spans else (0, 0, -1)
        if spans and first + count == i and (place == last + count if last >= 0 else place < 0):
            spans[-1][1] += 1
        else:
            spans.append([i, 1, place])
    return spans


# --- progress ---------------------------------------------------------------------------------------------------------


def _bar(progress, steps):
    if not progress:
        return _NoBar()
    try:
        return _TqdmBar(steps)
    except ImportError:
        return _LineBar(steps)


class _NoBar:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, done, losses):
        pass


class _TqdmBar(_NoBar):
    def __init__(self, steps):
        with forks.importing:
            from tqdm import tqdm

        self.bar = tqdm(total=steps, unit="step")

    def __exit__(self, *_):
        self.bar.close()

    def update(self, done, losses):
        self.bar.set_postfix(loss=f"{losses[-1]:.4g}", refresh=False)
        self.bar.update(done)


class _LineBar(_NoBar):
    """Progress without tqdm: a line a second."""

    def __init__(self, steps):
        self.steps, self.told = steps, time.monotonic()

    def update(self, done, losses):
        if time.monotonic() - self.told >= 1 or len(losses) == self.steps:
            self.told = time.monotonic()
            print(f"step {len(losses)} of {self.steps}, loss {losses[-1]:.4g}", file=sys.stderr)
