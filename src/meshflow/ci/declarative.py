"""Separates declarative changes from those that can execute code in a job that has our keys.

Those jobs load the change as a SQLMesh project with main's tools. Such a project is a program: `config.yaml`, macros
and signals run as Python, and Jinja reaches anything. SQLMesh also evaluates arguments of macros, audits and signals as
Python: a quoted identifier, a string with a backslash or a JSON path is enough to run any code there.

So nothing is searched for: what may differ from main without a reader is listed, by file here and by node of the parsed
tree in `declarative_sql` and `declarative_yaml`. Whatever isn't listed is held for a reader.

A file that those jobs don't execute needs no reader before the build. It becomes main's code when it is merged, and the
gate requires an approval for that.
"""

import ast
import os
import re
import signal
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from meshflow.ci.checkout import git, is_utf8, run_git
from meshflow.ci.declarative_sql import HeldError, Names, require_sql
from meshflow.ci.declarative_yaml import require_external_models, require_unit_tests

UNEXECUTED = (
    "docs/*",
    "*.md",
    "LICENSE",
    "dashboards/*",
    "benchmarks/*",
    "tests/*.py",
    ".github/ISSUE_TEMPLATE/*",
    ".gitignore",
    ".env.example",
    ".vscode/*",
)
"""No job with keys loads these files."""

SEEDS = ("seeds/*.csv",)
SQL = ("models/*.sql", "audits/*.sql")
UNIT_TESTS = ("tests/models/*.yaml",)
EXTERNAL_MODELS = ("external_models/*.yaml",)

REGULAR_FILE = "100644"
NO_FILE = "000000"

JINJA = re.compile(r"\{[{%#]")
"""SQLMesh renders all of YAML. In SQL, the blocks around Jinja are nodes of the tree, which are held."""

MAX_BYTES = 200_000
"""Of a file of SQL or YAML. The largest on main is a unit test with 32 kB."""

MAX_SECONDS = 5.0
"""Of processor time, for a file. All files of main together take as long."""

BIDIRECTIONAL = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They show a reader another text than the one that is executed."""


def find_code_changes(checkout: Path, main: str) -> dict[str, str]:
    """Changes from commit `main` to HEAD that could execute code, as path to reason; empty if all are declarative.

    `checkout` is a clone with both commits. Nothing in it is executed. A file takes MAX_SECONDS at most.
    """
    changes = git(checkout, "diff", "--raw", "--no-renames", "--no-abbrev", "-z", main, "HEAD").split("\0")
    modes = {path: fields.split()[1] for fields, path in zip(changes[::2], changes[1::2], strict=False)}
    change = Change(checkout, _names(checkout, main))
    found = {path: change.reason(path, mode) for path, mode in modes.items()}
    return {_printable(path): reason for path, reason in found.items() if reason}


@dataclass(frozen=True)
class Change:
    """The files at HEAD of `checkout`, and the names that they may use."""

    checkout: Path
    names: Names

    def reason(self, path: str, mode: str) -> str:
        """Why the changed file could execute code, or ''. `mode` is its git file mode at HEAD."""
        try:
            with time_limit(MAX_SECONDS):
                self._require_declarative(path, mode)
        except HeldError as error:
            return str(error)
        except Exception:  # noqa: BLE001 - whatever parsers raise, RecursionError included
            return "can't be parsed"
        return ""

    def _require_declarative(self, path: str, mode: str) -> None:
        if not is_utf8(path):
            raise HeldError("has a name that isn't UTF-8")
        is_listed = _matches(path, UNEXECUTED + SEEDS + SQL + UNIT_TESTS + EXTERNAL_MODELS)
        # git would write other bytes to files of the folder than those that are read here, or run a filter.
        if not is_listed or path.endswith(".gitattributes"):
            raise HeldError("is code or configuration")
        if mode == NO_FILE:
            return
        if mode != REGULAR_FILE:
            raise HeldError("is a symbolic link, a submodule or executable")
        if _matches(path, UNEXECUTED + SEEDS):
            return
        text = self._read(path)
        if _matches(path, SQL):
            require_sql(text, self.names, is_audit=path.startswith("audits/"))
        elif _matches(path, UNIT_TESTS):
            require_unit_tests(text)
        else:
            require_external_models(text, self.names)

    def _bytes(self, path: str) -> bytes:
        if int(git(self.checkout, "cat-file", "-s", f"HEAD:{path}")) > MAX_BYTES:
            raise HeldError(f"is larger than {MAX_BYTES // 1000} kB")
        shown = run_git(self.checkout, "show", f"HEAD:{path}")
        shown.check_returncode()  # its output would pass for an empty file
        return shown.stdout

    def _read(self, path: str) -> str:
        """The file as SQLMesh reads it. Raises HeldError if it is too large or isn't plain text."""
        data = self._bytes(path)
        try:
            text = data.decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError:
            raise HeldError("is not UTF-8") from None
        for character in set(text):
            category = unicodedata.category(character)
            is_separator = category in {"Cc", "Zl", "Zp"} and character not in "\t\n"
            if is_separator or character == "\ufeff" or character in BIDIRECTIONAL:
                raise HeldError(f"contains the control character U+{ord(character):04X}")
        if JINJA.search(text):
            raise HeldError("contains Jinja")
        return text


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise HeldError once the block has used `seconds` of processor time, or at its end. Only in a main thread.

    SQLMesh parses nested IF, and searches adjacent comments for a dialect, in time that doubles with each.
    """
    is_over = False

    def stop(*_: object) -> None:
        nonlocal is_over
        is_over = True
        raise HeldError(f"takes more than {seconds:g} s to parse")

    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGVTALRM, signal.signal(signal.SIGVTALRM, stop))
        for _ in range(2):  # the error may come while the first is called
            stack.callback(signal.setitimer, signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 1)  # a parser may catch the error: again each second
        yield
        if is_over:  # and it may have ended within that second
            stop()


def _names(checkout: Path, main: str) -> Names:
    """The names on commit `main`, whose code was reviewed, and SQLMesh's own."""
    macros = {name for text in _texts(checkout, main, "macros/*.py") for name in _decorated_with_macro(text)}
    seeds = git(checkout, "ls-tree", "-r", "-z", "HEAD", "seeds").split("\0")
    regular = (entry.split("\t") for entry in seeds if entry.startswith(REGULAR_FILE))
    return Names(
        own_macros=frozenset(macros),
        variables=frozenset(_found(checkout, main, r"@\{?[A-Za-z_][A-Za-z0-9_]*", "models", "audits")),
        materializations=frozenset(_found(checkout, main, "materialization +'[a-z_]+'", "models")),
        seeds=frozenset(path for _, path in regular if is_utf8(path) and _matches(path, SEEDS)),
    )


def _texts(checkout: Path, commit: str, pattern: str) -> list[str]:
    paths = git(checkout, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    return [git(checkout, "show", f"{commit}:{path}") for path in paths if fnmatchcase(path, pattern)]


def _decorated_with_macro(source: str) -> set[str]:
    """Names of the functions that a module registers with `@macro()` or `@macro("name")`."""
    names = set()
    functions = [one for one in ast.parse(source).body if isinstance(one, ast.FunctionDef)]
    for function in functions:
        for decorator in function.decorator_list:
            match decorator:
                case ast.Call(func=ast.Name(id="macro"), args=[ast.Constant(value=name), *_]):
                    names.add(str(name).lower())
                case ast.Call(func=ast.Name(id="macro")):
                    names.add(function.name.lower())
    return names


def _found(checkout: Path, commit: str, pattern: str, *folders: str) -> set[str]:
    """The last word of each match of `pattern` in SQL on `commit`, in lower case."""
    paths = [f":(glob){folder}/**/*.sql" for folder in folders]
    # git grep fails if it finds nothing.
    lines = run_git(checkout, "grep", "-hoE", pattern, commit, "--", *paths).stdout.decode(errors="replace")
    return {re.findall(r"\w+", line)[-1].lower() for line in lines.splitlines()}


def _printable(path: str) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
