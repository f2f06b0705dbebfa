#!/bin/bash
# HOSTS="node1 node2 node3" SELF=node0 docs/cluster/ssh.sh sampler run --index /shared/faces.zarr --out /shared/runs/faces
# SELF is this machine's name or address as the hosts reach it. The environment with patchindex has the same path on all.
set -euo pipefail

port=${PORT:-8786}
environment=$(dirname "$(command -v patchindex)")
export PATCHINDEX_CLUSTER=tcp://$SELF:$port

dask scheduler --no-dashboard --host "$SELF" --port "$port" &
scheduler=$!
trap 'kill $scheduler; wait' EXIT # workers end with it

for host in $HOSTS; do
  ssh -n -o BatchMode=yes "$host" \
    "exec $environment/patchindex worker --cluster $PATCHINDEX_CLUSTER --name $host" &
done

"$@"
