"""Several clients' images are rendered together, by one thread.

A batch begins as soon as it is full, when half of those who are connected wait, or after the delay.
While it is rendered the next one gathers.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from ganaudit.errors import ConfigError, SourceGone, SourceTimeout, one_line
from ganaudit.maker import Guard
from ganaudit.serving.model import Inputs

Render = Callable[[Sequence[Inputs]], NDArray[np.uint8]]  # to uint8 [N, 3, H, W]
_TIMEOUTS_IN_A_ROW = 3  # after which the generator is taken to be gone
_LONGEST_WAIT_S = 60  # that a client is told to wait


class Full(Exception):
    """More images wait than may.

    Attributes:
      retry_s: when to come again, whole seconds.
    """

    def __init__(self, retry_s: int) -> None:
        super().__init__(retry_s)
        self.retry_s = retry_s


class Stopped(Exception):
    """Nothing is rendered any more."""


class Job:
    """One client's images.

    Attributes:
      inputs: what they are rendered from.
      images: of uint8 [N, 3, H, W], or why there are none.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.images: Future[NDArray[np.uint8]] = Future()
        self._taken = 0
        self._parts: list[NDArray[np.uint8]] = []

    @property
    def waiting(self) -> int:
        """How many of its images nobody has begun."""
        return len(self.inputs) - self._taken

    def take(self, most: int) -> Inputs:
        """The next of its images, at most so many."""
        part = self.inputs[self._taken : self._taken + most]
        self._taken += len(part)
        return part

    def give(self, images: NDArray[np.uint8]) -> None:
        """Images of what was taken, in that order."""
        self._parts.append(images)
        if sum(map(len, self._parts)) == len(self.inputs):
            self._end(np.concatenate(self._parts) if len(self._parts) > 1 else images)

    def fail(self, error: Exception) -> None:
        """There are no images."""
        self._end(error)

    def _end(self, found: NDArray[np.uint8] | Exception) -> None:
        if self.images.done() or not self.images.set_running_or_notify_cancel():
            return
        if isinstance(found, Exception):
            self.images.set_exception(found)
        else:
            self.images.set_result(found)


class Batcher:
    """A queue of jobs and the thread that renders them.

    Attributes:
      gone: why the generator cannot be asked any further; None: it can.
    """

    def __init__(
        self,
        render: Render,
        guard: Guard,
        *,
        batch: int,
        delay_s: float,
        queue: int,
        clients: Callable[[], int],
        rendered: Callable[[int, float], None],
        failed: Callable[[str], None],
        ended: Callable[[], None],
    ) -> None:
        """Nothing is rendered before `start`.

        Args:
          render: the generator.
          guard: in which it is called; it is closed with this.
          batch: images rendered at once.
          delay_s: how long an image waits for others.
          queue: images that may wait.
          clients: how many there are that could ask for an image.
          rendered: told of each batch: its images and the seconds it took.
          failed: told why a client got no images, in one line.
          ended: called when the generator is gone.
        """
        self.gone: Exception | None = None
        self._render, self._guard = render, guard
        self._batch, self._delay_s, self._queue = batch, delay_s, queue
        self._clients, self._rendered = clients, rendered
        self._failed, self._ended = failed, ended
        self._jobs: deque[Job] = deque()
        self._waiting = 0  # images of theirs that nobody has begun
        self._changed = threading.Condition()
        self._closed = False
        self._timeouts = 0
        self._seconds_per_image = 0.0
        self._thread = threading.Thread(target=self._run, name="rendering", daemon=True)

    @property
    def waiting(self) -> int:
        """Images that nobody has begun."""
        return self._waiting

    @property
    def open(self) -> bool:
        """Whether images can be asked for."""
        return not self._closed

    def start(self) -> None:
        """Begin to render."""
        self._thread.start()

    def ask(self, inputs: Inputs) -> Job:
        """Queue some images.

        Raises:
          Full: too many wait.
          Stopped: nothing is rendered any more.
        """
        job = Job(inputs)
        with self._changed:
            if self._closed:
                raise Stopped
            if self._waiting + len(inputs) > self._queue:
                seconds = math.ceil(self._waiting * self._seconds_per_image)
                raise Full(min(max(1, seconds), _LONGEST_WAIT_S))
            self._jobs.append(job)
            self._waiting += len(inputs)
            if len(self._jobs) == 1 or not self._worth_waiting():
                self._changed.notify()
        return job

    def withdraw(self, job: Job) -> None:
        """The client has gone: what was not begun is not rendered."""
        job.images.cancel()
        self._remove(job)

    def close(self) -> None:
        """Render nothing any more; who still waits gets an error."""
        self._clear()
        self._guard.close()

    def _remove(self, job: Job) -> None:
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
                self._waiting -= job.waiting

    def _clear(self) -> None:
        """Nothing is taken any more, and who still waits gets an error."""
        with self._changed:
            self._closed = True
            left = list(self._jobs)
            self._jobs.clear()
            self._waiting = 0
            self._changed.notify()
        for job in left:
            job.fail(Stopped())

    def _run(self) -> None:
        while parts := self._gather():
            self._answer(parts)

    def _gather(self) -> list[tuple[Job, Inputs]]:
        """The next batch; empty: it is the end."""
        parts: list[tuple[Job, Inputs]] = []
        with self._changed:
            while not parts and not self._closed:  # all may be withdrawn during the delay
                self._changed.wait_for(lambda: self._jobs or self._closed)
                until = time.monotonic() + self._delay_s
                while self._worth_waiting() and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
                room = self._batch
                while room and self._jobs:
                    job = self._jobs[0]
                    parts.append((job, job.take(room)))
                    room -= len(parts[-1][1])
                    self._waiting -= len(parts[-1][1])
                    if not job.waiting:
                        self._jobs.popleft()
        return parts

    def _worth_waiting(self) -> bool:
        """Whether the batch is not full, and less than half of those who are connected wait.

        The other half gets its answers and asks again while this half is rendered.
        """
        few = 2 * len(self._jobs) < self._clients() and self._waiting < self._batch
        return few and not self._closed

    def _answer(self, parts: list[tuple[Job, Inputs]]) -> None:
        """Render a batch and hand its images out; if it raises, each job's on its own."""
        jobs = [job for job, _ in parts]
        try:
            images = self._rendering([part for _, part in parts])
        except SourceTimeout as error:
            self._timeouts += 1
            self._fail(jobs, error)
            if self._timeouts >= _TIMEOUTS_IN_A_ROW:
                self._end(SourceTimeout(f"{error}, {self._timeouts} times in a row"))
        except (SourceGone, ConfigError) as error:
            self._fail(jobs, error)
            self._end(error)
        except Exception as error:  # the border to foreign code
            if len(parts) == 1:
                self._fail(jobs, error)
            else:
                for one in parts:
                    if self.open:
                        self._answer([one])
                    else:
                        one[0].fail(Stopped())
        else:
            self._timeouts = 0
            for job, part in parts:
                job.give(images[: len(part)])
                images = images[len(part) :]

    def _rendering(self, parts: list[Inputs]) -> NDArray[np.uint8]:
        count = sum(map(len, parts))
        begin = time.perf_counter()
        images = self._guard.call(lambda: self._render(parts), what=f"rendering {count} images")
        seconds = time.perf_counter() - begin
        self._seconds_per_image = seconds / count
        self._rendered(count, seconds)
        return images

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        self._failed(one_line(error))
        for job in jobs:
            job.fail(error)
            self._remove(job)

    def _end(self, error: Exception) -> None:
        self.gone = error
        self._clear()
        self._ended()
