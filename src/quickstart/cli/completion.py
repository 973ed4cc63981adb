"""`completion`: a script for bash, zsh or fish, made from the commands' own parsers."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from quickstart.cli import main
from quickstart.cli.arguments import CommandParser
from quickstart.errors import EXIT_DONE

_SUFFIX = "_parser"


@dataclass(frozen=True, slots=True)
class Option:
    """`takes_value`: whether a word follows it; `choices`: the words that may, none for any."""

    names: tuple[str, ...]
    takes_value: bool
    choices: tuple[str, ...]
    is_path: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Command:
    """`words`: what may stand there without an option, such as `bash` of `completion`."""

    name: str
    options: tuple[Option, ...]
    words: tuple[str, ...]


def run_completion(arguments: argparse.Namespace) -> int:
    """Prints the script."""
    print(script(commands(), arguments.shell), end="")
    return EXIT_DONE


def commands() -> tuple[Command, ...]:
    """Every command."""
    return tuple(_command(name, parser) for name, parser in parsers().items())


def parsers() -> dict[str, CommandParser]:
    """By command: `quickstart.cli.main` knows the parser of each as `NAME_parser`."""
    found = sorted(name.removesuffix(_SUFFIX) for name in vars(main) if name.endswith(_SUFFIX))
    return {name.replace("_", "-"): getattr(main, name + _SUFFIX)() for name in found}


def _command(name: str, parser: CommandParser) -> Command:
    options: list[Option] = []
    words: list[str] = []
    for action in parser._actions:  # argparse has no public way to list them
        choices = tuple(map(str, action.choices or ()))
        if not action.option_strings:
            words += choices
            continue
        meaning = "" if action.help in (None, argparse.SUPPRESS) else str(action.help) % vars(action)
        options.append(Option(tuple(action.option_strings), action.nargs != 0, choices, action.type is Path, meaning))
    return Command(name, tuple(options), tuple(words))


def script(known: tuple[Command, ...], shell: str) -> str:
    """Text of the script. Pure."""
    lines = _fish(known) if shell == "fish" else _bash(known, zsh=shell == "zsh")
    return "\n".join(lines) + "\n"


def _bash(known: tuple[Command, ...], *, zsh: bool) -> Iterator[str]:
    """A function that knows every command; zsh runs it through its own `bashcompinit`."""
    names = " ".join(command.name for command in known)
    if zsh:
        yield "autoload -U +X compinit && compinit && autoload -U +X bashcompinit && bashcompinit"
    yield "_quickstart_of() {"
    yield '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '    case "$1 $prev" in'
    for command in known:
        for option in command.options:
            cases = "|".join(f'"{command.name} {name}"' for name in option.names)
            if option.choices:
                yield f"        {cases}) COMPREPLY=($(compgen -W '{' '.join(option.choices)}' -- \"$cur\")); return;;"
            elif option.is_path:
                yield f'        {cases}) COMPREPLY=($(compgen -f -- "$cur")); return;;'
            elif option.takes_value:
                yield f"        {cases}) COMPREPLY=(); return;;"
    yield "    esac"
    yield '    case "$1" in'
    for command in known:
        told = " ".join((*command.words, *(name for option in command.options for name in option.names)))
        yield f"        {command.name}) COMPREPLY=($(compgen -W '{told}' -- \"$cur\"));;"
    yield "    esac"
    yield "}"
    yield '_quickstart() { _quickstart_of "${1##*/}"; }'
    yield f"complete -o default -F _quickstart {names}"
    if not zsh:  # `uv run COMMAND`; all else is uv's own completion's, where that is loaded
        yield "_quickstart_uv() {"
        yield f'    local known=" {names} "'
        yield '    if [[ ${COMP_WORDS[1]} == run && $COMP_CWORD -gt 2 && $known == *" ${COMP_WORDS[2]} "* ]]; then'
        yield '        _quickstart_of "${COMP_WORDS[2]}"'
        yield "    elif [[ ${COMP_WORDS[1]} == run && $COMP_CWORD -eq 2 ]]; then"
        yield f"        COMPREPLY=($(compgen -W '{names}' -- \"${{COMP_WORDS[2]}}\"))"
        yield '    elif declare -F _uv >/dev/null; then _uv "$@"'
        yield "    fi"
        yield "}"
        yield "complete -o default -F _quickstart_uv uv"


def _fish(known: tuple[Command, ...]) -> Iterator[str]:
    for command in known:
        yield f"complete -c uv -n '__fish_seen_subcommand_from run' -a {command.name}"
        places = (f"-c {command.name}", f"-c uv -n '__fish_seen_subcommand_from {command.name}'")
        for place in places:
            if command.words:
                yield f"complete {place} -xa '{' '.join(command.words)}'"
            for option in command.options:
                long = " ".join(f"-{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in option.names)
                value = f" -xa '{' '.join(option.choices)}'" if option.choices else ""
                kind = " -r" if option.is_path else " -x" if option.takes_value and not option.choices else ""
                meaning = option.meaning.replace("\\", "").replace("'", "\\'")
                yield f"complete {place} {long}{kind}{value} -d '{meaning}'"
