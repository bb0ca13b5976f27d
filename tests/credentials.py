# SPDX-License-Identifier: Apache-2.0
"""Credentials as people put them into a spec, and what looks like one and is none. All are made up."""

from __future__ import annotations

TOKEN = "hf_" + "abcdEFGH1234" * 3

REFUSED = {
    # a line of a spec: the key that is named, and what no text may repeat
    f"hub_token: {TOKEN}": ("hub_token", TOKEN),
    f"model_name: {TOKEN}": ("model_name", TOKEN),
    f"report_to: [{TOKEN}]": ("report_to[0]", TOKEN),
    f"lora_r: {TOKEN}": ("lora_r", TOKEN),
    f"env: {{HF_TOKEN: {TOKEN}}}": ("env.HF_TOKEN", TOKEN),
    "sig: hunter2": ("sig", "hunter2"),
    "account_key: hunter2": ("account_key", "hunter2"),
    "access_token: hunter2": ("access_token", "hunter2"),
    "private_token: hunter2": ("private_token", "hunter2"),
    "wandb_api_key: 90210": ("wandb_api_key", "90210"),
    "X-Amz-Signature: hunter2": ("X-Amz-Signature", "hunter2"),
    "AWSAccessKeyId: hunter2": ("AWSAccessKeyId", "hunter2"),
    "aws_secret_access_key: hunter/2": ("aws_secret_access_key", "hunter/2"),
    "token: hunter2": ("token", "hunter2"),
    "password: 90210.5": ("password", "90210.5"),
    "storage_options: {secret: [hunter2]}": ("storage_options.secret", "hunter2"),
    "resources: {num_workers: 1, clientSecret: hunter2}": ("resources.clientSecret", "hunter2"),
    "eval_dataset_path: [{path: 'https://me:hunter2@host/x'}]": ("eval_dataset_path[0].path", "hunter2"),
    "dataset_path: https://me:hunter2@host/rows.jsonl": ("dataset_path", "hunter2"),
    "dataset_path: https://hunter2@host/rows.jsonl": ("dataset_path", "hunter2"),
    "dataset_path: 'https://host/rows.jsonl?sv=2024&sig=hunter%2F2&se=x'": ("dataset_path", "hunter%2F2"),
    "dataset_path: https://b.example/rows.jsonl?AWSAccessKeyId=hunter2": ("dataset_path", "hunter2"),
    "eval_dataset_path: https://b.example/x.jsonl?X-Amz-Signature=hunter2": ("eval_dataset_path", "hunter2"),
    "eval_dataset_path: https://git.example/x.jsonl?private_token=hunter2": ("eval_dataset_path", "hunter2"),
    "storage_path: s3://AKIAABCDEFGHIJKLMNOP@bucket": ("storage_path", "AKIAABCDEFGHIJKLMNOP"),
    "storage_path: s3://me:hun/ter+2@bucket/runs": ("storage_path", "hun/ter+2"),
    "storage_path: gs://bucket/runs?access_token=hunter2": ("storage_path", "hunter2"),
    "storage_path: az://runs?account_key=hunter2": ("storage_path", "hunter2"),
    "model_name: https://host/model?token=hunter2": ("model_name", "hunter2"),
    "model_name: AccountName=x;AccountKey=hunter2==": ("model_name", "hunter2"),
    """deepspeed: '{"monitor": {"token": "hunter2"}}'""": ("deepspeed.monitor.token", "hunter2"),
    """deepspeed: '{"nvme_path": "https://me:hunter2@host"}'""": ("deepspeed.nvme_path", "hunter2"),
    "deepspeed: {monitor: {api_key: hunter2}}": ("deepspeed.monitor.api_key", "hunter2"),
}
ORDINARY = (
    "model_name: org/hf_tokenizer-secret",
    "model_name: models/token",
    "model_revision: 0a1b2c3d4e0a1b2c3d4e0a1b2c3d4e0a1b2c3d4e",
    "instruction_template: tokenizer",
    "max_tokens_per_batch: 4096",
    "dataset_path: s3://bucket/rows.jsonl?region=eu-west-1&endpoint_override=minio:9000&scheme=http",
    "storage_path: s3://bucket/runs?endpoint_override=[::1]:9000&scheme=http&allow_bucket_creation=true",
    "dataset_path: http://minio:9000/bucket/rows@v2.jsonl",
    "dataset_path: abfs://container@account.dfs.core.windows.net/rows.jsonl",
    "dataset_path: hf://datasets/org/name@main/rows.jsonl",
    "dataset_path: sftp://me@host/rows.jsonl",
    "dataset_path: /data/password/token.jsonl",
    "seed: 1  # run it with HF_TOKEN=$HF_TOKEN, or --from-file=token=./token",
)
