"""Files that attack whoever reads them. `write_all(folder)` writes them; none may harm a reader.

What they would do is create `folder/canary`, by a command, a call, or by the import of
`ganaudit_canary` from `folder/modules`. The others want memory, time, a crash or a terminal.
"""

import io
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

import opcodes as op
from hostile_formats import (
    EITHER,
    MALFORMED,
    UNSAFE,
    Files,
    headers,
    old_layouts,
    own_files,
    zipped,
    zips,
)
from hostile_values import copies, floods, gadgets, numbers, trees

MODULE = "ganaudit_canary"


@dataclass(frozen=True)
class Hostile:
    """A file and the exit codes with which a command may refuse it."""

    name: str
    path: Path
    codes: tuple[int, ...]


def write_all(folder: Path) -> list[Hostile]:
    """Write every file into a folder, which need not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    canary = folder / "canary"
    module = folder / "modules" / f"{MODULE}.py"
    module.parent.mkdir(exist_ok=True)
    touch = f"open({str(canary)!r}, 'w').close()"
    module.write_text(touch + "\n")
    groups = (
        _payloads(canary, touch, module), _ways(f"touch {canary}"), _hidden(f"touch {canary}"),
        _sources(touch), gadgets(), numbers(), floods(), copies(), trees(), old_layouts(),
        zips(f"touch {canary}"), headers(), own_files(), _cut_off(),
    )  # fmt: skip
    made = []
    for name, data, codes in (file for group in groups for file in group):
        path = folder / name
        path.write_bytes(data)
        made.append(Hostile(name, path, codes))
    assert len({each.name for each in made}) == len(made)
    return [*made, *_places(folder)]


def _payloads(canary: Path, touch: str, module: Path) -> Files:
    """What a pickle would like to call, each by REDUCE and, alternating, other instructions."""
    command = op.text(f"touch {canary}")
    path, code = op.text(str(canary)), op.text(touch)
    shell = op.plain(["/bin/sh", "-c", f"touch {canary}"])
    empty, true = op.DICT, b"\x88"
    wanted: list[tuple[str, str, tuple[bytes, ...]]] = [
        ("os", "system", (command,)), ("posix", "system", (command,)), ("nt", "system", (command,)),
        ("os", "popen", (command,)), ("os", "open", (path, op.integer(65))),
        ("os", "execv", (op.text("/bin/sh"), shell)), ("posix", "mkdir", (path,)),
        ("os", "_execvpe", (op.text("/bin/sh"), shell)), ("os", "startfile", (path,)),
        ("subprocess", "Popen", (shell,)), ("subprocess", "getoutput", (command,)),
        ("_posixsubprocess", "fork_exec", (shell,)), ("pty", "spawn", (shell,)),
        ("builtins", "eval", (code,)), ("builtins", "exec", (code,)),
        ("__builtin__", "eval", (code,)),
        ("builtins", "open", (path, op.text("w"))), ("builtins", "__import__", (op.text(MODULE),)),
        ("builtins", "compile", (code, path, op.text("exec"))), ("builtins", "breakpoint", ()),
        ("builtins", "getattr", (op.named("os", "path"), op.text("os"))),
        ("builtins", "print", (command,)), ("builtins", "input", ()),
        ("builtins", "map", (command,)),
        ("builtins", "vars", ()), ("builtins", "globals", ()), ("builtins", "type", (command,)),
        ("importlib", "import_module", (op.text(MODULE),)), ("importlib", "reload", (op.NONE,)),
        ("imp", "load_source", (op.text("x"), op.text(str(module)))),
        ("runpy", "run_path", (op.text(str(module)),)), ("runpy", "_run_code", (code, empty)),
        ("webbrowser", "open", (path,)), ("code", "interact", ()),
        ("code", "InteractiveInterpreter.runcode", (code,)), ("bdb", "Bdb.run", (code,)),
        ("pdb", "run", (code,)), ("cProfile", "run", (code,)), ("profile", "run", (code,)),
        ("timeit", "timeit", (code,)), ("doctest", "debug_script", (code,)), ("trace", "main", ()),
        ("operator", "attrgetter", (op.text("system"),)), ("operator", "methodcaller", (path,)),
        ("functools", "partial", (op.named("os", "system"), command)),
        ("functools", "reduce", (op.named("os", "system"), op.plain([str(canary)]))),
        ("types", "CodeType", (op.integer(0),) * 9), ("types", "FunctionType", (code, empty)),
        ("marshal", "loads", (op.raw(b"c"),)), ("ctypes", "CDLL", (path,)),
        ("_io", "open", (path, op.text("w"))), ("io", "FileIO", (path, op.text("w"))),
        ("_io", "FileIO", (path, op.text("w"))), ("pathlib", "Path.touch", (path,)),
        ("shutil", "rmtree", (op.text(str(canary.parent)),)), ("shutil", "copy", (path, path)),
        ("tempfile", "mktemp", (path,)), ("logging.config", "fileConfig", (path,)),
        ("pickle", "loads", (op.raw(b"."),)), ("_pickle", "loads", (op.raw(b"."),)),
        ("dill", "loads", (op.raw(b"."),)), ("joblib", "load", (path,)),
        ("cloudpickle.cloudpickle", "_make_function", (code,)),
        ("numpy", "load", (path, op.NONE, true)), ("numpy.f2py", "compile", (code,)),
        ("numpy.f2py.crackfortran", "myeval", (code,)), ("numpy.distutils.exec_command", "x", ()),
        ("numpy.testing._private.utils", "runstring", (code, empty)),
        ("torch", "load", (path, op.NONE)), ("torch.serialization", "load", (path,)),
        ("torch.hub", "load", (op.text("x/y"), op.text("z"))), ("torch.jit", "load", (path,)),
        ("torch.jit", "script", (code,)), ("torch._utils", "_import_dotted_name", (code,)),
        ("torch._inductor.codecache", "PyCodeCache.load", (code,)),
        ("torch.utils.cpp_extension", "load_inline", (code,)),
        ("torch.fx", "GraphModule", (empty,)),
        ("torch.fx.graph_module", "reduce_graph_module", (empty, code)),
        ("torch.package", "PackageImporter", (path,)), ("torch.nn", "Module", ()),
        ("torch.distributed.rpc", "rpc_sync", (command,)),
        ("safetensors.torch", "save_file", (path,)),
        ("dnnlib.util", "call_func_by_name", (command,)), ("dnnlib.util", "open_url", (path,)),
        ("torch_utils.persistence", "persistent_class", (code,)),
        ("torch_utils.persistence", "_src_to_module", (code,)),
        ("ganaudit.files", "write_whole", (path, op.raw(b""))), (MODULE, "anything", ()),
        ("site", "addsitedir", (op.text(str(module.parent)),)), ("sys", "modules", ()),
        ("asyncio", "run", (code,)), ("multiprocessing", "Process", (code,)),
        ("threading", "Thread", (code,)), ("signal", "raise_signal", (op.integer(9),)),
        ("socket", "create_connection", (op.plain(("127.0.0.1", 9)),)),
        ("urllib.request", "urlopen", (op.text(f"file://{module}"),)),
        ("http.server", "test", ()), ("smtplib", "SMTP", (op.text("127.0.0.1"),)),
        ("pip", "main", (op.plain(["install", "x"]),)),
        ("idlelib.run", "Executive.runcode", (code,)),
        ("pydoc", "pipepager", (code, command)), ("mailcap", "findmatch", (command,)),
        ("atexit", "register", (op.named("os", "system"), command)), ("sched", "scheduler", ()),
        ("collections", "namedtuple", (op.text("x"), code)), ("typing", "get_type_hints", (code,)),
        ("copyreg", "add_extension", (op.text("os"), op.text("system"), op.integer(1))),
        ("copyreg", "__newobj__", (op.named("os", "system"), command)),
        ("collections", "OrderedDict.fromkeys.__self__", ()), ("collections", "Counter", ()),
        ("builtins", "set.__class__.__base__.__subclasses__", ()),
        ("_codecs", "decode", (command,)), ("numpy", "ndarray.tofile", (path,)), ("", "", ()),
    ]  # fmt: skip
    forms = (
        lambda made, given: made + op.many(*given) + op.REDUCE,
        lambda made, given: made + op.many(*given) + op.NEWOBJ,
        lambda made, given: made + op.many(*given) + op.DICT + op.NEWOBJ_EX,
        lambda made, given: op.MARK + made + b"".join(given) + op.OBJ,
    )
    for i, (where, name, given) in enumerate(wanted):
        made = op.named(where, name)
        if i % 3 == 2:
            made = op.text(where) + op.text(name) + op.STACK_GLOBAL
        content = op.PROTO + forms[i % len(forms)](made, given) + op.STOP
        yield f"call-{i:03}-{where}.{name}"[:80].rstrip(".") + ".pkl", content, UNSAFE


def _ways(command: str) -> Files:
    """Every instruction that leads to `os.system`."""
    system, said = op.named("os", "system"), op.text(command)
    given, filled = op.many(said), op.call("collections", "OrderedDict")
    module, name = op.text("os"), op.text("system")
    ways = {
        "inst": op.MARK + said + b"ios\nsystem\n",
        "inst-old-text": op.MARK + b"S" + repr(command).encode() + b"\niposix\nsystem\n",
        "named-alone": system,
        "named-and-dropped": system + op.POP + op.NONE,
        "called-and-dropped": system + given + op.REDUCE + op.POP + op.DICT,
        "called-behind-mark": op.MARK + system + given + op.REDUCE + b"1" + op.DICT,
        "kept-name": module + b"q\x050h\x05" + name + op.STACK_GLOBAL + given + op.REDUCE,
        "old-text-name": b"S'os'\nS'system'\n" + op.STACK_GLOBAL + given + op.REDUCE,
        "escaped-name": b"V\\u006fs\nVsystem\n" + op.STACK_GLOBAL + given + op.REDUCE,
        "dotted": op.named("collections", "abc.sys.modules") + given + op.REDUCE,
        "dotted-torch": op.named("torch", "serialization.os.system") + given + op.REDUCE,
        "dotted-whole": op.text("") + op.text("os.system") + op.STACK_GLOBAL + given + op.REDUCE,
        "look-alike": op.text("collection\u0455") + op.text("OrderedDict") + op.STACK_GLOBAL,
        "full-width": op.text("\uff4f\uff53") + name + op.STACK_GLOBAL + given + op.REDUCE,
        "space": op.text("os ") + name + op.STACK_GLOBAL + given + op.REDUCE,
        "capital": op.text("Collections") + op.text("OrderedDict") + op.STACK_GLOBAL,
        "newline": op.text("os\nsystem\nganaudit: all is well\n") + name + op.STACK_GLOBAL,
        "terminal": op.text("\x1b[2J\x1b]0;owned\x07") + op.text("\x9b31m") + op.STACK_GLOBAL,
        "right-to-left": op.text("\u202eso") + op.text("metsys\u202c") + op.STACK_GLOBAL,
        "nul": op.text("os\x00") + name + op.STACK_GLOBAL + given + op.REDUCE,
        "surrogate": b"V\\ud800os\n" + name + op.STACK_GLOBAL + given + op.REDUCE,
        "setstate": filled + op.pairs(__setstate__=system) + op.BUILD,
        "set-class": filled + op.pairs(__class__=system) + op.BUILD,
        "set-dict": filled + op.pairs(__dict__=op.pairs(build=system)) + op.BUILD,
        "slots": filled + op.many(op.NONE, op.pairs(__class__=system)) + op.BUILD,
        "build-of-name": system + op.pairs(x=said) + op.BUILD,
        "items-of-name": system + said + said + op.SETITEM,
        "append-to-name": system + said + op.APPEND,
        "key": op.DICT + system + said + op.SETITEM,
        "reconstructor": op.call("copyreg", "_reconstructor", system, said, op.NONE),
        "reconstructor-of-old": op.call(
            "copy_reg", "_reconstructor", op.named("tfutil", "Network"), system, op.NONE
        ),
        "encode": op.call("_codecs", "encode", said, system),
        "as-argument": op.call("collections", "OrderedDict", op.call("os", "system", said)),
        "as-dtype": op.call("numpy", "dtype", system),
        "as-array-class": op.call("numpy.core.multiarray", "_reconstruct", system, given, said),
        "as-scalar": op.call("numpy.core.multiarray", "scalar", system, said),
        "as-storage": op.tensor(of=system),
        "as-hooks": op.old_tensor() + op.call("os", "system", said) + op.BUILD,
        "as-state": op.call("torch.nn.parameter", "Parameter", system),
        "set-state": op.call("torch._utils", "_set_obj_state", filled, op.pairs(x=system)),
        "rebuild-from-type": op.call("torch._tensor", "_rebuild_from_type_v2", system, said),
        "rebuild-wrapper": op.call("torch._utils", "_rebuild_wrapper_subclass", system, said),
    }  # fmt: skip
    for kind, pickle in ways.items():
        yield f"way-{kind}.pkl", op.PROTO + pickle + op.STOP, UNSAFE
    for code, form in ((b"\x82", "<B"), (b"\x83", "<H"), (b"\x84", "<i")):
        pickle = code + struct.pack(form, 1) + given + op.REDUCE + op.STOP
        yield f"way-extension-{code[0]:x}.pkl", op.PROTO + pickle, UNSAFE
    yield "way-persid.pkl", b"Pos.system\n.", MALFORMED
    yield "way-binpersid.pkl", op.PROTO + system + op.BINPERSID + op.STOP, UNSAFE
    yield "way-name-of-bytes.pkl", op.raw(b"os") + name + op.STACK_GLOBAL + op.STOP, MALFORMED
    yield "way-name-of-list.pkl", op.LIST + name + op.STACK_GLOBAL + op.STOP, MALFORMED
    yield "way-name-of-unknown.pkl", system + name + op.STACK_GLOBAL + op.STOP, UNSAFE
    yield "way-long-name.pkl", b"c" + b"o" * 10**6 + b"\nsystem\n.", MALFORMED
    yield "way-long-stack-name.pkl", op.text("o" * 10**6) + name + op.STACK_GLOBAL, MALFORMED
    yield "way-two-pickles.pkl", op.PROTO + op.DICT + op.STOP + system + given + b"R.", EITHER
    yield "way-many-names.pkl", b"".join(op.named("os", f"f{i}") for i in range(999)), UNSAFE


def _hidden(command: str) -> Files:
    """The same call, deep in what looks like a good file."""
    call = op.call("os", "system", op.text(command))
    weights = op.tensor()
    held = {"0": bytes(16)}
    yield "hidden-in-zip.pt", zipped(op.pairs(weight=weights, bias=call), held), UNSAFE
    yield "hidden-as-key.pt", zipped(op.MARK + call + weights + b"d", held), UNSAFE
    hooked = op.tensor(of=op.many(op.text("storage"), call, op.text("0"), op.NONE) + op.BINPERSID)
    yield "hidden-in-storage.pt", zipped(hooked, held), UNSAFE
    keys, tail = b"](U\x010e.", struct.pack("<q", 4) + bytes(16)
    good = op.pairs(weight=weights)
    yield "hidden-in-old.pt", op.old_layout(op.pairs(w=weights, x=call), keys, tail), UNSAFE
    yield "hidden-in-machine.pt", op.old_layout(good, keys, tail, call), UNSAFE
    yield "hidden-in-keys.pt", op.old_layout(good, call + op.STOP, tail), UNSAFE
    yield (
        "hidden-in-magic.pt",
        op.PROTO + call + op.POP + op.old_layout(good, keys, tail)[2:],
        UNSAFE,
    )
    inner = op.old_layout(call)
    once = op.call("torch.storage", "_load_from_bytes", op.raw(inner))
    twice = op.call("torch.storage", "_load_from_bytes", op.raw(op.old_layout(once)))
    yield "hidden-nested.pkl", op.PROTO + once + op.STOP, UNSAFE
    yield "hidden-nested-twice.pkl", op.PROTO + twice + op.STOP, UNSAFE
    yield "hidden-nested-in-zip.pt", zipped(op.pairs(weight=once)), UNSAFE
    yield (
        "hidden-plain-nested.pkl",
        op.call("torch.storage", "_load_from_bytes", op.raw(call + op.STOP)) + op.STOP,
        EITHER,
    )
    for where in ("_parameters", "_buffers", "_modules", "_init_kwargs", "_forward_hooks", "x"):
        state = op.pairs(**{where: op.pairs(w=call)})
        yield f"hidden-in-persistent-{where}.pkl", op.persistent(state) + op.STOP, UNSAFE
    as_state = op.persistent(call)
    yield "hidden-as-persistent-state.pkl", as_state + op.STOP, UNSAFE
    as_source = op.persistent(op.DICT, source=call)
    yield "hidden-as-source.pkl", as_source + op.STOP, UNSAFE
    old = op.named("tfutil", "Network") + op.EMPTY + op.NEWOBJ
    for where in ("variables", "components", "static_kwargs", "build_func_name"):
        state = op.pairs(**{where: call})
        yield f"hidden-in-network-{where}.pkl", op.many(old + state + op.BUILD) + op.STOP, UNSAFE


def _sources(touch: str) -> Files:
    """Embedded source texts that would run on import, as a class is made, or later."""
    texts = {
        "import": touch, "class": f"class G:\n    {touch}",
        "metaclass": f"class M(type):\n  def __new__(*a): {touch}\nclass G(metaclass=M): pass",
        "coding": f"# -*- coding: unicode_escape -*-\n{touch}", "canary": f"import {MODULE}",
        "nul": f"{touch}\x00", "empty": "",
    }  # fmt: skip
    for name, source in texts.items():
        made = op.persistent(op.pairs(_init_kwargs=op.DICT), source=op.text(source))
        yield f"source-{name}.pkl", op.PROTO + op.pairs(G_ema=made) + op.STOP, MALFORMED
    old = op.named("dnnlib.tflib.network", "Network") + op.EMPTY + op.NEWOBJ
    state = op.pairs(
        build_module_src=op.text(touch), build_func_name=op.text("G"), variables=op.LIST
    )
    yield "source-network.pkl", op.many(*[old + state + op.BUILD] * 3) + op.STOP, MALFORMED
    hooks = op.pairs(_init_kwargs=op.DICT, _forward_hooks=op.pairs(h=op.text("x")))
    yield "source-hooks.pkl", op.pairs(G_ema=op.persistent(hooks)) + op.STOP, MALFORMED


def good_files() -> dict[str, bytes]:
    """Files that can be read, one of each format: what the others spoil."""
    import torch
    from safetensors.torch import save

    weights = {"a.weight": torch.arange(600.0).reshape(20, 30), "a.bias": torch.ones(30).half()}
    files = {"good.safetensors": save(weights)}
    for name, new in (("zip", True), ("old", False)):
        target = io.BytesIO()
        torch.save(weights, target, _use_new_zipfile_serialization=new)
        files[f"good-{name}.pt"] = target.getvalue()
    state = op.pairs(
        _init_kwargs=op.pairs(z_dim=op.integer(512)), _parameters=op.pairs(w=op.old_tensor()),
        _modules=op.pairs(b=op.persistent(op.pairs(_buffers=op.pairs(b=op.old_tensor())))),
    )  # fmt: skip
    files["good-persistent.pkl"] = op.PROTO + op.pairs(G_ema=op.persistent(state)) + op.STOP
    array = op.numpy_array(op.plain((4,)), op.numpy_type(), op.raw(bytes(16)))
    variables = op.MARK + op.many(op.text("lod"), array) + b"l"
    state = op.pairs(
        build_func_name=op.text("G"), build_module_src=op.text("x"), variables=variables,
        static_kwargs=op.pairs(num_channels=op.integer(3)),
    )  # fmt: skip
    old = op.named("tfutil", "Network") + op.EMPTY + op.NEWOBJ + state + op.BUILD
    files["good-network.pkl"] = op.PROTO + op.many(old, old, old) + op.STOP
    return files


def _cut_off() -> Files:
    """Every good file, cut off at each tenth."""
    for name, data in good_files().items():
        for tenth in range(1, 10):
            yield f"cut-{tenth}-{name}", data[: len(data) * tenth // 10], MALFORMED


def _places(folder: Path) -> list[Hostile]:
    """What is no file."""
    made = {
        name: folder / f"place-{name}" for name in ("pipe", "folder", "loop", "socket", "broken")
    }
    for path in made.values():
        if path.is_symlink() or path.exists():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    os.mkfifo(made["pipe"])
    made["folder"].mkdir()
    made["loop"].symlink_to(made["loop"].name)
    made["broken"].symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path has at most a hundred characters
        listener.bind(made["socket"].name)
        os.chdir(here)
    piped = folder / "place-piped"
    piped.mkdir(exist_ok=True)
    for name in ("config.json", "pytorch_model.bin"):
        if not (piped / name).exists():
            os.mkfifo(piped / name)
    made |= {"piped": piped, "zero": Path("/dev/zero"), "absent": folder / "absent"}
    made |= {"null": Path("/dev/null"), "long": folder / ("x" * 300), "mem": Path("/proc/self/mem")}
    return [Hostile(f"place-{name}", path, MALFORMED) for name, path in made.items()]
