"""Settings as a user writes them: found in the cluster file, read, and checked with every wrong key named."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from visnet.platform.errors import SettingsError
from visnet.platform.settings import Settings

S = TypeVar("S")


def find_cluster_file(named: str | None = None) -> Path | None:
    """The cluster file: the one named, else `$VISNET_CLUSTER_FILE`, else `cluster.yaml` here or in a folder above.

    Raises:
        SettingsError: a file was named and is not there.
    """
    if named := named or os.environ.get("VISNET_CLUSTER_FILE"):
        if not Path(named).is_file():
            raise SettingsError(f"no cluster file {named}")
        return Path(named)
    here = Path.cwd()
    return next((path for folder in (here, *here.parents) if (path := folder / "cluster.yaml").is_file()), None)


def load_settings(path: Path | None) -> Settings:
    """The settings of a cluster file; the defaults if there is none.

    Raises:
        SettingsError: the file is not YAML, or a key is unknown or holds a wrong value; the text names the key.
    """
    if path is None:
        return Settings()
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"can't read {path}: {error}") from None
    for name, key in (("the file", "metadata"), ("metadata", "visnet")):
        if not isinstance(content, dict | None):
            raise SettingsError(f"{path}: {name}: expected a mapping, got {content!r}")
        content = (content or {}).get(key)
    return parse_settings({} if content is None else content, source=str(path))


def parse_settings(content: Any, *, source: str) -> Settings:
    """Check a mapping and make settings of it.

    Raises:
        SettingsError: every wrong key with what was expected and what came.
    """
    try:
        settings = pydantic.TypeAdapter(Settings).validate_python(content)
    except pydantic.ValidationError as error:
        raise SettingsError(f"{source}: " + "; ".join(_explain(wrong) for wrong in error.errors())) from None
    bounds = settings.serve.embedder
    if bounds.min_replicas > bounds.max_replicas:
        raise SettingsError(
            f"{source}: metadata.visnet.serve.embedder.min_replicas: expected at most max_replicas "
            f"({bounds.max_replicas}), got {bounds.min_replicas}"
        )
    return settings


def revised(settings: S, changes: Mapping[str, Any], *, source: str, section: str) -> S:
    """Settings with some fields changed, checked as the cluster file is.

    Args:
        source: where the changes come from, for the message: "--set".
        section: key of these settings in the file, for the message: "train".

    Raises:
        SettingsError: every wrong key with what was expected and what came.
    """
    try:
        given = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
        return pydantic.TypeAdapter(type(settings)).validate_python({**given, **changes})
    except pydantic.ValidationError as error:
        raise SettingsError(f"{source}: " + "; ".join(_explain(wrong, section) for wrong in error.errors())) from None


def _explain(wrong: Any, *sections: str) -> str:
    key = ".".join(["metadata", "visnet", *sections, *(str(part) for part in wrong["loc"])])
    if wrong["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: there is no such setting"
    return f"{key}: {wrong['msg'][0].lower()}{wrong['msg'][1:]}, got {wrong['input']!r}"
