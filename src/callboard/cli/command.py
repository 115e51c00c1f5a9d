"""What all commands, groups and options have: lazy imports, environment variables, exit codes in the help."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Protocol, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

EXIT_CODES = """\b
Exit codes:
  0    done
  1    it was found or went wrong: a failed flow, a finding, an error
  2    wrong usage, or the app cannot be imported
  3    the ledger cannot be reached
  4    what was named is not there
  5    of several, some were done
  130  interrupted"""


class Refusal(Exception):
    """The command ends here with this exit code. Its text says what, where, and the fix."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Option(click.Option):
    """Read from CALLBOARD_<NAME> too, and its help says so."""

    def __init__(self, param_decls: Sequence[str] | None = None, **settings: Any) -> None:
        long = next((each for each in param_decls or () if each.startswith("--")), "")
        name = long.partition("/")[0].lstrip("-").replace("-", "_").upper()
        settings = {"envvar": f"CALLBOARD_{name}", "show_envvar": True, "show_default": True, **settings}
        super().__init__(param_decls, **settings)


class Adding(Protocol):
    """What adds parameters to the function of a command."""

    def __call__(self, function: F, /) -> F: ...


def option(*names: str, **settings: Any) -> Adding:
    """`click.option`, of our class."""
    return click.option(*names, cls=Option, **settings)


def all_of(*each: Adding) -> Adding:
    """All of these; the last stands first in the help."""

    def add(function: F, /) -> F:
        for one in each:
            function = one(function)
        return function

    return add


def _note_debug(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    ctx.meta["callboard.debug"] = value or ctx.meta.get("callboard.debug", False)


def debug_option() -> Option:
    """`--debug`, which every command has."""
    return Option(
        ["--debug"], is_flag=True, expose_value=False, callback=_note_debug, help="Show the traceback of an error."
    )


class Command(click.Command):
    """A command of ours."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"epilog": EXIT_CODES, **settings})
        self.params.append(debug_option())


class Group(click.Group):
    """Commands by name: some are here, some are in modules that are imported when they are called."""

    command_class = Command

    def __init__(
        self,
        *args: Any,
        elsewhere: Mapping[str, tuple[str, str]] | None = None,
        aliases: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **{"epilog": EXIT_CODES, "no_args_is_help": False, **settings})
        self.elsewhere = dict(elsewhere or {})  # name -> (module, short help)
        self.aliases = dict(aliases or {})
        self.params.append(debug_option())
        self.invoke_without_command = True

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click asks
        """In the order in which they are written down."""
        return [*self.elsewhere, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported if need be."""
        name = self.aliases.get(cmd_name, cmd_name)
        if name in self.elsewhere:
            command: click.Command = import_module(self.elsewhere[name][0]).command
            return command
        return super().get_command(ctx, name)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - as click asks
        formatter: click.HelpFormatter,
    ) -> None:
        """The list of commands, without importing any."""
        rows = [(name, short) for name, (_, short) in self.elsewhere.items()]
        rows += [(name, command.get_short_help_str(200)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was named; a usage error that says which one was meant if there is none."""
        command = self.get_command(ctx, args[0])
        if command is None and not args[0].startswith("-"):
            names = [*self.elsewhere, *self.commands, *self.aliases]
            raise click.UsageError(f"{ctx.command_path} has no command {args[0]!r}{meant(args[0], names)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; where none was named, the help is what was asked for."""
        answer = super().invoke(ctx)
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help())
        return answer


def named(name: str, known: Mapping[str, T], word: str) -> T:
    """The one with this name; exit 4, with the one that was meant, if there is none."""
    if name not in known:
        raise Refusal(4, f"there is no {word} {name!r}{meant(name, list(known))}")
    return known[name]


def meant(name: str, known: Sequence[str]) -> str:
    """`: did you mean ...?`, or what there is."""
    near = get_close_matches(name, known, 1, 0.5)
    if near:
        return f": did you mean {near[0]!r}?"
    return f": there {'are' if len(known) != 1 else 'is'} {', '.join(known)}" if known else ": there are none"
