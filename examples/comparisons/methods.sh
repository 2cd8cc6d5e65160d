#!/usr/bin/env bash
# What four methods make of the same rows: a table, and methods.html beside this script. QLoRA needs `pip install bitsandbytes` first.
set -euo pipefail
cd "$(dirname "$0")/../methods"
python prepare.py
runs=()
for method in lora qlora full soft-prompt; do runs+=("$(kitae train "$method.yaml")"); done
kitae compare "${runs[@]}" --out ../comparisons/methods.html
