"""Interrupt pygrad everywhere: `python tests/tools/interrupts.py --count 20000 --seed 1`. Exit status 1 on a fault.

Each entry point (tests/tools/entry_points.py) runs again and again, and each time a KeyboardInterrupt comes somewhere
else. After each one, global state must be as before, the arena sound and no node leaked; what is all or nothing must be
that; and the next run, of the same objects, must give the right bits. Nothing is repaired in between: a worker process
ends at its first fault, and the next one begins behind it.

Where interrupts come from:

    opcode    a trace function raises before the n-th instruction in pygrad's code, in contextlib's and in the program's
    profile   a profile function raises at the n-th call or return, of functions in C too
    timer     the handler of a signal, from a timer, after a random time
    outside   SIGINT from another process, after a random time

The first two are exhaustive: n goes over all numbers, or if there are too many, over a random sample of them. But no
signal can strike at each of these places: Python looks for signals when a function begins, when a call of C returns,
and when a loop jumps back. No with block is safe before its __exit__ is called, for example. So faults at places where
a signal can strike count; the others are counted apart, as "trace only", and fail with --strict alone.

Python prints and swallows an interrupt in a __del__ or in a callback of a weak reference. These are counted: the run
must go on as if there had been none, and C must not have kept the memory.
"""

import argparse
import collections
import contextlib
import ctypes
import dis
import gc
import inspect
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings

INSTRUMENTS = ("opcode", "profile", "timer", "outside")
SHARES = {"opcode": 0.4, "profile": 0.35, "timer": 0.15, "outside": 0.1}  # of the interrupts of an entry point
WARM = 20  # runs of a worker, before what stays is counted
PATIENCE = 20  # seconds that a worker may be silent


# --- where interrupts come from ---------------------------------------------------------------------------------------


class Places:
    """What the trace and the profile function share: count events, raise at number `at`, and note the place."""

    def __init__(self, at, tell):
        self.at, self.tell, self.count, self.place, self.is_real = at, tell, 0, None, True

    def event(self, frame, what, is_real):
        self.count += 1
        if self.count == self.at:
            self.place = f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name} ({what})"
            self.is_real = is_real
            self.tell(place=self.place, real=is_real)
            raise KeyboardInterrupt


class Opcodes(Places):
    """Raise before the n-th instruction."""

    def run(self, function):
        sys.settrace(self.enter)
        try:
            return function()
        finally:
            sys.settrace(None)
            self.tracers.clear()  # frames hold Values

    def enter(self, frame, event, arg):
        caller = frame.f_back and self.tracers.get(frame.f_back)
        if caller is not None and not frame.f_code.co_name.startswith("__"):
            caller.called_python = True  # directly, most likely: then Python looks for no signal when it returns
        if not _is_ours(frame.f_code):
            return None
        self.event(frame, "call", True)
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        tracer = self.tracers[frame] = _Tracer(self)
        return tracer

    def __init__(self, at, tell):
        super().__init__(at, tell)
        self.tracers = {}


class _Tracer:
    """The local trace function of one frame."""

    def __init__(self, opcodes):
        self.opcodes, self.last, self.called_python = opcodes, -1, False

    def __call__(self, frame, event, arg):
        if event == "opcode":
            code, last = frame.f_code, self.last
            looks = _looks_for_signals(code, last, self.called_python) and _handler(code, last) == _handler(
                code, frame.f_lasti
            )
            self.last, self.called_python = frame.f_lasti, False
            self.opcodes.event(frame, _opname(code, frame.f_lasti), looks)
        elif event == "return":
            self.opcodes.tracers.pop(frame, None)
            self.opcodes.event(frame, "return", False)
        return self


class Profile(Places):
    """Raise at the n-th call or return."""

    def run(self, function):
        sys.setprofile(self.note)
        try:
            return function()
        finally:
            sys.setprofile(None)

    def note(self, frame, event, arg):
        if _is_ours(frame.f_code) and not (event == "c_call" and arg is sys.setprofile):
            what = event if arg is None or not event.startswith("c_") else f"{event} {getattr(arg, '__name__', arg)}"
            self.event(frame, what, event in ("call", "c_return"))


class Timer:
    """Raise in the handler of a signal, `at` seconds from now."""

    def __init__(self, at, tell):
        self.at, self.tell, self.place, self.is_real = at, tell, None, True

    def run(self, function):
        signal.signal(signal.SIGALRM, self.handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, self.at)
            result = function()
            signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return result

    def handle(self, number, frame):
        self.place = _place_of(frame)
        self.tell(place=self.place, real=True)
        raise KeyboardInterrupt


class Outside(Timer):
    """Another process sends SIGINT, `at` seconds from now."""

    helper = None  # (pid, the end of the pipe to write to)

    def run(self, function):
        signal.signal(signal.SIGINT, self.handle)
        self.send(self.at)
        try:
            result = function()
            while self.place is None:  # the signal is on its way
                time.sleep(0.001)
            return result
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    @classmethod
    def send(cls, seconds):
        if cls.helper is None:
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                os.close(writer)
                cls.serve(reader)
            os.close(reader)
            cls.helper = pid, writer
        os.write(cls.helper[1], f"{seconds:.7f}\n".encode())

    @staticmethod
    def serve(reader):
        """The other process: it ends when the first one has."""
        target, lines = os.getppid(), os.fdopen(reader)
        for line in lines:
            end = time.perf_counter() + float(line)
            while time.perf_counter() < end:
                pass
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGINT)
        os._exit(0)


KINDS = {"opcode": Opcodes, "profile": Profile, "timer": Timer, "outside": Outside}


def _is_ours(code):
    name = code.co_filename
    return name.startswith(_PYGRAD) or name == _PROGRAMS or name == contextlib.__file__


def _short(name):
    for start in (os.path.dirname(_PYGRAD.rstrip(os.sep)), os.path.dirname(os.path.dirname(__file__))):
        if name.startswith(start + os.sep):
            return name[len(start) + 1 :]
    return os.path.basename(name)


def _place_of(frame):
    while frame and not _is_ours(frame.f_code):
        frame = frame.f_back
    return f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}" if frame else "outside"


_known = {}  # code -> (opnames by offset, exception table)


def _facts(code):
    if code not in _known:
        table = getattr(dis, "_parse_exception_table", lambda code: [])(code)
        _known[code] = {i.offset: i.opname for i in dis.get_instructions(code)}, table
    return _known[code]


def _opname(code, offset):
    return _facts(code)[0].get(offset, "?")


def _handler(code, offset):
    return next((e.target for e in _facts(code)[1] if e.start <= offset < e.end), None)


def _looks_for_signals(code, offset, called_python):
    """Does Python look for signals at the end of this instruction? (Before 3.11: at most instructions.)"""
    name = _opname(code, offset)
    if sys.version_info < (3, 11):
        return True
    if name.startswith("CALL"):
        return not called_python
    return name in ("RESUME", "JUMP_BACKWARD")


# --- is the state whole? ----------------------------------------------------------------------------------------------


class Fault(Exception):
    """(what is wrong in a few words, the details)."""


def bits(x):
    """Return an object that is equal for equal bits."""
    if isinstance(x, float):
        return x.hex()
    if isinstance(x, dict):
        return tuple((key, bits(item)) for key, item in x.items())
    if isinstance(x, (list, tuple)) or hasattr(x, "tolist"):
        return tuple(map(bits, x.tolist() if hasattr(x, "tolist") else x))
    return x


def check_globals(random_state, hook=None):
    """Raise a Fault for global state of the process, or of this thread, that an interrupt left changed."""
    from pygrad import engine

    try:
        engine.check_arena(idle=True)
    except RuntimeError as error:
        raise Fault("something runs", str(error)) from None
    if engine.set_trace_hook(hook) is not hook:
        raise Fault("the trace hook is another", "")
    if random_state is not None and random.getstate() != random_state:
        raise Fault("random numbers changed", "random.getstate() is another")


# --- the worker: one entry point, one instrument ----------------------------------------------------------------------


class Worker:
    """Interrupts one entry point, and tells `tell` of each interrupt, until there was a fault."""

    def __init__(self, entry, instrument, tell):
        from entry_points import ENTRIES

        self.make, self.kind, self.tell = ENTRIES[entry], KINDS[instrument], tell
        self.swallowed, self.callbacks = [], 0
        sys.unraisablehook = self.note_swallowed
        for _ in range(2):
            self.new_case()[0].run()
            gc.collect()
        self.known = self.reference()
        gc.collect()
        gc.freeze()

    def note_swallowed(self, unraisable):
        at = unraisable.object
        self.swallowed.append(f"{unraisable.exc_type.__name__} in {getattr(at, '__qualname__', at)}")
        # A generator that is closed: no signal strikes there, and Python itself loses its frame if a profiler raises.
        self.callbacks += not inspect.isgenerator(at)

    def new_case(self):
        random.seed(5)
        self.folder = tempfile.TemporaryDirectory()
        return self.make(self.folder.name), random.getstate()

    def reference(self):
        """Return {state: (result of a run from there, state after it)}, for each state that is whole."""
        known, count, i = {}, 1, 0
        while i <= count:
            case, _ = self.new_case()
            steps = case.steps() if case.steps else iter([])
            done = sum(1 for _ in zip(range(i), steps))
            if not case.steps and i == 1 and case.state() is not None:
                case.run()
            elif done < i:
                break
            count = i + 1 if case.steps else 1
            state = bits(case.state())
            result = bits(case.run())
            known[state] = result, bits(case.state())
            i += 1
        return known

    def sizes(self):
        """Return {instrument: how many events a whole run has, or how many seconds it takes}."""
        sizes, times = {}, []
        for name in ("opcode", "profile"):
            places = KINDS[name](0, self.tell)
            places.run(self.new_case()[0].run)
            sizes[name] = places.count
        for _ in range(5):
            case, _ = self.new_case()
            begin = time.perf_counter()
            case.run()
            times.append(time.perf_counter() - begin)
        return sizes | dict.fromkeys(("timer", "outside"), sorted(times)[2])

    def interrupt(self, at, tries=5):
        """Run once, interrupted; return whether the interrupt was raised, or raise a Fault."""
        from pygrad import engine

        gc.collect()
        live, in_c = engine.live_nodes(), _bytes_in_c()
        case, random_state = self.new_case()
        before = bits(case.state())
        self.swallowed.clear()
        self.callbacks = 0
        source, raised, result = self.kind(at, self.tell), True, None
        self.source = source
        try:
            result = source.run(case.run)
            raised = False
        except KeyboardInterrupt:
            pass
        except BaseException as error:
            lines = traceback.format_exception_only(type(error), error)
            raise Fault("another exception", lines[-1].strip()) from None
        check_globals(None if case.draws else random_state, case.hook)
        state = bits(case.state())
        if state not in self.known:
            raise Fault("half done", _difference(state, before))
        if not raised and (bits(result), state) != self.known[before]:
            raise Fault("wrong result of a swallowed interrupt", f"{self.swallowed}")
        after = self.known[state]
        case.reset()
        if not case.draws:
            random.setstate(random_state)
        try:
            again = bits(case.run())
        except BaseException as error:
            lines = traceback.format_exception_only(type(error), error)
            raise Fault("the next run fails", lines[-1].strip()) from None
        if (again, bits(case.state())) != after:
            raise Fault("the next run is wrong", _difference((again, bits(case.state())), after))
        engine.set_trace_hook(None)
        del case, result, again, state, before, after, random_state
        self.folder.cleanup()
        gc.collect()
        check_globals(None)
        if engine.live_nodes() != live:
            raise Fault("nodes leak", f"{engine.live_nodes() - live} nodes")
        grown = _bytes_in_c() - in_c
        if self.callbacks and grown > 1000:
            if tries == 1:
                raise Fault("memory leaks", f"{grown} bytes in C; {self.swallowed}")
            self.interrupt(at, tries - 1)  # Python's own memory grows a few times only
        return raised

    def run(self, ats):
        from pygrad import engine

        objects = reserved = None
        for i, at in enumerate(ats):
            self.tell(at=at)
            try:
                raised = self.interrupt(at)
            except Fault as fault:
                self.tell(fault=fault.args, place=self.source.place or "?", real=self.source.is_real)
                return
            except RuntimeError as error:
                self.tell(
                    fault=("the arena is broken", str(error)), place=self.source.place or "?", real=self.source.is_real
                )
                return
            self.tell(done=at, raised=raised, swallowed=len(self.swallowed), place=self.source.place)
            self.source = None
            if i == WARM:
                objects, reserved = _objects(), engine.reserved_bytes()
        if len(ats) > 2 * WARM:
            objects, reserved, runs = _objects() - objects, engine.reserved_bytes() - reserved, len(ats) - WARM
            if objects > runs // 4 + 50:
                self.tell(fault=("objects leak", f"{objects} in {runs} runs"), place="?", real=True)
            elif reserved > 1 << 17:
                self.tell(fault=("memory grows", f"{reserved} bytes in {runs} runs"), place="?", real=True)


def _objects():
    """Return how many objects the collector knows, but for our own notes."""
    _known.clear()
    gc.collect()
    return len(gc.get_objects())


class _Malloc(ctypes.Structure):
    """The figures of glibc's mallinfo2()."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks used free keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def _bytes_in_c():
    """Return how many bytes malloc has given out, 0 where it does not say."""
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is None:
        return 0
    function.restype = _Malloc
    return function().used


def _difference(found, wanted):
    return f"{_cut(found)} where {_cut(wanted)} was"


def _cut(x):
    text = repr(x)
    return text if len(text) < 150 else text[:150] + "..."


# --- the process of one proxy: it starts workers ----------------------------------------------------------------------


class Report:
    """The interrupts of one entry point, by all instruments."""

    def __init__(self, entry):
        self.entry, self.interrupts, self.swallowed, self.missed = entry, 0, 0, 0
        self.by_instrument = collections.Counter()
        self.faults = []  # (instrument, what, details, place, is it real)

    def note_fault(self, instrument, what, details, place, real):
        self.faults.append((instrument, what, details, place, real))

    def print(self, proxy, lists):
        real = [f for f in self.faults if f[4]]
        kinds = collections.Counter(f[1] for f in real)
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "no fault"
        first = f"; first: {real[0][0]} at {real[0][3]}: {real[0][1]}, {real[0][2]}" if real else ""
        apart = len(self.faults) - len(real)
        print(
            f"{proxy:6} {self.entry:24} {self.interrupts:6} interrupts ({self.swallowed} swallowed): {told}"
            f"{f' (+{apart} trace only)' if apart else ''}{first}",
            flush=True,
        )
        if lists:
            places = collections.Counter(
                (real, what, place.partition(" (")[0]) for _, what, _, place, real in self.faults
            )
            for (real, what, place), count in sorted(places.items(), key=lambda pair: (not pair[0][0], pair[0][1:])):
                print(f"         {count:4} {'' if real else 'trace only: '}{what} at {place}", flush=True)


def campaign(entry, instrument, count, size, rng, report):
    """Interrupt an entry point `count` times by one instrument; `size` is how many events, or seconds, a run has."""
    if instrument in ("opcode", "profile"):
        ats = list(range(1, size + 1))
        if size > count:
            ats = sorted(rng.sample(ats, count))
    else:
        ats = [rng.uniform(0, 1.1 * size) for _ in range(count)]
    while ats:
        done = _in_worker(entry, instrument, ats, report)
        ats = ats[done:]


def _in_worker(entry, instrument, ats, report):
    """Fork a worker for `ats`; return how many it has dealt with. With ats None: return the sizes of a run."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_worker(entry, instrument, ats, writer)
    os.close(writer)
    begun = done = 0
    sizes, fault_told, last = None, False, {"place": "?", "real": True}
    rest = b""
    while True:
        if not select.select([reader], [], [], PATIENCE)[0]:
            os.kill(pid, signal.SIGKILL)
            report.note_fault(instrument, "hangs", f"interrupt {ats and ats[begun - 1]}", last["place"], last["real"])
            fault_told = True
            break
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            news = json.loads(line)
            if "sizes" in news:
                sizes = news["sizes"]
            elif "at" in news:
                begun, last = begun + 1, {"place": "?", "real": True}
                report.interrupts += 1
            elif "done" in news:
                done += 1
                report.swallowed += bool(news["swallowed"])
                report.missed += not news["raised"] and not news["swallowed"]
            elif "broken" in news:
                raise RuntimeError(f"{entry} does not run:\n{news['broken']}")
            elif "fault" not in news:
                last = news
            else:
                report.note_fault(instrument, *news["fault"], news["place"], news["real"])
                fault_told = True
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0 and not fault_told:
        details = f"status {status}, interrupt {ats and ats[begun - 1]}"
        report.note_fault(instrument, "dies", details, last["place"], last["real"])
    return sizes if ats is None else max(begun, done, 1)


def _be_worker(entry, instrument, ats, writer):
    """In a worker process: run, and end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def tell(**news):
        os.write(writer, json.dumps(news).encode() + b"\n")

    status = 1
    try:
        worker = Worker(entry, instrument, tell)
        if ats is None:
            tell(sizes=worker.sizes())
        else:
            worker.run(ats)
        status = 0
    except BaseException:
        tell(broken=traceback.format_exc())
    finally:
        os._exit(status)


def run_proxy(options):
    """Interrupt the entry points in this process's proxy; return True if there was no fault."""
    global _PYGRAD, _PROGRAMS
    import entry_points

    import pygrad

    warnings.simplefilter("ignore")
    proxy = pygrad.config()["proxy"]
    _PYGRAD, _PROGRAMS = os.path.dirname(pygrad.__file__) + os.sep, entry_points.__file__
    gc.collect()
    gc.freeze()  # the collector runs after each interrupt: let it pass by what is there now
    names = [name for name in entry_points.ENTRIES if not options.entry or name in options.entry]
    part, parts = map(int, options.part.split("/"))
    names = names[part - 1 :: parts]
    whole, total = True, 0
    for name in names:
        rng, report = random.Random(f"{options.seed} {name}"), Report(name)
        sizes = _in_worker(name, INSTRUMENTS[0], None, report)
        for instrument in options.instrument or INSTRUMENTS:
            share = SHARES[instrument] / sum(SHARES[i] for i in options.instrument or INSTRUMENTS)
            campaign(
                name, instrument, max(1, round(options.count * share / len(names))), sizes[instrument], rng, report
            )
        report.print(proxy, options.list)
        total += report.interrupts
        whole &= not any(real or options.strict for *_, real in report.faults)
    print(
        f"{proxy:6} {total} interrupts on Python {sys.version.split()[0]}: {'all whole' if whole else 'FAULTS'}",
        flush=True,
    )
    return whole


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20000, help="interrupts in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--proxy", choices=("native", "python"), help="one proxy only")
    parser.add_argument("--part", default="1/1", help="2/3: of each three entry points the second one")
    parser.add_argument("--entry", action="append", help="this entry point only; may be repeated")
    parser.add_argument("--instrument", action="append", choices=INSTRUMENTS, help="may be repeated")
    parser.add_argument("--list", action="store_true", help="list all places with a fault")
    parser.add_argument("--strict", action="store_true", help="fail where no signal can strike, too")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    if options.proxy:
        from pygrad import config

        if config()["proxy"] == options.proxy:
            return 0 if run_proxy(options) else 1
    status = 0
    proxies = [options.proxy] if options.proxy else ["native", "python"]
    for proxy in proxies:
        own = [*arguments, "--count", str(options.count // len(proxies)), "--proxy", proxy]
        status |= subprocess.run([sys.executable, __file__, *own], env={**os.environ, "PYGRAD_PROXY": proxy}).returncode
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
