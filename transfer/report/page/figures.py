"""The figures of a comparison: test figures, gain by user group, learning curves, hyper-parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from transfer.evaluate.significance import Summary
from transfer.report.comparison.comparison import Comparison, Setting, groups_of
from transfer.report.comparison.reference import preferred, reference, reference_name, without_adaptation
from transfer.report.comparison.runs import run_curves, varying
from transfer.report.comparison.verdicts import HELPS, HURTS
from transfer.report.page.svg import INK, MUTED, PAGE, Figure, colours, finish, legend, panel, told
from transfer.report.page.words import between, number

# A page of a thousand runs stays light: at most so many panels of a kind, and so many thin lines in each.
PANELS, LINES = 12, 12
WARMTH = {"cold": "cold (0 events)", "sparse": "sparse (1–4)", "warm": "warm (5 and more)"}
HEAT = LinearSegmentedColormap.from_list("heat", ["#e8edf3", "#9db9d3", "#4c7fae", "#1f4e79"])


def shade(comparison: Comparison) -> dict[str, str]:
    """The colour of every method; the reference is plain ink."""
    palette, base = colours(sorted(setting.method for setting in comparison.best)), reference(comparison)
    return palette | ({base.method: INK} if base else {})


def helper(comparison: Comparison) -> str:
    """What a gap is the gain of: the source, or adaptation where nothing can do without the source."""
    return "adaptation" if without_adaptation(comparison) else "the source"


def better(comparison: Comparison) -> str:
    return "higher is better" if comparison.sign > 0 else "lower is better"


def figure_of(summary: Summary) -> str:
    """`0.3262 ± 0.0143 over 3 runs, 95 % interval 0.2822 to 0.3702`, for those who point at it."""
    more = f" ± {number(summary.std)} over {summary.n} runs" if np.isfinite(summary.std) else ""
    return (
        number(summary.mean)
        + more
        + (f", 95 % interval {between(summary.low, summary.high)}" if np.isfinite(summary.low) else "")
    )


def figures_of_test(comparison: Comparison) -> Figure:
    """The test metric of every method with the interval of its mean over runs."""
    rows, palette = comparison.best[:30], shade(comparison)
    canvas, (axis,) = panel(height=0.9 + 0.27 * len(rows))
    for place, setting in enumerate(rows):
        summary = comparison.summary(setting)
        colour = palette[setting.method]
        if np.isfinite(summary.low):
            axis.plot([summary.low, summary.high], [place, place], color=colour, alpha=0.55, lw=2.4)
        told(axis.plot(summary.mean, place, "o", color=colour, ms=6), f"{setting.method}: {figure_of(summary)}")
    _rows(axis, [setting.method for setting in rows])
    axis.set_title(f"{comparison.part_name} figures", loc="left", fontsize=10)
    axis.set_xlabel(f"{comparison.part_name} {comparison.metric} ({better(comparison)})", loc="right")
    description = ", ".join(f"{setting.method} {comparison.summary(setting).mean:.4f}" for setting in rows)
    caption = f"Mean over runs; the bar is its 95 % interval over {comparison.unit} within splits (over splits where there "
    caption += f"are no values by {comparison.unit[:-1]}). No bar: neither these nor three splits."
    return finish(canvas, f"Test {comparison.metric} by method, best first: {description}", caption)


def gains(comparison: Comparison) -> list[Figure]:
    """The gap to the reference by method, one panel for every group of users."""
    made: list[Figure] = []
    palette = shade(comparison)
    carriers = [setting.method for setting in comparison.best if setting.uses_source]
    order = [method for method in carriers if comparison.gap(method)][:30]
    for group in groups_of(comparison):
        rows = [gap for method in order if (gap := comparison.gap(method, group))]
        if not rows:
            continue
        canvas, (axis,) = panel(height=1.0 + 0.27 * len(rows))
        axis.axvline(0, color=MUTED, lw=1)
        for place, gap in enumerate(rows):
            colour = palette[gap.method]
            if np.isfinite(gap.paired.low):
                axis.plot([gap.paired.low, gap.paired.high], [place, place], color=colour, alpha=0.55, lw=2.4)
            face = colour if gap.verdict in (HELPS, HURTS) else PAGE
            said = f"{gap.method}: {number(gap.paired.difference, '+')} ({between(gap.paired.low, gap.paired.high, '+')}), "
            point = axis.plot(gap.paired.difference, place, "o", color=colour, ms=6, mfc=face, mec=colour, mew=1.6)
            told(point, said + gap.verdict)
        _rows(axis, [gap.method for gap in rows])
        audience = WARMTH.get(group, f"all {comparison.unit}")
        axis.set_title(audience, loc="left", fontsize=10)
        side = ("right" if comparison.sign > 0 else "left") + f" of zero: {helper(comparison)} helps"
        # at the right: it is wider than the axis beside long names
        axis.set_xlabel(f"difference in {comparison.metric} ({side})", loc="right")
        description = "; ".join(f"{gap.method} {gap.paired.difference:+.4f}, {gap.verdict}" for gap in rows)
        caption = f"{audience.capitalize()}: {rows[0].size:,} {_basis(rows[0].basis)}; bars: 95 % intervals. "
        caption += "Filled: helps or hurts after correction."
        made.append(finish(canvas, f"Gain over {reference_name(comparison)}, {audience}: {description}", caption))
    return made


def _basis(basis: str) -> str:
    return f"{basis} × splits" if basis in ("users", "examples") else basis


def learning_curves(comparison: Comparison) -> list[Figure]:
    """The validation metric by step of every method that learns by steps: mean over runs, band of one std, runs thin."""
    made: list[Figure] = []
    palette = shade(comparison)
    for setting in comparison.best:
        curves = _curves(setting, comparison.metric)
        if not curves or len(made) == PANELS:
            continue
        canvas, (axis,) = panel(height=2.7)
        for (stage, lines), style in zip(curves.items(), ("-", "--", ":", "-.") * 3, strict=False):
            steps = sorted({step for line in lines for step in line})
            values = np.array([[line.get(step, np.nan) for step in steps] for line in lines])
            kept = np.isfinite(values).sum(axis=0) * 2 >= len(lines)  # while at least half of the runs still learn
            x, y = np.array(steps)[kept], values[:, kept]
            mean, std = np.nanmean(y, axis=0), np.nanstd(y, axis=0)
            colour = palette[setting.method]
            if len(lines) > 1:
                axis.fill_between(x, mean - std, mean + std, color=colour, alpha=0.16, lw=0)
                for line in lines[:LINES]:
                    axis.plot(list(line), list(line.values()), color=colour, alpha=0.22, lw=0.7)
            top = int(np.nanargmax(comparison.sign * mean)) if len(mean) else 0
            said = (
                f"{stage}: best {mean[top]:.4f} at step {x[top]:,}, last {mean[-1]:.4f} at step {x[-1]:,}"
                if len(mean)
                else stage
            )
            told(axis.plot(x, mean, style, color=colour, label=stage), said)
        axis.set_title(setting.method, loc="left", fontsize=10)
        axis.set(xlabel="step", ylabel=f"validation {comparison.metric}")
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.grid(axis="y")
        if len(curves) > 1:
            legend(axis, title="stage")
        runs = max(len(lines) for lines in curves.values())
        basis = f"mean of {runs} runs, band ± 1 std" if runs > 1 else "one run"
        caption = f"{setting.name}: {basis}; each stage is judged on its own held-out events."
        made.append(finish(canvas, f"Learning curve of {setting.method}: validation {comparison.metric} by step", caption))
    return made


def _curves(setting: Setting, metric: str) -> dict[str, list[dict[int, float]]]:
    """{stage: [{step: value} of every run]}"""
    curves: dict[str, list[dict[int, float]]] = {}
    for run in setting.runs[:50]:
        for stage, curve in run_curves(run, metric).items():
            curves.setdefault(stage, []).append(curve)
    return curves


def hyperparameters(comparison: Comparison) -> list[Figure]:
    """What was swept, on validation: a heatmap of two numbers, a slice of one, slices of each where there are more."""
    made: list[Figure] = []
    for method in dict.fromkeys(setting.method for setting in comparison.settings):
        trials = [setting for setting in comparison.settings if not setting.tuned]  # not what a search chose among them
        own = [setting for setting in trials if setting.method == method]
        swept = varying(setting.values for setting in own)
        keys = [key for key in swept if all(_is_number(setting.values.get(key)) for setting in own)]
        if len(own) < 2 or not keys:
            continue
        full = len(keys) == 2 and len({tuple(setting.values[key] for key in keys) for setting in own}) == len(own)
        if full and all(2 <= len({setting.values[key] for setting in own}) <= 12 for key in keys):
            made.append(_heatmap(comparison, own, keys))
        else:
            made.extend(_slice(comparison, own, key) for key in keys[:4])
    return made[: 2 * PANELS]


def _best_of(comparison: Comparison, own: list[Setting]) -> Setting:
    """The chosen setting; of the trials of a search, which are not chosen themselves, the best mean on validation."""
    return next((setting for setting in own if setting.best), preferred(own))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _heatmap(comparison: Comparison, own: list[Setting], keys: list[str]) -> Figure:
    across, up = (sorted({setting.values[key] for setting in own}) for key in keys)
    table = np.full((len(up), len(across)), np.nan)
    places = {id(setting): (up.index(setting.values[keys[1]]), across.index(setting.values[keys[0]])) for setting in own}
    for setting in own:
        table[places[id(setting)]] = setting.summary("valid", comparison.metric).mean
    best = places[id(_best_of(comparison, own))]
    canvas, (axis,) = panel(height=1.3 + 0.34 * len(up))
    axis.pcolormesh(table, cmap=HEAT if comparison.sign > 0 else HEAT.reversed(), edgecolors=PAGE, linewidth=1.5)
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value) and table.size <= 64:
            share = (value - np.nanmin(table)) / max(np.nanmax(table) - np.nanmin(table), 1e-12)
            dark = share > 0.5 if comparison.sign > 0 else share < 0.5
            colour = "#ffffff" if dark else "#10202f"
            said = f"{keys[0]}={across[column]:g}, {keys[1]}={up[row]:g}: {value:.4f}"
            told(
                axis.text(column + 0.5, row + 0.5, f"{value:.3f}", ha="center", va="center", color=colour, fontsize=8), said
            )
    x, y = [best[1], best[1] + 1, best[1] + 1, best[1], best[1]], [best[0], best[0], best[0] + 1, best[0] + 1, best[0]]
    axis.plot(x, y, color=INK, lw=2.2, clip_on=False)
    axis.set_xticks(np.arange(len(across)) + 0.5, [f"{value:g}" for value in across])
    axis.set_yticks(np.arange(len(up)) + 0.5, [f"{value:g}" for value in up])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set(xlabel=keys[0], ylabel=keys[1])
    axis.set_title(own[0].method, loc="left", fontsize=10)
    description = f"best at {keys[0]}={across[best[1]]:g}, {keys[1]}={up[best[0]]:g}"
    caption = (
        f"Validation {comparison.metric} ({better(comparison)}), mean over runs; the frame marks the best: {description}."
    )
    return finish(
        canvas, f"{own[0].method}: validation {comparison.metric} by {keys[0]} and {keys[1]}; {description}", caption
    )


def _slice(comparison: Comparison, own: list[Setting], key: str) -> Figure:
    colour = shade(comparison)[own[0].method]
    canvas, (axis,) = panel(height=2.7)
    rows = sorted(own, key=lambda setting: setting.values[key])
    x = np.array([float(setting.values[key]) for setting in rows])
    summaries = [setting.summary("valid", comparison.metric) for setting in rows]
    y, std = np.array([summary.mean for summary in summaries]), np.nan_to_num([summary.std for summary in summaries])
    alone = len(set(x)) == len(x)
    axis.errorbar(x, y, std, fmt="o-" if alone else "o", color=colour, ms=4.5, lw=1.2, elinewidth=1.2, alpha=0.9)
    if (x > 0).all() and x.max() / x.min() >= 20:
        axis.set_xscale("log")
    for x_of, summary in zip(x, summaries, strict=True):
        told(axis.plot(x_of, summary.mean, "o", color=colour, ms=4.5), f"{key}={x_of:g}: {figure_of(summary)}")
    at = rows.index(_best_of(comparison, rows))
    axis.plot(x[at], y[at], "o", ms=11, mfc="none", mec=INK, mew=1.6)
    axis.grid(axis="y")
    axis.set(xlabel=key, ylabel=f"validation {comparison.metric}")
    axis.set_title(own[0].method, loc="left", fontsize=10)
    description = f"best at {key}={x[at]:g}"
    more = "" if alone else " Other settings differ between points too."
    caption = f"Validation {comparison.metric} ({better(comparison)}), mean ± std over runs; the ring marks "
    caption += f"the best: {description}.{more}"
    return finish(canvas, f"{own[0].method}: validation {comparison.metric} by {key}; {description}", caption)


def _rows(axis: Axes, names: list[str]) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    axis.spines["left"].set_visible(False)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.xaxis.set_major_locator(MaxNLocator(5 if max(map(len, names)) < 20 else 3))  # long names leave little room
    axis.grid(axis="x")
