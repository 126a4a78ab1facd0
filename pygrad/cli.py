"""The `pygrad` command: run a micrograd script on pygrad, or show what pygrad does.

pygrad run script.py [args]                  run an unmodified micrograd script on pygrad
pygrad run -m module [args]                  the same for all that Python runs: a module, such as pytest; -c code; -
pygrad demo [name]                           run a demo, or all of them
"""

import argparse
import os
import runpy
import sys
import types

import pygrad
from pygrad import compat, demos


def main(argv=None):
    """Run the command line `argv` (default: sys.argv[1:]) and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    ours, program = _split(argv) if argv[:1] == ["run"] else (argv, [])
    args = _parser().parse_args(ours)
    return args.command(args, *program)


def _split(argv):
    """Return the words of `pygrad run`, with one word for the program, and in a list what Python would be given."""
    starts = (i for i, word in enumerate(argv) if i and (word[:2] in ("-m", "-c", "-") or word[:1] != "-"))
    at = next(starts, len(argv))
    return argv[:at] + ["program"] * (at < len(argv)), argv[at:]


def _parser():
    parser = argparse.ArgumentParser(prog="pygrad", description="micrograd with its graph in C")
    parser.add_argument("--version", action="version", version=f"pygrad {pygrad.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    what = "script.py | -m module | -c code | -"
    usage = f"pygrad run [-h] [--fused] ({what}) [args]"
    run = commands.add_parser("run", usage=usage, help="run a micrograd script, unmodified, on pygrad")
    run.add_argument("program", metavar=what, help="what Python would run; all that follows is for the program")
    run.add_argument("--fused", action="store_true", help="each neuron one node: faster, and not micrograd's graph")
    run.set_defaults(command=_run)

    demo = commands.add_parser("demo", help="train networks, race engines, and four worked examples of calculus")
    demo.add_argument("name", nargs="?", default="all", choices=(*demos.NAMES, "all"))
    demo.add_argument("--out", default="demo-results", metavar="DIR", help="folder for results (default: %(default)s)")
    demo.add_argument("--quick", action="store_true", help="run for a few seconds, to see that it works")
    demo.set_defaults(command=_demo)
    return parser


# --- pygrad run -------------------------------------------------------------------------------------------------------


def _run(args, *program):
    """Do the same as `python` does with these words, with pygrad in micrograd's place."""
    if program in (("-m",), ("-c",)):
        return _fail(f"argument expected for the {program[0]} option")
    main = types.ModuleType("__main__")
    try:
        folder, argv, start = _prepared(program, main)
    except OSError as error:
        return _fail(f"can't open {program[0]!r}: {error.strerror}")
    compat.install_as_micrograd(fused=args.fused)
    compat.install_in_workers(fused=args.fused)
    sys.argv = argv
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder
    sys.modules["__main__"] = main
    try:
        start()
    except Exception as error:
        while error.__traceback__ and error.__traceback__.tb_frame.f_code.co_filename == __file__:
            error.__traceback__ = error.__traceback__.tb_next  # without the frames of this file
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _prepared(program, main):
    """Return (sys.path[0], sys.argv, a function that runs the program in the module `main`)."""
    first, *rest = program
    option, text = first[:2], first[2:]
    if option in ("-m", "-c"):
        text, *rest = [text, *rest] if text else rest
        if option == "-m":
            return os.getcwd(), [option, *rest], lambda: runpy._run_module_as_main(text)  # as Python itself does
        return "", [option, *rest], lambda: _execute(text, "<string>", main)
    if first == "-":
        source, main.__file__ = sys.stdin.buffer.read(), "<stdin>"
        return "", [first, *rest], lambda: _execute(source, main.__file__, main)
    with open(first, "rb") as file:
        source = file.read()
    main.__file__ = os.path.abspath(first)
    return os.path.dirname(os.path.realpath(first)), [first, *rest], lambda: _execute(source, main.__file__, main)


def _execute(source, name, main):
    exec(compile(source, name, "exec", dont_inherit=True), vars(main))


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
