"""The addresses of a server."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from ganaudit import oip
from ganaudit.errors import SourceTimeout
from ganaudit.serving import description, messages
from ganaudit.serving.batching import Batcher, Full, Job, Stopped
from ganaudit.serving.limits import Bodies, Guarded, Limits, Refused
from ganaudit.serving.metrics import CONTENT_TYPE, Counted, Metrics
from ganaudit.serving.model import Inputs, Model

_T = TypeVar("_T")
_SMALL = 2**14  # bytes, or values, that are read or written in less time than a thread takes
_GONE = 499  # the client hung up; nobody reads the answer


class Desk:
    """Takes requests in, has them rendered, and gives answers out."""

    def __init__(self, model: Model, batcher: Batcher, limits: Limits, *, most_images: int) -> None:
        """`most_images`: of one request."""
        self.model = model
        self.batcher = batcher
        self.most_images = most_images
        self._bodies = Bodies(limits)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="messages")

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def infer(self, request: Request) -> Response:
        """Answer an inference request."""
        async with self._bodies.of(request) as body:
            length = request.headers.get(oip.HEADER)
            wanted = await self._apart(
                len(body),
                lambda: messages.read_inference(body, length, self.model, self.most_images),
            )
        images = await self._images(request, wanted.inputs)
        work = 0 if wanted.binary and wanted.output == "image" else images.size
        answer, head = await self._apart(
            work, lambda: messages.write_inference(images, wanted, self.model)
        )
        if head is None:
            return Response(answer, media_type="application/json")
        headers = {oip.HEADER: str(head)}
        return Response(answer, headers=headers, media_type="application/octet-stream")

    async def generate(self, request: Request) -> Response:
        """Answer a request for one PNG file."""
        async with self._bodies.of(request) as body:
            inputs = await self._apart(len(body), lambda: messages.read_generate(body, self.model))
        images = await self._images(request, inputs)
        file = await self._apart(images.size, lambda: messages.png(images[0]))
        headers = {} if inputs.seed is None else {"X-Seed": str(inputs.seed[0])}
        return Response(file, headers=headers, media_type="image/png")

    async def _apart(self, size: int, work: Callable[[], _T]) -> _T:
        """`work()`, in another thread if what it works on is large."""
        if size <= _SMALL:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _images(self, request: Request, inputs: Inputs) -> NDArray[np.uint8]:
        """The images, unless their client goes before.

        Raises:
          Refused: there are none, for a reason that a client may know.
        """
        try:
            job = self.batcher.ask(inputs)
            return await self._rendered(request, job)
        except Full as full:
            raise Refused(
                429, f"too many images wait; come again in {full.retry_s} s", retry_s=full.retry_s
            ) from None
        except Stopped:
            raise Refused(503, "the server is shutting down", closes=True) from None
        except Refused:
            raise
        except SourceTimeout:
            raise Refused(500, "the generator took too long") from None
        except Exception:  # what the generator said stands in the log; it is not the client's
            raise Refused(500, "the generator failed on this request") from None

    async def _rendered(self, request: Request, job: Job) -> NDArray[np.uint8]:
        images = asyncio.wrap_future(job.images)
        gone = asyncio.ensure_future(_hangs_up(request))
        try:
            await asyncio.wait((images, gone), return_when=asyncio.FIRST_COMPLETED)
            if images.done():
                return images.result()
            raise Refused(_GONE, "the client has gone", closes=True)
        finally:
            gone.cancel()
            if not images.done():
                self.batcher.withdraw(job)


async def _hangs_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def application(desk: Desk, metrics: Metrics, *, version: str, digest: bytes | None) -> ASGIApp:
    """What answers requests: FastAPI behind a count and a guard.

    Args:
      desk: who does the work.
      metrics: what is counted.
      version: of ganaudit.
      digest: SHA-256 of the token; None: there is none.
    """
    model = desk.model
    # Pages that load scripts from elsewhere are left out.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    document = description.document(
        model, version=version, most_images=desk.most_images, token=digest is not None
    )
    server = {"name": "ganaudit", "version": version, "extensions": ["binary_tensor_data"]}

    def serves() -> Response:
        if desk.batcher.open:
            return JSONResponse({"name": model.name, "ready": True})
        return Refused(503, "the server is shutting down").response()

    def get(path: str, answer: Callable[[], Response]) -> None:
        async def endpoint(request: Request) -> Response:
            return answer()

        app.add_route(path, endpoint, methods=["GET"])

    bases = [f"/v2/models/{model.name}{end}" for end in ("", "/versions/1")]
    for base in bases:  # looked for first: where nearly all requests go
        app.add_route(f"{base}/infer", desk.infer, methods=["POST"])
    app.add_route("/generate", desk.generate, methods=["POST"])
    for base in bases:
        get(base, lambda: JSONResponse(description.metadata(model)))
        get(f"{base}/ready", serves)
    get("/v2", lambda: JSONResponse(server))
    get(description.LIVE, lambda: JSONResponse({"live": True}))
    get(description.READY, serves)
    get("/metrics", lambda: Response(metrics.text(), media_type=CONTENT_TYPE))
    get("/openapi.json", lambda: JSONResponse(document))
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _no_such)
    app.add_exception_handler(Exception, _our_fault)
    guarded = Guarded(app, digest, open_paths=frozenset({description.LIVE, description.READY}))
    return Counted(guarded, metrics, frozenset(document["paths"]))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = {
        404: "there is nothing at this address; GET /openapi.json lists what there is",
        405: "this address does not take this method; GET /openapi.json lists those that it does",
    }.get(error.status_code, "the request cannot be answered")
    return JSONResponse({"error": sentence}, error.status_code, error.headers)


async def _our_fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "this is a bug in ganaudit; its server's log says more"}, 500)
