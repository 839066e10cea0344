"""Builds the whole platform, lets a run take place on it, and writes down what came of it."""

import asyncio
import json
import os
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from order_service.bootstrap import known_migrations
from order_service.private_servers.account import Account, unprivileged_account
from order_service.private_servers.private_folder import private_folder
from order_service.storage import migrations
from tests.chaos.broker_cluster import BrokerCluster, broker_cluster, url_of
from tests.chaos.broker_faults import broker_faults
from tests.chaos.conduct import Run
from tests.chaos.display import Display
from tests.chaos.fleet import database_url, fleet
from tests.chaos.kinds import Kind
from tests.chaos.message_faults import message_faults
from tests.chaos.plan import draw
from tests.chaos.plot import draw_picture
from tests.chaos.postgres_pair import postgres_pair
from tests.chaos.postgresql_faults import postgresql_faults
from tests.chaos.process_faults import process_faults
from tests.chaos.report import Report, evidence, lines, report_of, tables
from tests.chaos.rig import Rig
from tests.chaos.traffic import Traffic
from tests.faults.cast import Cast, Gateway, Recorder, StockService
from tests.waiting import eventually

_ELSEWHERE: Final = Path("/var/tmp")
_SETTLE_SECONDS: Final = 150.0
_SETTLE_BRIEFLY_SECONDS: Final = 40.0
_READY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to do: how long, by which seed, how many orders a second, which kinds (all if none is named), and where
    figures, picture and logs go."""

    seconds: float
    seed: int
    rate: float
    only: tuple[str, ...]
    folder: Path


async def chaos(options: Options, display: Display) -> bool:
    """Whether every promise was kept. Raises ServerUnavailable, and RuntimeError if the platform does not come up."""
    logs = options.folder / "chaos"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    with _home(options.folder) as home:
        try:
            async with _rig(home, logs, options, display) as rig:
                report = await _carry_out(rig, options, display)
        finally:
            _keep_logs(home, logs)
    report.run.troubles.extend(mistaken_sessions(logs))
    figures = report.figures()
    (options.folder / "chaos.json").write_text(json.dumps(figures, indent=2) + "\n")
    (logs / "evidence.txt").write_text("".join(f"{line}\n" for line in evidence(report)))
    title = f"{figures['faults_in_all']} faults in {report.seconds:.0f} s (seed {report.seed}): "
    title += f"{figures['acknowledged']:,} orders acknowledged, {figures['lost']} lost, {figures['wrong']} wrong"
    draw_picture(report.run, title, [options.folder / "chaos.png", options.folder / "chaos.svg"])
    for table in tables(figures):
        display.console.print(table)
    for line in lines(figures):
        display.say(line)
    display.say(f"figures in {options.folder}/chaos.json, picture in {options.folder}/chaos.png, logs in {logs}")
    return report.kept


async def _carry_out(rig: Rig, options: Options, display: Display) -> Report:
    kinds = _possible_kinds(rig, options, display)
    plan = draw([kind.shape for kind in kinds.values()], options.seed, options.seconds)
    display.say(
        f"seed {options.seed}: {len(plan)} faults of {len(kinds)} kinds in {options.seconds:.0f} s, planned so:"
    )
    for fault in plan:
        display.say(f"  {fault.told()}")
    run = Run(rig, kinds, Traffic(rig.cast.gateways, options.rate, random.Random(options.seed)))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stopping.set)
    watching = [
        asyncio.create_task(run.timeline.watch_outcomes(rig)),
        asyncio.create_task(run.timeline.watch_backlog(rig)),
    ]
    try:
        with display.following(run, options.seconds):
            await run.carry_out(plan, options.seconds, stopping)
            seconds = time.monotonic() - run.began_at
            display.say("all is healed; waiting until everything has settled")
            history = await run.settle(_SETTLE_SECONDS if seconds >= options.seconds else _SETTLE_BRIEFLY_SECONDS)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return report_of(run, history, options.seed, seconds)


def _possible_kinds(rig: Rig, options: Options, display: Display) -> dict[str, Kind]:
    kinds = [*process_faults(), *postgresql_faults(), *broker_faults(), *message_faults()]
    for kind in kinds:
        if not kind.is_possible(rig):
            display.say(f"{kind.shape.name} is left out: it needs {kind.needs}")
    return {
        kind.shape.name: kind
        for kind in kinds
        if kind.is_possible(rig) and (not options.only or kind.shape.name in options.only)
    }


@asynccontextmanager
async def _rig(home: Path, logs: Path, options: Options, display: Display) -> AsyncIterator[Rig]:
    search_path = os.environ.get("PATH", os.defpath)
    async with postgres_pair(home, search_path, display.say) as pair:
        display.say(f"PostgreSQL {pair.binaries.version}: a primary and a standby that confirms every commit")
        url = database_url(pair, tuple(node.port for node in pair.nodes))
        await migrations.migrate(url, known_migrations(), lambda _: None)
        async with broker_cluster(home, search_path, display.say) as cluster:
            display.say(f"RabbitMQ {cluster.version}: a cluster of {len(cluster.nodes)} nodes, quorum queues")
            async with fleet(logs, pair, cluster) as processes, _cast(cluster, processes.targets) as cast:
                display.say(f"{len(processes.members)} processes of the service")
                await _ready(cast)
                if short := await cluster.short_of_members():
                    raise RuntimeError(f"these queues are not kept on every node: {'; '.join(short)}")
                yield Rig(pair, cluster, processes, cast, random.Random(options.seed), display.say)


@asynccontextmanager
async def _cast(cluster: BrokerCluster, targets: list[str]) -> AsyncIterator[Cast]:
    """A gateway for each api, so that customers can turn to the other one."""
    urls = [url_of(node.node, node.node.port) for node in cluster.nodes]
    async with (
        Recorder.at(*urls, quorum=True) as recorder,
        StockService.at(*urls, quorum=True) as stock,
        Gateway.to(targets[0]) as first,
        Gateway.to(targets[1]) as second,
    ):
        yield Cast((first, second), stock, recorder)


async def _ready(cast: Cast) -> None:
    """Waits until an order goes all the way by either api. Fails if none does."""
    for number, gateway in enumerate(cast.gateways):
        name = f"first-{number}"
        order_id = await gateway.create(name, {"ok-tea": (1, 100 + number)}, name, seconds=_READY_SECONDS)
        await eventually(partial(_has_outcome, cast, order_id), _READY_SECONDS)


def _has_outcome(cast: Cast, order_id: str) -> bool:
    return len(cast.recorder.types_of(order_id)) > 1


@contextmanager
def _home(folder: Path) -> Iterator[Path]:
    """A folder of this run for the servers, which the account that runs PostgreSQL can reach."""
    account = unprivileged_account()
    parent = (folder / "servers").absolute()
    parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        home = stack.enter_context(private_folder(parent, "chaos-"))
        home.chmod(0o711)
        if account is not None and not _is_reached(account, home):
            home = stack.enter_context(private_folder(_ELSEWHERE, "order-service-chaos-"))
            home.chmod(0o711)
        yield home


def _keep_logs(home: Path, logs: Path) -> None:
    with suppress(OSError):
        for log in (*home.glob("*.log"), *home.glob("rabbitmq-*/rabbitmq.log")):
            name = log.name if log.parent == home else f"{log.parent.name}.log"
            shutil.copyfile(log, logs / name)


def mistaken_sessions(logs: Path) -> list[str]:
    """Whether PostgreSQL has warned of a BEGIN within a transaction or a COMMIT outside of one: of a client that
    mistakes what its session is in, and for whom now() may be any earlier moment."""
    told = "".join(log.read_text(errors="replace") for log in logs.glob("postgresql-*.log"))
    warnings = told.count("transaction in progress")
    return [f"PostgreSQL has warned {warnings} times of a client that mistakes its session's state"] if warnings else []


def _is_reached(account: Account, folder: Path) -> bool:
    """Whether the account can use a folder of its own in there, by trying."""
    trial = folder / "trial"
    trial.mkdir()
    os.chown(trial, account.uid, account.gid)
    try:
        return account.reaches(trial)
    finally:
        trial.rmdir()
