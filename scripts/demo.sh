#!/usr/bin/env bash
# The whole path on this machine, in one command: broker, store, a warm model, 64 prompts in, 64 answers out.
# Everything that it starts is stopped at its end, however that comes. `make demo` calls it inside the virtual environment.
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

cd "$work"
backburner up --detach
# shellcheck disable=SC1091
. .backburner/env

echo
echo "64 prompts from examples/prompts.jsonl go onto the queue:"
job=$(backburner submit "$here/examples/prompts.jsonl" --wait -o "$answers")

echo
python "$here/scripts/show_answers.py" "$here/examples/prompts.jsonl" "$answers"
backburner reconcile "$job"
echo
echo "The job was $job. In the store its results lay under $BACKBURNER_STORE_URL/tenants/default/jobs/$job/segments/;"
echo "the store goes with the demo, and a copy of all answers stays in out/demo-answers.jsonl."
