"""What a word of the command sets: a plain path given for a domain sets its `path` and leaves all that stands beside it.

Hydra would put the text in the place of the whole domain: settings after it could not be set, those before it were lost.
Blocks of features and modalities have names that no file knows: a word about them may add what is not there (the schema
refuses the rest).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transfer.errors import TransferError, nearest

WORD = re.compile(r"\+{0,2}domain\.(?P<side>target|source)(?P<key>(?:\.[.\w]*)?)=(?P<value>.*)", re.DOTALL)
NAMED = re.compile(r"domain\.(?:features\b|modalities\b|.*\bfeatures[:.=]).*", re.DOTALL)
SEVERAL = re.compile(r"\w+=[\w./-]+(?:,[\w./-]+)+")  # choices of a group
SETTING = re.compile(r"(?P<key>(?P<group>\w+)\.[.\w]+)=(?P<value>[^,(\[{'\"]+)")  # one plain value of a key of a group
CHOICE = re.compile(r"\+{0,2}[\w/@]+=[\w./-]+(?=,|$)")  # of a group; of several, as -m takes them, the first


# Hydra's own options.
OPTIONS = (
    *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun", "--info"),
    *("--shell-completion", "--config-path", "--config-name", "--config-dir", "--experimental-rerun"),
)


def check_options(words: Sequence[str]) -> None:
    """Raise TransferError for a word that looks like an option and is none."""
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and name not in OPTIONS:
            raise TransferError(f"{name}: no such option{nearest(name, OPTIONS) or ';'} settings are written KEY=VALUE")


def with_paths(words: Sequence[str], composed: Callable[[list[str]], Mapping[str, Any] | None]) -> list[str]:
    """The words with `domain.target.path=FILE` for `domain.target=FILE`, and so for sources and tables of items.

    composed: the domain that the choices among the words name, before anything of it is set; None where there is none.
    Raises TransferError for settings beside a list of sources, which have no place there.
    """
    words = [f"++{word}" if NAMED.fullmatch(word) else word for word in words]
    found = [WORD.fullmatch(word) for word in words]
    if not any(found):
        return words
    lists = [word for word, of in zip(words, found, strict=True) if of and not of["key"] and "[" in of["value"]]
    beside = [word for word, of in zip(words, found, strict=True) if of and of["side"] == "source" and of["key"]]
    if beside and any(word.lstrip("+").startswith("domain.source=") for word in lists):
        raise TransferError(
            f"{beside[0]}: domain.source is a list; write it inside, as in [{{path: a.csv, scale: [1, 5]}}]"
        )
    choices = [of[0] for word in words if (of := CHOICE.match(word))]
    domain = composed([*choices, *(word for word in words if word.startswith("hydra.searchpath="))]) or {}
    return [_with_path(of, domain) if of else word for word, of in zip(words, found, strict=True)]


def with_swept_groups(words: Sequence[str]) -> list[str]:
    """A sweep of several methods has `method.domains=choice(target)` for `method.domains=target`: the words with that.

    Hydra sets what has one value before it knows the method, on the default one, which may lack it.
    """
    swept = {word.partition("=")[0] for word in words if SEVERAL.fullmatch(word)}
    return [
        f"{of['key']}=choice({of['value']})" if (of := SETTING.fullmatch(word)) and of["group"] in swept else word
        for word in words
    ]


def _with_path(of: re.Match[str], domain: Mapping[str, Any]) -> str:
    """One word, whose place is found in the domain: `path` is put behind what has one."""
    side, key, value = of["side"], of["key"], of["value"]
    node: Any = domain.get(side)
    if isinstance(node, list) and len(node) == 1:
        node, side = node[0], f"{side}.0"
    if not isinstance(node, Mapping) or "path" not in node:  # a name of labelled examples, or a list of sources
        return of[0]
    whole = key == "" or (key == ".items" and isinstance(node.get("items"), Mapping))
    if not whole:
        added = "++" if NAMED.fullmatch(f"domain.{side}{key}={value}") else ""
        return f"{added}domain.{side}{key}={value}"
    return of[0] if value.startswith("{") else f"domain.{side}{key}.path={value}"
