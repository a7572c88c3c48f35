"""``rewardbench doctor``: is this install giving the model's own numbers?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import terminal_progress

EXIT_FAULT = 1


def doctor(
    name: Annotated[str, typer.Argument(metavar="NAME[:PRESET]", autocompletion=options.complete_plugin)],
    weights: options.WeightsOption = None,
    option: options.OptionsOption = None,
    trust_remote_code: options.TrustOption = False,
    dimension: options.DimensionsOption = None,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = None,
    seed: options.SeedOption = 0,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="FILE", help="Reference scores to compare with, from --record elsewhere."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="Write the scores found here as reference scores.")
    ] = None,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Examine one reward model: weights, templates, versions, keys, and its scores on three bundled drawn clips."""
    weights_read = options.read_weights(weights)
    options_read = options.read_options(option, trust_remote_code=trust_remote_code)

    from rewardbench.doctor.examination import examine
    from rewardbench.doctor.references import write_reference

    with output.own_stdout() as stdout:
        with terminal_progress() as progress:
            found = examine(
                name,
                weights=weights_read,
                options=options_read,
                dimensions=dimension,
                device=device,
                dtype=dtype,
                seed=seed,
                reference=reference,
                progress=progress,
            )
        if output_format == "json":
            findings = [asdict(finding) for finding in found.findings]
            output.print_json({"plugin": found.plugin, "findings": findings, "scores": found.scores}, stdout)
        else:
            for finding in found.findings:
                output.write(f"{finding.status:<8}{finding.check}: {finding.text}", stdout)
    if record is not None and found.reference is not None and not found.has_fault:
        write_reference(record, found.reference)
    elif record is not None:
        output.error_line(f"rewardbench: {record} is not written: there is nothing sound to record")
    return EXIT_FAULT if found.has_fault else 0
