"""Optimizers with PyTorch's names, defaults and formulas: SGD, Adam, AdamW.

The formula of each is one function on floats, `sgd` and `adam`; the classes keep its buffers and walk the parameters.
A parameter here always has a gradient (0.0 until a backward pass), where PyTorch skips one whose `.grad` is None.
"""

import copy
import math

from pygrad import lr_scheduler  # noqa: F401 - optim.lr_scheduler, where PyTorch has it
from pygrad._numbers import describe, is_number, to_float


def sgd(p, grad, buf, *, lr, momentum, dampening, weight_decay, nesterov):
    """One step for one parameter; returns its new data and momentum buffer (None before the first step).

    Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), as PyTorch has it.
    """
    if weight_decay != 0:
        grad = grad + weight_decay * p
    if momentum != 0:
        buf = grad if buf is None else momentum * buf + (1 - dampening) * grad
        grad = grad + momentum * buf if nesterov else buf
    return p - lr * grad, buf


def adam(p, grad, exp_avg, exp_avg_sq, *, step, lr, betas, eps, weight_decay, decoupled):
    """Step number `step` (from 1) for one parameter; returns its new data and the two running averages.

    Kingma and Ba, "Adam" (2015); `decoupled` weight decay: Loshchilov and Hutter (2019).
    """
    beta1, beta2 = betas
    if decoupled:
        p = p * (1 - lr * weight_decay)
    elif weight_decay != 0:
        grad = grad + weight_decay * p
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    denom = math.sqrt(exp_avg_sq) / math.sqrt(1 - beta2**step) + eps
    ratio = exp_avg / denom if denom != 0 else math.nan  # 0/0: without eps and without a gradient
    return p - lr / (1 - beta1**step) * ratio, exp_avg, exp_avg_sq


class Optimizer:
    """Base class: `param_groups` is a list of dicts, each with its "params" and hyperparameters, to change at will.

    `params` is an iterable of leaf Values, or of such dicts. A Value listed twice in a group is one parameter.
    `state` has one dict a group, with the group's buffers as lists of floats in the order of its "params".
    Hyperparameters out of range raise a ValueError, as does an empty list or an interior Value among the parameters.
    """

    def __init__(self, params, **defaults):
        self.defaults, self.param_groups, self.state = defaults, [], []
        params = _listed(params)
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            self.add_param_group(group)

    def add_param_group(self, group):
        """Add parameters with hyperparameters of their own, as {"params": [...], "lr": 0.1}; the rest are defaults."""
        if "params" not in group:
            raise ValueError('a parameter group needs its list of Values as "params"')
        params = list(dict.fromkeys(_leaves(group["params"])))
        group = {**self.defaults, **group, "params": params}
        self._validate(group)
        if any(not set(params).isdisjoint(other["params"]) for other in self.param_groups):
            raise ValueError("some parameters are in more than one parameter group")
        self.param_groups.append(group)
        self.state.append(self._new_state(len(params)))

    def zero_grad(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = 0

    def step(self):
        """Move every parameter once, by its gradient."""
        for group, state in zip(self.param_groups, self.state, strict=True):
            self._step_group(group, state)

    def state_dict(self):
        """Return a copy of the state and the hyperparameters, without the Values: "params" is how many they are."""
        groups = [{**group, "params": len(group["params"])} for group in self.param_groups]
        return {"state": copy.deepcopy(self.state), "param_groups": groups}

    def load_state_dict(self, state_dict):
        """Take over a `state_dict()`; ValueError, and no change, if it is not one of an optimizer like this."""
        try:
            given = list(zip(state_dict["param_groups"], state_dict["state"], strict=True))
            sizes = [group["params"] for group, _ in given]
        except (TypeError, KeyError, ValueError):
            raise ValueError("this is not the state_dict() of an optimizer") from None
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise ValueError(f"this state has parameter groups of {sizes} Values, and the optimizer of {own}")
        for group, state in given:
            self._check_loaded(group, state)
        self.state = [copy.deepcopy(state) for _, state in given]
        for group, (new, _) in zip(self.param_groups, given, strict=True):
            group.update({**new, "params": group["params"]})

    def _check_loaded(self, group, state):
        n, fresh = group["params"], self._new_state(group["params"])
        missing = self.defaults.keys() - group.keys()
        same_keys = isinstance(state, dict) and state.keys() == fresh.keys()
        if missing or not same_keys or not all(_fits(state[key], fresh[key], n) for key in fresh):
            raise ValueError(f"this is not the state of {type(self).__name__}, or it is damaged")
        self._validate(group)


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, weight decay and Nesterov's momentum: see `sgd`."""

    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False):
        hyper = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, lr=lr, **hyper)

    def _validate(self, group):
        _not_negative(group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] == 0 or to_float(group["dampening"], "dampening") != 0):
            raise ValueError("Nesterov momentum needs a momentum and zero dampening")

    def _new_state(self, n):
        return {"momentum_buffer": None}

    def _step_group(self, group, state):
        hyper = _hyper(group, "lr", "momentum", "dampening", "weight_decay", "nesterov")
        params = group["params"]
        bufs = state["momentum_buffer"] or [None] * len(params)
        for i, p in enumerate(params):
            p.data, bufs[i] = sgd(p.data, p.grad, bufs[i], **hyper)
        state["momentum_buffer"] = bufs if hyper["momentum"] != 0 else state["momentum_buffer"]


class Adam(Optimizer):
    """Adam; its weight decay is added to the gradient: see `adam`."""

    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _validate(self, group):
        _not_negative(group, "lr", "eps", "weight_decay")
        betas = group["betas"]
        if len(betas) != 2 or not all(0 <= to_float(beta, "beta") < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers, each at least 0 and below 1, not {betas}")

    def _new_state(self, n):
        return {"step": 0, "exp_avg": [0.0] * n, "exp_avg_sq": [0.0] * n}

    def _step_group(self, group, state):
        hyper = _hyper(group, "lr", "betas", "eps", "weight_decay")
        m, v = state["exp_avg"], state["exp_avg_sq"]
        state["step"] += 1
        for i, p in enumerate(group["params"]):
            p.data, m[i], v[i] = adam(p.data, p.grad, m[i], v[i], step=state["step"], decoupled=self.decoupled, **hyper)


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameters shrink by themselves, not through the gradient."""

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


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
            raise ValueError(f"a parameter must be a leaf Value, and this one is the result of {p._op!r}")
    return params


def _not_negative(group, *names):
    for name in names:
        if not to_float(group[name], name) >= 0:
            raise ValueError(f"{name} must be at least 0, not {group[name]}")


def _hyper(group, *names):
    return {name: group[name] for name in names}


def _fits(given, fresh, n):
    """True if `given` can stand for a piece of state that is `fresh` before the first step."""
    if isinstance(fresh, int):
        return isinstance(given, int) and given >= 0
    if given is None:
        return fresh is None
    return isinstance(given, list) and len(given) == n and all(map(is_number, given))
