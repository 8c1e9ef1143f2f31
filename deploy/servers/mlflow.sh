#!/usr/bin/env bash
# MLflow's server for several machines: runs, versions and users in PostgreSQL, artifacts through the server to S3,
# a name and a password for every request. Secrets come from the environment and stand on no command line.
set -euo pipefail

: "${MLFLOW_BACKEND_STORE_URI:?postgresql+psycopg2://mlflow:...@host/mlflow: runs and versions}"
: "${MLFLOW_USERS_DATABASE_URI:?postgresql+psycopg2://mlflow:...@host/mlflow_users: names, passwords, permissions}"
: "${MLFLOW_ARTIFACTS_DESTINATION:?s3://bucket/prefix; the server alone needs credentials for it}"
: "${MLFLOW_FLASK_SERVER_SECRET_KEY:?any long random text, the same for all instances of the server}"
: "${MLFLOW_AUTH_ADMIN_PASSWORD:?at the first start the password of the user admin, 12 characters at least}"
: "${MLFLOW_SERVER_ALLOWED_HOSTS:?the names under which clients reach the server: mlflow.example,mlflow.example:5000}"
export MLFLOW_SERVER_ALLOWED_HOSTS
export MLFLOW_BACKEND_STORE_URI MLFLOW_ARTIFACTS_DESTINATION MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_AUTH_ADMIN_PASSWORD
export MLFLOW_SERVE_ARTIFACTS=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false

config=$(mktemp -d)
trap 'rm -rf "$config"' EXIT
export MLFLOW_AUTH_CONFIG_PATH="$config/basic_auth.ini"
# MLflow takes the address of its users from a file only; a % would begin a reference there. Without the cache each
# request hashes a password anew, for some 100 ms; with it a password that was changed counts for up to a minute more.
(umask 077 && printf '[mlflow]\ndefault_permission = READ\ndatabase_uri = %s\nadmin_username = admin\nauth_cache_ttl_seconds = 60\n' \
  "${MLFLOW_USERS_DATABASE_URI//%/%%}" >"$MLFLOW_AUTH_CONFIG_PATH")

tls=()
if [ -n "${MLFLOW_TLS_CERTIFICATE:-}" ]; then
  tls=(--uvicorn-opts "--ssl-certfile $MLFLOW_TLS_CERTIFICATE --ssl-keyfile ${MLFLOW_TLS_KEY:?the file of its key}")
fi

mlflow server --app-name basic-auth --host "${MLFLOW_HOST:-127.0.0.1}" --port "${MLFLOW_PORT:-5000}" \
  --workers "${MLFLOW_WORKERS:-2}" "${tls[@]}" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null; wait "$server" || true; rm -rf "$config"' EXIT
trap 'exit 143' TERM INT
wait "$server"
