"""Check installed packages against the OSV database of vulnerabilities.

A known vulnerability fails. Without a network the check is skipped with a message, so that offline work can continue.
"""

from __future__ import annotations

import json
import subprocess
import sys

COMMAND = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--skip-editable", "--timeout", "10"]


def main() -> int:
    """Return 1 if a dependency has a known vulnerability."""
    done = subprocess.run(
        [*COMMAND, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True, check=False
    )
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        sys.stderr.write(f"pip-audit failed; dependencies were not checked: {reason}\n")
        return 0
    faults = [(each["name"], each["version"], fault["id"]) for each in dependencies for fault in each.get("vulns", [])]
    for name, version, fault in faults:
        sys.stderr.write(f"{name} {version} has a known vulnerability: {fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
