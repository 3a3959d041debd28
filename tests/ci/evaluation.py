"""An oracle for what Python evaluates: every text that is executed, whoever compiled it."""

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType

from sqlglot.executor.env import ENV


@dataclass
class Recorder:
    """Texts that Python executed by eval or exec, and commands that it ran. Imports of modules are left out."""

    executed: list[str] = field(default_factory=list)
    compiled: dict[str, str] = field(default_factory=dict)
    """The newest text by the name that it was compiled with, such as '<string>'."""


_active: list[Recorder] = []


def _record(event: str, arguments: tuple[object, ...]) -> None:
    if not _active:
        return
    recorder = _active[-1]
    if event == "compile":
        source, name = arguments
        text = source.decode(errors="replace") if isinstance(source, bytes) else str(source)
        recorder.compiled[str(name)] = text
    elif event == "exec" and isinstance(code := arguments[0], CodeType) and code.co_filename.startswith("<"):
        if not code.co_filename.startswith("<frozen"):
            recorder.executed.append(recorder.compiled.get(code.co_filename, repr(code)))
    elif event in {"os.system", "subprocess.Popen"}:
        recorder.executed.append(f"{event}: {arguments}")


# An audit hook can't be removed. It sees eval in SQLMesh, in Jinja and wherever the next version calls it.
sys.addaudithook(_record)


NAMED_TUPLE = re.compile(r"lambda _cls, [\w, ]*: _tuple_new\(_cls, \([\w, ]*\)\)")
ANNOTATION = re.compile(r"[A-Za-z_][\w.]*(\[[\w., |\[\]]*\])?( \| [A-Za-z_][\w.]*)*", re.ASCII)


@contextmanager
def recorded() -> Iterator[Recorder]:
    """What Python executes in the block."""
    recorder = Recorder()
    _active.append(recorder)
    try:
        yield recorder
    finally:
        _active.remove(recorder)


UNITS = {"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"}


def is_value(source: str, macros: frozenset[str]) -> bool:
    """Whether Python that SQLMesh made of SQL only computes a value: it calls nothing but SQLGlot's functions."""
    if NAMED_TUPLE.fullmatch(source) or ANNOTATION.fullmatch(source):
        return True  # Python's library evaluates them; names without a call execute nothing
    try:
        if source.startswith("from jinja2.runtime import"):
            # A template without Jinja only yields its text.
            return not any(isinstance(node, ast.Call) for node in ast.walk(ast.parse(source)))
        tree = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    parameters = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return all(_is_value(node, parameters, called, macros) for node in ast.walk(tree))


def _is_value(  # noqa: PLR0911 - one for each kind of node
    node: ast.AST, parameters: set[str], called: set[int], macros: frozenset[str]
) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="exp"), attr="to_column"), args=[ast.Constant(value=name)]):
            return isinstance(name, str) and name.strip('"').isidentifier()
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr="send"), args=[ast.Constant(value=name), *_]):
            return str(name).lower() in macros
        case ast.Call(func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="exp"), attr="DType")), args=args):
            return all(isinstance(one, ast.Constant) for one in args)  # CAST(x AS DECIMAL(18, 2)): an error
        case ast.Call(func=ast.Name(id="EXTRACT"), args=[unit, *_]):
            # It reads the attribute of that name.
            return isinstance(unit, ast.Constant) and str(unit.value).upper() in UNITS
        case ast.Call(func=ast.Name(id=name)):
            return name.isupper()  # SQLGlot's functions; no built-in function of Python is in capitals
        case (
            ast.Attribute(value=ast.Name(id="exp"), attr="to_column" | "DType")
            | ast.Attribute(value=ast.Name(id="self"), attr="send")
        ):
            return True
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="exp"), attr="DType"), attr=name):
            return name.isidentifier()
        case ast.Name(id=name):
            return name in {"exp", "self"} | parameters | set(ENV) or (id(node) in called and name.isupper())
        case ast.Attribute() | ast.Call():
            return False
    return isinstance(node, VALUES)


VALUES = (
    *(ast.Expression, ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.BoolOp, ast.boolop, ast.UnaryOp),
    *(ast.unaryop, ast.BinOp, ast.operator, ast.Compare, ast.cmpop, ast.IfExp, ast.Lambda, ast.arguments, ast.arg),
    *(ast.Load, ast.expr_context, ast.Subscript, ast.Slice),
)
