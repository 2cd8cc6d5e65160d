#!/usr/bin/env bash
# How many numbers an adapter needs, and how strongly they count. It goes on where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/../methods"
python prepare.py
kitae sweep lora.yaml --grid train.lora.r=4,16,64 --grid train.lora.alpha=16,64 "$@"
