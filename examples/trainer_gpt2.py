"""Collapse in transformers' Trainer: a tiny GPT-2 learns to count, from a configuration alone.

python examples/trainer_gpt2.py

Classes are next tokens. Nothing is downloaded.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

from study.integrations.transformers import CollapseCallback

TOKENS, LENGTH = 11, 16


class Counting(Dataset[dict[str, torch.Tensor]]):
    """Rows that count on from a random token by 1 or by 2, whichever their first token says."""

    def __init__(self, rows: int) -> None:
        generator = torch.Generator().manual_seed(0)
        start = torch.randint(TOKENS, (rows, 1), generator=generator)
        step = torch.randint(1, 3, (rows, 1), generator=generator)
        counted = (start + step * torch.arange(LENGTH - 1)) % TOKENS
        self.rows = torch.cat([step, counted], dim=1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[number], "labels": self.rows[number]}


def main(steps: int = 100) -> None:
    set_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=TOKENS,
            n_positions=LENGTH,
            n_embd=32,
            n_layer=2,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=32,
            learning_rate=3e-3,
            logging_steps=25,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = Trainer(model, arguments, train_dataset=Counting(512))
        trainer.add_callback(CollapseCallback(trainer, every=25))
        trainer.train()
    for line in trainer.state.log_history:
        if "collapse/nc1_ratio" in line:
            print(f"step {line['step']}: NC1 {line['collapse/nc1_ratio']:.3f}")


if __name__ == "__main__":
    main()
