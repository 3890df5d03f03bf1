"""From a request to a port that answers, and to its end."""

import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from types import FrameType
from typing import Any

import uvicorn

from ganaudit.config import ServeConfig
from ganaudit.errors import (
    INTERRUPTED,
    ConfigError,
    GanauditError,
    SourceError,
    complaint,
    one_line,
)
from ganaudit.generators import LatentGenerator, Source
from ganaudit.labels import law_of
from ganaudit.maker import Guard
from ganaudit.opening import open_device, open_source
from ganaudit.probe import fitting
from ganaudit.serving.app import Desk, application
from ganaudit.serving.batching import Batcher
from ganaudit.serving.limits import Limits, token_digest
from ganaudit.serving.metrics import Metrics
from ganaudit.serving.model import Model
from ganaudit.serving.protocol import Protocol

_BATCH = 32  # images at once, where more would fit
_KEEP_ALIVE_S = 20
_BACKLOG = 512  # connections that the kernel holds until they are accepted
_SWITCH_S = 0.001  # after which a thread lets another one run: the renderer waits for its turn
_LOOPBACK = ("127.", "::1", "localhost")
Say = Callable[[str], None]


class Serving:
    """A generator behind a port.

    Attributes:
      address: http://HOST:PORT.
      model: what is served.
      metrics: what is counted.
      batch: images rendered at once.
    """

    def __init__(
        self,
        config: ServeConfig,
        source: Source,
        *,
        device: str,
        listener: socket.socket,
        say: Say,
        limits: Limits | None = None,
    ) -> None:
        """Try the generator out; nothing is answered before `run`.

        Args:
          config: the request.
          source: the generator.
          device: where it renders.
          listener: a bound socket, which stays the caller's to close.
          say: told what goes wrong, a line each.
          limits: of clients; None: as usual.

        Raises:
          ConfigError: it takes no latents, or an option does not fit it.
          SourceError: it renders no images, or such as depend on their batch mates.
        """
        if not isinstance(source, LatentGenerator):
            raise ConfigError(
                f"{config.generator} takes no latents, so it cannot be served; serve takes what "
                "renders images from latents: a checkpoint, an ONNX file, python: and the like"
            )
        digest = token_digest(config)
        law = law_of(config.labels, source.num_labels)
        self.model = Model(
            source,
            name=config.name,
            seed=config.seed,
            device=device,
            labels=None if law is None else law.choices,
        )
        guard = Guard(config.timeout_s)
        try:
            guard.call(
                lambda: self.model.try_out(together=config.batch != 1),
                what="rendering the first image",
            )
        except GanauditError:
            raise
        except Exception as error:  # the border to foreign code
            raise SourceError(f"the first image cannot be rendered: {one_line(error)}") from error
        assert self.model.size is not None
        height, width = self.model.size
        self.batch = config.batch or min(_BATCH, fitting(height, width, device))
        self.metrics = Metrics()
        self._limits = limits or Limits(
            body_bytes=config.max_body_mb << 20,
            answer_bytes=config.max_images * 3 * height * width,
        )
        self._batcher = Batcher(
            self.model.render,
            guard,
            batch=self.batch,
            delay_s=config.delay_ms / 1000,
            queue=config.queue,
            clients=self._connections,
            rendered=self.metrics.rendered,
            failed=partial(self._failed, say),
            ended=self.stop,
        )
        self._desk = Desk(self.model, self._batcher, self._limits, most_images=config.max_images)
        self.metrics.watch(waiting=lambda: self._batcher.waiting, connections=self._connections)
        host, port = listener.getsockname()[:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._listener = listener
        app = application(self._desk, self.metrics, version=version("ganaudit"), digest=digest)
        self._server = _Server(self._settings(app))
        _speak_through(say)

    def _settings(self, app: Any) -> uvicorn.Config:
        protocol: Any = partial(
            Protocol, limits=self._limits, closed=lambda why: self.metrics.closed.labels(why).inc()
        )
        return uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=self._limits.grace_s,
        )

    def run(self, ready: Callable[[], None]) -> bool:
        """Answer requests until `stop` or, in the main thread, a signal.

        Args:
          ready: called once requests are answered.

        Returns:
          Whether what was in flight got its answer; False: somebody insisted on the end.

        Raises:
          SourceError: the generator cannot be asked any further.
        """
        self._server.ready = ready
        self._batcher.start()
        try:
            with _signals(self._server):
                self._server.run([self._listener])
        finally:
            self._batcher.close()
            self._desk.close()
        if self._batcher.gone is not None:
            raise self._batcher.gone
        return not self._server.force_exit

    def stop(self) -> None:
        """Accept nothing more, finish what is in flight, and return from `run`."""
        self._server.should_exit = True

    def _connections(self) -> int:
        return len(self._server.server_state.connections)

    def _failed(self, say: Say, reason: str) -> None:
        self.metrics.failed.inc()
        say(f"the generator failed: {reason}")


class _Server(uvicorn.Server):
    """Uvicorn's server, which says when it is ready."""

    ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()


def serve(config: ServeConfig, *, announce: Callable[[str], None], say: Say) -> int:
    """Serve what `config` names until a signal comes.

    Args:
      config: the request.
      announce: told the address once it answers.
      say: told what else there is to say, a line each.

    Returns:
      0, or 130 if a second Ctrl-C cut off what was in flight.

    Raises:
      ConfigError: the generator cannot be opened or served, or the port is taken.
      SourceError: the generator misbehaved.
    """
    sys.setswitchinterval(_SWITCH_S)
    with bound(config.host, config.port) as listener:
        device = open_device(config.device)
        source, _ = open_source(config, device)
        serving = Serving(config, source, device=device, listener=listener, say=say)
        if not config.host.startswith(_LOOPBACK):
            lacking = [] if config.token_env or config.token_file else ["no token"]
            lacking.append("no encryption")
            say(f"note: {config.host} may be reached from elsewhere, with {' and '.join(lacking)}")
        with _port_taken(config.host, config.port):  # two may bind it, and one listen
            listener.listen(_BACKLOG)
        whole = serving.run(lambda: announce(serving.address))
    return 0 if whole else INTERRUPTED


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket of that address; connections are refused until somebody listens."""
    try:
        (family, kind, proto, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, proto)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host!r:.80} is no address of this machine: {error}") from error
    with listener:
        with _port_taken(host, port):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        yield listener


@contextmanager
def _port_taken(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port, 0 for "
            "a free one"
        ) from error


@contextmanager
def _signals(server: uvicorn.Server) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the server and not the process.

    Uvicorn raises what it caught once more when it is done, for whoever was there before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Lines(logging.Handler):
    """What uvicorn has to say, in one line."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.ERROR)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = (
                ""
                if trace is None
                else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
            )
            text = f"{text}: {one_line(error)}{where}"
        with suppress(OSError, ValueError):
            self._say(text)


def _speak_through(say: Say) -> None:
    logger = logging.getLogger("uvicorn.error")
    logger.handlers[:] = [_Lines(say)]
    logger.setLevel(logging.ERROR)
    logger.propagate = False


def to_stderr(text: str) -> None:
    """Say a line on stderr, without what would steer a terminal."""
    print(f"ganaudit: {complaint(Exception(text))}", file=sys.stderr, flush=True)
