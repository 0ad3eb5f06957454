#!/usr/bin/env bash
# Makes .venv: the CPU build of vLLM from its lock, then this package with every extra but the GPU's `worker`.
# Called by `make setup`. Does nothing but renew the stamp where neither its inputs nor the place changed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly lock=requirements/worker-cpu.lock
readonly torch_index=https://download.pytorch.org/whl/cpu
readonly log=.venv/setup.log

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Python 3.11 to 3.13 that can make virtual environments.
suits() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if suits "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    local found="no ${PYTHON:-python3}"
    if command -v "${PYTHON:-python3}" >/dev/null; then
        found="$("${PYTHON:-python3}" --version 2>&1 || true)"
    fi
    fail "needs Python 3.11, 3.12 or 3.13 with venv, and found $found.
  Debian, Ubuntu:  sudo apt install python3 python3-venv
  Fedora:          sudo dnf install python3.13
  macOS:           brew install python@3.13
or name one that you have: make setup PYTHON=/path/to/python3.12"
}

# What .venv was made from and where: an environment that was copied elsewhere has scripts that point back.
stamp_of_inputs() {
    pwd
    .venv/bin/python --version
    cksum pyproject.toml "$lock" Makefile scripts/setup.sh
}

install() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "$@" >>"$log" 2>&1
}

show_log() {
    tail -n 15 "$log" >&2
    fail "$1 did not work; the whole log is in $log.
Check the network and the room on the disk (3 GB), then run \`make setup\` again."
}

if [[ -x .venv/bin/python && -f .venv/.stamp ]] && [[ "$(stamp_of_inputs)" == "$(<.venv/.stamp)" ]]; then
    touch .venv/.stamp
    exit 0
fi

python="$(find_python)"
if ! { [[ -x .venv/bin/python ]] && suits .venv/bin/python; }; then
    echo "setup: making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
rm -f .venv/.stamp
: >"$log"

echo "setup: installing the CPU build of vLLM (2 GB, about a minute)"
if ! install --no-deps -r "$lock"; then
    if grep -qE 'No matching distribution found for torch(vision)?==' "$log"; then
        echo "setup: pip found no CPU build of torch; trying PyTorch's own index, $torch_index"
        install --no-deps -r "$lock" --extra-index-url "$torch_index" || show_log "installing from PyTorch's index"
    else
        show_log "installing $lock"
    fi
fi

echo "setup: installing Backburner with its extras and the tools of development"
install --editable '.[kafka,sqs,gateway,local,dev]' --constraint "$lock" || show_log "installing Backburner"

# A GPU build of torch or one of its companions breaks the import of vLLM, and pip does not notice.
.venv/bin/python -c 'import torch; assert torch.version.cuda is None, "torch is a GPU build"' 2>>"$log" ||
    show_log "importing torch"

stamp_of_inputs >.venv/.stamp
echo "setup: done"
