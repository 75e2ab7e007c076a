#!/usr/bin/env bash
# Fetch the programs by others that some tests want, where that is possible without asking anybody.
# A test whose program is missing says so: it is skipped on a laptop and fails when CI=true.
set -u
wanted=()
for program in age curl jq strace; do
    command -v "$program" >/dev/null 2>&1 || wanted+=("$program")
done
command -v softhsm2-util >/dev/null 2>&1 || wanted+=(softhsm2)
command -v java >/dev/null 2>&1 || [ -n "${JAVA_HOME:-}" ] || wanted+=(openjdk-17-jre-headless)
if [ ${#wanted[@]} -eq 0 ]; then
    :
elif [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y "${wanted[@]}" >/dev/null
else
    echo "not installed: ${wanted[*]} (as root: apt-get install ${wanted[*]}); their tests are skipped"
fi

# clients from npm: versions and hashes are locked, install scripts don't run
clients="$(dirname "$0")/clients"
if [ "$clients/node_modules/.package-lock.json" -nt "$clients/package-lock.json" ]; then
    :
elif command -v npm >/dev/null 2>&1; then
    npm ci --prefix "$clients" --ignore-scripts --no-audit --no-fund --loglevel=error ||
        echo "not installed: the packages of tests/clients/package.json; their tests are skipped"
else
    echo "not installed: npm (Debian packages nodejs, npm); the tests of tus-js-client are skipped"
fi

# PySpark comes as source (half a gigabyte), so that it isn't in requirements.lock
python="$(dirname "$0")/../.venv/bin/python"
"$python" -c 'import pyspark' 2>/dev/null ||
    "$python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        --no-build-isolation -r "$(dirname "$0")/../requirements-spark.lock" ||
    echo "not installed: PySpark (pip install -r requirements-spark.lock); its tests are skipped"
exit 0
