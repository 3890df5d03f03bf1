"""A generator behind HTTP: the Open Inference Protocol v2, PNG files, and what operators ask for.

    running     from a request to a port that answers, and its end
    app         the addresses
    messages    a client's bytes to what is asked for, and images to an answer's bytes
    model       what is served: draws and images of a generator
    batching    several clients' images are rendered together, by one thread
    protocol    HTTP/1.1 on a connection, with limits on time and memory
    limits      what a client may take; bodies and tokens
    metrics     counts and times for Prometheus
    description the OpenAPI document

A client is taken to be hostile: whatever it sends is bounded before it is held, and what goes wrong
for it goes wrong for nobody else.
"""

from importlib.util import find_spec

from ganaudit.errors import ConfigError

_NEEDED = ("fastapi", "uvicorn", "httptools", "prometheus_client")


def check_installed() -> None:
    """Refuse to go on without the libraries of the extra `serve`.

    Raises:
      ConfigError: one is missing.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"ganaudit serve needs {', '.join(missing)}, which is not installed: "
            "pip install 'ganaudit[serve]', in a clone pip install '.[serve]'"
        )
