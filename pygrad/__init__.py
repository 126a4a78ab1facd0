"""pygrad: micrograd with its graph in C. See `pygrad.engine` for Value and `pygrad.nn` for networks."""

__version__ = "0.1.0"

from pygrad import functional, nn, optim, viz
from pygrad.anomaly import detect_anomaly
from pygrad.compiled import compile
from pygrad.compat import install_as_micrograd
from pygrad.engine import Value, config, dot, maximum, minimum, sum
from pygrad.nn import MLP, Layer, Module, Neuron
from pygrad.storage import load_model, save_model

__all__ = [
    "MLP",
    "Layer",
    "Module",
    "Neuron",
    "Value",
    "compile",
    "config",
    "detect_anomaly",
    "dot",
    "functional",
    "install_as_micrograd",
    "load_model",
    "maximum",
    "minimum",
    "nn",
    "optim",
    "save_model",
    "sum",
    "viz",
]
