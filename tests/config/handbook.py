"""Files of other tools, typed in: alignment-handbook's of both eras, and TRL's.

Keys and values are those of alignment-handbook at 87cc800 (January 2024) and 19f0345 (July 2025)
and of a file for `trl dpo`; the order is ours.
"""

ZEPHYR_TEMPLATE = (
    r'"{% for message in messages %}\n{% if message[\'role\'] == \'user\' %}\n'
    r"{{ '<|user|>\n' + message['content'] + eos_token }}\n"
    r"{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}"
    r"\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n' + message['content'] + "
    r'eos_token }}\n{% endif %}\n{% endfor %}"'
).replace(r"\'", "'")

_TRAINER = """
bf16: true
do_eval: true
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: False
log_level: info
lr_scheduler_type: cosine
num_train_epochs: 1
per_device_eval_batch_size: 8
push_to_hub: true
save_strategy: "steps"
save_steps: 100
save_total_limit: 1
seed: 42
warmup_ratio: 0.1
"""

_SFT = f"""
model_name_or_path: mistralai/Mistral-7B-v0.1
model_revision: main
chat_template: {ZEPHYR_TEMPLATE}
gradient_accumulation_steps: 1
hub_model_id: zephyr-7b-sft-full
hub_strategy: every_save
learning_rate: 2.0e-05
logging_steps: 5
logging_strategy: steps
max_seq_length: 2048
max_steps: -1
output_dir: data/zephyr-7b-sft-full
overwrite_output_dir: true
per_device_train_batch_size: 16
remove_unused_columns: true
"""

_DPO = """
model_name_or_path: alignment-handbook/zephyr-7b-sft-full
torch_dtype: null
beta: 0.01
eval_steps: 100
gradient_accumulation_steps: 2
hub_model_id: zephyr-7b-dpo-full
learning_rate: 5.0e-7
logging_steps: 10
max_length: 1024
max_prompt_length: 512
optim: adamw_torch
output_dir: data/zephyr-7b-dpo-full
per_device_train_batch_size: 8
"""

_MIXER = """
dataset_mixer:
  {name}: 1.0
dataset_splits:
- train_{kind}
- test_{kind}
preprocessing_num_workers: 12
evaluation_strategy: {evaluation}
"""

_MIXTURE = """
dataset_mixture:
  datasets:
    - id: {name}
      config: default
      split: train_{kind}
      columns: [{columns}]
      weight: 1.0
    - id: {name}
      config: default
      split: test_{kind}
      columns: [{columns}]
      weight: 1.0
  test_split_size: {size}
  seed: 0
dataset_num_proc: 12
eval_strategy: {evaluation}
"""

_LORA = """
load_in_4bit: true
use_peft: true
lora_r: {r}
lora_alpha: {r}
lora_dropout: 0.05
lora_target_modules:
- q_proj
- k_proj
- v_proj
- o_proj
- gate_proj
- up_proj
- down_proj
"""

_CHAT = "HuggingFaceH4/ultrachat_200k"
_FEEDBACK = "HuggingFaceH4/ultrafeedback_binarized"


def _qlora(text: str, replaced: dict[str, str], *, r: int) -> str:
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text + _LORA.format(r=r)


SFT_2024 = (
    _SFT
    + _TRAINER
    + _MIXER.format(name=_CHAT, kind="sft", evaluation="epoch")
    + "torch_dtype: bfloat16\nuse_flash_attention_2: true\nreport_to:\n- tensorboard\n"
)
DPO_2024 = _DPO + _TRAINER + _MIXER.format(name=_FEEDBACK, kind="prefs", evaluation="steps")

SFT_2025 = (
    _SFT
    + _TRAINER
    + _MIXTURE.format(name=_CHAT, kind="sft", columns="messages", size=1000, evaluation="epoch")
    + "torch_dtype: bfloat16\nattn_implementation: flash_attention_2\nreport_to:\n- wandb\n"
)
DPO_2025 = (
    _DPO
    + _TRAINER
    + _MIXTURE.format(
        name=_FEEDBACK, kind="prefs", columns="chosen, rejected", size=2000, evaluation="steps"
    )
)

SFT_QLORA_2024 = _qlora(
    SFT_2024,
    {
        "learning_rate: 2.0e-05": "learning_rate: 2.0e-04",
        "use_flash_attention_2: true\n": "",
        "torch_dtype: bfloat16": "torch_dtype: float16",
        "gradient_accumulation_steps: 1": "gradient_accumulation_steps: 2",
        "per_device_train_batch_size: 16": "per_device_train_batch_size: 4",
    },
    r=16,
)
DPO_QLORA_2024 = _qlora(
    DPO_2024,
    {
        "learning_rate: 5.0e-7": "learning_rate: 5.0e-6",
        "torch_dtype: null": "torch_dtype: bfloat16",
        "adamw_torch": "paged_adamw_32bit",
        "gradient_accumulation_steps: 2": "gradient_accumulation_steps: 4",
        "per_device_train_batch_size: 8": "per_device_train_batch_size: 4",
        "zephyr-7b-sft-full": "zephyr-7b-sft-qlora",
    },
    r=128,
)

TRL_SFT = """
model_name_or_path: Qwen/Qwen2-0.5B
dataset_name: trl-lib/Capybara
dataset_train_split: train
learning_rate: 2.0e-4
num_train_epochs: 1
packing: true
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
eos_token: <|im_end|>
eval_strategy: steps
eval_steps: 100
use_peft: true
lora_r: 32
lora_alpha: 16
output_dir: Qwen2-0.5B-SFT
push_to_hub: true
"""

TRL_DPO = """
model_name_or_path: Qwen/Qwen2-0.5B-Instruct
dataset_name: trl-lib/ultrafeedback_binarized
dataset_train_split: train
dataset_test_split: test
learning_rate: 5.0e-7
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
max_steps: 1000
warmup_steps: 50
loss_type: [sigmoid, sft]
loss_weights: [1.0, 0.1]
beta: 0.2
adam_beta2: 0.95
precompute_ref_log_probs: true
save_strategy: "no"
report_to: none
output_dir: Qwen2-0.5B-DPO
"""
