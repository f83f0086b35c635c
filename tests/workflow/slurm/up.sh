#!/bin/bash
# up.sh DIR: start a private one-node Slurm below DIR, as any user, without systemd, munge or a line in /etc.
# Needs Debian's slurm-wlm. GPUS (default 1) is the number of GPUs it believes in. Prints the node's SLURM_CONF.
set -eu
export PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$1"/bin "$1"/state "$1"/spool "$1"/log
dir=$(cd "$1" && pwd)  # keep it short: the sockets in spool/ must stay below 108 characters
me=$(id -un)
gpus=${GPUS:-1}
devices=(/dev/null /dev/zero /dev/full /dev/random)  # a gpu needs a device file of its own; Slurm only counts them
read -r control node < <(python3 -c '
import socket
free = [socket.socket(), socket.socket()]
for s in free: s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in free])')

cat > "$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort=$control
SlurmdPort=$node
AuthType=auth/none
CredType=cred/none
SlurmUser=$me
SlurmdUser=$me
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
MailProg=/bin/true
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
DefMemPerCPU=200
MinJobAge=3600
EnforcePartLimits=ALL
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=localhost CPUs=${CPUS:-8} RealMemory=32000 Gres=gpu:$gpus State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
echo AutoDetect=off > "$dir/gres.conf"
for ((i = 0; i < gpus; i++)); do echo "Name=gpu File=${devices[i]}" >> "$dir/gres.conf"; done

# inside a job the plugin drops every SLURM_* variable, SLURM_CONF too, before it calls srun: this puts it back
export SLURM_CONF=$dir/slurm.conf
printf '#!/bin/sh\nSLURM_CONF=%s exec /usr/bin/srun "$@"\n' "$SLURM_CONF" > "$dir/bin/srun"
chmod +x "$dir/bin/srun"

slurmctld
slurmd -N localhost
for _ in $(seq 300); do
  [ "$(sinfo -h -o %T 2> /dev/null)" = idle ] && echo "$SLURM_CONF" && exit
  sleep 0.1
done
tail -n 20 "$dir"/log/*.log >&2
exit 1
