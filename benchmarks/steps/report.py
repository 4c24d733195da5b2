"""How is a race shown, and where are its results kept?"""

import json
from pathlib import Path
from typing import Any


def lines(found: dict[str, Any]) -> list[str]:
    """A plain text table, then the ratios and what was compared."""
    unit = found["unit"]
    rows = [(unit + "/s", "range", "tokens/s", "slots/token", "peak MB", "loss 1", "TFLOP/s")]
    names = ["contender"]
    for name, figures in found["contenders"].items():
        names.append(name)
        rows.append(_row(figures, unit))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    first = max(map(len, names))
    table = [
        f"{name:<{first}}  "
        + "  ".join(f"{text:>{w}}" for text, w in zip(row, widths, strict=True))
        for name, row in zip(names, rows, strict=True)
    ]
    broken = [
        f"{name} broke: {figures['error']}"
        for name, figures in found["contenders"].items()
        if "error" in figures
    ]
    return [
        title(found),
        "",
        *table,
        "",
        *_ratio_lines(found),
        *_parity_lines(found),
        *_plan_lines(found),
        *broken,
    ]


def title(found: dict[str, Any]) -> str:
    """What was raced, in a line."""
    course = found["course"]
    machine = found["machine"].get("gpu") or f"{found['threads']} thread(s)"
    return (
        f"{found['benchmark']}: {found['model']}, adapter {course['adapter']}, {machine}, "
        f"{found['lengths']} lengths, {course['global_batch']} {found['unit']} per step, "
        f"{found['timed_steps']} timed steps, {found['rounds']} rounds"
    )


def save(found: dict[str, Any], folder: Path, *, name: str) -> list[Path]:
    """Write `NAME.json` and `NAME.md` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    paths[0].write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    machine = found["machine"]
    versions = ", ".join(f"{key} {value}" for key, value in machine["versions"].items())
    text = [
        f"# {name}",
        "",
        f"    {found['command']}",
        "",
        f"{found['date']}; {machine.get('gpu') or machine['processor']}; {versions}.",
        "",
        "```",
        *lines(found),
        "```",
    ]
    paths[1].write_text("\n".join(text) + "\n", encoding="utf-8")
    return paths


def _row(figures: dict[str, Any], unit: str) -> tuple[str, ...]:
    if "error" in figures:
        return ("-",) * 7
    low, high = figures[f"{unit}_per_s_range"]
    memory = figures.get("peak_device_mb", figures["peak_rss_mb"])
    return (
        f"{figures[f'{unit}_per_s']:.3f}",
        f"{low:.3f}-{high:.3f}",
        f"{figures['tokens_per_s']:,.0f}",
        f"{figures['padded_slots'] / figures['real_tokens']:.3f}",
        f"{memory:,}",
        f"{figures['step1_loss']:.4f}",
        f"{figures['model_tflops']:.3f}",
    )


def _ratio_lines(found: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {ratio['median']:.2f} times "
        f"({ratio['least']:.2f} to {ratio['most']:.2f}; by CPU time {ratio['by_cpu_time']:.2f})"
        for name, ratio in found["ratios"].items()
        if ratio is not None
    ]


def _parity_lines(found: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {'the same computation' if parity['same'] else 'ANOTHER COMPUTATION'}: "
        f"loss of step 1 {parity['step1_loss']:.1e} off, of any step "
        f"{parity['loss_of_any_step']:.1e}, log-probs {parity['step1_log_probs']:.1e}, "
        f"gradient norm {parity['step1_gradient_norm']:.1e}"
        for name, parity in found["parity"].items()
    ]


def _plan_lines(found: dict[str, Any]) -> list[str]:
    """What the memory plan of ours chose, and how well it foresaw the peak."""
    said = []
    for name, figures in found["contenders"].items():
        if "plan" not in figures:
            continue
        peak = figures.get("peak_device_mb", figures["peak_rss_mb"])
        chosen = ", ".join(f"{key} {value}" for key, value in figures["plan"].items())
        error = figures["predicted_peak_mb"] / peak - 1
        said.append(
            f"{name}: planned {chosen}; peak {figures['predicted_peak_mb']:,} MB predicted, "
            f"{peak:,} MB measured ({error:+.0%})"
        )
    return said
