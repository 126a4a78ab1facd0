"""Optimizers with PyTorch's names, defaults and formulas: SGD, Adam, AdamW, RMSprop.

Each formula is a function on floats, `sgd`, `adam` or `rmsprop`; the optimizers keep its buffers. All groups of plain
Values are moved by one call of C, with the same operations, so with the same bits. Any other group, with a subclass of
Value in it or with Values of `pygrad.reference`, is moved here, one parameter at a time. A step is taken wholly or not
at all, even if Ctrl-C interrupts it: see `Change`.

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

from pygrad import lr_scheduler  # noqa: F401 - optim.lr_scheduler, where PyTorch has it
from pygrad.clipping import clip_grad_norm_, clip_grad_value_  # noqa: F401 - they stand beside the optimizers
from pygrad.common import forks
from pygrad.common.named_tuples import named_tuple
from pygrad.common.numbers import describe, is_number, shown, to_float, to_whole
from pygrad.common.value_base import each_once
from pygrad.common.whole import restored_on_error, set_all
from pygrad.engine import plain_ids, recordings
from pygrad.engine._lib import ffi, lib


def sgd(p, grad, buf, *, lr, momentum, dampening, weight_decay, nesterov, maximize):
    """Return the new data and momentum buffer of one parameter after one step; `buf` is None before the first step.

    Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), in PyTorch's form.
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * p
    if momentum != 0:
        buf = grad if buf is None else momentum * buf + (1 - dampening) * grad
        grad = grad + momentum * buf if nesterov else buf
    return p - lr * grad, buf


def adam(p, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, *, beta1, beta2, eps, weight_decay, amsgrad, maximize, **shared):
    """Return the new data and running averages of one parameter; `adam_options` makes most keywords, all of `shared`.

    Kingma and Ba, "Adam" (2015); `shrink` is the weight decay of AdamW: Loshchilov and Hutter (2019). `max_exp_avg_sq`
    is None without `amsgrad`: Reddi, Kale and Kumar, "On the convergence of Adam and beyond" (2018).
    """
    p = p * shared["shrink"]
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * p
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    exp_avg_sq = square = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    if amsgrad:
        most = max_exp_avg_sq
        max_exp_avg_sq = square = most if most > square or math.isnan(most) else square
    ratio = _ratio(exp_avg, _sqrt(square) / shared["bias_root"] + eps)
    return p - shared["step_size"] * ratio, exp_avg, exp_avg_sq, max_exp_avg_sq


def rmsprop(
    p, grad, square_avg, momentum_buffer, grad_avg, *, lr, alpha, eps, weight_decay, momentum, centered, maximize
):
    """Return the new data, running averages and momentum buffer of one parameter; a buffer that is not used is None.

    Hinton, lecture 6e of "Neural Networks for Machine Learning" (2012); `centered`: Graves, "Generating sequences with
    recurrent neural networks" (2013).
    """
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * p
    square_avg = square = alpha * square_avg + (1 - alpha) * grad * grad
    if centered:
        grad_avg = alpha * grad_avg + (1 - alpha) * grad
        square = square - grad_avg * grad_avg
    move = _ratio(grad, _sqrt(square) + eps)
    if momentum != 0:
        move = momentum_buffer = momentum * momentum_buffer + move
    return p - lr * move, square_avg, momentum_buffer, grad_avg


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


# C has no exceptions in these two.


def _sqrt(x):
    return math.sqrt(x) if x >= 0 else math.nan


def _ratio(a, b):
    if b != 0:
        return a / b
    return math.copysign(math.inf, a) if abs(a) > 0 else math.nan  # b is never -0.0


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
        groups, states, fresh = self.param_groups, self.state, self._new_state(len(params), group)
        n = len(groups)
        try:
            groups.append(group)
            states.append(fresh)
        except BaseException:
            del groups[n:], states[n:]
            raise
        taken.update(ids)

    # A subclass defines three methods. _validate(group) raises if a hyperparameter is wrong. _new_state(n, group)
    # returns the state of n parameters before the first step, with the entries that the group's hyperparameters need.
    # _prepare(params, group, state) does every part of a step that can fail, and returns a _Move.

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
        states = [_with_lists(self._complete(*pair)) for pair in zip(self.param_groups, self.state, strict=True)]
        return {"state": states, "param_groups": groups}

    def _complete(self, group, state):
        """Return a group's state with the entries that its hyperparameters need: they may have changed since a step."""
        fresh = self._new_state(len(group["params"]), group)
        return {key: start if state.get(key) is None else state[key] for key, start in fresh.items()}

    def load_state_dict(self, state_dict):
        """Load what `state_dict()` returned for the same kind of optimizer, with groups of the same sizes.

        Raises ValueError or TypeError, and changes nothing, if `state_dict` does not fit or is damaged.
        """
        try:
            older = dict.fromkeys(_LATER & self.defaults.keys(), False)
            groups = [{**older, **group} for group in state_dict["param_groups"]]
            given = list(zip(groups, state_dict["state"], strict=True))
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
        if not self.defaults.keys() <= group.keys():
            raise ValueError(f"this is not the state of {type(self).__name__}: a group has other entries")
        self._validate(group)
        fresh = self._new_state(n, group)
        try:
            if state.keys() != fresh.keys():
                raise ValueError("it has other entries")
            loaded = {key: _as_kept(key, state[key], fresh[key], n) for key in fresh}
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"this is not the state of {type(self).__name__}, or it is damaged: {error}") from None
        return loaded


_LATER = {"amsgrad", "maximize"}  # options that states of the first versions lack: they were off


class SGD(Optimizer):
    """Stochastic gradient descent with weight decay and momentum, Nesterov's if you like: the formula is `sgd`.

    With `maximize` it climbs instead, here as in the other optimizers.
    """

    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False):
        hyper = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, lr=lr, **hyper, nesterov=nesterov, maximize=maximize)

    def _validate(self, group):
        _not_negative(group, "lr", "momentum", "weight_decay")
        dampening, flags = to_float(group["dampening"], "dampening"), _flags(group, "nesterov", "maximize")
        if flags["nesterov"] and (group["momentum"] == 0 or dampening != 0):
            raise ValueError("Nesterov momentum needs a momentum and zero dampening")

    def _new_state(self, n, group):
        return {"momentum_buffer": None}

    def _prepare(self, params, group, state):
        options = _floats(group, "lr", "momentum", "dampening", "weight_decay") | _flags(group, "nesterov", "maximize")
        buffer, n = state["momentum_buffer"], len(params)
        first = buffer is None
        buffer = None if first else _buffer("momentum_buffer", buffer, n)
        ids = plain_ids(params)
        if ids is None:
            move = _by_formula(partial(sgd, **options), params, {}, {"momentum_buffer": buffer})
            if options["momentum"] != 0:
                move.new.setdefault("momentum_buffer", _zeros(n))  # all are frozen
            return move
        buffer = _zeros(n) if first and options["momentum"] != 0 else buffer
        options = {"method": lib.PG_SGD, "sgd": {**options, "first": first}}
        return _in_c(params, ids, {}, options, {"momentum_buffer": buffer})


class Adam(Optimizer):
    """Adam; weight decay is added to the gradient. The formula is `adam`.

    With `amsgrad` the step is divided by the largest average of the squares so far, not by the newest.
    """

    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, *, maximize=False):
        hyper = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, lr=lr, **hyper, maximize=maximize)

    def _validate(self, group):
        _not_negative(group, "lr", "eps", "weight_decay")
        _betas(group)
        _flags(group, "amsgrad", "maximize")

    def _new_state(self, n, group):
        state = {"step": 0, "exp_avg": _zeros(n), "exp_avg_sq": _zeros(n)}
        return {**state, "max_exp_avg_sq": _zeros(n)} if group.get("amsgrad") else state

    def _prepare(self, params, group, state):
        step, n = _step("step", state["step"]) + 1, len(params)
        hyper, flags = _floats(group, "lr", "eps", "weight_decay"), _flags(group, "amsgrad", "maximize")
        options = adam_options(step, betas=_betas(group), decoupled=self.decoupled, **hyper) | flags
        buffers = {
            "exp_avg": _buffer("exp_avg", state["exp_avg"], n),
            "exp_avg_sq": _buffer("exp_avg_sq", state["exp_avg_sq"], n),
            "max_exp_avg_sq": _started("max_exp_avg_sq", state, n) if flags["amsgrad"] else None,
        }
        ids, new = plain_ids(params), {"step": step, **_forgotten(state, buffers)}
        if ids is None:
            return _by_formula(partial(adam, **options), params, new, buffers)
        return _in_c(params, ids, new, {"method": lib.PG_ADAM, "adam": options}, buffers)


class AdamW(Adam):
    """Adam with decoupled weight decay: a step first multiplies each parameter by 1 - lr * weight_decay."""

    decoupled = True

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *, maximize=False
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """A gradient divided by the root of the average of its squares; the formula is `rmsprop`.

    `alpha` is the share of the average that stays in each step. With `centered` the root is of the variance.
    """

    def __init__(
        self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False, *, maximize=False
    ):
        hyper = {"alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, lr=lr, **hyper, centered=centered, maximize=maximize)

    def _validate(self, group):
        _not_negative(group, "lr", "alpha", "eps", "weight_decay", "momentum")
        _flags(group, "centered", "maximize")

    def _new_state(self, n, group):
        used = {"square_avg": True, "momentum_buffer": group["momentum"] != 0, "grad_avg": group["centered"]}
        return {name: _zeros(n) for name, is_used in used.items() if is_used}

    def _prepare(self, params, group, state):
        n = len(params)
        options = _floats(group, "lr", "alpha", "eps", "weight_decay", "momentum")
        options |= _flags(group, "centered", "maximize")
        buffers = {"square_avg": _buffer("square_avg", state["square_avg"], n)}
        buffers["momentum_buffer"] = _started("momentum_buffer", state, n) if options["momentum"] != 0 else None
        buffers["grad_avg"] = _started("grad_avg", state, n) if options["centered"] else None
        ids, new = plain_ids(params), _forgotten(state, buffers)
        if ids is None:
            return _by_formula(partial(rmsprop, **options), params, new, buffers)
        return _in_c(params, ids, new, {"method": lib.PG_RMSPROP, "rmsprop": options}, buffers)


# --- taking a step, once all that can fail has been done --------------------------------------------------------------


@named_tuple
class _Move:
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


def _in_c(params, ids, new, options, buffers):
    """Return the _Move of plain Values, which updates the buffers in place; a buffer that is not used is None."""
    n, options["buffers"] = len(params), []
    for name, buffer in buffers.items():
        options["buffers"].append(hold(buffer, n))
        if buffer is not None:
            new[name] = buffer
    return _Move(params, new, (n, ids, options))


def hold(buffer, n):
    """Return the address of a buffer of n numbers for C, NULL for None; its length is fixed while the result lives."""
    if buffer is None:
        return ffi.NULL
    held = ffi.from_buffer("double[]", buffer)
    if len(held) != n:
        raise ValueError(f"a buffer of {n} parameters changed while it was read: it has {len(held)} numbers")
    return held


def _by_formula(formula, params, new, buffers):
    """Return the _Move by a formula in Python, with new buffers; one that is not used is None, and stays so."""
    frozen = [not getattr(p, "requires_grad", True) for p in params]
    old = [p.data for p in params]
    columns = [[None] * len(params) if buffer is None else buffer for buffer in buffers.values()]
    rows = [
        (data, *row) if stays else formula(data, p.grad, *row)
        # strict, for reading a p may change its buffers
        for p, data, stays, *row in zip(params, old, frozen, *columns, strict=True)
    ]
    data, *columns = zip(*rows)
    kept = {name: x for name, x in zip(buffers, columns) if set(x) != {None}}
    kept = {name: array("d", [0.0 if y is None else y for y in x]) for name, x in kept.items()}
    moved = [(p, *numbers) for p, stays, *numbers in zip(params, frozen, data, old) if not stays]
    return _Move(params, {**new, **kept}, None, *zip(*moved))


# --- buffers ----------------------------------------------------------------------------------------------------------


def _zeros(n):
    return array("d", bytes(8 * n))


def _buffer(name, given, n):
    """Return n numbers as an array of floats; `given` itself if it is such an array."""
    if type(given) is array and given.typecode == "d":
        buffer = given
    elif hasattr(given, "__iter__"):
        buffer = array("d", [to_float(x, name) for x in given])
    else:
        raise TypeError(f"{name} must be an iterable of {n} numbers, one a parameter, not {describe(given)}")
    if len(buffer) != n:
        raise ValueError(f"{name} is of {len(buffer)} parameters, and its group has {n}: make a new optimizer for them")
    return buffer


def _started(name, state, n):
    """Return a buffer that steps use since a hyperparameter was set: it begins with zeros."""
    return _zeros(n) if state.get(name) is None else _buffer(name, state[name], n)


def _forgotten(state, buffers):
    """Return as None the buffers that steps used until a hyperparameter was set: they are in no state_dict()."""
    return {name: None for name, buffer in buffers.items() if buffer is None and name in state}


def _with_lists(state):
    """Return a copy of a group's state with its buffers as lists."""
    return {key: kept.tolist() if isinstance(kept, array) else copy.deepcopy(kept) for key, kept in state.items()}


def _as_kept(name, given, fresh, n):
    """Return one entry of a state_dict() in the form that an optimizer keeps; `fresh` is the entry of a new one."""
    if isinstance(fresh, int):
        return _step(name, given)
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


def _step(name, given):
    """Return a number of steps, which a float can count too. Raises TypeError or ValueError if it is none."""
    steps = to_whole(given, name, 0)
    if steps > _MOST_STEPS:
        raise ValueError(f"{name} must be a number of steps, at most 2**53, not {shown(given)}")
    return steps


_MOST_STEPS = 2**53


def _not_negative(group, *names):
    for name in names:
        if not to_float(group[name], name) >= 0:
            raise ValueError(f"{name} must be at least 0, not {shown(group[name])}")


def _betas(group):
    given = group["betas"]
    betas = [to_float(beta, "beta") for beta in given] if hasattr(given, "__iter__") else []
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers, each at least 0 and below 1, not {shown(given)}")
    return betas


def _flags(group, *names):
    """Return options that are on or off. Raises TypeError for what is neither: the str "False" would count as on."""
    flags = {}
    for name in names:
        flag = group.get(name, False)
        if type(flag) is not bool and (not is_number(flag) or flag not in (0, 1)):
            raise TypeError(f"{name} must be True or False, not {shown(flag)}")
        flags[name] = bool(flag)
    return flags


def _floats(group, *names):
    return {name: to_float(group[name], name) for name in names}
