"""Small wrong versions of a module: each of them should make some test fail.

The usual tools start an interpreter for each mutant and leave tables alone; the modules looked at
here are half tables (who may do what, what a permit may say), so entries of dictionaries and
lists, keyword arguments and words in texts are changed as well.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_WORDS = re.compile(r"[a-z0-9$^_.=-][A-Za-z0-9 _.,:;|/\\^$\[\](){}*+?-]*")
"""Texts that mean something to the program. Sentences begin with a capital; tests leave wording
alone, and so do mutants."""

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,),
    ast.FloorDiv: (ast.Mult,),
    ast.Div: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr, ast.BitXor),
    ast.BitOr: (ast.BitAnd, ast.BitXor),
    ast.BitXor: (ast.BitOr, ast.BitAnd),
}


@dataclass(frozen=True)
class Mutant:
    """One wrong version: where it differs, and how."""

    line: int
    text: str
    """The line that was changed, as it stands in the source."""
    change: str
    source: str
    place: int
    number: int

    def tree(self) -> ast.Module:
        """The whole of it as a syntax tree."""
        tree = ast.parse(self.source)
        node = next(item for index, item in enumerate(ast.walk(tree)) if index == self.place)
        _everything(node)[self.number][1]()
        return ast.fix_missing_locations(tree)


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module's source."""
    original = ast.parse(source)
    lines = source.splitlines()
    skipped = _left_alone(original)
    for place, node in enumerate(ast.walk(original)):
        if id(node) in skipped:
            continue
        for number, (change, apply) in enumerate(_everything(node)):
            line = apply.line(node)
            yield Mutant(line, lines[line - 1].strip(), change, source, place, number)


def _left_alone(tree: ast.Module) -> set[int]:
    """Nodes that no test can care about: docstrings, wording, what only a type checker reads.

    In the body of a class, `Literal` and `Annotated` are conditions that pydantic checks; elsewhere
    annotations are read by nobody, and so is a Literal with a name of its own that no model uses.
    """
    alone: set[int] = set()
    checked = _names_in_models(tree)
    in_classes = {
        id(statement)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
    }
    for node in ast.walk(tree):
        ignored: Sequence[ast.AST | None] = []
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                ignored = [node.returns, *(arg.annotation for arg in _arguments(node.args))]
            case ast.Expr(value=ast.Constant(value=str())) | ast.JoinedStr():
                ignored = [node]
            case ast.AnnAssign() if id(node) not in in_classes:
                ignored = [node.annotation]
            case ast.Subscript(value=base, slice=ast.Tuple() as items) if _named(base) not in (
                "Literal",
                "Annotated",
            ):
                alone.add(id(items))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript(value=base)) if (
                _named(base) == "Literal" and name not in checked
            ):
                ignored = [node.value]
            case ast.Call(func=ast.Attribute(attr="reshape"), args=[ast.UnaryOp() as fits, *_]):
                ignored = [fits]  # any negative number says: as many as there are
            case ast.Raise(exc=ast.Call(args=told)):
                ignored = [text for text in told if isinstance(text, ast.Constant)]
            case ast.Call(func=ast.Name(id="TypeVar")) | ast.Import() | ast.ImportFrom():
                ignored = [node]
        for root in ignored:
            if root is not None:
                alone |= {id(inner) for inner in ast.walk(root)}
    return alone


def _names_in_models(tree: ast.Module) -> set[str]:
    """Names in the annotations of classes that have a base class."""
    return {
        inner.id
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.bases
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        for inner in ast.walk(statement.annotation)
        if isinstance(inner, ast.Name)
    }


def _named(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _everything(node: ast.AST) -> list[tuple[str, "Apply"]]:
    return _changes(node) + _deletions(node)


def _changes(node: ast.AST) -> list[tuple[str, "Apply"]]:
    """What can be done to one node: a description, and a function that does it in place."""
    match node:
        case ast.Compare():
            return [
                (f"{_name(old)} → {new.__name__}", Apply(node.ops, place, new()))
                for place, old in enumerate(node.ops)
                for new in _COMPARISONS[type(old)]
            ]
        case ast.BinOp() | ast.AugAssign():
            return [
                (f"{_name(node.op)} → {new.__name__}", Apply(node, "op", new()))
                for new in _ARITHMETIC.get(type(node.op), ())
            ]
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            return [(f"{_name(node.op)} → {_name(other)}", Apply(node, "op", other))]
        case ast.If() | ast.While() | ast.IfExp():
            return [
                (f"condition → {value}", Apply(node, "test", ast.Constant(value)))
                for value in (True, False)
            ]
        case ast.UnaryOp(op=ast.Not()):
            twice = ast.UnaryOp(ast.Not(), node.operand)
            return [("not dropped", Apply(node, "operand", twice))]
        case ast.Constant():
            return _constants(node)
        case ast.Return(value=ast.expr() as value) if not (
            isinstance(value, ast.Constant) and value.value is None
        ):
            return [("returns None", Apply(node, "value", ast.Constant(None)))]
        case ast.Call():
            return [
                (f"without {word.arg}=", Apply(node.keywords, place, None))
                for place, word in enumerate(node.keywords)
                if word.arg is not None and not _is_wording(word.value)
            ]
        case ast.Dict() if len(node.keys) > 1:
            return [
                (f"without entry {place}", Apply(node, place, None))
                for place in range(len(node.keys))
            ]
        case ast.List() | ast.Tuple() | ast.Set() if (
            not isinstance(getattr(node, "ctx", None), ast.Store) and len(node.elts) > 1
        ):
            return [
                (f"without item {place}", Apply(node.elts, place, None))
                for place in range(len(node.elts))
            ]
        case ast.FunctionDef() | ast.ClassDef() if node.decorator_list:
            return [
                (f"without decorator {place}", Apply(node.decorator_list, place, None))
                for place in range(len(node.decorator_list))
            ]
    return []


def _deletions(node: ast.AST) -> list[tuple[str, "Apply"]]:
    """Statements of a block that may be left out."""
    return [
        (f"without {_name(statement).lower()}", Apply(block, place, ast.Pass()))
        for block in (getattr(node, "body", None), getattr(node, "orelse", None))
        if isinstance(block, list)
        for place, statement in enumerate(block)
        if isinstance(statement, ast.Raise | ast.Continue | ast.Break | ast.AugAssign)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call))
    ]


def _name(node: ast.AST) -> str:
    return type(node).__name__


def _is_wording(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and not _WORDS.fullmatch(node.value)
    )


def _constants(node: ast.Constant) -> list[tuple[str, "Apply"]]:
    value = node.value
    if isinstance(value, bool):
        return [(f"{value} → {not value}", Apply(node, "value", not value))]
    if isinstance(value, int):
        return [(f"{value} → {value + 1}", Apply(node, "value", value + 1))] + (
            [(f"{value} → {value - 1}", Apply(node, "value", value - 1))] if value else []
        )
    if isinstance(value, float):
        return [(f"{value} → {value + 1}", Apply(node, "value", value + 1))]
    if isinstance(value, bytes) and value:
        return [("other bytes", Apply(node, "value", bytes([value[0] ^ 1]) + value[1:]))]
    if isinstance(value, str) and _WORDS.fullmatch(value):
        return [(f"{value!r} → other text", Apply(node, "value", value + "x"))]
    return []


@dataclass(frozen=True)
class Apply:
    """Put `new` at a place of a node or list; None takes out what is there."""

    owner: ast.AST | Sequence[ast.AST]
    place: int | str
    new: object

    def line(self, node: ast.AST) -> int:
        """The source line that this is about."""
        touched = self.owner[self.place] if isinstance(self.owner, list) else node  # type: ignore[index]
        if isinstance(self.owner, ast.Dict) and isinstance(self.place, int):
            touched = self.owner.values[self.place]
        return int(getattr(touched, "lineno", getattr(node, "lineno", 1)))

    def __call__(self) -> None:
        """Do it, in place."""
        if isinstance(self.owner, ast.Dict) and isinstance(self.place, int):
            del self.owner.keys[self.place], self.owner.values[self.place]
        elif isinstance(self.owner, list) and isinstance(self.place, int):
            if self.new is None:
                del self.owner[self.place]
            else:
                self.owner[self.place] = self.new
        else:
            setattr(self.owner, str(self.place), self.new)
