"""The experiments of `faults.py` on PostgreSQL: the server crashes, hangs up, freezes or runs full; the wire is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from faults_sections import Plan, Row, Section, Tick

from breaking import server_faults
from breaking.following import follow
from breaking.hosts import partition
from breaking.proxy import Proxy
from breaking.writers import WritersReport, writing
from postgres_server import DURABLE, Server

WRITERS = 4
_HEAD = (
    "fault",
    "times",
    "acknowledged events",
    "lost",
    "doubled",
    "signals, each true and once",
    "events that waited in the spool",
    "left there",
    "rows that are not the fold, gaps",
)


def servers(folder: Path, plan: Plan, tick: Tick) -> Section:
    """Processes write while something happens to the server, or to the wire."""
    times, seconds, cold = (3, 3.0, 4.0) if plan.quick else (50, 60.0, 20.0)
    cut = seconds / 2
    rows: list[Row] = []
    wrong: list[str] = []

    def struck(name: str, url: str, fault: Callable[[], int]) -> None:
        place = folder / f"fault-{len(rows)}"
        place.mkdir()
        with writing(f"{url}?schema=fault_{len(rows)}", place, WRITERS) as finish:
            often = fault()
            report = finish()
        rows.append(_row(name, often, report))
        wrong.extend(f"{name}: {line}" for line in report.wrong[:10])
        tick(len(rows))

    with Server.temporary(DURABLE) as server:
        struck(
            "`pg_ctl stop -m immediate`, and start",
            server.url,
            lambda: server_faults.stops(server, times, plan.seed),
        )
        struck(
            f"`pg_terminate_backend` at random for {seconds:g} s",
            server.url,
            lambda: server_faults.terminations(server, seconds, plan.seed),
        )
        struck(
            f"all processes of the server stopped (SIGSTOP) for {cold:g} s",
            server.url,
            lambda: server_faults.freeze(server, cold),
        )
        with Proxy(server.port, seed=plan.seed) as proxy:
            struck(
                f"connection lost between commit and answer, for {cut:g} s",
                server.url.replace(f":{server.port}/", f":{proxy.port}/"),
                lambda: server_faults.lose_answers(proxy, cut),
            )
    name = f"disk of the server full for {cold:g} s"
    with server_faults.server_on_a_small_disk() as full:
        if full is None:
            rows.append((name, "not tried: needs root", *[""] * (len(_HEAD) - 2)))
        else:
            struck(name, full.url, lambda: server_faults.fill_the_disk(full, cold))
    note = (
        f"{WRITERS} processes live lifecycles all the while, every fifth under a manager with one subscriber. Acknowledged: the call had returned,"
        f" and the event was in the store or fsynced in the spool. The server commits durably. Seed {plan.seed}."
    )
    return Section("PostgreSQL fails while processes write", _HEAD, rows, wrong, note)


def _row(name: str, often: int, report: WritersReport) -> Row:
    return (
        name,
        f"{often:,}",
        f"{report.acknowledged:,}",
        f"{len(report.lost):,}",
        f"{len(report.doubled):,}",
        f"{report.signals - len(report.wrong_signals):,} of {report.signals:,}",
        f"{report.spooled:,}",
        f"{report.left:,}",
        f"{len(report.problems):,}",
    )


def followers(folder: Path, plan: Plan, tick: Tick) -> Section:
    """Somebody follows while many write."""
    seconds, number = (3.0, 4) if plan.quick else (60.0, 8)
    with Server.temporary(DURABLE) as server:
        report = follow(f"{server.url}?schema=followed", folder, seconds, number)
    tick(1)
    rows = [
        ("events written", f"{report.written:,}"),
        ("events seen", f"{report.seen:,}"),
        ("skipped", f"{len(report.skipped):,}"),
        ("seen twice, or behind a later one", f"{len(report.out_of_order):,}"),
    ]
    wrong = [*report.wrong[:10]]
    if report.skipped or report.out_of_order or report.seen != report.written:
        wrong.append(
            f"followed: {report.seen} of {report.written}, skipped {report.skipped[:10]}, out of order {report.out_of_order[:10]}"
        )
    note = f"{number} processes write for {seconds:g} s; a ninth reads what is behind the last position it knows, and waits."
    return Section("A follower on PostgreSQL, many writers", ("what", "count"), rows, wrong, note)


def partitions(folder: Path, plan: Plan, tick: Tick) -> Section:
    """One of two hosts is cut off from the database."""
    lease, seconds = (2.0, 1.0) if plan.quick else (10.0, 20.0)
    head = ("what", "found")
    title = "One of two hosts is cut off from PostgreSQL for longer than the lease"
    report = partition(folder, lease=lease, seconds=seconds)
    tick(1)
    if report is None:
        return Section(title, head, [("network namespaces", "not tried: needs root and `ip`")], [])
    rows = [
        ("flag, as the other host sees the run", f"`{report.flag}`"),
        ("declared lost by the other host", ", ".join(map(str, report.swept))),
        ("status, flag, `status_update_failed` there", _told(report.meanwhile)),
        ("signal of the work's own subscriber, cut off", "; ".join(map(str, report.told))),
        ("outcome safe on the disk of the host that is cut off", f"{all(report.kept)}"),
        ("status, flag, `status_update_failed` once it is back", _told(report.afterwards)),
        ("completion feed of the run", "; ".join(map(str, report.feed))),
    ]
    truth = {"run_id": "job", "complete": True, "db_status": "completed"}
    fine = (
        report.flag == "silent"
        and report.meanwhile == ["failed", None, True]
        and report.afterwards == ["completed", None, False]
        and report.feed[-1:] == [truth]
        and all(report.kept)
    )
    note = f"Network namespaces with a wire each to the database; lease {lease:g} s, cut off until the verdict and {seconds:g} s more."
    return Section(title, head, rows, [] if fine else [f"partition: {report}"], note)


def _told(facts: list[object]) -> str:
    return ", ".join(str(fact) for fact in facts)


SECTIONS: tuple[Callable[[Path, Plan, Tick], Section], ...] = (servers, followers, partitions)
