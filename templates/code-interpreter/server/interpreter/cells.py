"""Rewrites JavaScript's cells, so that their awaits can be interrupted and that every result
arrives: Deno's kernel drops results that JSON does not have, such as NaN."""

from __future__ import annotations

from collections.abc import Iterator

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

# As Deno: what is no TSX may still be TypeScript with <Type>value in it.
_PARSERS = [
    Parser(Language(tree_sitter_typescript.language_tsx())),
    Parser(Language(tree_sitter_typescript.language_typescript())),
]
# Awaits in these are those of functions, which go on after an interrupt.
_FUNCTIONS = {
    "arrow_function",
    "function_declaration",
    "function_expression",
    "generator_function",
    "generator_function_declaration",
    "method_definition",
    "class_static_block",
}


def rewrite(code: str) -> str:
    """The code with its own awaits and its last expression wrapped in functions of
    deno/start.js. No line begins elsewhere. Code that cannot be parsed stays as it is."""
    source = code.encode(errors="surrogatepass")
    trees = (parser.parse(source) for parser in _PARSERS)
    root = next((tree.root_node for tree in trees if not tree.root_node.has_error), None)
    if root is None:
        return code
    awaited = list(_awaited(root)) if b"await" in source else []
    if any(node.text.startswith(b"using ") for _, node in awaited):
        return code  # a declaration that the parser takes for an expression
    inserts = [edit for wrapper, node in awaited for edit in _wrap(node, wrapper)]
    if (last := _last(root)) is not None:
        inserts += _wrap(last, b"__cell.shown((")
    # Of what begins at one place, the wider comes first.
    for place, _, text in sorted(inserts, key=lambda edit: edit[:2], reverse=True):
        source = source[:place] + text + source[place:]
    return source.decode(errors="surrogatepass")


def _wrap(node: Node, opening: bytes) -> list[tuple[int, int, bytes]]:
    """Two insertions: place, order among those at the same place, and text."""
    width = node.end_byte - node.start_byte
    return [(node.start_byte, -width, opening), (node.end_byte, width, b"))")]


def _awaited(root: Node) -> Iterator[tuple[bytes, Node]]:
    """What is awaited outside of functions: operands, and what `for await` iterates over."""
    nodes = [root]  # not by recursion, because long sums nest deeply
    while nodes:
        node = nodes.pop()
        nodes += [child for child in node.children if child.type not in _FUNCTIONS]
        if node.type == "await_expression" and (operand := _content(node)) is not None:
            yield b"__cell.awaited((", operand
        elif node.type == "for_in_statement" and any(child.type == "await" for child in node.children):
            yield b"__cell.iterated((", node.child_by_field_name("right")


def _last(root: Node) -> Node | None:
    """The expression whose value is the cell's."""
    statements = [child for child in root.named_children if child.type not in ("comment", "empty_statement")]
    if statements and statements[-1].type == "expression_statement":
        return _content(statements[-1])
    return None


def _content(node: Node) -> Node | None:
    return next((child for child in node.named_children if child.type != "comment"), None)
