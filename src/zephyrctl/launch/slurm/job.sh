#!/bin/bash
# One stage of a run, on the first of its nodes. The text is fixed and every value is an argument, so
# that no name can become a command:
#   job.sh RUN STAGE REQUEUE MODULES PYTHON [SRUN_OPTION...] -- COMMAND...
# REQUEUE is 1 or 0; MODULES a list with spaces, or empty; PYTHON what must run zephyrctl on each
# node, or empty where a container brings it.
run=$1 stage=$2 requeue=$3 modules=$4 python=$5
shift 5
options=()
while [ "$1" != -- ]; do
    options+=("$1")
    shift
done
shift

stop() {
    printf 'error: %s\nhint: %s\n' "$1" "$2"
    exit 3
}

# Since 22.05 srun no longer takes the number of cores over from sbatch.
if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then
    export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
fi
if [ -n "$modules" ]; then
    type module >/dev/null 2>&1 || . /etc/profile >/dev/null 2>&1
    for name in $modules; do
        module load "$name" || stop "node $SLURMD_NODENAME cannot load the module $name" \
            "module avail; the list is launch.slurm.modules"
    done
fi

# On every node: a folder that is missing on one of them would let the others wait for it.
check='
stop() { printf "error: node %s %s\nhint: %s\n" "$SLURMD_NODENAME" "$1" "$2"; exit 3; }
[ -r "$1/config.json" ] || stop "does not see the run folder $1" \
    "--set output_root=FOLDER, one on a disk that the nodes share"
[ "$2" -ef . ] || stop "does not see the working folder $2" \
    "run the command from a folder on a disk that the nodes share"
[ -z "$3" ] || "$3" -c "import zephyrctl" || stop "cannot run zephyrctl with $3" \
    "--set launch.slurm.python=PYTHON, one that the nodes share"
'
srun --ntasks-per-node=1 --kill-on-bad-exit=0 --cpu-bind=none \
    bash -c "$check" check "$run" "$SLURM_SUBMIT_DIR" "$python" || exit

rm -f -- "$run/$stage"/error-rank*.json "$run/$stage"/error-node*.json
checkpoints() { ls "$run/$stage/checkpoints" 2>/dev/null; }
before=$(checkpoints)

# A node that is done must not end the others: the first one still writes what all of them made.
srun --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=0 --cpu-bind=none \
    "${options[@]}" "$@"
code=$?
[ "$code" -eq 75 ] || exit "$code"

# Stopped early. Back into the queue, unless somebody asked for the stop (the follower then takes
# the permission back) or the attempt got no further, which the next one would not either.
after=$(checkpoints)
if [ "$requeue" = 1 ] && { [ "$before" != "$after" ] || [ -z "$after" ]; }; then
    case " $(scontrol show job --oneliner "$SLURM_JOB_ID") " in
    *" JobState=RUNNING "*" Requeue=1 "*)
        scontrol requeue "$SLURM_JOB_ID" && sleep 60
        exit 75
        ;;
    esac
fi
# Not 75: a cluster with RequeueExit=75 would put the job back all the same.
exit 143
