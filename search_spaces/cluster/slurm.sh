#!/usr/bin/env bash
# A study on all nodes of a SLURM allocation: one Ray head, a worker on every other node, then the launch.
#
#   sbatch --nodes 2 --gpus-per-node 4 search_spaces/cluster/slurm.sh GRID.yaml RUNS_FOLDER_ON_SHARED_STORAGE
#   sbatch --nodes 2 --gpus-per-node 4 search_spaces/cluster/slurm.sh SEARCH.yaml RUNS_FOLDER study.tune
#
# Resubmit the same line to go on where the allocation ended: SIGTERM comes two minutes before, and trainings save.
#SBATCH --job-name=collapse-study
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --signal=B:TERM@120
set -euo pipefail

grid=${1:?usage: sbatch slurm.sh GRID.yaml RUNS_FOLDER [study.tune]}
runs=${2:?usage: sbatch slurm.sh GRID.yaml RUNS_FOLDER [study.tune]}
command=${3:-study.launch}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN # of this user alone: made where the home has none, and known to all steps
RAY_AUTH_TOKEN=$(env -u RAY_AUTH_MODE ray get-auth-token --generate 2> /dev/null)
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 20000))

on() { # a step with all processors of a node
    srun --nodes 1 --ntasks 1 --cpus-per-task "$SLURM_CPUS_ON_NODE" --cpu-bind none --nodelist "$1" "${@:2}"
}

on "$head" ray start --head --port "$port" --include-dashboard=false --block &
for _ in {1..60}; do # the head must answer before others join
    ray status --address "$head:$port" > /dev/null 2>&1 && break
    sleep 2
done
for node in "${nodes[@]:1}"; do
    on "$node" ray start --address "$head:$port" --block &
done

python -m "$command" "$grid" --runs "$runs" --address "$head:$port" &
launch=$!
trap 'kill -TERM "$launch"' TERM
wait "$launch" || wait "$launch"
