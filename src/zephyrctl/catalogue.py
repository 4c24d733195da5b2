"""Every built-in name and where its code is; adding one is one line here and one file there."""

from zephyrctl.registry import Entry, Registry

CONVERTERS = Registry(
    "converter",
    [
        Entry(
            "messages",
            "`messages`: a list of role and content",
            "zephyrctl.data.converters.messages:MESSAGES",
        ),
        Entry(
            "sharegpt",
            "`conversations`: a list of from and value",
            "zephyrctl.data.converters.sharegpt:SHAREGPT",
        ),
        Entry(
            "alpaca",
            "`instruction`, `input`, `output`",
            "zephyrctl.data.converters.alpaca:ALPACA",
        ),
        Entry(
            "ultrachat",
            "`data`: user and assistant texts in turn",
            "zephyrctl.data.converters.ultrachat:ULTRACHAT",
        ),
        Entry(
            "prompt_completion",
            "`prompt` and `completion`, text or messages",
            "zephyrctl.data.converters.prompt_completion:PROMPT_COMPLETION",
        ),
        Entry(
            "pairs",
            "`chosen` and `rejected`, text, messages or whole conversations",
            "zephyrctl.data.converters.pairs:PAIRS",
        ),
        Entry(
            "ultrafeedback",
            "`instruction` and rated `completions`",
            "zephyrctl.data.converters.ultrafeedback:ULTRAFEEDBACK",
        ),
        Entry(
            "argilla_cleaned",
            "`chosen` and `rejected` with `chosen-rating` and `rejected-rating`",
            "zephyrctl.data.converters.argilla:ARGILLA_CLEANED",
        ),
        Entry(
            "argilla_binarized",
            "`instruction`, `chosen_response`, `rejected_response`",
            "zephyrctl.data.converters.argilla:ARGILLA_BINARIZED",
        ),
        Entry(
            "hh_rlhf",
            "`chosen` and `rejected`, transcripts of Human and Assistant",
            "zephyrctl.data.converters.hh_rlhf:HH_RLHF",
        ),
        Entry(
            "kto",
            "`prompt`, `completion` and `label`, paired by prompt",
            "zephyrctl.data.converters.kto:KTO",
        ),
    ],
)

_FILTERS = "zephyrctl.data.filters"

FILTERS = Registry(
    "filter",
    [
        Entry(
            "drop_refusals",
            "drop answers that refuse or disclaim being an AI",
            f"{_FILTERS}.refusal:drop_refusals",
        ),
        Entry(
            "drop_empty",
            "drop empty turns and answers such as N/A",
            f"{_FILTERS}.empty:drop_empty",
        ),
        Entry(
            "drop_lowercase",
            "drop answers wholly in lower case",
            f"{_FILTERS}.lowercase:drop_lowercase",
            f"{_FILTERS}.lowercase:Lowercase",
        ),
        Entry(
            "fix_truecase",
            "repair lower-case sentence starts",
            f"{_FILTERS}.truecase:fix_truecase",
        ),
        Entry(
            "drop_repetition",
            "drop answers that repeat themselves",
            f"{_FILTERS}.repetition:drop_repetition",
            f"{_FILTERS}.repetition:Repetition",
        ),
        Entry(
            "drop_special_tokens",
            "drop rows with chat markup in their text",
            f"{_FILTERS}.special_tokens:drop_special_tokens",
        ),
        Entry(
            "language",
            "drop answers in other languages",
            f"{_FILTERS}.language:language",
            f"{_FILTERS}.language:Language",
        ),
        Entry(
            "length",
            "drop rows outside bounds in tokens",
            f"{_FILTERS}.corpus:corpus_only",
            "zephyrctl.data.filter_params:Length",
        ),
        Entry(
            "dedup",
            "drop exact and near duplicates",
            f"{_FILTERS}.corpus:corpus_only",
            "zephyrctl.data.filter_params:Dedup",
        ),
    ],
)

_CHECKS = "zephyrctl.evaluation.checks"
_FORMS = "zephyrctl.evaluation.form_checks"
RULE_CHECKS = Registry(
    "rule check",
    [
        Entry("equals", "the answer is this text", f"{_CHECKS}:equals", f"{_CHECKS}:Text"),
        Entry("contains", "a text stands in the answer", f"{_CHECKS}:contains", f"{_CHECKS}:Text"),
        Entry(
            "not_contains",
            "a text does not stand in the answer",
            f"{_CHECKS}:not_contains",
            f"{_CHECKS}:Text",
        ),
        Entry(
            "starts_with",
            "the answer begins with a text",
            f"{_CHECKS}:starts_with",
            f"{_CHECKS}:Text",
        ),
        Entry(
            "ends_with", "the answer ends with a text", f"{_CHECKS}:ends_with", f"{_CHECKS}:Text"
        ),
        Entry("max_words", "at most so many words", f"{_CHECKS}:max_words", f"{_CHECKS}:Limit"),
        Entry("min_words", "at least so many words", f"{_CHECKS}:min_words", f"{_CHECKS}:Limit"),
        Entry(
            "max_sentences",
            "at most so many sentences",
            f"{_CHECKS}:max_sentences",
            f"{_CHECKS}:Limit",
        ),
        Entry("one_line", "a single line", f"{_CHECKS}:one_line"),
        Entry("regex", "a regular expression matches", f"{_CHECKS}:regex", f"{_CHECKS}:Pattern"),
        Entry("stopped", "the model ended the answer itself", f"{_CHECKS}:stopped"),
        Entry("no_refusal", "no refusal and no disclaimer", f"{_CHECKS}:no_refusal"),
        Entry("capitalised", "the first letter is a capital", f"{_CHECKS}:capitalised"),
        Entry("json", "JSON, with keys", f"{_CHECKS}:json_value", f"{_CHECKS}:Json"),
        Entry("number", "a right number", f"{_CHECKS}:number", f"{_CHECKS}:Number"),
        Entry(
            "list_items",
            "the items of a list, or their number",
            f"{_CHECKS}:list_items",
            f"{_CHECKS}:ListItems",
        ),
        Entry(
            "language_ascii",
            "letters of the English alphabet",
            f"{_CHECKS}:language_ascii",
            f"{_CHECKS}:Ascii",
        ),
        Entry("keywords", "all of several texts", f"{_CHECKS}:keywords", f"{_CHECKS}:Keywords"),
        Entry(
            "no_keywords",
            "none of several texts",
            f"{_CHECKS}:no_keywords",
            f"{_CHECKS}:Keywords",
        ),
        Entry(
            "frequency",
            "a text, so many times",
            f"{_CHECKS}:frequency",
            f"{_CHECKS}:Keyword",
        ),
        Entry(
            "letter_frequency",
            "a letter, so many times",
            f"{_CHECKS}:letter_frequency",
            f"{_CHECKS}:Letter",
        ),
        Entry("one_of", "one of several texts", f"{_CHECKS}:one_of", f"{_CHECKS}:Options"),
        Entry(
            "min_sentences",
            "at least so many sentences",
            f"{_CHECKS}:min_sentences",
            f"{_CHECKS}:Limit",
        ),
        Entry(
            "language",
            "a language, by the detector of the data filter",
            f"{_CHECKS}:language",
            f"{_CHECKS}:Language",
        ),
        Entry(
            "paragraphs",
            "so many paragraphs",
            f"{_FORMS}:paragraphs",
            f"{_FORMS}:Paragraphs",
        ),
        Entry(
            "paragraph_starts",
            "the first word of a paragraph",
            f"{_FORMS}:paragraph_starts",
            f"{_FORMS}:FirstWord",
        ),
        Entry("bullets", "so many bullet points", f"{_FORMS}:bullets", f"{_CHECKS}:Counted"),
        Entry(
            "highlights",
            "so many parts in *emphasis*",
            f"{_FORMS}:highlights",
            f"{_CHECKS}:Counted",
        ),
        Entry("sections", "so many headed sections", f"{_FORMS}:sections", f"{_FORMS}:Sections"),
        Entry(
            "placeholders",
            "so many [placeholders]",
            f"{_FORMS}:placeholders",
            f"{_CHECKS}:Counted",
        ),
        Entry("postscript", "a postscript", f"{_FORMS}:postscript", f"{_FORMS}:Postscript"),
        Entry("title", "a <<title>>", f"{_FORMS}:title"),
        Entry(
            "different_answers",
            "several answers with a separator between them",
            f"{_FORMS}:different_answers",
            f"{_FORMS}:Separated",
        ),
        Entry(
            "capital_words",
            "so many words in capitals",
            f"{_FORMS}:capital_words",
            f"{_CHECKS}:Counted",
        ),
        Entry("letter_case", "all letters in one case", f"{_FORMS}:letter_case", f"{_FORMS}:Case"),
        Entry("quoted", "the whole answer in quotation marks", f"{_FORMS}:quoted"),
    ],
)

BENCHMARKS = Registry(
    "benchmark",
    [
        Entry("rules", "instructions verified by code", "zephyrctl.evaluation.rules:benchmark"),
        Entry(
            "mt-bench",
            "80 two-turn questions, rated",
            "zephyrctl.evaluation.mt_bench.benchmark:benchmark",
        ),
        Entry(
            "own",
            "questions of one's own, rated by a rubric",
            "zephyrctl.evaluation.own.benchmark:benchmark",
        ),
        Entry(
            "alpaca-eval",
            "805 instructions, compared with a baseline's outputs",
            "zephyrctl.evaluation.alpaca_eval.benchmark:benchmark",
        ),
    ],
)

_JUDGES = "zephyrctl.evaluation.judges"

JUDGES = Registry(
    "judge",
    [
        Entry("openai", "an OpenAI-compatible service", f"{_JUDGES}.remote:RemoteJudge"),
        Entry("local", "a model in this process", f"{_JUDGES}.local:LocalJudge"),
        Entry("replay", "recorded judgments", f"{_JUDGES}.replay:ReplayJudge"),
    ],
)

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

_LOSSES = "zephyrctl.training.losses"

OWN_LOSSES = Registry(
    "loss",
    [
        Entry("simpo", "mean log-prob per token, no reference", f"{_LOSSES}:simpo"),
        Entry("rdpo", "DPO of a reward with a penalty on length", f"{_LOSSES}:rdpo"),
    ],
)
"""Losses over preference pairs that TRL lacks."""

STAGES = Registry(
    "stage",
    [
        Entry("data", "filter, convert and tokenize", "zephyrctl.stages.prepare:run"),
        Entry("sft", "supervised fine-tuning", "zephyrctl.stages.sft:run"),
        Entry("dpo", "direct preference optimisation", "zephyrctl.stages.dpo:run"),
        Entry("eval", "answers, verdicts, scores", "zephyrctl.stages.evaluate:run"),
    ],
)

LAUNCHERS = Registry(
    "launcher",
    [
        Entry("local", "processes of this machine", "zephyrctl.launch.local:start"),
        Entry("slurm", "a job of a Slurm cluster", "zephyrctl.launch.slurm.jobs:start"),
        Entry("skypilot", "a managed job in a cloud", "zephyrctl.launch.skypilot:start"),
    ],
)
"""`start(plan, settings, *, on_poll, on_stop)`: runs a planned stage to its end, and raises the
error that ended it."""

_CHAT = "zephyrctl.chat.commands"

CHAT_COMMANDS = Registry(
    "command",
    [
        Entry("help", "this list", f"{_CHAT}.showing:help_"),
        Entry("new", "begin a new conversation", f"{_CHAT}.conversation:new"),
        Entry(
            "system",
            "show the system prompt, or set it (`-` removes it)",
            f"{_CHAT}.settings:system",
        ),
        Entry(
            "set",
            "show the settings, or change one: /set temperature 0.2",
            f"{_CHAT}.settings:set_",
        ),
        Entry("status", "model, template, settings, context", f"{_CHAT}.showing:status"),
        Entry("history", "the conversation so far", f"{_CHAT}.showing:history"),
        Entry("regen", "answer the last question again", f"{_CHAT}.conversation:regen"),
        Entry("edit", "change the last question in your editor", f"{_CHAT}.conversation:edit"),
        Entry("undo", "take the last question and its reply back", f"{_CHAT}.conversation:undo"),
        Entry("save", "write the conversation to a JSONL file", f"{_CHAT}.conversation:save"),
        Entry("load", "read a conversation from a file", f"{_CHAT}.conversation:load"),
        Entry(
            "template", "the next prompt exactly as the model reads it", f"{_CHAT}.showing:template"
        ),
        Entry("stats", "tokens and speed", f"{_CHAT}.showing:stats"),
        Entry("raw", "the last reply as the model wrote it", f"{_CHAT}.showing:raw"),
        Entry("copy", "the last reply to the clipboard", f"{_CHAT}.showing:copy"),
        Entry("model", "who answers, or another model: /model @sft", f"{_CHAT}.models:model"),
        Entry(
            "compare",
            "let other models answer too: /compare @sft",
            f"{_CHAT}.comparing:compare",
        ),
        Entry("prefer", "vote on compared replies: /prefer a", f"{_CHAT}.comparing:prefer"),
        Entry("quit", "leave", f"{_CHAT}.conversation:quit_"),
    ],
)
"""`function(repl, rest)`: what is done for `/NAME REST` in a chat."""
