"""Asks the gateway for its models ten times a second until it is told to end; then prints what came, as JSON.

usage: ask_gateway.py URL KEY. A call that was refused or broken counts as one that failed, with its reason.
"""

import json
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter

_PAUSE_SECONDS = 0.1
_CALL_SECONDS = 10

ended = threading.Event()
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: ended.set())
answered, failed = 0, Counter()
url, key = sys.argv[1:]
while not ended.wait(_PAUSE_SECONDS):
    request = urllib.request.Request(f"{url}/models", headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=_CALL_SECONDS) as answer:
            answer.read()
        answered += 1
    except (OSError, urllib.error.URLError) as error:
        failed[repr(error)] += 1
print(json.dumps({"answered": answered, "failed": failed}))
