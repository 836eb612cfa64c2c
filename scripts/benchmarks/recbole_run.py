"""One model of RecBole on files that are split already: `PYTHON recbole_run.py MODEL FOLDER`, with the peers' Python."""

import os
import sys

from recbole.quick_start import run_recbole

NUMBERS = {
    "EASE": {"reg_weight": 250.0},
    "ItemKNN": {"k": 100, "shrink": 0.0},
    "BPR": {"embedding_size": 64, "learning_rate": 0.003},
}

if __name__ == "__main__":
    model, folder = sys.argv[1:]
    sys.argv = sys.argv[:1]  # RecBole reads it, too
    os.chdir(folder)  # where it leaves its logs
    result = run_recbole(
        model,
        "books",
        config_dict={
            "data_path": folder,
            "benchmark_filename": ["train", "valid", "test"],
            "load_col": {"inter": ["user_id", "item_id"]},
            "metrics": ["NDCG"],
            "topk": [10],
            "valid_metric": "NDCG@10",
            "epochs": 1 if model in ("EASE", "ItemKNN") else 40,
            "eval_step": 1 if model in ("EASE", "ItemKNN") else 10,
            "stopping_step": 1000,
            "train_batch_size": 4096,
            "eval_batch_size": 10**7,
            "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
            "show_progress": False,
            "checkpoint_dir": folder,
            **NUMBERS[model],
        },
        saved=False,
    )
    print("ndcg@10", result["test_result"]["ndcg@10"])
