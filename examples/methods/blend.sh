#!/usr/bin/env bash
# Two runs of the same base and rows become one model, by each way of blending; `kitae ship` proves the last one.
set -euo pipefail
cd "$(dirname "$0")"
first=$(kitae train lora.yaml --set name=first)
second=$(kitae train lora.yaml --set name=second --set train.seed=1)
for how in linear slerp dare ties; do
  run=$(kitae blend "$first" "$second" --how "$how")
done
kitae ship "$run"
