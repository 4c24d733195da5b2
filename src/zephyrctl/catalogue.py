"""Every built-in name and where its code is; adding one is one line here and one file there."""

from zephyrctl.registry import Entry, Registry

CONVERTERS = Registry("converter", [])

FILTERS = Registry("filter", [])

RULE_CHECKS = Registry("rule check", [])

BENCHMARKS = Registry("benchmark", [])

JUDGES = Registry("judge", [])

BASE_MODELS = Registry(
    "base model",
    [
        Entry(
            "smollm2-135m-instruct",
            "SmolLM2-135M-Instruct (Apache-2.0), from the Hub or the package index",
            "zephyrctl.models.named:smollm2",
        ),
        Entry(
            "tiny",
            "0.75 M random parameters, built on the spot; its answers are toys",
            "zephyrctl.models.named:tiny",
        ),
    ],
)

STAGES = Registry(
    "stage",
    [
        Entry("data", "filter, convert and tokenize", "zephyrctl.stages.prepare:run"),
        Entry("sft", "supervised fine-tuning", "zephyrctl.stages.sft:run"),
        Entry("dpo", "direct preference optimisation", "zephyrctl.stages.dpo:run"),
        Entry("eval", "answers, verdicts, scores", "zephyrctl.stages.evaluate:run"),
    ],
)
