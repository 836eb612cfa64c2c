"""The ablation table: all settings of a comparison, one factor a column, and what each change from the chosen one costs."""

from __future__ import annotations

from transfer.report.comparison.comparison import Comparison, Setting, count
from transfer.report.comparison.files import clean
from transfer.report.comparison.runs import varying
from transfer.report.comparison.verdicts import of_means, split_means
from transfer.report.page.tables import Cell, Leaderboard, spread
from transfer.report.page.words import between, number

ABLATION_NOTE = (
    "★: what validation chose for its method. Change: of the test figure against that, on the same worlds and seeds, with "
    "an interval over splits, which three or more have."
)


def ablation(comparison: Comparison) -> Leaderboard | None:
    """A row for each setting, methods as validation likes them and the settings of each likewise, the chosen one first:
    its factors, its figures, and the change of the test figure against the chosen setting of its method, on the same
    worlds and seeds. None where every method has one setting."""
    if comparison.members or len(comparison.settings) <= len(comparison.best):
        return None
    factors = [key for key in varying(setting.label for setting in comparison.settings) if key != "method"]
    metric, part = comparison.metric, comparison.part
    heads = ["method", *factors, "runs", f"validation {metric}", f"{comparison.part_name} {metric}"]
    heads += ["change from the chosen", "95 % interval of it"]
    rows, settings = [], []
    for chosen in comparison.best:
        own = [setting for setting in comparison.settings if setting.method == chosen.method]
        for setting in sorted(own, key=lambda each: (not each.best, -_score(each))):
            valid, test = setting.summary("valid", metric), setting.summary(part, metric)
            row = [Cell(setting.method + (" ★" if setting.best else ""))]
            row += [_factor(setting, key) for key in factors]
            row += [Cell(count(setting), float(len(setting.runs))), Cell(number(valid.mean), valid.mean)]
            rows.append([*row, Cell(spread(test.mean, test.std), test.mean), *_change(comparison, setting, chosen)])
            settings.append(setting)
    return Leaderboard(heads, rows, settings)


def _score(setting: Setting) -> float:
    return setting.score if setting.score == setting.score else float("-inf")


def _factor(setting: Setting, key: str) -> Cell:
    """What a factor was set to; what the configuration says where the command did not."""
    value = setting.label.get(key, setting.values.get(key))
    text = "–" if value is None else clean(str(value))
    try:
        return Cell(f"{float(text):.4g}", float(text))
    except ValueError:
        return Cell(text)


def _change(comparison: Comparison, setting: Setting, chosen: Setting) -> list[Cell]:
    """The mean difference of the test figure over splits and its interval over them; the chosen one has none."""
    if setting is chosen:
        return [Cell("chosen"), Cell("–")]
    by_split = split_means(setting, chosen, comparison)
    if not by_split:
        return [Cell("–"), Cell("–")]
    paired = of_means(by_split)
    return [
        Cell(number(paired.difference, "+"), paired.difference),
        Cell(between(paired.low, paired.high, "+"), paired.low),
    ]
