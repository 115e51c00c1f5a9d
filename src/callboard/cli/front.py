"""The front door: all commands, and how an error is told and which exit code it has."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from callboard.cli.command import Group, Refusal, option
from callboard.errors import BrokerError, CallboardError, ContractError, LedgerError, LedgerRefusal, NoSuchFlow

COMMANDS = {
    "run": ("callboard.cli.run", "Run the services of an app until the worker is stopped."),
    "demo": ("callboard.cli.demo", "Run a small shop under load, and count what must not happen."),
    "publish": ("callboard.cli.publish", "Publish an event."),
    "graph": ("callboard.cli.graph", "Draw the choreography."),
    "check": ("callboard.cli.check", "Say what can go wrong with the choreography, and how."),
    "contract": ("callboard.cli.contract", "Write down what services promise each other."),
    "diff": ("callboard.cli.diff", "Say what changed in the contracts, and who breaks."),
    "simulate": ("callboard.cli.simulate", "Break the world of the services in seeded ways, and tell what broke."),
    "explain": ("callboard.cli.explain", "Say what an event, a reaction or a flow is, and what happened to it."),
    "flows": ("callboard.cli.flows", "List, show, follow, await and cancel flows."),
    "dead-letters": ("callboard.cli.dead_letters", "List, show, replay and discard dead letters (also: dlq)."),
    "services": ("callboard.cli.services", "Show who owns each service, how far its reactions are, what is parked."),
    "projections": ("callboard.cli.projections", "Show read models, and make them anew from the log."),
    "ledger": ("callboard.cli.ledger", "Show and verify a ledger."),
    "config": ("callboard.cli.config", "Show the settings, and where each comes from."),
}


class Front(Group):
    """The group of all commands. What goes wrong in one becomes a line on stderr and an exit code."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """As click's, but errors are told our way."""
        run: Callable[..., Any] = partial(super().main, *args, **{**settings, "standalone_mode": False})
        if not settings.get("standalone_mode", True):
            return run()
        try:
            answer = run()
        except click.Abort:
            sys.exit(130)
        except click.ClickException as error:
            _tell(error.format_message(), _usage(error))
            sys.exit(error.exit_code)
        except Refusal as refusal:
            _tell(str(refusal))
            sys.exit(refusal.code)
        sys.exit(answer if isinstance(answer, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that was named. Its errors come out as a Refusal, under --debug behind their traceback."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.meta.get("callboard.debug"):
                import traceback

                traceback.print_exception(error)
            raise _refusal(error) from error


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    codes = {ContractError: 2, LedgerRefusal: 1, LedgerError: 3, BrokerError: 3, NoSuchFlow: 4, CallboardError: 1}
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), None)
    if code is not None:
        return Refusal(code, str(error))
    unforeseen = f"{type(error).__name__}: {error}. That was not foreseen: --debug shows where it comes from"
    return Refusal(1, unforeseen)


def _usage(error: click.ClickException) -> str:
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    return "" if ctx is None else f"{ctx.get_usage()}\n`{ctx.command_path} --help` says more."


def _tell(text: str, *more: str) -> None:
    from callboard.cli.output import masked

    click.echo("\n".join([f"error: {masked(text)}", *filter(None, more)]), err=True)


def _show_version(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"callboard {version('callboard')}")
        ctx.exit()


def _note_color(ctx: click.Context, _option: click.Parameter, value: bool | None) -> None:
    ctx.meta["callboard.color"] = value


@click.group(
    cls=Front,
    name="callboard",
    elsewhere=COMMANDS,
    aliases={"dlq": "dead-letters"},
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@click.option(
    "-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@option(
    "--color/--no-color",
    default=None,
    expose_value=False,
    callback=_note_color,
    help="Colours or none; NO_COLOR and FORCE_COLOR are heeded.",
)
def cli() -> None:
    """Choreographed services as typed reactions: run them, draw them, watch their flows.

    An app is named `module:attr` or `path/to/file.py:attr`, by argument, by --app, by CALLBOARD_APP, or by `app` in
    [tool.callboard] of pyproject.toml; else main.py, app.py, app/main.py and app/app.py are looked at. A ledger is
    named by --ledger, CALLBOARD_LEDGER, or `ledger` in [tool.callboard].
    """
