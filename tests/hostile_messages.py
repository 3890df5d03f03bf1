"""Messages that attack who reads them: JSON, addresses, Open Inference Protocol, predictions.

None of them holds an image that could be told from its slot; `echoes` give a token back in every
way that an error can carry text.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from hostile_pictures import picture, png_file
from loopback import Reply

# -- JSON in which an image should stand -----------------------------------------------------


def jsons() -> dict[str, bytes]:
    """Bodies of JSON, or nearly, where `image` should be an image in base64."""
    data = base64.b64encode(picture("GIF")).decode()
    large = base64.b64encode(png_file(40_000, 25_000)).decode()
    values: dict[str, Any] = {
        "a number": 5, "a fraction": 1e308, "true": True, "null": None, "a list of numbers": [1, 2],
        "an empty list": [], "an object": {"a": 1}, "an empty text": "", "spaces": "   ",
        "no base64": "!!!!", "base64 of text": "aGVsbG8gd29ybGQ=", "base64 cut": data[:-3],
        "base64 of a GIF": data, "base64 of 10**9 pixels": large, "escapes": "\x1b[2J\x07\0",
        "half a surrogate": "\ud800", "an image in text": "data:text/html;base64," + data,
        "an SVG": "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode(),
        "data without a comma": "data:image/png;base64",
        "data in per cent": "data:image/png,%89PNG", "data of nothing": "data:,",
        "data of a type of NULs": "data:\0;base64," + data,
        "a megabyte of text": "x" * 2**20,
    }  # fmt: skip
    return {
        **{name: json.dumps({"image": value}).encode() for name, value in values.items()},
        "nested lists": b'{"image": ' + b"[" * 200_000,
        "nested objects": b'{"image":' * 100_000,
        **{
            f"nested {depth} deep": b'{"image": ' + b"[" * depth + b"]" * depth + b"}"
            for depth in range(900, 1000, 9)  # a reader may bear what a writer does not
        },
        "nested and closed": b'{"image": ' + b"[" * 90_000 + b"]" * 90_000 + b"}",
        "many values": b'{"image": [' + b"1," * 400_000 + b"1]}",
        "many keys": b"{" + b",".join(b'"k%d":0' % i for i in range(90_000)) + b"}",
        "one key often": b"{" + b'"image":1,' * 90_000 + b'"image":2}',
        "a number of 10**6 digits": b'{"image": ' + b"9" * 900_000 + b"}",
        "NaN": b'{"image": NaN}',
        "infinity": b'{"image": -Infinity}',
        "UTF-16": '{"image": "x"}'.encode("utf-16"),
        "UTF-7": b'{"image": "+AGEA"}',
        "a byte order mark": b"\xef\xbb\xbf" + b'{"image": 1}',
        "no UTF-8": b'{"image": "\xff\xfe"}',
        "a list": b'[{"image": "x"}]',
        "a text": b'"image"',
        "nothing": b"",
        "half": b'{"image": "aaaa',
        "two": b'{"image": "a"}{"image": "b"}',
        "lines": b'{"image": "a"}\n{"image": "b"}\n',
        "Python": b"{'image': 'a'}",
        "another": b'{"detail": "try later"}',
    }


# -- addresses -------------------------------------------------------------------------------


def urls(port: int, *, name: str) -> list[str]:
    """Addresses that no server may make its client fetch.

    Args:
      port: of a canary on 127.0.0.1 and on ::1, which counts whoever comes.
      name: that resolves to 127.0.0.1.
    """
    places = [
        "127.0.0.1", "localhost", "LOCALHOST", "localhost.", "[::1]", "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "0.0.0.0", "[::]", "127.1", "127.0.1", "2130706433",
        "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.000.000.001", "127.8.8.8",
        "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "①②⑦.⓪.⓪.①", "127。0。0。1",
        name, f"{name}.", name.upper(), "10.0.0.1", "10.255.255.254", "172.16.0.1", "192.168.0.1",
        "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]",
        "100.64.0.1", "0.1.2.3", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "[ff02::1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]",
        "metadata.google.internal", "[fec0::1]",
        "[64:ff9b:1::7f00:1]", "[::ffff:0:7f00:1]", "[100::1]",
        "[5f00::1]", "[2001:db8::1]",
    ]  # fmt: skip
    return [
        *(f"http://{place}:{port}/x.png" for place in places),
        *(f"http://{place}/latest/meta-data" for place in ("169.254.169.254", "0xa9fea9fe")),
        f"https://127.0.0.1:{port}/x.png",
        f"http://user:secret@127.0.0.1:{port}/x.png",
        f"http://example.com@127.0.0.1:{port}/x.png",
        f"http://example.com:80@127.0.0.1:{port}/x.png",
        f"http://127.0.0.1:{port}#@example.com/x.png",
        f"http://127.0.0.1:{port}\\@example.com/x.png",
        f"http://127.0.0.1:{port}\t/x.png",
        f"http://127.0.0.1\r\nX: y:{port}/x.png",
        f" http://127.0.0.1:{port}/x.png",
        f"http:127.0.0.1:{port}/x.png",
        f"http:/127.0.0.1:{port}/x.png",
        f"http:///127.0.0.1:{port}/x.png",
        f"//127.0.0.1:{port}/x.png",
        f"HTTP://127.0.0.1:{port}/x.png",
        f"\\\\127.0.0.1:{port}\\x.png",
        f"ftp://127.0.0.1:{port}/x.png",
        f"gopher://127.0.0.1:{port}/_GET%20/",
        f"ws://127.0.0.1:{port}/",
        f"dict://127.0.0.1:{port}/d:x",
        f"ldap://127.0.0.1:{port}/",
        "file:///etc/passwd", "file://localhost/etc/passwd", "file:/etc/passwd", "/etc/passwd",
        "FILE:///etc/passwd", "javascript:alert(1)", "about:blank", "blob:http://a/b",
        "jar:file:///x",
        "unix:/run/docker.sock", "http+unix://%2frun%2fdocker.sock/x", "http://", "http://[",
        "http://[::1", "http://:80/", "http://a:99999/", "http://a:-1/", "http://a..b/",
        f"http://{'a' * 64}.b/", f"http://{'a.' * 200}b/", "http://xn--a/",
        "http://" + "a" * 100_000, "http://\0/", "http://\x1b[2J/",
        "http://%31%32%37.0.0.1/",
    ]  # fmt: skip


# -- Open Inference Protocol -----------------------------------------------------------------

Message = tuple[bytes, dict[str, str]]  # body and headers

_LATENT: dict[str, Any] = {"name": "latent", "datatype": "FP32", "shape": [-1, 3, 4, 4]}
_IMAGE: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": [-1, 3, 4, 4]}


def _model(**changes: Any) -> dict[str, Any]:
    return {"name": "tiny", "versions": ["1"], "inputs": [_LATENT], "outputs": [_IMAGE]} | changes


def metadata() -> dict[str, bytes]:
    """What a model may say of itself that no client can take."""
    shapes: dict[str, Any] = {
        "negative": [-2, 3], "all open": [-1, -1, -1], "of zero": [-1, 0],
        "huge": [-1, 10**9, 10**9], "of 2**64": [-1, 2**64], "of fractions": [-1, 1.5],
        "of texts": ["-1", "3"], "a text": "[-1,3]", "none": None, "of lists": [[-1], [3]],
        "of true": [True, True], "of 10,000 sides": [1] * 10_000, "an object": {"0": 1},
        "empty": [], "NaN": [float("nan")], "of a million": [-1, 10**6, 10**3],
    }  # fmt: skip
    names: dict[str, Any] = {
        "of NULs": "\0\0", "of escapes": "\x1b[2J\x1b]0;x\x07", "empty": "",
        "a number": 5, "null": None, "half a surrogate": "\ud800",
        "of a megabyte": "a" * 2**20, "of lines": "a\nb\rc",
        "turned round": "\u202egnp.x",
    }  # fmt: skip
    million = [{"name": f"z{i}", "datatype": "FP32", "shape": [-1, 3]} for i in range(100_000)]
    return {
        **{f"shape {n}": json.dumps(_model(inputs=[_LATENT | {"shape": s}])).encode()
           for n, s in shapes.items()},
        **{f"output {n}": json.dumps(_model(outputs=[_IMAGE | {"shape": s}])).encode()
           for n, s in shapes.items() if n.startswith("of") and n not in ("of zero", "of 2**64")},
        **{f"name {n}": json.dumps(_model(inputs=[_LATENT | {"name": x, "shape": [-1]}])).encode()
           for n, x in names.items()},
        **{f"datatype {x!r:.20}": json.dumps(_model(inputs=[_LATENT | {"datatype": x}])).encode()
           for x in ("", "FP33", "OBJECT", "BYTES", 5, None, [], "FP32\0", "A" * 2**20)},
        **{f"inputs {x!r:.20}": json.dumps(_model(inputs=x)).encode()
           for x in (None, 5, "x", {}, [None], [5], [[]], [[_LATENT]])},
        **{f"outputs {x!r:.20}": json.dumps(_model(outputs=x)).encode()
           for x in (None, 5, "x", [], {}, [None], [5])},
        "latent twice": json.dumps(_model(inputs=[_LATENT, _LATENT])).encode(),
        "100,000 inputs": json.dumps(_model(inputs=million)).encode(),
        "100,000 inputs of no kind": json.dumps(_model(inputs=[0] * 100_000)).encode(),
        "no object": b"[]",
        "no JSON": b"OK",
        "nothing": b"",
        "nested": b'{"inputs":' + b"[" * 200_000,
        "a number of 10**6 digits": b'{"inputs": ' + b"9" * 900_000 + b"}",
        "NaN": b'{"inputs": [{"name": "z", "datatype": "FP32", "shape": [-1, NaN]}]}',
        "a page": b"<!DOCTYPE html><title>Sign in</title>",
    }  # fmt: skip


def inferences() -> dict[str, Message]:
    """Answers to an inference of some slots, with their headers: none holds the images."""
    image = _IMAGE | {"shape": [1, 3, 4, 4], "data": list(range(48))}

    def said(*outputs: Any) -> Message:
        return json.dumps({"model_name": "tiny", "outputs": list(outputs)}).encode(), {}

    def binary(length: Any, size: Any, rest: bytes = b"", **changes: Any) -> Message:
        parameters = {"parameters": {"binary_data_size": size}}
        output = _IMAGE | {"shape": [1, 3, 4, 4]} | parameters | changes
        text = json.dumps({"outputs": [output]}).encode()
        shown = str(len(text)) if length is None else str(length)
        return text + rest, {"Inference-Header-Content-Length": shown}

    digits = said(image | {"datatype": "FP32"})[0].replace(b"47]", b"9" * 400 + b"]")
    overlap = b"\xff\xff\xff\xff\0\0\0\0"
    text = {"datatype": "BYTES", "shape": [1]}
    many = [image | {"name": f"i{i}", "shape": [1], "data": [0]} for i in range(20_000)]
    return {
        "no output": said(),
        "20,000 tensors": said(*many),
        "of another name": said(image | {"name": "score"}, image | {"name": "other"}),
        "twice": said(image, image),
        "of fewer values": said(image | {"data": [1, 2, 3]}),
        "of more values": said(image | {"data": [1] * 49}),
        "of 300": said(image | {"data": [300] * 48}),
        "of minus 1": said(image | {"data": [-1] * 48}),
        "of fractions": said(image | {"data": [0.5] * 48}),
        "of texts": said(image | {"data": ["1"] * 48}),
        "of null": said(image | {"data": [None] * 48}),
        "of lists": said(image | {"data": [[[[1] * 4] * 4] * 2]}),
        "of an object": said(image | {"data": {"0": 1}}),
        "nested deeply": (b'{"outputs": [{"name": "image", "data": ' + b"[" * 200_000, {}),
        "of two images": said(image | {"shape": [999, 3, 4, 4], "data": [1] * 999 * 48}),
        "of no image": said(image | {"shape": [0, 3, 4, 4], "data": []}),
        "of 2 channels": said(image | {"shape": [1, 2, 4, 4], "data": [1] * 32}),
        "of 5 sides": said(image | {"shape": [1, 1, 3, 4, 4]}),
        "of a negative shape": said(image | {"shape": [-1, 3, 4, 4]}),
        "of a huge shape": said(image | {"shape": [1, 3, 10**9, 10**9], "data": []}),
        "of a huge empty shape": said(image | {"shape": [0, 10**9, 10**9, 10**9], "data": []}),
        "of NaN": said(image | {"datatype": "FP32", "data": [float("nan")] * 48}),
        "of infinity": said(image | {"datatype": "FP32", "data": [float("inf")] * 48}),
        "of 10**400": (digits, {}),
        "of bytes that are no picture": said(image | text | {"data": ["x"]}),
        "of an unknown kind": said(image | {"datatype": "FP8"}),
        "header of minus 1": binary(-1, 48, bytes(48)),
        "header beyond": binary(10**9, 48, bytes(48)),
        "header of words": binary("many", 48, bytes(48)),
        "header of 10**5 digits": binary("9" * 5000, 48, bytes(48)),
        "bytes too few": binary(None, 48, bytes(47)),
        "bytes too many": binary(None, 48, bytes(49)),
        "bytes of minus 1": binary(None, -1, bytes(48)),
        "bytes of 2**62": binary(None, 2**62, bytes(48)),
        "bytes of words": binary(None, "48", bytes(48)),
        "texts that overlap": binary(None, 8, overlap, **text),
        "a million texts": binary(None, 4, bytes(4), **text | {"shape": [10**6]}),
        "a page": (b"<!DOCTYPE html><title>Sign in</title>", {"Content-Type": "text/html"}),
        "an error with 200": (b'{"error": "the worker died"}', {}),
    }  # fmt: skip


# -- predictions -----------------------------------------------------------------------------


_POLL: dict[str, Any] = {"id": "../../secret", "status": "starting"}


def polls(here: str, elsewhere: str) -> dict[str, Any]:
    """Answers to a request for a prediction that name no place to ask for it, or a wrong one.

    Args:
      here: a URL.
      elsewhere: another.
    """
    places: dict[str, Any] = {
        "elsewhere": f"{elsewhere}/poll", "by name": f"http://localhost:{elsewhere[-5:]}/p",
        "with a user": f"http://a:b@{here[7:]}/poll", "behind a user": f"{here}@{elsewhere[7:]}/p",
        "a file": "file:///etc/passwd", "a list": [f"{here}/poll"], "null": None, "true": True,
        "escapes": "\x1b[2J\0", "a megabyte": "a" * 2**20, "//": f"//{elsewhere[7:]}/p",
        "backslashes": f"\\\\{elsewhere[7:]}\\p", "half an address": "http://[",
    }  # fmt: skip
    return {
        **{name: _POLL | {"urls": {"get": url}} for name, url in places.items()},
        "no urls": _POLL,
        "urls of a text": _POLL | {"urls": "x"},
        "a list of one": [_POLL],
    }


def predictions(here: str, elsewhere: str) -> dict[str, tuple[Any, Any]]:
    """(what the request gets, what a poll gets) of a service that is polled at the right place.

    Args:
      here: its URL.
      elsewhere: that of a canary.
    """
    poll = _POLL | {"urls": {"get": f"{here}/poll"}}
    polled: dict[str, Any] = {
        "for ever": {"status": "processing"},
        "a status of numbers": {"status": 5},
        "a status of escapes": {"status": "\x1b[2J"},
        "a status of a megabyte": {"status": "a" * 2**20},
        "no status": {},
        "a list": [],
        "no output": {"status": "succeeded"},
        "output of nothing": {"status": "succeeded", "output": []},
        "output of lists": {"status": "succeeded", "output": [[[[]]]]},
        "output of a number": {"status": "succeeded", "output": 5},
        "output elsewhere": {"status": "succeeded", "output": [f"{elsewhere}/x.png"]},
        "output of a file": {"status": "succeeded", "output": ["file:///etc/passwd"]},
        "output that is not there": {"status": "succeeded", "output": [f"{here}/x.png"]},
        "failed with escapes": {"status": "failed", "error": "\x1b[2J\0" * 1000},
        "failed with an object": {"status": "failed", "error": {"a": [1]}},
        "failed without a word": {"status": "failed"},
    }
    return {name: (poll, answer) for name, answer in polled.items()}


# -- a token that comes back -----------------------------------------------------------------


def echoes(token: str) -> dict[str, Reply]:
    """Errors that carry the token of the request back to its sender."""
    escaped = "".join(f"\\u{ord(c):04x}" for c in token)
    mixed = token.swapcase()
    texts: Mapping[str, Callable[[str], bytes]] = {
        "in a text": lambda t: f"bad token {t}".encode(),
        "in JSON": lambda t: json.dumps({"error": f"bad token {t}"}).encode(),
        "in nested JSON": lambda t: json.dumps({"error": {"message": t, "detail": [t]}}).encode(),
        "as a key": lambda t: json.dumps({t: t}).encode(),
        "in a page": lambda t: f"<!DOCTYPE html><title>{t}</title><h1>{t}</h1>".encode(),
        "as the header": lambda t: f"Authorization: Bearer {t}".encode(),
    }
    found: dict[str, Reply] = {}
    for status in (200, 400, 401, 404, 422, 500, 503):
        for name, text in texts.items():
            headers = {"X-Token": token}
            found[f"{status} {name}"] = Reply(status, text(token), headers, f"no {token}")
    found["400 escaped"] = Reply(400, f'{{"error": "{escaped}"}}'.encode())
    found["400 in other case"] = Reply(400, f"bad token {mixed}".encode())
    found["400 in UTF-16"] = Reply(400, token.encode("utf-16"))
    found["400 in lines"] = Reply(400, "\r\n".join([token] * 5).encode())
    # Wherever a client cuts a long text, a part of the token would stand at the cut.
    for shift in range(0, len(token), 3):
        found[f"400 across every cut, {shift}"] = Reply(400, b"x" * shift + token.encode() * 400)
    found["302 as a host"] = Reply(302, b"", {"Location": f"http://{token}.example/"})
    found["302 as a path"] = Reply(302, b"", {"Location": f"http://a.example/{token}?t={token}"})
    found["200 as a type"] = Reply(200, b"x", {"Content-Type": f"text/{token}"})
    found["200 as an encoding"] = Reply(200, b"x", {"Content-Encoding": token})
    found["429 as Retry-After"] = Reply(429, b"", {"Retry-After": token})
    return found


def echoing_urls(token: str, elsewhere: str) -> list[str]:
    """Addresses in answers that carry the token."""
    return [
        f"{elsewhere}/{token}", f"http://{token}.example:1/", f"http://a:{token}@127.0.0.1:1/",
        f"file:///{token}", f"{token}://x/", f"data:{token};base64,AAAA", token,
    ]  # fmt: skip
