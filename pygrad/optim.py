"""Optimizers with PyTorch's names, defaults and formulas: SGD, Adam, AdamW.

Each formula is a function on floats, `sgd` or `adam`; the optimizers keep its buffers. All groups of plain Values are
moved by one call of C, with the same operations, so with the same bits. Any other group, with a subclass of Value in it
or with Values of `pygrad.reference`, is moved here, one parameter at a time. A step is taken wholly or not at all, even
if Ctrl-C interrupts it: see `Change`.

A parameter always has a gradient here: 0.0 before the first backward pass. (PyTorch skips a parameter whose `.grad` is
None.) A frozen parameter (`requires_grad` is False) is skipped. Adam counts steps per group, not per parameter.

>>> from pygrad import Value, optim
>>> w = Value(3.0)
>>> optimizer = optim.SGD([w], lr=0.25)
>>> (w * w).backward()
>>> optimizer.step()
>>> w.data
1.5
"""

import copy
import math
import threading
import weakref
from array import array
from functools import cached_property, partial
from itertools import chain
from typing import NamedTuple

from pygrad import lr_scheduler  # noqa: F401 - optim.lr_scheduler, where PyTorch has it
from pygrad.common import forks
from pygrad.common.numbers import describe, shown, to_float
from pygrad.common.value_base import each_once
from pygrad.common.whole import restored_on_error, set_all
from pygrad.engine import plain_ids, recordings
from pygrad.engine._lib import ffi, lib


def sgd(p, grad, buf, *, lr, momentum, dampening, weight_decay, nesterov):
    """Return the new data and momentum buffer of one parameter after one step; `buf` is None before the first step.

    Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), in PyTorch's form.
    """
    if weight_decay != 0:
        grad = grad + weight_decay * p
    if momentum != 0:
        buf = grad if buf is None else momentum * buf + (1 - dampening) * grad
        grad = grad + momentum * buf if nesterov else buf
    return p - lr * grad, buf


def adam(p, grad, exp_avg, exp_avg_sq, *, beta1, beta2, eps, weight_decay, shrink, step_size, bias_root):
    """Return the new data and the two new running averages of one parameter; `adam_options` makes the keywords.

    Kingma and Ba, "Adam" (2015); `shrink` is the weight decay of AdamW: Loshchilov and Hutter (2019).
    """
    p = p * shrink
    if weight_decay != 0:
        grad = grad + weight_decay * p
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    denom = _sqrt(exp_avg_sq) / bias_root + eps
    ratio = exp_avg / denom if denom != 0 else math.nan  # 0/0: without eps and without a gradient
    return p - step_size * ratio, exp_avg, exp_avg_sq


def adam_options(step, lr, betas, eps, weight_decay, decoupled):
    """Return the keywords of `adam` for step number `step` (the first is 1); AdamW's weight decay is `decoupled`."""
    beta1, beta2 = betas
    return {
        "beta1": beta1,
        "beta2": beta2,
        "eps": eps,
        "weight_decay": 0.0 if decoupled else weight_decay,
        "shrink": 1 - lr * weight_decay if decoupled else 1.0,
        "step_size": lr / (1 - beta1**step),
        "bias_root": math.sqrt(1 - beta2**step),
    }


def _sqrt(x):
    return math.sqrt(x) if x >= 0 else math.nan  # C has no exception here either


def zero_grads(values):
    """Set the gradient of every Value to 0."""
    values = list(values)
    recordings.note("grad =")
    ids = plain_ids(values)
    if ids is None or lib.pg_set_grads(len(ids), ids, 0.0) != lib.PG_OK:
        for p in values:
            p.grad = 0


def set_data(values, numbers):
    """Set the data of every Value, or, if an exception comes, of none."""
    recordings.note("data =")
    ids = plain_ids(values)
    if ids is None or lib.pg_set_all_data(len(ids), ids, ffi.new("double[]", numbers)) != lib.PG_OK:
        set_all(values, "data", numbers, [p.data for p in values])


_optimizers = weakref.WeakSet()  # all of them


def _renew_locks():
    for optimizer in _optimizers:
        optimizer._stepping = threading.RLock()


forks.in_child(_renew_locks)  # another thread may have been taking a step


class Optimizer:
    """Base class of the optimizers.

    `params` is an iterable of leaf Values or of groups: dicts with "params" and hyperparameters. A Value listed twice
    in a group is one parameter. Raises ValueError if `params` is empty, if a parameter is no leaf or is in two groups,
    or if a hyperparameter is out of range; TypeError if a parameter is no Value.

    `param_groups` is the list of groups; a program may change them between steps. `state` has one dict per group; a
    buffer in it is an array of floats, one per parameter.
    """

    def __init__(self, params, **defaults):
        self.defaults, self.param_groups, self.state = defaults, [], []
        self._prepare_lock()
        params, taken = _listed(params), set()
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            self._add(group, taken)

    def add_param_group(self, group):
        """Add a group with hyperparameters of its own, as {"params": [...], "lr": 0.1}; defaults fill what it lacks."""
        self._add(group, {id(p) for group in self.param_groups for p in group["params"]})

    def _add(self, group, taken):
        """Add a group, and the ids of its parameters to `taken`, those of all groups before."""
        if "params" not in group:
            raise ValueError('a parameter group needs its list of Values as "params"')
        params = each_once(_leaves(group["params"]))
        group = {**self.defaults, **group, "params": params}
        self._validate(group)
        ids = {id(p) for p in params}
        if not taken.isdisjoint(ids):
            raise ValueError("some parameters are in more than one parameter group")
        groups, states, fresh = self.param_groups, self.state, self._new_state(len(params))
        n = len(groups)
        try:
            groups.append(group)
            states.append(fresh)
        except BaseException:
            del groups[n:], states[n:]
            raise
        taken.update(ids)

    # A subclass defines three methods. _validate(group) raises if a hyperparameter is wrong. _new_state(n) returns the
    # state of n parameters before the first step. _prepare(params, group, state) does every part of a step that can
    # fail, and returns a _Move.

    @property
    def state(self):
        return self._kept.states if isinstance(self._kept, Change) else self._kept

    @state.setter
    def state(self, states):
        self._kept = states

    def __getstate__(self):
        attributes = {**vars(self), "state": self.state}
        del attributes["_kept"], attributes["_stepping"]
        return attributes

    def __setstate__(self, attributes):
        self._prepare_lock()
        for name, attribute in attributes.items():
            setattr(self, name, attribute)

    def _prepare_lock(self):
        """Make the lock that a step holds. It is re-entrant: a signal handler may take a step, too."""
        self._stepping = threading.RLock()
        _optimizers.add(self)

    def zero_grad(self):
        """Set the gradient of every parameter to 0."""
        zero_grads(chain.from_iterable(group["params"] for group in self.param_groups))

    def step(self):
        """Move every parameter once, by its gradient.

        Raises, mostly a TypeError or ValueError, and moves nothing if a program has put something impossible into
        param_groups: an lr that is no number, betas out of range, more or fewer "params" than before. Nor does a step
        move anything that Ctrl-C interrupts, or in which a subclass of Value refuses its new `data`; a step that had
        been taken when Ctrl-C came is whole. Steps of several threads are taken one after the other.
        """
        recordings.note("a step")
        with self._stepping:
            while not self._take_step():
                pass  # a signal handler has changed the state meanwhile

    def _take_step(self):
        """Take a step; return False, and move nothing, if the state has changed since the step was computed."""
        kept, states = self._kept, self.state
        if len(self.param_groups) != len(states):
            raise ValueError(
                f"there are {len(self.param_groups)} param_groups and the state of {len(states)}: "
                "to add one, use add_param_group()"
            )
        step = _Step(states, [self.prepare(*pair) for pair in zip(self.param_groups, states)])
        if self._kept is not kept:
            return False
        self._kept = step  # no signal handler can run between the look and this
        if not step.take(self):
            return False
        self.settle(step)
        return True

    def begin(self, change):
        """Let the state follow from a Change, which is about to begin."""
        self._kept = change

    def follows(self, change):
        """Return False if the state has been set, or another Change has begun, since this one began."""
        return self._kept is change

    def settle(self, change):
        """Keep the state after a Change, in the dicts that a program may hold; it may be done twice."""
        if not self.follows(change):
            return
        if change.is_done:
            for state, new in zip(change.before, change.new):
                state.update(new)
        self.state = list(change.before)  # another list, so that a step that is being computed sees the change

    def prepare(self, group, state):
        """Do all of a group's step that can fail, and return it as a _Move."""
        return self._prepare(list(group["params"]), group, state)

    def state_dict(self):
        """Return a copy of state and param_groups: a buffer is a list, and "params" the number of parameters."""
        groups = [{**group, "params": len(group["params"])} for group in self.param_groups]
        return {"state": [_with_lists(state) for state in self.state], "param_groups": groups}

    def load_state_dict(self, state_dict):
        """Load what `state_dict()` returned for the same kind of optimizer, with groups of the same sizes.

        Raises ValueError or TypeError, and changes nothing, if `state_dict` does not fit or is damaged.
        """
        try:
            given = list(zip(state_dict["param_groups"], state_dict["state"], strict=True))
            sizes = [group["params"] for group, _ in given]
        except (TypeError, KeyError, ValueError):
            raise ValueError("this is not the state_dict() of an optimizer") from None
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise ValueError(
                f"this state has groups of {shown(sizes)} parameters, and the optimizer has groups of {shown(own)}"
            )
        loaded = [self._loaded(n, group, state) for n, (group, state) in zip(own, given)]
        with restored_on_error(vars(self), *self.param_groups):
            for group, (new, _) in zip(self.param_groups, given, strict=True):
                group.update({**new, "params": group["params"]})
            self.state = loaded

    def _loaded(self, n, group, state):
        """Return the state to keep for a group of n parameters, made of its entry in a state_dict(), or raise."""
        fresh = self._new_state(n)
        try:
            if state.keys() != fresh.keys() or not self.defaults.keys() <= group.keys():
                raise ValueError("it has other entries")
            loaded = {key: _as_kept(key, state[key], fresh[key], n) for key in fresh}
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"this is not the state of {type(self).__name__}, or it is damaged: {error}") from None
        self._validate(group)
        return loaded


class SGD(Optimizer):
    """Stochastic gradient descent with weight decay and momentum, Nesterov's if you like: the formula is `sgd`."""

    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False):
        hyper = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, lr=lr, **hyper)

    def _validate(self, group):
        _not_negative(group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] == 0 or to_float(group["dampening"], "dampening") != 0):
            raise ValueError("Nesterov momentum needs a momentum and zero dampening")

    def _new_state(self, n):
        return {"momentum_buffer": None}

    def _prepare(self, params, group, state):
        options = {**_floats(group, "lr", "momentum", "dampening", "weight_decay"), "nesterov": bool(group["nesterov"])}
        buffer, n = state["momentum_buffer"], len(params)
        first = buffer is None
        buffer = None if first else _buffer("momentum_buffer", buffer, n)
        ids = plain_ids(params)
        if ids is None:
            move = _by_formula(partial(sgd, **options), params, {"momentum_buffer": None}, buffer or [None] * n)
            if options["momentum"] != 0 and move.new["momentum_buffer"] is None:  # all are frozen
                move.new["momentum_buffer"] = _zeros(n)
            return move
        buffer = _zeros(n) if first and options["momentum"] != 0 else buffer
        options = ffi.new("pg_sgd_options *", [*options.values(), first])  # in the sequence of the struct
        return _in_c(params, ids, {"momentum_buffer": buffer}, options, ffi.NULL, buffer)


class Adam(Optimizer):
    """Adam; weight decay is added to the gradient. The formula is `adam`."""

    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _validate(self, group):
        _not_negative(group, "lr", "eps", "weight_decay")
        _betas(group)

    def _new_state(self, n):
        return {"step": 0, "exp_avg": _zeros(n), "exp_avg_sq": _zeros(n)}

    def _prepare(self, params, group, state):
        step = state["step"] + 1
        hyper = _floats(group, "lr", "eps", "weight_decay")
        options = adam_options(step, betas=_betas(group), decoupled=self.decoupled, **hyper)
        buffers = [_buffer(name, state[name], len(params)) for name in ("exp_avg", "exp_avg_sq")]
        new = {"step": step, "exp_avg": buffers[0], "exp_avg_sq": buffers[1]}
        ids = plain_ids(params)
        if ids is None:
            return _by_formula(partial(adam, **options), params, new, *buffers)
        options = ffi.new("pg_adam_options *", list(options.values()))  # in the sequence of the struct
        return _in_c(params, ids, new, ffi.NULL, options, *buffers)


class AdamW(Adam):
    """Adam with decoupled weight decay: a step first multiplies each parameter by 1 - lr * weight_decay."""

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


# --- taking a step, once all that can fail has been done --------------------------------------------------------------


class _Move(NamedTuple):
    """What a step does to one group: `in_c` is its pg_moved_group as a tuple, or None: then `values` get `data`.

    It holds `params`, so that the ids in `in_c` stay those of living nodes.
    """

    params: list
    new: dict  # what changes in the group's state
    in_c: tuple | None
    values: tuple = ()
    data: tuple = ()
    old_data: tuple = ()


class Change:
    """A change of parameters that ends with one call of C: the call makes `is_done` true.

    `before` is the optimizer's state before the call, `new` has the entries that the call changes, `after` is both.
    `states` is the state that belongs to the parameters, at every moment, whatever exception comes at whatever
    instruction. (Buffers that the call updates may be in all of them.)
    """

    @cached_property  # so that a program may change it
    def after(self):
        return [{**state, **new} for state, new in zip(self.before, self.new)]

    @property
    def states(self):
        return self.after if self.is_done else self.before


class _Step(Change):
    """A step of all groups, taken wholly or not at all. The call of C is the last act, and moves all plain Values.

    What has moved before the call is moved back, unless the step is done.
    """

    def __init__(self, before, moves):
        self.before, self.new, in_c = before, [], []
        for move in moves:
            self.new.append(move.new)
            if move.in_c:
                in_c.append(move.in_c)
        self.moves, self.groups, self.done = moves, ffi.new("pg_moved_group[]", in_c), ffi.new("int *")

    @property
    def is_done(self):
        return self.done[0]

    def take(self, optimizer):
        """Take the step; return False, and move nothing, if the optimizer's state no longer follows from it."""
        values, data, old_data = [], [], []
        for move in self.moves:
            if move.values:
                values += move.values
                data += move.data
                old_data += move.old_data
        groups, count = self.groups, len(self.groups)
        try:
            if values:
                set_all(values, "data", data, old_data)
            if optimizer._kept is not self:  # no signal handler can run between this look and the call
                if values:
                    raise RuntimeError("the optimizer was used while it was taking a step: this step was not taken")
                return False
            if lib.pg_move(count, groups, self.done) != lib.PG_OK:
                raise RuntimeError("a parameter lost its node while the optimizer was about to move it: none has moved")
            return True
        except BaseException:
            if not self.is_done:
                set_all(values, "data", old_data, old_data)
            raise
        finally:
            self.moves = self.groups = None  # a buffer that they hold cannot be resized


def _in_c(params, ids, new, sgd_options, adam_options, first_buffer, second_buffer=None):
    """Return the _Move of plain Values, which updates the buffers in place."""
    n = len(params)
    return _Move(params, new, (n, ids, sgd_options, adam_options, hold(first_buffer, n), hold(second_buffer, n)))


def hold(buffer, n):
    """Return the address of a buffer of n numbers for C, NULL for None; its length is fixed while the result lives."""
    if buffer is None:
        return ffi.NULL
    held = ffi.from_buffer("double[]", buffer)
    if len(held) != n:
        raise ValueError(f"a buffer of {n} parameters changed while it was read: it has {len(held)} numbers")
    return held


def _by_formula(formula, params, new, *buffers):
    """Return the _Move by a formula in Python, with new buffers for the last entries of `new`; a None stays None."""
    frozen = [not getattr(p, "requires_grad", True) for p in params]
    old = [p.data for p in params]
    rows = [
        (data, *row) if stays else formula(data, p.grad, *row)
        # strict, for reading a p may change its buffers
        for p, data, stays, *row in zip(params, old, frozen, *buffers, strict=True)
    ]
    data, *buffers = zip(*rows)
    buffers = [None if set(x) == {None} else array("d", [0.0 if y is None else y for y in x]) for x in buffers]
    moved = [(p, *numbers) for p, stays, *numbers in zip(params, frozen, data, old) if not stays]
    return _Move(params, {**new, **dict(zip(list(new)[-len(buffers) :], buffers))}, None, *zip(*moved))


# --- buffers ----------------------------------------------------------------------------------------------------------


def _zeros(n):
    return array("d", bytes(8 * n))


def _buffer(name, given, n):
    """Return n numbers as an array of floats; `given` itself if it is such an array."""
    buffer = given if type(given) is array and given.typecode == "d" else array("d", [to_float(x, name) for x in given])
    if len(buffer) != n:
        raise ValueError(f"{name} is of {len(buffer)} parameters, and its group has {n}: make a new optimizer for them")
    return buffer


def _with_lists(state):
    """Return a copy of a group's state with its buffers as lists."""
    return {key: kept.tolist() if isinstance(kept, array) else copy.deepcopy(kept) for key, kept in state.items()}


def _as_kept(name, given, fresh, n):
    """Return one entry of a state_dict() in the form that an optimizer keeps; `fresh` is the entry of a new one."""
    if isinstance(fresh, int):
        if not isinstance(given, int) or given < 0:
            raise ValueError(f"{name} must be a whole number, at least 0")
        return given
    return None if given is None and fresh is None else _buffer(name, given, n)[:]


# --- bad input --------------------------------------------------------------------------------------------------------


def _listed(params):
    """Return the parameters, or parameter groups, as a list that is not empty."""
    if not hasattr(params, "__iter__"):
        raise TypeError(f"an optimizer needs an iterable of Values, as model.parameters(), not {describe(params)}")
    params = list(params)
    if not params:
        raise ValueError("an optimizer needs at least one parameter: this list is empty")
    return params


def _leaves(params):
    params = _listed(params)
    for p in params:
        if not hasattr(p, "backward"):
            raise TypeError(f"a parameter must be a Value, not {describe(p)}")
        if p._prev:
            raise ValueError(f"a parameter must be a leaf Value, and this one is the result of {shown(p._op)}")
    return params


def _not_negative(group, *names):
    for name in names:
        if not to_float(group[name], name) >= 0:
            raise ValueError(f"{name} must be at least 0, not {shown(group[name])}")


def _betas(group):
    betas = [to_float(beta, "beta") for beta in group["betas"]]
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers, each at least 0 and below 1, not {shown(group['betas'])}")
    return betas


def _floats(group, *names):
    return {name: to_float(group[name], name) for name in names}
