#!/bin/bash
# sbatch docs/cluster/slurm.sh sampler compare --index /shared/celeba.zarr --num 64 --out /shared/runs/compared
# Without a command it is `sampler run`: sbatch --export=ALL,INDEX=/shared/celeba.zarr,OUT=/shared/runs/celeba docs/cluster/slurm.sh
# Submitted again, or requeued, a run or a build goes on with what was interrupted; other commands begin again.
#SBATCH --job-name=patchindex
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --no-kill
# With GPUs, a worker for each, instead of the two lines above that count tasks and cores:
##SBATCH --ntasks-per-node=4
##SBATCH --gpus-per-task=1
##SBATCH --cpus-per-task=8
set -euo pipefail

if [ $# -eq 0 ]; then
  set -- sampler run --index "$INDEX" --out "$OUT" --num "${NUM:-64}"
fi

export PATCHINDEX_CLUSTER=${SCRATCH_SHARED:-$PWD}/patchindex-$SLURM_JOB_ID.json # all nodes see it
dask scheduler --no-dashboard --port 0 --scheduler-file "$PATCHINDEX_CLUSTER" &
until [ -s "$PATCHINDEX_CLUSTER" ]; do sleep 1; done

# srun does not take --cpus-per-task from sbatch; a worker that fails must not end the others
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --no-kill --wait=0 --kill-on-bad-exit=0 \
  patchindex worker --threads "$SLURM_CPUS_PER_TASK" &

"$@"
rm "$PATCHINDEX_CLUSTER"
kill %1 # the scheduler; workers end with it
wait
