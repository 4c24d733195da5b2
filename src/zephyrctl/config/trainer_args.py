"""Which fields TRL's trainers have, and which of them a setting of ours owns.

Plain data, so that a configuration is checked without importing TRL (5 s). Taken from
trl 1.16.0 with transformers 5.23.0; a test compares both tables with the installed dataclasses.
"""

from typing import Literal

Stage = Literal["sft", "dpo"]

_SHARED = """
accelerator_config activation_checkpointing activation_checkpointing_kwargs activation_offloading
adam_beta1 adam_beta2 adam_epsilon auto_find_batch_size average_tokens_across_devices
batch_eval_metrics bf16 bf16_full_eval data_seed dataloader_drop_last dataloader_in_order
dataloader_multiprocessing_context dataloader_num_workers dataloader_persistent_workers
dataloader_pin_memory dataloader_prefetch_factor dataset_num_proc ddp_backend
ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph ddp_timeout
debug deepspeed disable_tqdm do_eval do_predict do_train enable_jit_checkpoint
eval_accumulation_steps eval_delay eval_do_concat_batches eval_on_start eval_steps eval_strategy
eval_use_gather_object fp16 fp16_full_eval fsdp fsdp_config full_determinism
gradient_accumulation_steps gradient_checkpointing gradient_checkpointing_kwargs
greater_is_better hub_always_push hub_model_id hub_private_repo hub_revision hub_strategy
hub_token ignore_data_skip include_for_metrics include_num_input_tokens_seen label_names
label_smoothing_factor learning_rate length_column_name liger_kernel_config
load_best_model_at_end local_rank log_level log_level_replica log_on_each_node
logging_first_step logging_nan_inf_filter logging_steps logging_strategy loss_type
lr_scheduler_kwargs lr_scheduler_type max_grad_norm max_length max_steps metric_for_best_model
model_init_kwargs neftune_noise_alpha num_train_epochs optim optim_args optim_target_modules
output_dir pad_to_multiple_of pad_token padding_free parallelism_config
per_device_eval_batch_size per_device_train_batch_size prediction_loss_only project push_to_hub
remove_unused_columns report_to restore_callback_states_from_checkpoint resume_from_checkpoint
router_aux_loss_coef run_name save_on_each_node save_only_model save_steps save_strategy
save_total_limit seed skip_memory_metrics tf32 torch_compile torch_compile_backend
torch_compile_mode torch_empty_cache_steps trackio_bucket_id trackio_space_id
trackio_static_space_id train_sampling_strategy truncation_mode trust_remote_code use_cache
use_cpu use_liger_kernel warmup_steps weight_decay
"""

_SFT = """
assistant_only_loss chat_template_path completion_only_loss dataset_kwargs dataset_text_field
eos_token eval_packing packing packing_strategy shuffle_dataset
"""

_DPO = """
beta disable_dropout discopop_tau f_alpha_divergence_coef f_divergence_type label_smoothing
ld_alpha loss_weights precompute_ref_batch_size precompute_ref_log_probs ref_model_mixup_alpha
ref_model_sync_steps sync_ref_model use_weighting
"""

FIELDS: dict[Stage, frozenset[str]] = {
    "sft": frozenset((_SHARED + _SFT).split()),
    "dpo": frozenset((_SHARED + _DPO).split()),
}
"""Every field of SFTConfig and of DPOConfig."""

_OWNED_BY_BOTH = {
    "learning_rate": "{stage}.learning_rate",
    "lr_scheduler_type": "{stage}.lr_scheduler",
    "warmup_steps": "{stage}.warmup_ratio",
    "num_train_epochs": "{stage}.epochs",
    "max_steps": "{stage}.max_steps",
    "per_device_train_batch_size": "{stage}.micro_batch_size",
    "per_device_eval_batch_size": "{stage}.micro_batch_size",
    "auto_find_batch_size": "{stage}.micro_batch_size",
    "gradient_accumulation_steps": "{stage}.global_batch_size",
    "max_length": "{stage}.max_length",
    "weight_decay": "{stage}.weight_decay",
    "max_grad_norm": "{stage}.max_grad_norm",
    "optim": "{stage}.optimizer",
    "gradient_checkpointing": "{stage}.gradient_checkpointing",
    "activation_checkpointing": "{stage}.gradient_checkpointing",
    "logging_steps": "{stage}.log_every",
    "logging_strategy": "{stage}.log_every",
    "eval_steps": "{stage}.eval_every",
    "eval_strategy": "{stage}.eval_every",
    "do_eval": "{stage}.eval_every",
    "save_steps": "{stage}.save_every",
    "save_strategy": "{stage}.save_every",
    "save_total_limit": "{stage}.keep_checkpoints",
    "seed": "seed",
    "data_seed": "seed",
    "run_name": "name",
    "output_dir": "output_root",
    "report_to": "track.to",
    "project": "track.project",
    "bf16": "model.dtype",
    "fp16": "model.dtype",
    "use_cpu": "launch.gpus",
    "fsdp": "launch.strategy",
    "fsdp_config": "launch.strategy",
    "deepspeed": "launch.strategy",
    "parallelism_config": "launch.strategy",
    "dataset_num_proc": "data.processes",
    "model_init_kwargs": "model.dtype",
}

_OWNED_BY_SFT = {
    "packing": "sft.packing",
    "packing_strategy": "sft.packing",
    "eval_packing": "sft.packing",
    "assistant_only_loss": "sft.loss_on",
    "completion_only_loss": "sft.loss_on",
    "neftune_noise_alpha": "sft.neftune_alpha",
    "chat_template_path": "model.chat_template",
    "eos_token": "model.chat_template",
}

_OWNED_BY_DPO = {
    "beta": "dpo.beta",
    "loss_type": "dpo.loss",
    "loss_weights": "dpo.loss_weights",
    "label_smoothing": "dpo.label_smoothing",
    "precompute_ref_log_probs": "dpo.reference",
}

OWNED: dict[Stage, dict[str, str]] = {
    "sft": {
        field: key.format(stage="sft") for field, key in (_OWNED_BY_BOTH | _OWNED_BY_SFT).items()
    },
    "dpo": {
        field: key.format(stage="dpo") for field, key in (_OWNED_BY_BOTH | _OWNED_BY_DPO).items()
    },
}
"""TRL's field -> the setting of ours that decides it."""

REFUSED: dict[str, str] = {
    "do_train": "a stage always trains",
    "do_predict": "a stage never predicts; see `zephyrctl eval`",
    "disable_tqdm": "progress is drawn from the run's metrics; see --progress",
    "resume_from_checkpoint": "a stage goes on from its own newest valid checkpoint",
    "remove_unused_columns": "the prepared columns are the ones the collator reads",
    "dataset_text_field": "rows are already token ids",
    "dataset_kwargs": "rows are already token ids",
    "truncation_mode": "rows are already cut; see max_length",
    "load_best_model_at_end": "the last checkpoint is the model",
    "push_to_hub": "see `zephyrctl export hub`",
    "hub_always_push": "see `zephyrctl export hub`",
    "hub_model_id": "see `zephyrctl export hub`",
    "hub_private_repo": "see `zephyrctl export hub`",
    "hub_revision": "see `zephyrctl export hub`",
    "hub_strategy": "see `zephyrctl export hub`",
    "hub_token": "a secret never stands in a file; set HF_TOKEN",
    "local_rank": "the launcher decides it",
    "trust_remote_code": "code of a model repository is never run",
    "average_tokens_across_devices": "a step's loss must not depend on the number of processes",
    "dataloader_drop_last": "every step takes `global_batch_size` examples",
    "ddp_find_unused_parameters": "every trained weight is used",
    "disable_dropout": "policy and reference must agree at the first step",
    "eval_on_start": "a stage evaluates at its start and end",
    "ignore_data_skip": "a resume goes on with the next example",
    "logging_first_step": "every step is counted; see log_every",
    "logging_nan_inf_filter": "a loss that is not finite stops the stage",
    "padding_free": "see sft.packing: bfd",
    "pad_token": "padding is decided by masks",
    "shuffle_dataset": "the order follows from `seed`",
    "sync_ref_model": "the reference model is frozen",
    "train_sampling_strategy": "the order follows from `seed`",
    "ref_model_mixup_alpha": "the reference model is frozen",
    "ref_model_sync_steps": "the reference model is frozen",
    "save_only_model": "a checkpoint must be resumable",
    "enable_jit_checkpoint": "a request to stop is answered at the end of each step",
    "batch_eval_metrics": "held-out metrics are exact over the whole split",
    "prediction_loss_only": "held-out metrics are exact over the whole split",
}
"""TRL's field -> why it cannot be passed."""
