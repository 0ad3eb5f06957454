#!/usr/bin/env bash
# Unit, contract and fault tests that need no vLLM, in an environment of their own under out/: all that can be run on
# any Python. Called by `make test-no-engine` and `make lowest`.
#   no_engine.sh highest [PYTEST OPTION…]   the newest versions that pyproject.toml admits
#   no_engine.sh lowest [PYTEST OPTION…]    the oldest, so that its bounds stay true; these judge the sources as well
# PYTHON is the interpreter, else python3, or for the oldest python3.11 where there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly versions=$1
shift
readonly environment=$PWD/out/no-engine-$versions
readonly bin=$environment/bin
readonly extras='.[kafka,sqs,gateway,openai-http,local,dev]'

python=${PYTHON:-}
if [[ -z $python && $versions == lowest ]]; then
    # The oldest versions have wheels for the oldest Python alone.
    python=$(command -v python3.11 || true)
fi
python=${python:-python3}

"$python" -m venv --clear "$environment"
if [[ $versions == lowest ]]; then
    # uv reads its own UV_… variables, not pip's settings.
    "$bin/pip" install --quiet --disable-pip-version-check uv
    "$bin/uv" pip install --quiet --python "$bin/python" --resolution lowest-direct --editable "$extras"
else
    "$bin/pip" install --quiet --disable-pip-version-check --editable "$extras"
fi

# Programs that tests start are looked for there first.
export PATH=$bin:$PATH
python --version
if [[ $versions == lowest ]]; then
    ruff check
    ruff format --check
    mypy
    lint-imports
fi
exec pytest "$@" -m 'not vllm' tests/unit tests/contract tests/faults
