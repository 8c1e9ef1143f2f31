#!/usr/bin/env bash
# The image: built by docker where its daemon runs; else its steps, one after the other, without an image.
#   deploy/build_image.sh [TAG]           docker build, and a look at what came out; the steps where there is no daemon
#   deploy/build_image.sh --steps [DIR]   the steps of deploy/Dockerfile in a folder (by default a temporary one)
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

# What the image has to be able to do: every program starts, the code location loads, and doctor finds no package amiss.
# Doctor itself leaves with 3: there is no lake here.
check() {
  "$@" fraud-retraining --version
  "$@" dagster --version
  "$@" python -c "
import importlib, pkgutil, sys
import fraud_retraining
loaded = 0
for one in pkgutil.walk_packages(fraud_retraining.__path__, 'fraud_retraining.'):
    if '.migrations.' in one.name:
        continue
    try:
        importlib.import_module(one.name)
        loaded += 1
    except ModuleNotFoundError as error:
        if error.name != 'pyspark':  # an extra that the image leaves out: 450 MB, and Java
            raise
print(loaded, 'modules load')
found = {'pytest', 'ruff', 'mypy', 'moto'} & {one.name for one in pkgutil.iter_modules()}
sys.exit(f'tools of development: {found}' if found else 0)"
  { "$@" fraud-retraining doctor --json || [ $? = 3 ]; } | "$PYTHON" -c "
import json, sys
found = json.load(sys.stdin)['checks']
wrong = [one for one in found if one['check'] in ('settings', 'python', 'packages') and one['state'] != 'ok']
print(len(found), 'checks by doctor'); sys.exit(f'doctor: {wrong}' if wrong else 0)"
}

# uv does in seconds, from its cache, what pip does more slowly.
find_uv() {
  local one
  for one in uv "$PYTHON -m uv" ".venv/bin/python -m uv"; do
    if $one --version >/dev/null 2>&1; then echo "$one"; return; fi
  done
}

environment() { if [ -n "$UV" ]; then $UV venv --quiet --python "$PYTHON" "$1"; else "$PYTHON" -m venv "$1"; fi; }

install() {
  local python=$1/bin/python
  shift
  if [ -n "$UV" ]; then $UV pip install --quiet --python "$python" "$@"
  else "$python" -m pip install --quiet --disable-pip-version-check "$@"; fi
}

steps() {
  local folder=$1
  UV=$(find_uv)
  echo "== The packages, pinned with hashes"
  environment "$folder/venv"
  install "$folder/venv" --require-hashes -r deploy/requirements.lock
  echo "== The project, as a wheel"
  environment "$folder/build"
  install "$folder/build" --require-hashes -r deploy/build.lock
  if [ -n "$UV" ]; then $UV build --quiet --wheel --no-build-isolation --python "$folder/build/bin/python" -o "$folder/dist" .
  else "$folder/build/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder/dist" .; fi
  install "$folder/venv" --no-deps "$folder"/dist/*.whl
  echo "== What came out"
  if [ -n "$UV" ]; then $UV pip check --python "$folder/venv/bin/python"; else "$folder/venv/bin/python" -m pip check; fi
  mkdir "$folder/home"
  # From another folder: the package is the installed one, not that of the checkout.
  (cd "$folder/home" && check env -u FRAUD_RETRAINING_CONFIG -u DAGSTER_HOME PATH="$folder/venv/bin:$PATH" \
    FRAUD_RETRAINING_HOME="$folder/home")
}

if [ "${1:-}" != --steps ] && docker info >/dev/null 2>&1; then
  image=${1:-example/fraud-retraining:$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)}
  docker build -f deploy/Dockerfile -t "$image" .
  check docker run --rm --read-only --tmpfs /tmp --tmpfs /var/lib/fraud-retraining:uid=10001 "$image"
  echo "built $image"
else
  [ "${1:-}" = --steps ] || echo "no docker daemon answers: the steps of deploy/Dockerfile run here, and no image comes of it"
  folder=${2:-}
  if [ "${1:-}" != --steps ] || [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
  fi
  steps "$folder"
  echo "every step of the image passed"
fi
