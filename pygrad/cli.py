"""The `pygrad` command: run a micrograd script on pygrad, or show what pygrad does.

pygrad run script.py [args]                  run an unmodified micrograd script on pygrad
pygrad demo [name]                           run a demo, or all of them
"""

import argparse
import os
import sys
import types

import pygrad
from pygrad import compat, demos


def main(argv=None):
    """Run the command line `argv` (default: sys.argv[1:]) and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    ours = argv[:2] if argv[:1] == ["run"] else argv  # arguments after the script are for the script, "--" too
    args = _parser().parse_args(ours)
    if args.command is _run:
        args.args = argv[len(ours) :]
    return args.command(args)


def _parser():
    parser = argparse.ArgumentParser(prog="pygrad", description="micrograd with its graph in C")
    parser.add_argument("--version", action="version", version=f"pygrad {pygrad.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="run a micrograd script, unmodified, on pygrad")
    run.add_argument("script", help="the script's file")
    run.add_argument("args", nargs=argparse.REMAINDER, help="arguments for the script")
    run.set_defaults(command=_run)

    demo = commands.add_parser("demo", help="train networks, race engines, and four worked examples of calculus")
    demo.add_argument("name", nargs="?", default="all", choices=(*demos.NAMES, "all"))
    demo.add_argument("--out", default="demo-results", metavar="DIR", help="folder for results (default: %(default)s)")
    demo.add_argument("--quick", action="store_true", help="run for a few seconds, to see that it works")
    demo.set_defaults(command=_demo)
    return parser


# --- pygrad run -------------------------------------------------------------------------------------------------------


def _run(args):
    """Do the same as `python script.py args`, with pygrad in micrograd's place."""
    try:
        with open(args.script, "rb") as file:
            source = file.read()
    except OSError as error:
        return _fail(f"can't open {args.script!r}: {error.strerror}")
    compat.install_as_micrograd()
    compat.install_in_workers()
    sys.argv = [args.script, *args.args]
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.realpath(args.script))
    script = sys.modules["__main__"] = types.ModuleType("__main__")
    script.__file__ = os.path.abspath(args.script)
    try:
        exec(compile(source, script.__file__, "exec", dont_inherit=True), script.__dict__)
    except Exception as error:
        error.__traceback__ = error.__traceback__.tb_next  # without the frame of this function
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


# --- pygrad demo ------------------------------------------------------------------------------------------------------


def _demo(args):
    names = demos.NAMES if args.name == "all" else (args.name,)
    try:
        for name in names:
            demos.run(name, args.out, quick=args.quick)
    except (demos.MissingExtra, OSError) as error:
        return _fail(error)
    print(f"Results are in {os.path.abspath(args.out)}")
    return 0


def _fail(message):
    print(f"pygrad: {message}", file=sys.stderr)
    return 2
