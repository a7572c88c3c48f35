"""``rewardbench plugins check``: does a plugin keep the promises of the plugin API?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import terminal_progress

if TYPE_CHECKING:
    from rewardbench.conformance.kit import Outcome

EXIT_FAULT = 1


def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:PRESET]",
            help="A registered name of any kind, an entry point, or a distribution.",
            autocompletion=options.complete_plugin,
        ),
    ],
    weights: options.WeightsOption = None,
    option: options.OptionsOption = None,
    trust_remote_code: options.TrustOption = False,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = None,
    decode_timeout: options.DecodeTimeoutOption = 120.0,
    score_timeout: options.ScoreTimeoutOption = 600.0,
    seed: options.SeedOption = 0,
    record: Annotated[
        bool, typer.Option("--record", help="Write the scores of the bundled clips into the package's doctor.json.")
    ] = False,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Hold everything a package registers against the plugin API, check by check.

    Exit codes: 0 all passed; 1 a check found a fault; 2 the command or its input is wrong.
    """
    weights_read = options.read_weights(weights)
    options_read = options.read_options(option, trust_remote_code=trust_remote_code)

    from rewardbench.conformance.kit import examine
    from rewardbench.conformance.session import Limits

    limits = Limits(device, dtype, decode_timeout or 120.0, score_timeout or 600.0)
    with output.own_stdout() as stdout:
        with terminal_progress() as progress:
            outcome = examine(
                name, weights=weights_read, options=options_read, seed=seed, limits=limits, progress=progress
            )
        if record:
            _record(outcome)
        _print(outcome, output_format, stdout)
    return EXIT_FAULT if outcome.found.faults else 0


def _record(outcome: Outcome) -> None:
    """Keep what was found, and judge the recorded scores by it."""
    from rewardbench.conformance.recorded import record, settled

    if not outcome.references:
        output.error_line("rewardbench: nothing is recorded: no reward model passed its other checks")
    for package, reference in outcome.references:
        place = record(reference, package)
        output.error_line(f"rewardbench: scores of {reference.plugin} on the bundled clips are written to {place}")
    settled(outcome.found, [reference.plugin for _, reference in outcome.references])


def _print(outcome: Outcome, output_format: str, stdout: Any) -> None:
    found = outcome.found
    if output_format == "json":
        checks = [asdict(finding) for finding in found.findings]
        output.print_json({"plugin": found.name, "checks": checks}, stdout)
        return
    subject = ""
    for finding in found.findings:
        if finding.subject != subject:
            subject = finding.subject
            output.write(f"{subject}:", stdout)
        output.write(f"  {finding.status:<8}{finding.check}: {finding.seen}", stdout)
        if finding.advice:
            output.write(f"          wanted: {finding.wants}", stdout)
            output.write(f"          do: {finding.advice}", stdout)
    counts = {status: sum(f.status == status for f in found.findings) for status in ("passed", "failed", "skipped")}
    output.write(", ".join(f"{number} {status}" for status, number in counts.items()), stdout)
