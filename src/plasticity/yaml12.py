"""Read YAML as version 1.2 writes it: ``1e-05`` is a number and ``no`` is a text. No torch."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from plasticity.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers and booleans; a key that stands twice is an error."""

    def construct_mapping(  # the parent's signature
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002
    ) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, Hashable):
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: key {key!r} is no name")
            if key in seen:
                raise yaml.YAMLError(
                    f"line {key_node.start_mark.line + 1}: key '{key}' stands twice; keep one"
                )
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


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file, numbers read as in YAML 1.2.

    Raises
    ------
    ConfigError
        When the file is missing, is not YAML, holds a key twice, or is no mapping.
    """
    try:
        content = yaml.load(path.read_text(), Loader=_Loader)
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
