"""A real object store: one node of Ceph with its S3 gateway on loopback, its data in memory.

It takes about fifteen seconds to start, so tests share one and have a bucket each (`Ceph.bucket`).
"""

import contextlib
import itertools
import json
import select
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any

import boto3
import botocore.config
from botocore.exceptions import ClientError

from tests.harness.components import require
from tests.harness.ports import free_ports

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "ceph-authtool", "monmaptool")
START_SECONDS = 120.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.1  # none of Ceph's daemons tells when it is ready
OWNER, READER = ("AKTEST", "SKTEST12SKTEST12"), ("AKOTHER", "SKOTHER1SKOTHER1")
SMALL = ("AKSMALL", "SKSMALL1SKSMALL1")

CONFIG = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}
ms_bind_ipv6 = false
public_network = 127.0.0.0/8
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
# Without it clients wait for a secure connection for ever, since there are no keys.
ms_mon_client_mode = crc
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_memory_target = 939524096
osd_op_num_shards = 1
admin_socket = {folder}/run/$name.asok
run_dir = {folder}/run
log_file =
mon_cluster_log_file = /dev/null
[mon.a]
mon_data = {folder}/mon
[osd.0]
osd_data = {folder}/osd
[client.rgw.a]
rgw_data = {folder}/rgw
rgw_enable_usage_log = false
rgw_thread_pool_size = 64
rgw_run_sync_thread = false
rgw_dynamic_resharding = false
# Or each change of a bucket waits half a minute for a gateway that was killed.
rgw_cache_enabled = false
# Let a quota count at once what was written, as a test wants it.
rgw_bucket_quota_ttl = 0
"""


@dataclass(frozen=True)
class TestBucket:
    """A bucket of its own for one test; `settings` are the configuration's `storage.s3`."""

    name: str
    ceph: "Ceph"
    client: Any
    settings: dict[str, str]

    __test__ = False

    def all_keys(self) -> list[str]:
        """All keys, without what the cache puts before each."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        found = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return [key.removeprefix("registry-cache/1/") for key in found]

    def read(self, key: str) -> bytes | None:
        try:
            data: bytes = self.client.get_object(Bucket=self.name, Key=f"registry-cache/1/{key}")["Body"].read()
        except ClientError:
            return None
        return data

    def let_read_and_write_but_not_list(self, account: tuple[str, str]) -> None:
        """Let the other account do with objects what a cache does, and not list them."""
        assert account == READER
        actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        who = {"AWS": ["arn:aws:iam:::user/u1"]}
        statement = {"Effect": "Allow", "Principal": who, "Action": actions, "Resource": f"arn:aws:s3:::{self.name}/*"}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self.client.put_bucket_policy(Bucket=self.name, Policy=json.dumps(policy))

    def forbids_to_see(self, key: str, account: tuple[str, str]) -> bool:
        """Whether what is not there is answered with 403."""
        try:
            self.ceph.client(account).get_object(Bucket=self.name, Key=key)
        except ClientError as error:
            return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 403)
        return False

    def remove(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=f"registry-cache/1/{key}")

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"registry-cache/1/{key}", Body=data)


class Ended(AssertionError):
    """The gateway ended by itself; with its status and what it had said."""


class Ceph:
    """The daemons, as processes of this one. Everything lives under `folder`."""

    def __init__(self, folder: Path) -> None:
        for program in PROGRAMS:
            require(program)
        self._folder = folder
        self._config = folder / "ceph.conf"
        self._log = (folder / "log").open("wb")
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._names = itertools.count(1)
        v1, v2 = free_ports(2)
        for name in ("mon", "osd", "run", "rgw"):
            (folder / name).mkdir(parents=True)
        fsid = str(uuid.uuid4())
        self._config.write_text(CONFIG.format(fsid=fsid, v1=v1, v2=v2, folder=folder))
        try:
            self._start_cluster(fsid, f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]")
            self._start_first_gateway()
            for number, account in enumerate((OWNER, READER)):
                self._make_account(number, account)
        except BaseException:
            self.close()
            raise

    def bucket(self) -> TestBucket:
        """Make a bucket."""
        return self._bucket(OWNER)

    def small_bucket(self, most: int) -> TestBucket:
        """Make the one bucket that holds `most` bytes at most: the gateway reads an account's bound once."""
        self._make_account(2, SMALL)
        for words in (("set", f"--max-size={most}"), ("enable",)):
            self._admin("quota", *words, "--quota-scope=bucket", "--uid=u2")
        return self._bucket(SMALL)

    def settings(self, bucket: str, account: tuple[str, str]) -> dict[str, str]:
        return {
            "region": "us-east-1",
            "bucket": bucket,
            "regionendpoint": self.url,
            "accesskey": account[0],
            "secretkey": account[1],
        }

    def client(self, account: tuple[str, str]) -> Any:
        """Return boto3's client, to look at what the cache did."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=account[0],
            aws_secret_access_key=account[1],
            config=botocore.config.Config(
                request_checksum_calculation="when_required", s3={"addressing_style": "path"}, proxies={}
            ),
        )

    # The gateway: what clients see of it all. The data stay where they are.

    def start_gateway(self) -> None:
        frontends = f"--rgw-frontends=beast endpoint=127.0.0.1:{self._port}"
        self._spawn("rgw", "radosgw", "-n", "client.rgw.a", "-f", frontends)
        _await(self._answers, "the S3 gateway")

    def kill_gateway(self) -> None:
        """SIGKILL, as when its machine loses power."""
        self._end("rgw", signal.SIGKILL)

    def pause_gateway(self) -> None:
        """SIGSTOP: it accepts connections and never answers."""
        self._daemons["rgw"].send_signal(signal.SIGSTOP)

    def resume_gateway(self) -> None:
        self._daemons["rgw"].send_signal(signal.SIGCONT)

    def close(self) -> None:
        for name in ("rgw", "osd", "mon"):
            self._end(name, signal.SIGKILL)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_first_gateway(self) -> None:
        """On another port where it has ended by itself: another program may have taken that meanwhile."""
        for tries_left in (2, 1, 0):
            [self._port] = free_ports(1)
            self.url = f"http://127.0.0.1:{self._port}"
            try:
                self.start_gateway()
                break
            except Ended:
                if not tries_left:
                    raise

    def _bucket(self, account: tuple[str, str]) -> TestBucket:
        client, name = self.client(account), f"bucket-{next(self._names)}"
        client.create_bucket(Bucket=name)
        return TestBucket(name, self, client, self.settings(name, account))

    def _make_account(self, number: int, account: tuple[str, str]) -> None:
        keys = ("--access-key", account[0], "--secret-key", account[1])
        self._admin("user", "create", f"--uid=u{number}", "--display-name=u", *keys)

    def _start_cluster(self, fsid: str, address: str) -> None:
        folder = self._folder
        self._run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", address, f"{folder}/monmap")
        keyring = f"{folder}/keyring"
        self._run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._run("ceph-mon", *self._options, "--mkfs", "-i", "a", "--monmap", f"{folder}/monmap", "--keyring", keyring)
        self._spawn("mon", "ceph-mon", "-f", "-i", "a")
        _await(lambda: self._says("-s") is not None, "the monitor")
        self._says("config", "set", "mon", "auth_allow_insecure_global_id_reclaim", "false")
        osd = str(uuid.uuid4())
        assert self._says("osd", "new", osd, "0") is not None
        self._run("ceph-osd", *self._options, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._spawn("osd", "ceph-osd", "-f", "-i", "0")
        _await(lambda: json.loads(self._says("osd", "stat", "-f", "json") or "{}").get("num_up_osds"), "the disk")

    @property
    def _options(self) -> tuple[str, str]:
        return "-c", str(self._config)

    def _says(self, *arguments: str) -> str | None:
        with contextlib.suppress(subprocess.SubprocessError):
            return self._run("ceph", *self._options, "--connect-timeout", "5", *arguments)
        return None

    def _admin(self, *arguments: str) -> None:
        self._run("radosgw-admin", *self._options, *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=self._log, timeout=60, check=True, text=True)
        return done.stdout

    def _spawn(self, name: str, program: str, *arguments: str) -> None:
        command = [program, *self._options, *arguments]
        log: IO[bytes] = self._log
        self._daemons[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _end(self, name: str, number: signal.Signals) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is not None:
            daemon.send_signal(number)
            daemon.wait(STOP_SECONDS)

    def _answers(self) -> bool:
        status = self._daemons["rgw"].poll()
        if status is not None:
            log = (self._folder / "log").read_text(errors="replace")
            raise Ended(f"the S3 gateway ended with {status}: {log[-4000:]}")
        try:
            with contextlib.closing(HTTPConnection(self.url.removeprefix("http://"), timeout=5)) as connection:
                connection.request("GET", "/")
                return connection.getresponse().status > 0
        except (OSError, HTTPException):
            return False


@contextlib.contextmanager
def ceph(folder: Path) -> Iterator[Ceph]:
    """A running Ceph; ended at the end of the block."""
    found = Ceph(folder)
    try:
        yield found
    finally:
        found.close()


def _await(is_ready: Any, what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        assert time.monotonic() < deadline, f"{what} did not start in {START_SECONDS} s"
        select.select([], [], [], POLL_SECONDS)
