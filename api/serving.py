"""`schakel serve`: the API in this process, a worker in another, both ending together."""

import contextlib
import ipaddress
import logging
import multiprocessing
import os
import signal
import socket
import threading
from multiprocessing.process import BaseProcess

import uvicorn

from api import store, worker
from api.app import create_app
from api.founding import migrate
from api.service import NotFounded, Service, whereabouts
from api.settings import Clock, Settings

log = logging.getLogger("schakel")


class Unsafe(Exception):  # noqa: N818 - the state it would be in
    """The service would speak plain HTTP to others."""


def check_transport(settings: Settings) -> None:
    """Outside loopback it takes a certificate, or a proxy that has one (row V24)."""
    try:
        loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        loopback = settings.host == "localhost"
    if loopback or settings.behind_proxy or (settings.certificate and settings.certificate_key):
        return
    raise Unsafe(
        f"{settings.host} is not a loopback address, and tokens don't travel in the clear. "
        "Give --certificate and --certificate-key, or --behind-proxy when a proxy speaks TLS."
    )


class _NoTraces(logging.Filter):
    """Log lines without tracebacks: an error's text could hold what came from somebody's data."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            error = record.exc_info[1]
            record.msg, record.args = f"fault: {whereabouts(error) if error else 'unknown'}", ()
            record.exc_info = record.exc_text = None
        return True


def serve(settings: Settings, clock: Clock | None = None) -> None:
    """Run until stopped (SIGINT or SIGTERM)."""
    check_transport(settings)
    clock = clock or Clock()
    if not settings.root_key.exists():
        raise NotFounded(f"There is no service in {settings.data} yet. Run `schakel init` first.")
    migrate(settings)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn.error").addFilter(_NoTraces())
    service = Service.open(settings, clock)
    with store.writing(service.engine) as session:  # of a rotation that a crash cut off
        service.vault.finish_rotation(session.connection(), now=clock.now())
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(service),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.certificate_key,
            timeout_graceful_shutdown=10,
        )
    )
    listening = server.config.bind_socket()
    over = threading.Event()
    keeper = threading.Thread(target=_keep_worker, args=(settings, clock, over), daemon=True)
    keeper.start()
    _announce(settings, listening)
    # uvicorn ends on a signal and then raises it anew: make that an end in good order
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listening])
    finally:
        over.set()
        keeper.join(timeout=10)


def _announce(settings: Settings, listening: socket.socket) -> None:
    scheme = "https" if settings.certificate else "http"
    print(f"Schakel listens on {scheme}://{settings.host}:{listening.getsockname()[1]}", flush=True)  # noqa: T201 - the one line people wait for


def _keep_worker(settings: Settings, clock: Clock, over: threading.Event) -> None:
    """Keep one worker process alive as long as the service runs."""
    context = multiprocessing.get_context("spawn")
    process: BaseProcess | None = None
    while not over.is_set():
        if process is None or not process.is_alive():
            if process is not None:
                log.warning("the worker ended; another is started")
                over.wait(1.0)
            process = context.Process(target=worker.main, args=(settings, clock, os.getpid()))
            process.start()
        over.wait(0.2)
    if process is not None:
        process.terminate()
        process.join(timeout=10)
