"""`canary`: whether a group or a release of workers fails more often than the others."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backburner.cli import arguments, command
from backburner.cli.exit_codes import ExitCode
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity

if TYPE_CHECKING:
    from backburner.canary.comparison import Comparison
    from backburner.canary.survey import Survey
    from backburner.canary.tally import Release, Tally

_SINCE = timedelta(hours=1)
_MEDIAN_RATIO, _TAIL_RATIO = 0.5, 0.95


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, canary)


async def canary(
    session: Session,
    *,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="The canary's group of workers.")] = None,
    release: Annotated[
        str | None, typer.Option(metavar="NAME", help="The canary's release; of that group, if one is given.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default="all others of the pool", help="The group that it is compared with."),
    ] = None,
    against_release: Annotated[
        str | None, typer.Option(metavar="NAME", show_default="any", help="The release that it is compared with.")
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The pool; needed where the canary has records in several."),
    ] = None,
    since: Annotated[
        timedelta | None,
        typer.Option(
            parser=arguments.parse_span, metavar="TIME", show_default="1h", help="How far back to look, such as 30m."
        ),
    ] = None,
    min_requests: Annotated[
        int, typer.Option(metavar="N", min=1, help="Runs that either side needs before the canary is called fine.")
    ] = 100,
    max_difference: Annotated[
        float,
        typer.Option(
            metavar="RATIO", min=0.0, max=1.0, help="How much higher the share of its failures may be; 0.01 is 1%."
        ),
    ] = 0.01,
    max_records: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many records to read, about; the newest first.")
    ] = 50_000,
    tenant: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", callback=arguments.valid_name, show_default="all", help="Only records of this tenant."
        ),
    ] = None,
    json: arguments.Json = False,
) -> int:
    """Compare how often a canary's workers fail with the others of their pool, by the records in the store.

    It ends with 0 if the canary is fine, with 1 if it is worse, and with 3 while there are too few requests.
    """
    from backburner.canary.comparison import Rules, compare
    from backburner.canary.survey import survey
    from backburner.canary.tally import Tally

    if group is None and release is None:
        raise typer.BadParameter("say which the canary is: pass --group NAME, --release NAME, or both")
    span = since or _SINCE
    with Activity("reading records"):
        found = await survey(session.open_storage(), tenant, since=span.total_seconds(), max_records=max_records)
    ours = [one for one in found.tallies if _is(one, group, release) and pool in {None, one.pool}]
    pools = sorted({one.pool for one in ours})
    if len(pools) > 1:
        raise typer.BadParameter(f"the canary has records in several pools; pass --pool with one of {', '.join(pools)}")
    others = [
        one for one in found.tallies if one not in ours and one.pool in pools and _is(one, against, against_release)
    ]
    sides = [Tally(), Tally()]
    for side, releases in zip(sides, (ours, others), strict=True):
        for one in releases:
            side.add(found.tallies[one])
    canary_side, stable_side = sides
    result = compare(canary_side, stable_side, Rules(min_runs=min_requests, max_difference=max_difference))
    shown = sorted(
        (one for one in found.tallies if not pools or one.pool in pools), key=lambda one: (one not in ours, one)
    )
    if json:
        show.out_json(_as_json(result, found, shown, ours, others))
    else:
        _show(found, shown, set(ours))
        show.say(_sentence(result, canary_side, stable_side, min_requests))
    if found.is_cut:
        show.warn(
            f"older records of the last {_span(span)} were left out: {found.records:,} were read; raise --max-records, "
            "or shorten --since"
        )
    if result.refuses_more:
        show.warn("the canary refuses more requests than the others; look at the error codes of its records")
    return _CODES[result.verdict]


_CODES = {"fine": ExitCode.OK, "worse": ExitCode.ENDED_BADLY, "undecided": ExitCode.UNDECIDED}


def _is(one: "Release", group: str | None, release: str | None) -> bool:
    return group in {None, one.group} and release in {None, one.release}


def _show(found: "Survey", shown: Iterable["Release"], ours: set["Release"]) -> None:
    header = ("", "POOL", "GROUP", "RELEASE", "RUNS", "FAILED", "RATE", "REFUSED", "P50", "P95")
    rows = [("canary" if one in ours else "", *map(show.printable, _cells(one, found.tallies[one]))) for one in shown]
    show.table(header, rows, right=frozenset(range(4, len(header))))


def _cells(one: "Release", tally: "Tally") -> tuple[str, ...]:
    return (
        *(one.pool, one.group, one.release or "-"),
        *(f"{tally.runs}", f"{tally.failed}", _percent(tally.failure_ratio), f"{tally.refused}"),
        *(_seconds(tally.engine_quantile(ratio)) for ratio in (_MEDIAN_RATIO, _TAIL_RATIO)),
    )


def _sentence(result: "Comparison", ours: "Tally", theirs: "Tally", needed: int) -> str:
    both = (
        f"the canary fails at {_percent(ours.failure_ratio)} of {ours.runs:,} runs, the others at "
        f"{_percent(theirs.failure_ratio)} of {theirs.runs:,}"
    )
    match result.verdict:
        case "worse":
            return f"worse: {both}; by chance alone that has a probability of {result.p_value:.2g}"
        case "fine":
            return f"fine: {both}"
        case _:
            return f"undecided: {both}; each side needs {needed:,}"


def _as_json(
    result: "Comparison",
    found: "Survey",
    shown: Iterable["Release"],
    ours: list["Release"],
    others: list["Release"],
) -> dict[str, Any]:
    return {
        "verdict": result.verdict,
        "difference": result.difference,
        "p_value": result.p_value,
        "refuses_more": result.refuses_more,
        "records": found.records,
        "cut": found.is_cut,
        "releases": [
            {
                "pool": one.pool,
                "group": one.group,
                "release": one.release or None,
                "side": "canary" if one in ours else "stable" if one in others else None,
                "runs": tally.runs,
                "failed": tally.failed,
                "refused": tally.refused,
                "failure_ratio": tally.failure_ratio,
                "engine_s_p50": tally.engine_quantile(_MEDIAN_RATIO),
                "engine_s_p95": tally.engine_quantile(_TAIL_RATIO),
            }
            for one in shown
            for tally in [found.tallies[one]]
        ],
    }


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2%}"


def _seconds(found: float | None) -> str:
    return "-" if found is None else f"{found:.3f}"


def _span(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:.0f} minutes"
