#!/usr/bin/env bash
# A study on a SLURM array: every task is a launch without Ray on one run folder, whose leases share out the trainings.
#
#   array=$(sbatch --parsable --array 1-16 --gpus 1 --cpus-per-task 4 \
#       search_spaces/cluster/slurm_array.sh GRID.yaml RUNS_FOLDER_ON_SHARED_STORAGE)
#   sbatch --dependency "afterany:$array" search_spaces/cluster/slurm_array.sh GRID.yaml RUNS_FOLDER report
#
# Resubmit both to go on where the time limit ended the tasks: SIGTERM comes two minutes before, and trainings save.
#SBATCH --job-name=collapse-study
#SBATCH --signal=B:TERM@120
set -euo pipefail

usage="usage: sbatch --array 1-N slurm_array.sh GRID.yaml RUNS_FOLDER [report]"
grid=${1:?$usage}
runs=${2:?$usage}
role=${3:-launch}

case $role in
launch)
    : "${SLURM_ARRAY_TASK_ID:?$usage}"
    python -m study.launch "$grid" --runs "$runs" --serial &
    launch=$!
    trap 'kill -TERM "$launch"' TERM
    wait "$launch" || wait "$launch"
    ;;
report) # after all tasks: what is done and what failed, then the report of what is done
    run=$(python -c 'import sys; from pathlib import Path; from study.launching.runs import open_study
print(open_study(sys.argv[1], Path(sys.argv[2]))[1])' "$grid" "$runs")
    code=0
    python -m study.status "$run" || code=$?
    python -m analysis "$run"
    exit "$code"
    ;;
*)
    echo "$usage" >&2
    exit 2
    ;;
esac
