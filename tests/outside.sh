#!/usr/bin/env bash
# Fetch the programs by others that some tests want, where that is possible without asking anybody.
# A test whose program is missing says so: it is skipped on a laptop and fails when CI=true.
set -u
wanted=()
for program in age jq; do
    command -v "$program" >/dev/null 2>&1 || wanted+=("$program")
done
[ ${#wanted[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y "${wanted[@]}" >/dev/null
else
    echo "not installed: ${wanted[*]} (as root: apt-get install ${wanted[*]}); their tests are skipped"
fi
exit 0
