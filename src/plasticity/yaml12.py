"""Read YAML as version 1.2 writes it: ``1e-05`` is a number and ``no`` is a text. No torch."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from plasticity import files
from plasticity.errors import ConfigError
from plasticity.escapes import brief, quoted

MOST_BYTES = 1_000_000
MOST_NODES = 20_000
"""Values of a file, each alias counted as all that it stands for; ``params.yaml`` has 1,700."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers and booleans; a key that stands twice is an error, and so is a bomb."""

    composed = 0
    """Nodes that stand in the file so far."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node; refuse a file of too many before the rest of it is read."""
        self.composed += 1
        if self.composed > MOST_NODES:
            raise yaml.YAMLError(f"holds more than {MOST_NODES:,} values; shorten it")
        return super().compose_node(parent, index)

    def get_single_node(self) -> yaml.Node | None:
        """Return the tree of the file, once it is known to be small with its aliases unfolded."""
        node = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node

    def construct_mapping(  # the parent's signature
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002
    ) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, Hashable):
                raise yaml.YAMLError(
                    f"line {key_node.start_mark.line + 1}: key {quoted(key)} is no name"
                )
            if key in seen:
                where = f"line {key_node.start_mark.line + 1}"
                raise yaml.YAMLError(f"{where}: key '{brief(key)}' stands twice; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:float", "tag:yaml.org,2002:int"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )
_Loader.add_constructor(
    "tag:yaml.org,2002:int",
    lambda loader, node: int(str(loader.construct_scalar(node))),  # type: ignore[arg-type]
)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many nodes a tree has when each alias is replaced by what it stands for.

    Parameters
    ----------
    node
        Its root.
    known
        The nodes that were counted already, by identity; 0 for those that are being counted.

    Raises
    ------
    yaml.YAMLError
        When there are more than ``MOST_NODES``, or a node holds itself.
    """
    where = f"line {node.start_mark.line + 1}: "
    if (found := known.get(id(node))) == 0:
        raise yaml.YAMLError(f"{where}an alias stands for what it is a part of; write it out")
    if found is None:
        known[id(node)] = 0
        below = node.value if isinstance(node, yaml.CollectionNode) else []
        pairs = isinstance(node, yaml.MappingNode)
        parts = [part for pair in below for part in pair] if pairs else below
        found = known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    if found > MOST_NODES:
        raise yaml.YAMLError(
            f"{where}holds more than {MOST_NODES:,} values when its aliases are written out; "
            "shorten it"
        )
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file, numbers read as in YAML 1.2.

    Raises
    ------
    ConfigError
        When the file is missing, is no regular file, is too big, is not YAML, holds a key twice, or
        is no mapping.
    """
    try:
        content = yaml.load(files.read_text(path, MOST_BYTES), Loader=_Loader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: is missing; run the command at the project's root") from error
    except OSError as error:
        raise ConfigError(f"{path}: could not be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{path}: {text}") from error
    except (LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path}: is not plain YAML (a tag such as !!bool that does not fit its value, or "
            "nesting without end); write plain values"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: got {type(content).__name__}, expected a mapping of parameters")
    return content
