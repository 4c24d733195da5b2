"""What the keys of alignment-handbook, TRL and Transformers files are called here.

Used twice: to name our key where an old one is met, and to convert a whole file.
"""

STAGE_KEYS: dict[str, str] = {
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "lr_scheduler",
    "warmup_ratio": "warmup_ratio",
    "warmup_steps": "warmup_ratio",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "per_device_train_batch_size": "micro_batch_size",
    "train_batch_size": "micro_batch_size",
    "gradient_accumulation_steps": "global_batch_size",
    "max_seq_length": "max_length",
    "max_length": "max_length",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "optim": "optimizer",
    "gradient_checkpointing": "gradient_checkpointing",
    "activation_checkpointing": "gradient_checkpointing",
    "logging_steps": "log_every",
    "eval_steps": "eval_every",
    "save_steps": "save_every",
    "save_total_limit": "keep_checkpoints",
    "use_peft": "adapter.type",
    "use_dora": "adapter.type",
    "lora_r": "adapter.r",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "lora_target_modules": "adapter.target_modules",
    "adapter": "adapter",
}
"""Old key -> the key below `sft` and `dpo`."""

SFT_KEYS: dict[str, str] = {
    "packing": "packing",
    "packing_strategy": "packing",
    "assistant_only_loss": "loss_on",
    "completion_only_loss": "loss_on",
    "neftune_noise_alpha": "neftune_alpha",
}

DPO_KEYS: dict[str, str] = {
    "beta": "beta",
    "loss_type": "loss",
    "loss_weights": "loss_weights",
    "label_smoothing": "label_smoothing",
    "max_prompt_length": "max_prompt_length",
    "precompute_ref_log_probs": "reference",
    "ref_model": "reference",
    "sft_model": "init_from",
}

ROOT_KEYS: dict[str, str] = {
    "model_name_or_path": "model.base",
    "base_model": "model.base",
    "model_revision": "model.revision",
    "torch_dtype": "model.dtype",
    "dtype": "model.dtype",
    "bf16": "model.dtype",
    "fp16": "model.dtype",
    "attn_implementation": "model.attention",
    "use_flash_attention_2": "model.attention",
    "chat_template": "model.chat_template",
    "chat_template_path": "model.chat_template",
    "load_in_4bit": "model.load_in_4bit",
    "output_dir": "output_root",
    "run_name": "name",
    "report_to": "track.to",
    "data_seed": "seed",
    "preprocessing_num_workers": "data.processes",
    "dataset_num_proc": "data.processes",
    "use_cpu": "launch.gpus",
    "num_processes": "launch.gpus",
    "judge": "eval.judge",
}

DATA_KEYS: dict[str, str] = {
    "dataset_mixer": "train",
    "dataset_mixture": "train",
    "datasets": "train",
    "dataset_name": "train",
    "dataset_splits": "train",
    "dataset_config": "train",
    "dataset_train_split": "train",
    "dataset_test_split": "test",
    "dataset_configs": "train",
    "test_split_size": "test_size",
}
"""Old key -> the key below `data.sft` and `data.dpo`."""


def new_name(name: str, *, section: str) -> str | None:
    """Our dotted key for an old one met in `section`, "a or b" where it has one per stage.

    None where the name is not one that another tool uses.
    """
    if name in ROOT_KEYS:
        return ROOT_KEYS[name]
    if name in SFT_KEYS:
        return f"sft.{SFT_KEYS[name]}"
    if name in DPO_KEYS:
        return f"dpo.{DPO_KEYS[name]}"
    stages = [section.rpartition(".")[2]] if section.endswith(("sft", "dpo")) else ["sft", "dpo"]
    if name in STAGE_KEYS:
        return " or ".join(f"{stage}.{STAGE_KEYS[name]}" for stage in stages)
    if name in DATA_KEYS:
        return " or ".join(f"data.{stage}.{DATA_KEYS[name]}" for stage in stages)
    return None
