"""The demo: the real server in a simulated cluster, and an HPA that uses it."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from math import inf
from pathlib import Path

import yaml

from metrics_server import __version__
from metrics_server.api.types import CUSTOM_GROUP, CUSTOM_VERSIONS, GROUP, VERSION
from metrics_server.config.sections import Config
from metrics_server.errors import ConfigurationError
from metrics_server.http.listener import CannotListenError
from metrics_server.simulator.controller import Controller, Sync
from metrics_server.simulator.demo.fault_notes import FaultNotes
from metrics_server.simulator.demo.options import (
    DemoOptions,
    FaultName,
    Signal,
    Tempo,
    fault_times,
)
from metrics_server.simulator.demo.queue import queue
from metrics_server.simulator.demo.read_only import ReadOnly
from metrics_server.simulator.demo.scene import Commands, Scene
from metrics_server.simulator.demo.screen import screen
from metrics_server.simulator.demo.utilization import utilization
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.installation import SERVER as PROGRAM
from metrics_server.simulator.installation import install
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.front_proxy import FrontProxy
from metrics_server.simulator.kube.kubeconfig import kubeconfig_of
from metrics_server.simulator.kube.objects import Object
from metrics_server.simulator.kube.reviews import Access, Caller
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.simulator.page.live import Page, open_in_browser, page
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from metrics_server.wiring.options import ServeOptions
from metrics_server.wiring.server import running

_FAULTS: dict[FaultName, Fault] = {
    "exporter-down": Fault("down"),
    "exporter-slow": Fault("slow"),
    "exporter-error": Fault("error"),
    "exporter-garbage": Fault("garbage"),
    "no-pod-labels": Fault("unlabelled"),
    "one-exporter-down": Fault("down"),
}

_Open = Callable[[KubernetesAPI, DemoOptions, Tempo], AbstractAsyncContextManager[Scene]]
_SCENES: Mapping[Signal, _Open] = {"utilization": utilization, "queue": queue}

_TEMPO = Tempo()


async def demo(options: DemoOptions, tempo: Tempo = _TEMPO) -> None:
    """Run the loop for its duration, and show it on standard output.

    SIGINT and SIGTERM end it early, but just as cleanly.

    Args:
        options: the flags.
        tempo: the durations.

    Raises:
        ConfigurationError: the port is not available, or the flags exclude each other.
    """
    if options.fault and options.signal != "utilization":
        raise ConfigurationError(
            "--fault applies to GPU exporters: it cannot be used with --signal queue"
        )
    async with AsyncExitStack() as stack:
        interrupted = stack.enter_context(_interruption())
        authority = Authority("demo-kubernetes")
        context = await asyncio.to_thread(context_from_pair, authority.issue(["127.0.0.1"]))
        api = await stack.enter_async_context(KubernetesAPI(ssl_context=context))
        trust = SimulatedTrust(api)
        read_only = ReadOnly(options)
        kubeconfig = await stack.enter_async_context(kubeconfig_of(api.url, authority.bundle))
        scene = await stack.enter_async_context(_SCENES[options.signal](api, options, tempo))
        read_only.protect(api, scene.cluster)
        flags = ServeOptions(kubeconfig=kubeconfig, secure_port=options.port)
        config = Config.model_validate(scene.settings)
        try:
            server = await stack.enter_async_context(running(flags, config))
        except CannotListenError as error:
            raise ConfigurationError(
                f"--port {options.port}: cannot listen on {flags.bind_address}: {error.reason}; "
                "choose another port, or 0 for any free one"
            ) from error
        if server.bundle is None:
            raise ConfigurationError("the demo's server must create its own certificate")
        proxy = await stack.enter_async_context(
            FrontProxy(server.url, server.bundle, trust.front_proxy())
        )
        api.aggregate(GROUP, VERSION, proxy)
        for version in CUSTOM_VERSIONS:
            api.aggregate(CUSTOM_GROUP, version, proxy)
        # For the commands that look at an installed server, such as the doctor.
        trust.reviews.decide = _anything
        install(
            api,
            bundle=server.bundle,
            port=int(server.url.rpartition(":")[2]),
            image=f"gpu-metrics-server:{__version__}",
            nodes=[one.node.name for one in scene.cluster.exporters],
            config=yaml.safe_dump({**scene.settings}),
        )
        controller = await stack.enter_async_context(
            Controller(scene.hpa, scene.cluster, api, authority.bundle, time.monotonic)
        )
        for synced in server.synced.values():
            await synced.wait()
        _print(scene.introduction(server.url, Commands(_program(), kubeconfig)))
        live = None
        if options.page or options.open:
            live = await stack.enter_async_context(page(scene, controller, options.page_port))
            read_only.page = live.url
            opened = options.open and open_in_browser(live.url)
            _print(f"  {live.url}  {'is open' if opened else 'shows it'} in a browser\n")
        syncs = await _watch(scene, controller, interrupted, live)
        if live is not None:
            live.end(syncs)
        _print(f"\n{scene.summary(syncs)}" if syncs else _TOO_SHORT)


_TOO_SHORT = "\nThe demo ended before the HPA's first request."


def _program() -> str:
    """Return how this program was started, so that its other commands can be run."""
    started = Path(sys.argv[0])
    return str(started) if started.name == PROGRAM else PROGRAM


def _anything(_: Caller, __: Access) -> Object:
    """Allow everything to everybody: the cluster is on loopback, and ends with the demo."""
    return {"allowed": True}


@contextmanager
def _interruption() -> Iterator[asyncio.Event]:
    """Return an event that SIGINT and SIGTERM set, instead of their usual effect."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, interrupted.set)
    try:
        yield interrupted
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _watch(
    scene: Scene, controller: Controller, interrupted: asyncio.Event, live: Page | None
) -> list[Sync]:
    """Sync at each interval, show the result, and set and remove the fault, until the end."""
    options, tempo = scene.options, scene.tempo
    began = time.monotonic()
    fault_begins, fault_ends = fault_times(options, tempo)
    faulty = False
    syncs: list[Sync] = []
    notes = FaultNotes(scene.cluster.exporters)
    with screen() as shown:
        while not interrupted.is_set():
            elapsed = time.monotonic() - began
            left = inf if options.duration is None else options.duration - elapsed
            if left <= 0:
                break
            if options.fault and faulty != (fault_begins <= elapsed < fault_ends):
                faulty = not faulty
                fault = _FAULTS[options.fault] if faulty else None
                exporters = 1 if options.one_exporter else None
                await scene.cluster.set_fault(fault, exporters=exporters)
            for line in notes.changes(elapsed):
                shown.note(line)
            scene.step()
            sync = await controller.sync()
            syncs.append(sync)
            moment = await scene.moment(elapsed, sync, controller)
            shown.show(moment)
            if live is not None:
                await live.show(moment, sync)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(tempo.sync, left)):
                    await interrupted.wait()
    return syncs


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the demo's output
