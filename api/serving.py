"""`schakel serve`: the whole service, or the process of one role of it.

Without roles it is the API in this process and a worker in another, both with the root key in their
hands and both ending together. With `--roles` each role is a process that holds its own private
half at most, and the root is the vault's alone:

    vault                     holds custody and keys, brings the database up to date, answers the
                              others on a Unix socket; sealed until its custodians have opened it
    api                       speaks HTTP; no key at all
    intake linkage release    a worker each, with its own queue, private half and objects
    identified                the same; nothing is enqueued for it yet, its operations aren't built
"""

import contextlib
import ipaddress
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

import uvicorn

from api import logs, store, worker
from api import roles as users
from api.app import create_app
from api.custodies import custody_of, holding
from api.founding import migrate
from api.service import NotFounded, Service, open_safe, whereabouts
from api.settings import Clock, Settings
from keyvault import server
from keyvault.custody import Custody
from keyvault.errors import VaultAwayError
from keyvault.memory import close_memory
from keyvault.safe import Safe

log = logging.getLogger("schakel")

ROLES = ("vault", *server.CALLERS)
PATIENCE = 60.0
"""Seconds that a process waits for the vault's when it starts."""


class Unsafe(Exception):  # noqa: N818 - the state it would be in
    """The service would speak plain HTTP to others."""


class UnknownRole(Exception):  # noqa: N818 - what was asked for
    """There is no such process role."""


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


def serve(settings: Settings, clock: Clock | None = None, roles: Sequence[str] = ()) -> None:
    """Run until stopped (SIGINT or SIGTERM): everything, or these process roles only."""
    clock = clock or Clock()
    if unknown := set(roles) - set(ROLES):
        raise UnknownRole(
            f"There is no process role {', '.join(sorted(unknown))}; there are {', '.join(ROLES)}."
        )
    if not roles or "api" in roles:
        check_transport(settings)
    if not store.there(settings.database):
        raise NotFounded(f"There is no service in {settings.data} yet. Run `schakel init` first.")
    if not roles:
        _begin_process()
        with contextlib.suppress(KeyboardInterrupt), holding(settings):
            _everything(settings, clock)
    elif len(roles) == 1:
        run_role(roles[0], settings, clock)
    else:
        _keep([partial(_start, run_role, role, settings, clock) for role in roles])


def _begin_process(parent: int | None = None) -> None:
    """What every process of the service does first, before it learns a key.

    What it makes is its own user's alone; what others are to read says so where it is made. A
    terminal's Ctrl-C goes to all of them at once: a parent ends its children.
    """
    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    close_memory()
    os.umask(0o077)
    logs.begin()
    # uvicorn ends on a signal and then raises it anew: make that an end in good order
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def run_role(role: str, settings: Settings, clock: Clock, parent: int | None = None) -> None:
    """The process of one role, until it is stopped or the process that started it is gone."""
    _begin_process(parent)

    def wanted() -> bool:
        return parent is None or os.getppid() == parent

    with contextlib.suppress(KeyboardInterrupt):
        if role == "vault":
            with holding(settings):
                _vault(settings, clock, wanted)
            return
        service = Service.behind_vault(settings, clock, PATIENCE)
        if role == "api":
            _api(service, wanted)
        elif _opened(service, wanted):
            print(f"Schakel's {role} works", flush=True)  # noqa: T201 - whoever starts it waits
            worker.Worker(service, (role,)).run(wanted)


def run_worker(settings: Settings, clock: Clock, parent: int) -> None:
    """A worker with every queue and the root in its hands: the half of `_everything`."""
    _begin_process(parent)
    with contextlib.suppress(KeyboardInterrupt), holding(settings):
        worker.Worker(Service.open(settings, clock)).run(lambda: os.getppid() == parent)


def _opened(service: Service, wanted: Callable[[], bool]) -> bool:
    """Wait for the vault's custodians; whether they came while this process is wanted."""
    while wanted():
        with contextlib.suppress(VaultAwayError):  # it may be started anew meanwhile
            if not service.vault.sealed:
                return True
        time.sleep(1.0)
    return False


# -- everything ------------------------------------------------------------------------------------


def _everything(settings: Settings, clock: Clock) -> None:
    migrate(settings)
    service = Service.open(settings, clock)
    over = threading.Event()
    start = partial(_start, run_worker, settings, clock)
    keeper = threading.Thread(target=_keep, args=([start], over), daemon=True)
    http, listening = _http(service)
    keeper.start()
    threading.Thread(target=_look_after, args=(service, http, over), daemon=True).start()
    _announce(settings, listening)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            http.run([listening])
    finally:
        over.set()
        keeper.join(timeout=10)
    _end_well(service)


def _look_after(service: Service, http: uvicorn.Server, over: threading.Event) -> None:
    """End what must not write any more."""
    while not over.wait(STOPS_WITHIN):
        http.should_exit = http.should_exit or store.stopped(service.engine)


STOPS_WITHIN = 0.2
"""Seconds after which a process whose commit failed begins to end; its callers hear of it first."""


def _end_well(service: Service) -> None:
    """A process that ended because its disk failed says so, for whoever keeps it running."""
    if store.stopped(service.engine):
        raise store.Unconfirmed(
            "The disk didn't confirm a change, so this process ended. Look at the disk; the "
            "service may be started again, and nothing that it said yes to is lost."
        )


def _start(run: Callable[..., None], *arguments: Any) -> BaseProcess:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_child, args=(run, *arguments, os.getpid()))
    # Ctrl-C is held back until the child says that it ignores it: it may still be importing then.
    # The tracker is begun first, because beginning it would let the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _child(run: Callable[..., None], *arguments: Any) -> None:
    with logs.ending():
        run(*arguments)


def _keep(starts: Sequence[Callable[[], BaseProcess]], over: threading.Event | None = None) -> None:
    """Keep one process of each alive, until it is over or this process is stopped."""
    if over is None:
        over = threading.Event()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    processes = [start() for start in starts]
    try:
        while not over.wait(0.2):
            for number, process in enumerate(processes):
                if not process.is_alive():
                    log.warning("a process of the service ended; another is started")
                    over.wait(1.0)
                    processes[number] = starts[number]()
    except KeyboardInterrupt:
        pass
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=10)


# -- one role --------------------------------------------------------------------------------------


def _vault(settings: Settings, clock: Clock, wanted: Callable[[], bool]) -> None:
    """The vault's process: the only one that opens the root."""
    roles_of: Callable[[int], frozenset[str]] = server.own_user_only
    if settings.role_users:
        roles_of = users.roles_by_user(settings.role_users)
    else:
        log.warning(
            "every role is user %d's, and no other user is let in: SCHAKEL_ROLE_USERS gives each "
            "a user of its own",
            os.geteuid(),
        )
    migrate(settings)
    engine = store.connect(settings.database)

    def opened(custody: Custody) -> Safe:
        return open_safe(custody, engine, clock)

    gate = server.Gate(custody_of(settings, engine), opened)
    reading = engine.execution_options(read_only=True).connect
    settings.socket.parent.mkdir(mode=0o700, exist_ok=True)
    with server.listen(settings.socket) as listening:
        print(f"Schakel's vault listens at {settings.socket}", flush=True)  # noqa: T201 - whoever starts it waits
        if gate.state()["sealed"]:
            log.warning("the vault is sealed: `schakel custody open`")
        server.Server(gate, reading, engine.begin, roles_of, clock.now).run(
            listening, lambda: wanted() and not store.stopped(engine)
        )


def _api(service: Service, wanted: Callable[[], bool]) -> None:
    http, listening = _http(service)
    over = threading.Event()

    def look_after() -> None:
        """Sweep what api reads, and end with the process that started this one."""
        waited = worker.SWEEP_EVERY
        while not over.wait(1.0):
            http.should_exit = http.should_exit or not wanted()
            waited += 1.0
            if waited >= worker.SWEEP_EVERY:
                waited = 0.0
                try:
                    worker.sweep(service, ("api",))
                except Exception as error:  # tried again an hour later
                    log.warning("sweep: %s", whereabouts(error))

    threading.Thread(target=look_after, daemon=True).start()
    threading.Thread(target=_look_after, args=(service, http, over), daemon=True).start()
    _announce(service.settings, listening)
    try:
        http.run([listening])
    finally:
        over.set()
    _end_well(service)


def _http(service: Service) -> tuple[uvicorn.Server, socket.socket]:
    settings = service.settings
    http = uvicorn.Server(
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
    listening = http.config.bind_socket()
    listening.listen(http.config.backlog)  # whoever reads that it listens may come at once
    return http, listening


def _announce(settings: Settings, listening: socket.socket) -> None:
    scheme = "https" if settings.certificate else "http"
    print(f"Schakel listens on {scheme}://{settings.host}:{listening.getsockname()[1]}", flush=True)  # noqa: T201 - the one line people wait for
