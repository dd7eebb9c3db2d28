"""`privedge doctor`: what is wrong with this device's access to the parties."""

import typer

from privedge.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption


def register(app: typer.Typer) -> None:
    """Add `doctor`."""
    app.command("doctor")(_doctor)


def _doctor(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Say what is wrong with your files and with both parties, one line for each fault.

    It checks your certificate, calls both parties, and compares their versions, clocks, keys and
    cohorts. It sends no image and no model. Exit status 1 means that there is a fault.

    \b
    Examples:
      privedge doctor
      privedge doctor --config client.toml --json
    """
    from privedge.findings import report
    from privedge.user.doctor import examine

    raise typer.Exit(report(examine(config), {"file": str(config)}, as_json=as_json))
