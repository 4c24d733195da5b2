"""The root of the configuration."""

from pydantic import Field

from zephyrctl.config.schema.chat import Chat
from zephyrctl.config.schema.data import Data
from zephyrctl.config.schema.evaluation import Evaluation
from zephyrctl.config.schema.launch import Launch, Track
from zephyrctl.config.schema.model import Model
from zephyrctl.config.schema.section import Section
from zephyrctl.config.schema.training import Dpo, Sft

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Recipe(Section):
    """One file from base model to measured chat model; every stage reads it."""

    extends: str | list[str] | None = None
    """Packaged recipe or file that this one builds on."""
    name: str = Field(default="zephyr", pattern=RUN_NAME)
    """Name of the run; its folder is `<output_root>/<name>`."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of every random choice."""
    output_root: str = "runs"
    """Folder that holds the runs."""
    model: Model = Model()
    """The base model, its template and its number format."""
    data: Data = Data()
    """The data recipe."""
    sft: Sft = Sft()
    """Supervised fine-tuning."""
    dpo: Dpo = Dpo()
    """Direct preference optimisation."""
    eval: Evaluation = Evaluation()
    """Evaluation."""
    chat: Chat = Chat()
    """Chat."""
    launch: Launch = Launch()
    """Launch."""
    track: Track = Track()
    """Experiment trackers."""
