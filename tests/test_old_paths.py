"""Pickles of pygrad 0.1's first builds, and the module paths that their users' programs name, still lead somewhere."""

import base64
import importlib
import pickle
import zlib

import pytest

import pygrad

# What `pickle.dumps(v, 2)` gave for v = Value(2.5, label="w") with a gradient of 1.5, when modules lay side by side.
LEAF = (
    b"\x80\x02cpygrad.surface\n_restore_leaf\nq\x00cpygrad.engine\nValue\nq\x01G@\x04\x00\x00\x00\x00\x00\x00"
    b"G?\xf8\x00\x00\x00\x00\x00\x00\x87q\x02Rq\x03}q\x04X\x05\x00\x00\x00labelq\x05X\x01\x00\x00\x00wq\x06sb."
)
# And for f = pygrad.compile(lambda x: v * x + 1.0, batched=False) after a call.
COMPILED = (
    "c-m!CNoy2A6z)tGwc`TbycS->CNQ`h#*jo%LU0)ww~=9Js;g_di&R&2ZJC4+@nS^5iy(;ST*Qlq;K5_}pYmueGr3sMuU>!k-uJzFRrRie>VrbUd="
    "2rcCKTs!YFJIsF2%8kP>Ohtk%}>MPAnFNHx{F)`52Pog~<N=>_pM+D2(=`{c^2+f4%+I{2sS|p1f?nw<mX}?blWKw)v#5mbcoId)v+D_2x%&+MFH"
    "&1}hADV4cD$%i#t{fFcEh+DHqJMqu9}&-%}IUhMRr-hZ6-2kE1SZ(jEY4?r@3RN?VB0TSm1X~G%kF+*trGN@6BbI|i43DBj)Fjt`0O+XEm!qy#u38"
    "%T!E1}g&z{Dswm7FLIEbAUoB%|0TF;it&1_BLhpMMCr(Y4WYQN)?jkm(Q=)`CCf(uv=(;+!!3A0w27sj$x+Ij*s*QrgDo5OHJyUi+FUh7(&P%zfo1v"
    "$itS+MMhG$3JxlVWcvZ^Wgr>vx&P0sl?RSpI{j-995=(YoUj1{iR#quU!f+!f{lbcsU`p2N-a>RUzI{1PBHU2GC+<h${nEw+_rz*UfSgEOMcIqHAiD"
    "&+>H?p&TVlI2&X#?5jkimK;Iqccj#8O0f-e*nDPOpJ7V#I(4^|*cOK#Vd=Z)`jT_)_p$5v?Nz5%F!zc!&o|D?jgP|pUfOcjK7r__{W`PHjfLoJY|Y-n"
    "uT9Yzu2_#kO;}ef9*d=cSRRX&`J+=tP9VauJs2w|aq7-D7U$;cm=%QK_!XqaKECtYTT6j@d-HE_K8Ong5g&=w;j-7sFclYvu9m5|q%wFcE)T?&wSP)9"
    "HD>"
)


def test_a_pickled_leaf_is_read():
    """The leaf has its data, gradient and label."""
    v = pickle.loads(LEAF)

    assert (2.5, 1.5, "w") == (v.data, v.grad, v.label)
    assert type(v) is pygrad.Value


def test_a_pickled_compiled_function_is_read():
    """The function computes, and reads its parameter anew."""
    f = pickle.loads(zlib.decompress(base64.b85decode(COMPILED)))
    (w,) = f.parameters()
    w.data = 10.0

    assert 31.0 == f(3.0)


@pytest.mark.parametrize(
    "module, name",
    [
        ("pygrad.trace", "TraceWarning"),
        ("pygrad.checking", "GradcheckError"),
        ("pygrad.fitting", "Progress"),
        ("pygrad.compiled", "Compiled"),
        ("pygrad.surface", "argument_parser"),
        ("pygrad.anomaly", "detect_anomaly"),
        ("pygrad.custom", "custom_op"),
        ("pygrad.derive", "backward"),
        ("pygrad.explaining", "explain"),
        ("pygrad.fits", "Objective"),
        ("pygrad.recording", "no_grad"),
        ("pygrad.recording", "checkpoint"),
        ("pygrad.transforms", "hessian"),
    ],
)
def test_an_old_path_leads_to_its_module(module, name):
    """A program, or a pickle, that names a thing by its old module finds it, imported or as an attribute."""
    found = getattr(importlib.import_module(module), name)

    assert found is getattr(getattr(pygrad, module.partition(".")[2]), name)
    assert found is getattr(pygrad, name, found)
