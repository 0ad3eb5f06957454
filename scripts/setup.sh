#!/usr/bin/env bash
# Makes .venv: the CPU build of vLLM from its lock, then this package with every extra but the GPU's `worker`.
# Called by `make setup`. What the machine lacks is found before anything is downloaded, all of it at once. Does nothing
# but renew the stamp where neither its inputs nor the place changed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly lock=requirements/worker-cpu.lock
readonly torch_index=https://download.pytorch.org/whl/cpu
readonly log=.venv/setup.log
readonly room_gb=4
readonly full_mb=300 # The largest wheel takes that much while it is unpacked.
# The README says the same, word for word; a test compares them.
readonly install_lines='  Debian, Ubuntu:  sudo apt install make python3 python3-venv libnuma1
  Fedora:          sudo dnf install make python3 numactl-libs'

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Python 3.11 to 3.14.
is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1
}

has_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

# vLLM's CPU build is linked against this library, and no wheel brings it.
has_libnuma() {
    "$1" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' >/dev/null 2>&1
}

# Sets `python` to the first that can be used, or says on stdout, a line each, what is in the way.
python=''
find_python() {
    local candidate wanted="${PYTHON:-python3}"
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if is_supported "$candidate" && has_venv "$candidate"; then
            python="$candidate"
            return
        fi
    done
    if ! command -v "$wanted" >/dev/null; then
        lacks+=("Python 3.11 to 3.14; there is no $wanted")
    elif ! is_supported "$wanted"; then
        lacks+=("Python 3.11 to 3.14; $wanted is $("$wanted" --version 2>&1 || true)")
    else
        lacks+=("a Python that makes virtual environments; $wanted is $("$wanted" --version 2>&1) without venv")
    fi
}

free_mb() {
    local free
    read -r _ _ _ free _ < <(df -Pk . | tail -n 1)
    echo "$((free / 1024))"
}

# What stands in .venv already need not be written again.
check_room() {
    local used_kb=0
    if [[ -d .venv ]]; then
        read -r used_kb _ < <(du -sk .venv)
    fi
    if (($(free_mb) + used_kb / 1024 < room_gb * 1024)); then
        lacks+=("$room_gb GB of room on the disk of $PWD; $(free_mb) MB are free")
    fi
}

# Ends with everything that is missing, before a byte is downloaded.
check_machine() {
    local lacks=() packages=''
    if [[ "$(uname -s)" != Linux ]]; then
        fail "needs Linux, and this is $(uname -s); use a Linux container or a virtual machine"
    fi
    case "$(uname -m)" in
        x86_64 | aarch64) ;;
        *) fail "needs x86_64 or aarch64, and this is $(uname -m); vLLM's CPU build has no wheel for it" ;;
    esac
    find_python
    if [[ -n "$python" ]] && ! has_libnuma "$python"; then
        lacks+=("the library libnuma.so.1, without which vLLM's CPU build cannot load")
    fi
    if ((${#lacks[@]} > 0)); then
        packages="$install_lines"
    fi
    if [[ -z "$python" ]]; then
        packages+=$'\nor name a Python that you have:  make setup PYTHON=/path/to/python3.12'
    fi
    check_room
    if ((${#lacks[@]} > 0)); then
        printf 'setup: this machine lacks\n' >&2
        printf -- '  - %s\n' "${lacks[@]}" >&2
        [[ -z "$packages" ]] || printf '%s\n' "$packages" >&2
        exit 1
    fi
}

# What .venv was made from and where: an environment that was copied elsewhere has scripts that point back.
stamp_of_inputs() {
    pwd
    .venv/bin/python --version
    cksum pyproject.toml "$lock" Makefile scripts/setup.sh
}

# Wheels are unpacked beside .venv: on many machines /tmp is a small disk in memory.
install() {
    TMPDIR="$PWD/.venv/tmp" .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "$@" >>"$log" 2>&1
}

show_log() {
    # On a full disk the log may not say so: it is on that disk itself.
    if grep -q 'No space left on device' "$log" || (($(free_mb) < full_mb)); then
        fail "$1 did not work: the disk of $PWD is full. It takes $room_gb GB; make room, then run \`make setup\` again."
    fi
    tail -n 15 "$log" >&2
    fail "$1 did not work; the whole log is in $log.
Check that the network reaches it, then run \`make setup\` again."
}

if [[ -x .venv/bin/python && -f .venv/.stamp ]] && [[ "$(stamp_of_inputs)" == "$(<.venv/.stamp)" ]]; then
    touch .venv/.stamp
    exit 0
fi

check_machine
if ! { [[ -x .venv/bin/python ]] && is_supported .venv/bin/python && has_venv .venv/bin/python; }; then
    echo "setup: making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
rm -f .venv/.stamp
: >"$log"
mkdir -p .venv/tmp
trap 'rm -rf .venv/tmp' EXIT

echo "setup: installing the CPU build of vLLM (2 GB, about a minute)"
if ! install --no-deps -r "$lock"; then
    if grep -qE 'No matching distribution found for torch(vision)?==' "$log"; then
        echo "setup: pip found no CPU build of torch; asking PyTorch's own index, $torch_index (a minute at most)"
        grep -E '^torch(vision)?==' "$lock" >.venv/tmp/torch.txt
        install --no-deps -r .venv/tmp/torch.txt --index-url "$torch_index" --timeout 15 --retries 1 ||
            show_log "installing torch from $torch_index"
        install --no-deps -r "$lock" || show_log "installing $lock"
    else
        show_log "installing $lock"
    fi
fi

echo "setup: installing Backburner with its extras and the tools of development"
install --editable '.[kafka,sqs,gateway,openai-http,local,dev]' --constraint "$lock" || show_log "installing Backburner"

# A GPU build of torch or one of its companions breaks the import of vLLM, and pip does not notice.
.venv/bin/python -c 'import torch; assert torch.version.cuda is None, "torch is a GPU build"' 2>>"$log" ||
    show_log "importing torch"

stamp_of_inputs >.venv/.stamp
echo "setup: done"
