"""Running stages as jobs of a Slurm cluster.

A command on a login node submits one job for each stage that is due and follows it as it would
follow its own processes; the run's folder must be on a disk that the nodes share. The job belongs
to the cluster: when the command is killed, or its connection lost, the job goes on, and the same
command follows it again. Only Ctrl-C and SIGTERM end both.

Secrets reach the job through the environment that sbatch hands over, which the controller keeps
for itself: they stand neither in the script nor in what `scontrol show job` tells, nor in the
run's folder. Variables that look like secrets and that no stage needs stay behind. A cluster whose
accounting stores environments (`AccountingStoreFlags=job_env`) would store these too; that is said
before such a job is submitted.
"""
