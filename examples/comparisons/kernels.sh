#!/usr/bin/env bash
# Whether Liger's kernels are worth it on this GPU, on the same rows: pip install liger-kernel first. Kitae's own need nothing.
set -euo pipefail
cd "$(dirname "$0")/../methods"
python prepare.py
runs=()
for method in lora full; do
  for kernels in plain liger; do runs+=("$(kitae train "$method.yaml" --set "train.kernels=$kernels")"); done
done
kitae compare "${runs[@]}" --out ../comparisons/kernels.html
