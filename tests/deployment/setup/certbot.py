#!/usr/bin/python3
"""Stands in for certbot, which asks Let's Encrypt: a certificate of nobody's, where certbot puts it, and the hook."""

import argparse
import os
import subprocess
from pathlib import Path

SECONDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("verb", choices=["certonly"])
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--standalone", action="store_true")
    how.add_argument("--webroot", action="store_true")
    parser.add_argument("--webroot-path")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--deploy-hook", required=True)
    given = parser.parse_args()
    assert given.webroot is (given.webroot_path is not None)
    assert not given.webroot or Path(given.webroot_path).is_dir()

    lineage = Path("/etc/letsencrypt/live", given.domain)
    lineage.mkdir(parents=True, exist_ok=True)
    made = ["-keyout", str(lineage / "privkey.pem"), "-out", str(lineage / "fullchain.pem")]
    named = ["-subj", f"/CN={given.domain}", "-addext", f"subjectAltName=DNS:{given.domain}"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(["openssl", "req", "-x509", *kind, *named, *made], check=True, timeout=SECONDS)
    hook = {**os.environ, "RENEWED_LINEAGE": str(lineage)}
    subprocess.run(["sh", "-c", given.deploy_hook], env=hook, check=True, timeout=SECONDS)


main()
