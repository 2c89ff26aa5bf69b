"""What each client is given: the server's address, and rows with the notebook's own answers."""

import json
import sys
from pathlib import Path


def load():
    return sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
