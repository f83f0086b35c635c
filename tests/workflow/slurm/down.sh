#!/bin/bash
# down.sh DIR: cancel the jobs of the Slurm that up.sh started below DIR, and stop its two daemons.
dir=$(cd "$1" && pwd)
SLURM_CONF=$dir/slurm.conf timeout 10 scancel --user="$(id -un)" 2> /dev/null
sleep 2  # slurmd ends what runs
for daemon in slurmd slurmctld; do
  pid=$(cat "$dir/$daemon.pid" 2> /dev/null) || continue
  [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = "$daemon" ] || continue  # never a recycled pid
  kill "$pid"
  for _ in $(seq 100); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
done
exit 0
