"""Tables on the screen: one run, its world, and the comparison at the end of a multirun."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from transfer.experiment import Result

FEW = 4  # domains that are told one by one
ALIKE = {
    "equal_pairs": "{:,} equal (user, item) pairs",
    "numbered_users": "{:,} users have the same number; if these are not the same people, write domain.same_users=false",
    "padded_users": "{:,} user ids differ in leading zeros alone and are taken for different people; write them alike",
    "padded_items": "{:,} item ids differ in leading zeros alone and are taken for different items; write them alike",
    "shared_items": "{:,} items in both",
}


def print_run(result: Result, short: bool = False) -> None:
    """The world, the test and validation figures, and where the run folder is (`short`: one line)."""
    facts, console = result.facts, Console()
    metric = facts["select"]["metric"]
    valid, test = (result.metrics.get(part, {}) for part in ("valid", "test"))
    if short:
        figures = f"{metric} valid {valid.get(metric, float('nan')):.4f} test {test.get(metric, float('nan')):.4f}"
        console.print(
            f"{facts['method']} seed {facts['seed']} split {facts['split_seed']}: {facts['status']}, {figures}",
            markup=False,
        )
        return
    console.print(world_table(facts))
    for line in world_notes(facts):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print(metric_table(facts, valid, test))
    if metric in valid:
        console.print(f"* selects: {metric}, {_number(valid[metric])} on validation", markup=False, highlight=False)
    for name, of in facts.get("domains", {}).items():
        own = {part: values.get(metric) for part, values in of["metrics"].items()}
        figures = ", ".join(f"{part} {_number(value)}" for part, value in own.items())
        console.print(f"{name} as the target: {metric} {figures} ({of['status']})", markup=False)
    if weights := facts.get("source_weights"):
        rise = facts["source_without"]
        by_weight = sorted(weights.items(), key=lambda pair: -pair[1])
        shown = [f"{name} {weight:.2f} ({rise[name]:+.2%})" for name, weight in by_weight if weight]
        console.print(
            "sources, weight (and error without it): " + (", ".join(shown) or "none helps"), markup=False, soft_wrap=True
        )
    if shares := facts.get("fusion"):
        console.print("fusion: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()), markup=False)
    if mixed := facts.get("guard"):
        shares = ", ".join(f"{name} {share:.0%}" for name, share in mixed["weights"].items())
        console.print(f"guard {mixed['kind']}: {shares}", markup=False)
    console.print("seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in facts["seconds"].items()))
    if not facts["reproducible"]:
        console.print("train.seconds ends a run where this machine has come to: the figures are not reproducible")
    if result.folder:
        console.print(f"run folder: {result.folder}", soft_wrap=True, markup=False)


def metric_table(facts: dict[str, Any], valid: dict[str, Any], test: dict[str, Any]) -> Table:
    """Metrics by the length of the list, of the test part where it was scored; of others validation beside test. A star
    marks what selects."""
    select, title = (
        facts["select"]["metric"],
        f"{facts['method']} on {facts['domain']}, task {facts['task']}: {facts['status']}",
    )
    figures, part = (test, "test") if test else (valid, "validation")
    lengths = sorted({int(name.rpartition("@")[2]) for name in figures if "@" in name})
    if not lengths:
        table = Table(title=Text(title))
        for column in ("metric", "validation", "test"):
            table.add_column(column, justify="left" if column == "metric" else "right")
        for name in figures:
            table.add_row(Text(name + (" *" if name == select else "")), _number(valid.get(name)), _number(test.get(name)))
        return table
    table = Table(title=Text(title))
    table.add_column(part)
    for k in lengths:
        table.add_column(f"@{k}", justify="right")
    for metric in dict.fromkeys(name.rpartition("@")[0] for name in figures if "@" in name):
        names = [f"{metric}@{k}" for k in lengths]
        table.add_row(Text(metric), *(_number(figures.get(name)) + (" *" if name == select else "") for name in names))
    for name in figures:
        if "@" not in name:
            table.add_row(Text(name), _number(figures[name]))
    return table


def world_table(facts: dict[str, Any]) -> Table:
    """Users, items and events of every part of a world."""
    world = facts["world"]
    if "classes" in world:
        return _examples_table(facts)
    both = f"{world['users']:,} users, {world['users_trained_in_both']:,} trained in both"
    table = Table(title=Text(f"world {facts['domain']}: {both}"))
    for column in ("part", "users", "items", "events"):
        table.add_column(column, justify="left" if column == "part" else "right")
    parts = [(f"{world['target']['name']} {part}", world["target"][part]) for part in ("train", "valid", "test")]
    parts += [(f"{source['name']} (source)", source["train"]) for source in world["sources"]]
    for name, counts in parts:
        table.add_row(Text(name), *(f"{counts[key]:,}" for key in ("users", "items", "events")))
    return table


def world_notes(facts: dict[str, Any]) -> list[str]:
    """Lines under the table of a world: how its domains were read, what was lost or cleaned, and what they have alike.

    What is the same of several domains is said once, and of many sources only what is counted of all of them together.
    """
    world = facts["world"]
    if "classes" in world:
        return _examples_notes(world)
    alike: dict[str, list[str]] = {}
    for domain in (world["target"], *world["sources"]):
        alike.setdefault(_read_as(domain), []).append(domain["name"])
    notes = [f"{_named(names)}: {words}" for words, names in alike.items() if words]
    lost = {key: world[key] for key in ("events_lost_to_core", "hidden_events_of_unknown_users_or_items")}
    notes += [f"{key.replace('_', ' ')}: {value:,}" for key, value in lost.items() if value]
    if empty := world.get("sources_without_events"):
        notes.append(f"no sources, for they have no events to learn from: {_named(empty)}")
    for domain, counts in _together(world.get("cleaning", {}), world["target"]["name"]).items():
        changes = [f"{key.replace('_', ' ')} {value:,}" for key, value in counts.items() if value]
        notes.append(f"{domain}: " + ", ".join(changes))
    for key, words in ALIKE.items():
        counts = {source: found[key] for source, found in world.get("alike", {}).items() if found.get(key)}
        most = sorted(counts, key=counts.__getitem__, reverse=True)[: len(counts) if len(counts) <= FEW else 1]
        others = f" (so it is, of fewer, with {len(counts) - 1} other sources)" if len(most) < len(counts) else ""
        notes += [f"{source} and {world['target']['name']}: {words.format(counts[source])}{others}" for source in most]
    return notes


def _named(names: list[str]) -> str:
    """The names of domains, of many only the first few."""
    return ", ".join(names) if len(names) <= FEW else f"{', '.join(names[:FEW])} and {len(names) - FEW} more"


def _together(cleaning: dict[str, dict[str, int]], target: str) -> dict[str, dict[str, int]]:
    """What cleaning did, by domain: the sums over the sources where these are many."""
    sources = {name: counts for name, counts in cleaning.items() if name != target}
    if len(sources) <= FEW:
        return cleaning
    keys = dict.fromkeys(key for counts in sources.values() for key in counts if key not in ("users", "items"))
    sums = {key: sum(counts.get(key, 0) for counts in sources.values()) for key in keys}
    return {target: cleaning[target], f"{len(sources)} sources together": sums}


def _read_as(domain: dict[str, Any]) -> str:
    """The column taken for every role of a domain, what counts as liked, and how many items have a title."""
    columns = domain.get("columns", {})
    said = [f"{role} {column or 'none'}" for role, column in columns.items()]
    said += [f"liked: {domain['likes']}"] if "likes" in domain and said else []
    said += ["titles: {known:,} of {of:,}".format(**domain["titles"])] if columns.get("title") else []
    said += [f"{name} of {of['items']:,} of {of['of']:,} items" for name, of in domain.get("measured_by", {}).items()]
    said += [f"dislikes hidden: {count:,} ({part})" for part, count in domain.get("dislikes_hidden", {}).items()]
    blocks = domain.get("features", {}).items()
    said += [f"{name}: {of['items']:,} of {of['of']:,} items, {of['width']} numbers" for name, of in blocks]
    return ", ".join(said)


def _examples_notes(world: dict[str, Any]) -> list[str]:
    """What was taken for labels and features of each domain, examples without a label, and classes that a domain lacks."""
    notes = []
    for domain in (world["target"], *world["sources"]):
        said = [f"{role} {column}" for role, column in domain.get("columns", {}).items()]
        if count := domain.get("without_label"):
            said.append(f"{count:,} examples without a label, seen unlabelled")
        if lacks := domain.get("lacks"):
            said.append(f"no example of {_named(lacks)}")
        notes += [f"{domain['name']}: {', '.join(said)}"] if said else []
    return notes


def _examples_table(facts: dict[str, Any]) -> Table:
    """Examples of every domain by use, and how far apart source and target are."""
    world = facts["world"]
    numbers = world.get("numbers")
    labels = f"numbers {numbers['mean']:.4g} ± {numbers['std']:.4g}" if numbers else f"{len(world['classes'])} classes"
    table = Table(title=Text(f"world {facts['domain']}: {labels}, inputs of shape {world['inputs']}"))
    columns = ("train", "stop", "unlabelled", "test")
    for title in ("domain", "learnt from", "selecting", "seen unlabelled", "test"):
        table.add_column(title, justify="left" if title == "domain" else "right")
    for role, domain in (("target", world["target"]), *(("source", source) for source in world["sources"])):
        table.add_row(Text(f"{domain['name']} ({role})"), *(f"{domain[column]:,}" for column in columns))
    distance = facts.get("distance", {})
    values = [f"{space} {name} {value:.3g}" for space, measured in distance.items() for name, value in measured.items()]
    table.caption = Text("distance: " + ", ".join(values)) if values else None
    return table


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"
