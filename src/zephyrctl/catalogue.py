"""Every built-in name and where its code is; adding one is one line here and one file there."""

from zephyrctl.registry import Entry, Registry

CONVERTERS = Registry("converter", [])

FILTERS = Registry("filter", [])

RULE_CHECKS = Registry("rule check", [])

BENCHMARKS = Registry("benchmark", [])

JUDGES = Registry("judge", [])

BASE_MODELS = Registry("base model", [])

STAGES = Registry(
    "stage",
    [
        Entry("data", "filter, convert and tokenize", "zephyrctl.stages.prepare:run"),
        Entry("sft", "supervised fine-tuning", "zephyrctl.stages.sft:run"),
        Entry("dpo", "direct preference optimisation", "zephyrctl.stages.dpo:run"),
        Entry("eval", "answers, verdicts, scores", "zephyrctl.stages.evaluate:run"),
    ],
)
