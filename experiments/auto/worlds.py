"""The worlds of the study, and the candidates that are tried in them, as sweep=auto tries them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

# Closed forms of conf/sweep/auto.yaml, in its order.
CANDIDATES = {
    "ranking": [
        ("method=popularity",),
        ("method=ridge_map",),
        ("method=user_knn",),
        ("method=item_knn", "method.domains=target"),
        ("method=ease", "method.domains=target"),
        ("method=ials",),
        ("method=residual_map", "method.most=3000"),
        ("method=item_knn",),
        ("method=ease",),
        ("method=ials", "method.domains=target"),
    ],
    "classification": [
        ("method=target_only", "method.classifier=ridge"),
        ("method=source_only", "method.classifier=ridge"),
        ("method=coral", "method.classifier=ridge"),
        ("method=subspace_alignment", "method.classifier=ridge"),
        ("method=importance_weighting", "method.classifier=ridge"),
    ],
}
# Trained candidates of that list, on one data set alone, for time: a validation part stops them, and where there is a core,
# other items are ranked without that part. emcdr and target_only, the other two, are left out.
TRAINED = (("method=cmf",), ("method=history_map",), ("method=log_linear", "task.loss=full_softmax"))
# Ten targets of Epinions, those with the most ratings, each from the two largest of films, books and music.
EPINIONS = (
    "Movies",
    "Books",
    "Music",
    "Kids & Family",
    "Hotels & Travel",
    "Wellness & Beauty",
    "Restaurants & Gourmet",
    "Games",
    "Electronics",
    "Home and Garden",
)
SIMULATED = (
    "task=ranking",
    "domain=simulated",
    "domain.users=600",
    "domain.source_items=150",
    "domain.target_items=120",
    "domain.source_events=20",
    "domain.capacity=16384",
)


class World(NamedTuple):
    """A world by name, its kind, its overrides, and what it was drawn with."""

    name: str
    kind: str
    words: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def task(self) -> str:
        return "classification" if self.kind in ("reviews", "digits") else "ranking"

    @property
    def candidates(self) -> list[tuple[str, ...]]:
        """As sweep=auto leaves them: who knows the target alone has nothing to say of readers who are new to it."""
        cold, words = "split=cold_start" in self.words, CANDIDATES[self.task]
        if self.kind == "amazon":
            words = [*words, *TRAINED]
        if self.kind == "reviews":  # all directions of 5,000 words take minutes
            words = [(*one, "method.dim=300") if one[0] == "method=coral" else one for one in words]
        return [one for one in words if not (cold and "method.domains=target" in one)]


def worlds() -> Iterator[World]:
    """All of them, kind by kind; the draws took part in no earlier choice."""
    for seed in (21, 22, 23):
        words = ("task=ranking", "domain=amazon_movies_books", "split=cold_start", f"split.seed={seed}")
        yield World(f"amazon_movies_books, split {seed}", "amazon", words, {})
    for target in EPINIONS:
        sources = ",".join([name for name in ("Movies", "Books", "Music") if name != target][:2])
        of = (f'domain.target="{target}"', f"domain.source=[{sources}]", "domain.core=5")
        words = ("task=ranking", "domain=epinions", *of, "split=cold_start", "split.seed=21")
        yield World(f"epinions, {sources} → {target}", "epinions", words, {})
    words = ("task=ranking", "domain=movielens_goodbooks", "domain.core=20", "split=ratio", "split.seed=21")
    yield World("movielens_goodbooks", "goodbooks", words, {})
    few = ("split=few_labels", "split.seed=21")
    for source, labels in product(("dvd", "kitchen"), (50, 400)):
        of_a_class = f"split.target_labels={labels // 2}"
        words = (*few[:1], "domain=amazon_reviews", f"domain.source={source}", "domain.target=books", of_a_class, *few[1:])
        yield World(f"reviews, {source} → books, {labels} labels", "reviews", words, {})
    for target, strength in (("noisy", 0.3), ("inverted", 1.0), ("rotated", 0.5)):
        words = ("domain=digits_shift", f"domain.target={target}", f"domain.strength={strength}", "split.target_labels=10")
        yield World(f"digits → {target}", "digits", (*few[:1], *words, *few[1:]), {})
    grid = product((0, 1, 2, 3, 4), (-1.0, -0.3, 0.0, 0.3, 0.9), (0.4, 1.0), (5, 15))
    for draw, correlation, shared, events in grid:
        facts = {"correlation": correlation, "shared": shared, "target_events": events, "draw": draw}
        words = (*SIMULATED, *(f"domain.{key}={value}" for key, value in facts.items() if key != "draw"))
        how = ("split=cold_start", "split.beta=0.3", f"domain.data_seed={700 + draw}", f"split.seed={700 + draw}")
        yield World(f"simulated {correlation} {shared} {events} {draw}", "simulated", (*words, *how), facts)
