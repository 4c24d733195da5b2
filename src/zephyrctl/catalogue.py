"""Every built-in name and where its code is; adding one is one line here and one file there."""

from zephyrctl.registry import Entry, Registry

CONVERTERS = Registry(
    "converter",
    [
        Entry(
            "messages",
            "`messages`: a list of role and content",
            "zephyrctl.data.converters:MESSAGES",
        ),
        Entry(
            "sharegpt",
            "`conversations`: a list of from and value",
            "zephyrctl.data.converters:SHAREGPT",
        ),
        Entry("alpaca", "`instruction`, `input`, `output`", "zephyrctl.data.converters:ALPACA"),
        Entry(
            "ultrachat",
            "`data`: user and assistant texts in turn",
            "zephyrctl.data.converters:ULTRACHAT",
        ),
        Entry(
            "prompt_completion",
            "`prompt` and `completion`, text or messages",
            "zephyrctl.data.converters:PROMPT_COMPLETION",
        ),
        Entry(
            "pairs",
            "`chosen` and `rejected`, text, messages or whole conversations",
            "zephyrctl.data.converters:PAIRS",
        ),
        Entry(
            "ultrafeedback",
            "`instruction` and rated `completions`",
            "zephyrctl.data.converters:ULTRAFEEDBACK",
        ),
    ],
)

FILTERS = Registry(
    "filter",
    [
        Entry(
            "drop_refusals",
            "drop answers that refuse or disclaim being an AI",
            "zephyrctl.data.filters:drop_refusals",
        ),
        Entry(
            "drop_empty",
            "drop empty turns and answers such as N/A",
            "zephyrctl.data.filters:drop_empty",
        ),
        Entry(
            "drop_lowercase",
            "drop answers wholly in lower case",
            "zephyrctl.data.filters:drop_lowercase",
            "zephyrctl.data.filter_params:Lowercase",
        ),
        Entry(
            "fix_truecase",
            "repair lower-case sentence starts",
            "zephyrctl.data.filters:fix_truecase",
        ),
        Entry(
            "drop_repetition",
            "drop answers that repeat themselves",
            "zephyrctl.data.filters:drop_repetition",
            "zephyrctl.data.filter_params:Repetition",
        ),
        Entry(
            "drop_special_tokens",
            "drop rows with chat markup in their text",
            "zephyrctl.data.filters:drop_special_tokens",
        ),
        Entry(
            "length",
            "drop rows outside bounds in tokens",
            "zephyrctl.data.filters:corpus_only",
            "zephyrctl.data.filter_params:Length",
        ),
        Entry(
            "dedup",
            "drop exact and near duplicates",
            "zephyrctl.data.filters:corpus_only",
            "zephyrctl.data.filter_params:Dedup",
        ),
    ],
)

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
