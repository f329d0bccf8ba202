#!/bin/sh
# Write the hashed locks anew. They carry no download addresses: whoever installs says where from.
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
options="--universal --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 --quiet"
for member in redflag redflag-wire redflag-ops redflag-store redflag-broker-config redflag-gateway \
    redflag-dispatcher redflag-scanner-agent redflag-dashboard; do
    options="$options --no-emit-package $member"
done
echo "uv" | $uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet \
    --python-version 3.11 - -o requirements/bootstrap.txt
$uv pip compile $options deploy/pyproject.toml --group pyproject.toml:build -o requirements/run.txt
$uv pip compile $options -c requirements/run.txt deploy/pyproject.toml --group pyproject.toml:build \
    --group pyproject.toml:test --group pyproject.toml:oracle --group pyproject.toml:lint -o requirements/dev.txt
$uv pip compile $options -c requirements/dev.txt scanner-agent/pyproject.toml --group pyproject.toml:build \
    -o requirements/agent.txt
$uv pip compile $options -c requirements/dev.txt scanner-agent/pyproject.toml --group pyproject.toml:build \
    --group pyproject.toml:test --group pyproject.toml:oracle -o requirements/agent-test.txt
