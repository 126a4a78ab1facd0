"""Files that pygrad writes: compiled functions, their C sources, models. All are written by one function."""

import builtins
import errno
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

import pygrad
from pygrad.common import whole_files

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")


def save(path):
    f = pygrad.compile(lambda x: x * 2.0)
    f(1.0)
    f.save(path)


def to_c(path):
    f = pygrad.compile(lambda x: x * 2.0)
    f(1.0)
    f.to_c(path)


def save_model(path):
    pytest.importorskip("safetensors")
    pytest.importorskip("numpy")
    pygrad.storage.save_model(pygrad.MLP(1, [1]), path)


WRITERS = {"save": save, "to_c": to_c, "save_model": save_model}


@pytest.fixture(params=WRITERS)
def write(request):
    """Each function of pygrad that writes a file."""
    return WRITERS[request.param]


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def only(folder, *names):
    """True if the folder has no other entries: no temporary was left."""
    return sorted(names) == sorted(os.listdir(folder))


# --- files that are replaced ------------------------------------------------------------------------------------------


def test_a_new_file_honours_umask(write, tmp_path):
    """Its mode is that of any new file."""
    before = os.umask(0o027)
    try:
        write(tmp_path / "new")
    finally:
        os.umask(before)
    assert 0o640 == mode(tmp_path / "new")
    assert only(tmp_path, "new")


@pytest.mark.parametrize("old_mode", [0o600, 0o644, 0o666, 0o755, 0o2750])
def test_a_replaced_file_keeps_its_mode(write, tmp_path, old_mode):
    """Whatever the umask; and its contents are new."""
    path = tmp_path / "old"
    path.write_bytes(b"old")
    path.chmod(old_mode)
    write(path)
    assert old_mode == mode(path)
    assert b"old" != path.read_bytes()
    assert only(tmp_path, "old")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_a_replaced_file_keeps_its_owner(write, tmp_path):
    """Its user and group stay."""
    path = tmp_path / "old"
    path.write_bytes(b"old")
    os.chown(path, 12345, 23456)
    path.chmod(0o604)
    write(path)
    assert (12345, 23456, 0o604) == (path.stat().st_uid, path.stat().st_gid, mode(path))


def test_what_would_change_its_owner_is_refused(write, tmp_path, monkeypatch):
    """The old file stays, and the message says what to do."""
    path = tmp_path / "old"
    path.write_bytes(b"old")

    def chown(*_):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(whole_files.os, "chown", chown)
    real = os.fstat
    monkeypatch.setattr(whole_files.os, "fstat", lambda d: os.stat_result([*real(d)[:4], 99999, *real(d)[5:]]))
    with pytest.raises(PermissionError, match="owner and group: remove it first.*old"):
        write(path)
    assert b"old" == path.read_bytes()
    assert only(tmp_path, "old")


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="needs extended attributes")
def test_a_replaced_file_keeps_its_attributes(write, tmp_path):
    """Extended ones, where the file system has them."""
    path = tmp_path / "old"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.note", b"mine")
    except OSError:
        pytest.skip("the file system has no extended attributes")
    write(path)
    assert b"mine" == os.getxattr(path, "user.note")


def test_links_stay_links(write, tmp_path):
    """A chain of links, relative and dangling ones too: the file that they lead to is written."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "target").write_bytes(b"old")
    (tmp_path / "folder" / "first").symlink_to("target")
    (tmp_path / "second").symlink_to("folder/first")
    (tmp_path / "dangling").symlink_to("folder/fresh")
    write(tmp_path / "second")
    write(tmp_path / "dangling")

    assert os.path.islink(tmp_path / "second")
    assert os.path.islink(tmp_path / "folder" / "first")
    assert b"old" != (tmp_path / "folder" / "target").read_bytes() != b""
    assert (tmp_path / "folder" / "fresh").is_file()
    assert only(tmp_path / "folder", "target", "first", "fresh")


def test_a_link_to_itself_is_refused(write, tmp_path):
    """By the system's error."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop") as error:
        write(tmp_path / "loop")
    assert errno.ELOOP == error.value.errno


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "n"])
def test_every_legal_name(write, tmp_path, name):
    """Names of 255 bytes, as text, bytes or path; a relative one as well."""
    write(tmp_path / name)
    write(os.fsencode(tmp_path / name))
    write(str(tmp_path / name))
    assert only(tmp_path, name)
    with pytest.raises(OSError, match="too long") as error:
        write(tmp_path / ("n" * 256))
    assert errno.ENAMETOOLONG == error.value.errno


def test_relative_names(write, tmp_path, monkeypatch):
    """They are looked up in the working directory."""
    monkeypatch.chdir(tmp_path)
    write("here")
    write(os.path.join("..", tmp_path.name, "there"))
    assert only(tmp_path, "here", "there")


@pytest.mark.parametrize("name", ["", ".", "sub", "sub/", "sub/..", "link"])
def test_directories_are_refused(write, tmp_path, monkeypatch, name):
    """Also through a link."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("sub")
    with pytest.raises(IsADirectoryError):
        write(name)
    assert only(tmp_path, "sub", "link")


def test_no_directory(write, tmp_path):
    """The message names the caller's path, not the temporary's."""
    with pytest.raises(FileNotFoundError, match="missing/name'"):
        write(tmp_path / "missing" / "name")
    (tmp_path / "file").write_bytes(b"old")
    for path in ("file/name", "file/"):
        with pytest.raises(NotADirectoryError):
            write(f"{tmp_path}/{path}")
    assert b"old" == (tmp_path / "file").read_bytes()


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_what_may_not_be_written(write, tmp_path):
    """A file that is read-only, and a file in a directory that is: both stay, and are named."""
    path = tmp_path / "old"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="old"):
        write(path)
    path.chmod(0o644)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match="written beside it.*old"):
            write(path)
    finally:
        tmp_path.chmod(0o755)
    assert b"old" == path.read_bytes()
    assert only(tmp_path, "old")


# A program without imports of pygrad.
_LOADED = f"exec(compile({Path(whole_files.__file__).read_text()!r}, 'whole_files', 'exec'))"


def as_nobody(path):
    """Write a file as another user, in a child; return the error as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            whole_files.write_whole(path, b"new")
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as file:
        return file.read().decode()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become another user")
def test_what_another_user_may_not_write():
    """A read-only file, a read-only directory, and a file of somebody else in a directory for all."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # one that another user can look into
        path, found = Path(folder) / "old", []
        path.write_bytes(b"old")
        for folder_mode, file_mode in ((0o777, 0o644), (0o755, 0o666), (0o777, 0o666)):
            os.chmod(folder, folder_mode)
            path.chmod(file_mode)
            found.append(as_nobody(path))
            assert b"old" == path.read_bytes()
            assert only(folder, "old")
    assert "PermissionError" in found[0]
    assert "written beside it" in found[1]
    assert "remove it first" in found[2]


# --- what is no regular file ------------------------------------------------------------------------------------------


def test_devices_are_written_to(write):
    """They are not replaced: /dev/null takes all, /dev/full nothing."""
    for path in ("/dev/null", "/dev/full"):
        if not os.path.exists(path):
            continue
        before = os.stat(path)
        if path == "/dev/null":
            write(path)
        else:
            with pytest.raises(OSError, match="space") as error:
                write(path)
            assert errno.ENOSPC == error.value.errno
        assert stat.S_ISCHR(os.stat(path).st_mode)
        assert before.st_ino == os.stat(path).st_ino


def test_a_pipe_is_written_to(write, tmp_path):
    """The reader gets the whole file."""
    os.mkfifo(tmp_path / "fifo")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    write(tmp_path / "fifo")
    reader.join(20)
    assert len(got[0]) > 50
    assert stat.S_ISFIFO(os.stat(tmp_path / "fifo").st_mode)
    assert only(tmp_path, "fifo")


def test_a_socket_is_refused(write, tmp_path, monkeypatch):
    """By the system's error; it stays."""
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(OSError, match="socket"):
            write("socket")
        assert only(tmp_path, "socket")


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs /dev/stdout")
@pytest.mark.parametrize("way", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link", "/dev/stderr"])
@pytest.mark.parametrize("to", ["file", "pipe"])
def test_output_that_is_redirected(tmp_path, way, to):
    """What the program wrote before and after stays, and the file's bytes stand between; nothing is replaced."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    path = str(tmp_path / "link") if way == "link" else way
    if not os.path.exists(path) and not path.startswith("/dev"):
        pytest.skip("needs procfs")
    script = f"{_LOADED}\nimport os\nn = 2 if {way!r} == '/dev/stderr' else 1\nos.write(n, b'before ')\n"
    script += f"write_whole({path!r}, b'the file')\nos.write(n, b' after')\n"
    command = [sys.executable, "-c", script]
    if to == "pipe":
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        found = done.stdout
    else:
        with open(tmp_path / "out", "wb") as out:
            done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT)
        found = (tmp_path / "out").read_bytes()
    assert b"before the file after" == found
    assert os.path.islink(tmp_path / "link")


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["open", "fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("after", [False, True])
def test_an_error_leaves_the_old_file_whole(tmp_path, monkeypatch, step, error, after):
    """At any step, before or after it: there is no temporary, and the file is the old or the new one."""
    owner = builtins if step == "open" else os
    path, real = tmp_path / "old", getattr(owner, step)
    path.write_bytes(b"old")

    def fail(*args, **kwargs):
        if step == "open" and args[1] != "xb":
            return real(*args, **kwargs)
        if after:
            done = real(*args, **kwargs)
            if step == "open":
                done.close()
        raise error

    monkeypatch.setattr(whole_files if step == "open" else os, step, fail, raising=False)
    with pytest.raises(type(error)):
        whole_files.write_whole(path, b"new")
    monkeypatch.undo()

    assert (b"new" if after and step == "replace" else b"old") == path.read_bytes()
    assert only(tmp_path, "old")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_FSIZE gives EFBIG there")
def test_a_file_that_cannot_grow(tmp_path):
    """A real write error: the old file stays, and there is no temporary."""
    path = tmp_path / "old"
    path.write_bytes(b"old")
    script = f"{_LOADED}\nimport resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    script += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    script += f"try: write_whole({str(path)!r}, bytes(100000))\nexcept OSError as error: print(error.errno)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert str(errno.EFBIG) == done.stdout.strip(), done.stderr
    assert b"old" == path.read_bytes()
    assert only(tmp_path, "old")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in procfs")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a file may be open when the interrupt comes
def test_interrupts_from_a_timer(tmp_path):
    """Wherever one comes, the file is the old or the new one; there is no temporary, and no descriptor stays open."""

    armed = False

    def interrupt(*_):
        if armed:
            raise KeyboardInterrupt

    rng, path, found = random.Random(1), tmp_path / "old", set()
    whole_files.write_whole(path, b"")
    before = signal.signal(signal.SIGALRM, interrupt)
    descriptors = len(os.listdir("/proc/self/fd"))
    try:
        for i in range(500):
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 5e-4))
                whole_files.write_whole(path, bytes([i % 256]) * 1000)
                armed = False
            except KeyboardInterrupt:  # a timer goes off once
                armed = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            found.add(len(set(path.read_bytes())))
            assert only(tmp_path, "old")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert descriptors == len(os.listdir("/proc/self/fd"))
    assert found <= {0, 1}
