#!/usr/bin/env bash
# The whole path on this machine, in one command: broker, store, a warm model, gateway and dispatcher. The stock `openai`
# package, in an environment of its own, sends 64 prompts and gets 64 answers. Everything that is started is stopped at
# the end, however that comes. `make demo` calls it inside the virtual environment.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
export PATH="$here/.venv/bin:$PATH"
work=$(mktemp -d "${TMPDIR:-/tmp}/backburner-demo-XXXXXX")
answers="$here/out/demo-answers.jsonl"
mkdir -p "$here/out"

stop() {
  (cd "$work" && backburner down) || true
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

openai_python=$(python "$here/scripts/openai_environment.py")

cd "$work"
backburner up --detach --gateway
# shellcheck disable=SC1091
. .backburner/env

echo
echo "OpenAI's own client sends the 64 prompts of examples/prompts.jsonl, and one request that is wrong:"
"$openai_python" -u "$here/examples/openai_batch.py" "$here/examples/prompts.jsonl" "$answers" | tee "$work/said"
job=$(sed -n 's/^batch: //p' "$work/said")

echo
python "$here/scripts/show_answers.py" "$here/examples/prompts.jsonl" "$answers"
backburner reconcile "$job"
echo
echo "The batch was the job $job. In the store its results lay under $BACKBURNER_STORE_URL/tenants/default/jobs/$job/segments/;"
echo "the store goes with the demo, and a copy of all answers stays in out/demo-answers.jsonl."
