#!/usr/bin/env bash
# Break the build unless the quantised model keeps within its budget.
#   deploy_edge.sh MODEL.keras INPUTS.npz TARGET.tflite MAX_DISCREPANCY_PERCENT MAX_MB
set -euo pipefail
model=$1 inputs=$2 target=$3 discrepancy=$4 megabytes=$5
safeconvert keras2tflite "$model" --quantize int8 --inputs "$inputs" -o "$target" --force \
    --max-discrepancy "$discrepancy" --max-size "$megabytes"
echo "ship $target"
