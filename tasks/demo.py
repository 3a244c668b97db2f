"""`make run`: the main job from end to end, with everything that it needs started and stopped around it.

A list of ids goes through the command line to two workers, and the report stands beside the simulator's own count. The
real API is called only where a private key is set, a file is named, and somebody agreed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.settings import ConfigError, Settings, load_settings
from config.windows import Window
from simulator import Control
from tasks.demo_input import DemoInput, make_input, write_list
from tasks.local_processes import Places, simulated
from tasks.local_run import LocalRun
from tasks.ports import answers, free_port
from tasks.reading import InputError, read_file_ids
from tasks.supervisor import StopSignals
from tasks.up import say
from worker.errors import KitsweepError

FILES = 20_000
LIMIT = Window(20, 1000)
"""20 calls a second: some 15 seconds for the list."""
WORKERS = 2
REFUSAL = "Your request contains invalid fileId parameter."
"""IMAGEKIT_API: what the API says of an id that it refuses."""
