"""How the code is laid out, in figures: packages, files, functions, comments, circles, tests beside modules.

Here: counting over the syntax trees of a checkout. Not here: any judgement; run it on two checkouts and compare.

    python -m benchmarks.house [FOLDER ...]
"""

import argparse
import ast
import io
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median, quantiles

PACKAGE, TESTS = "fraud_retraining", "fraud_retraining_tests"
WITHOUT_TEST = {"__init__", "__main__"}


@dataclass(frozen=True)
class Module:
    """A source file: its dotted name, text and syntax tree."""

    name: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The package that it lies in; a module of the root is a room of its own."""
        package = self.name.rpartition(".")[0]
        return self.name if package == PACKAGE else package

    @property
    def lines(self) -> int:
        """All of its lines."""
        return len(self.text.splitlines())

    @property
    def comments(self) -> int:
        """Comments but orders to tools; docstrings are none."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return sum(token.type == tokenize.COMMENT and "noqa" not in token.string for token in tokens)

    @property
    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Functions and methods, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def imports(self, known: Mapping[str, "Module"]) -> set[str]:
        """The modules that it imports at once: not inside a function, and not for types alone."""
        found = set()
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                found.update(
                    full if full in known else node.module
                    for full in (f"{node.module}.{one.name}" for one in node.names)
                )
            elif isinstance(node, ast.Import):
                found.update(one.name for one in node.names)
        return {name for name in found if name in known and name != self.name}


def modules(root: Path, package: str) -> dict[str, Module]:
    """Every module of a package, by its dotted name."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, text, ast.parse(text))
    return found


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function below its signature and docstring."""
    first = function.body[1:] if ast.get_docstring(function) else function.body
    return (first[-1].end_lineno or 0) - first[0].lineno + 1 if first else 0


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Parameters of a function but `self` and `cls`."""
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return sum(one.arg not in ("self", "cls") for one in named)


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of a graph, as its names in order; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def by_package(graph: Mapping[str, set[str]], known: Mapping[str, Module]) -> dict[str, set[str]]:
    """The same graph between packages."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, imported in graph.items():
        found[known[name].package] |= {known[one].package for one in imported} - {known[name].package}
    return found


def untested(source: Mapping[str, Module], tests: Mapping[str, Module]) -> tuple[list[str], list[str]]:
    """Modules that no test file is named after, and test files that are named after no module."""

    def mirrored(name: str) -> str:
        *folders, last = name.split(".")[1:]
        return ".".join([TESTS, *folders, f"test_{last}"])

    wanted = {mirrored(name): name for name in source if name.rpartition(".")[2] not in WITHOUT_TEST}
    present = {name for name in tests if name.rpartition(".")[2].startswith("test_")}
    without = sorted(name for test, name in wanted.items() if test not in present)
    return without, sorted(present - wanted.keys())


def exceptions(tests: Mapping[str, Module]) -> set[str]:
    """Modules and test files that the table of exceptions in the tests gives a reason for, by their dotted name."""
    mirror = tests.get(f"{TESTS}.test_mirror")
    found = set()
    for node in mirror.tree.body if mirror else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(node.value, ast.Dict):
            package = {"COVERED_ELSEWHERE": PACKAGE, "ACROSS_MODULES": TESTS}.get(node.target.id)
            if package is not None:
                paths = [ast.literal_eval(key) for key in node.value.keys if key is not None]
                found |= {f"{package}.{path.removesuffix('.py').replace('/', '.')}" for path in paths}
    return found


def figures(root: Path) -> dict[str, object]:
    """The figures of a checkout."""
    source, tests = modules(root, PACKAGE), modules(root, TESTS)
    known = {name: one for name, one in source.items() if "migrations" not in name}
    sizes = Counter(one.package for name, one in known.items() if not name.endswith("__init__"))
    functions = [function for one in known.values() for function in one.functions]
    bodies, taken = [body_lines(one) for one in functions], [parameters(one) for one in functions]
    lines = [one.lines for one in known.values() if one.lines > 10]
    graph = {name: one.imports(known) for name, one in known.items()}
    without, loose = untested(known, tests)
    return {
        "modules": len(lines),
        "greatest packages": ", ".join(
            f"{name.partition('.')[2] or name} {size}" for name, size in sizes.most_common(4)
        ),
        "file, median and greatest": f"{median(lines):.0f}, {max(lines)}",
        "function body, median, 9 in 10, greatest": ", ".join(
            f"{one:.0f}" for one in (median(bodies), quantiles(bodies, n=10)[-1], max(bodies))
        ),
        "functions of 7 and more parameters": sum(one >= 7 for one in taken),
        "comments in 100 lines": round(100 * sum(one.comments for one in known.values()) / sum(lines), 2),
        "circle of modules": " > ".join(circles(graph)) or "none",
        "circle of packages": " > ".join(circles(by_package(graph, known))) or "none",
        "modules without a test file, and without a reason": (
            f"{len(without)}, {len(set(without) - exceptions(tests))}"
        ),
        "test files without a module, and without a reason": (
            f"{len(loose)}, {sum(one.count('.') > 1 for one in set(loose) - exceptions(tests))}"
        ),
    }


def main() -> None:
    """Prints the figures of each checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path.cwd()])
    parser.add_argument("--names", action="store_true", help="also name modules without a test, and tests without one")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        print(folder.name)
        for name, value in figures(folder).items():
            print(f"  {name:<50} {value}")
        if arguments.names:
            without, loose = untested(modules(folder, PACKAGE), modules(folder, TESTS))
            print("  without a test file:", *without, sep="\n    ")
            print("  without a module:", *loose, sep="\n    ")


if __name__ == "__main__":
    main()
