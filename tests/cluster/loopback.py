"""A Slurm cluster of one node on this machine: munged, slurmctld and slurmd of one's own, in one folder.

Nothing outside the folder is read or written, and other clusters on the machine are not touched: own ports on
127.0.0.1, own munge key and socket. The daemons run in the foreground as children, so that they are ended by their
process id.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "srun", "squeue", "scontrol", "sinfo")
CONFIG = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
KillWait=2
MinJobAge=2
MessageTimeout=20
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=loop Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs of Slurm and munge that are not on the path."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in (*DAEMONS, *COMMANDS) if shutil.which(name, path=path) is None]


@contextlib.contextmanager
def cluster(folder: Path, *, start_timeout: float = 40) -> Iterator[dict[str, str]]:
    """Start the daemons and wait for the node; yields the environment for Slurm's commands; stops the daemons.

    Raises `TimeoutError` with the ends of the logs if the node does not come up in time.
    """
    (folder / "state").mkdir(parents=True)
    (folder / "spool").mkdir()
    folder.chmod(0o755)
    host = socket.gethostname().partition(".")[0]
    controller_port, node_port = _free_ports(2)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            host=host,
            folder=folder,
            user=getpass.getuser(),
            controller_port=controller_port,
            node_port=node_port,
            cpus=os.cpu_count(),
        )
    )
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    environment = {
        **os.environ,
        "SLURM_CONF": str(config),
        "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
    }
    files = {"key-file": key, **{name: folder / f"munge.{name}" for name in ("socket", "pid-file", "log-file")}}
    munge = ["munged", "--foreground", "--force", f"--seed-file={folder / 'munge.seed'}"]
    commands = [
        [*munge, *(f"--{option}={file}" for option, file in files.items())],
        ["slurmctld", "-D", "-c", "-f", str(config)],
        ["slurmd", "-D", "-f", str(config), "-N", host],
    ]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            out = (folder / f"{command[0]}.out").open("wb")
            running.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True))
            out.close()
            if command[0] == "munged":
                _wait(lambda: (folder / "munge.socket").exists(), folder, running, 10)
        _wait(lambda: "idle" in _output(["sinfo", "-h", "-o", "%t"], environment), folder, running, start_timeout)
        yield environment
    finally:
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            subprocess.run(["scancel", "--me"], env=environment, timeout=10, capture_output=True, check=False)
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait(ready: object, folder: Path, running: list[subprocess.Popen[bytes]], timeout: float) -> None:
    assert callable(ready)
    deadline = time.monotonic() + timeout
    while not ready():
        dead = [process.args[0] for process in running if process.poll() is not None]  # type: ignore[index]
        if dead or time.monotonic() > deadline:
            logs = {file.name: file.read_text(errors="replace")[-700:] for file in folder.glob("*.[lo][ou][gt]")}
            raise TimeoutError(f"no cluster: {dead or 'node not idle'}; {logs}")
        time.sleep(0.1)


def _output(command: list[str], environment: dict[str, str]) -> str:
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""
