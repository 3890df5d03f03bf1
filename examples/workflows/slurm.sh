#!/usr/bin/env bash
#SBATCH --job-name=ganaudit
#SBATCH --time=01:00:00
# A large audit on a cluster. `bash slurm.sh` submits eight jobs, each of which makes its part of the
# images, and one more that merges and checks them. Options of ganaudit stand in ganaudit.toml or in
# the environment (GANAUDIT_SAMPLES=100000). What a job left unfinished, `sbatch --array=3 slurm.sh` makes.
set -euo pipefail

parts=8
export GANAUDIT_GENERATOR=${GANAUDIT_GENERATOR:-demo}

if [ -z "${SLURM_JOB_ID:-}" ]; then
  array=$(sbatch --parsable --array="0-$((parts - 1))" "$0")
  sbatch --dependency="afterok:${array%%;*}" "$0"
elif [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
  ganaudit diagnose --shard "$SLURM_ARRAY_TASK_ID/$parts" --out "parts/$SLURM_ARRAY_TASK_ID" --resume
else
  ganaudit merge parts/* --out audit
  ganaudit check audit --max worst-rate=5% --output junit:junit.xml --output md:check.md
fi
