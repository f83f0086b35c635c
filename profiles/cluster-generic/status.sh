#!/bin/sh
# Prints running, success or failed for one Slurm job id. Without accounting too, while scontrol remembers the job.
state=$(scontrol show job -o "$1" 2>/dev/null | sed -n 's/.* JobState=\([A-Z_]*\).*/\1/p')
[ -n "$state" ] || state=$(sacct -X -n -P -o State -j "$1" 2>/dev/null | head -n 1 | cut -d' ' -f1)
case "$state" in
  COMPLETED) echo success ;;
  PENDING | RUNNING | CONFIGURING | COMPLETING | SUSPENDED | REQUEUED | "") echo running ;;
  *) echo failed ;;
esac
