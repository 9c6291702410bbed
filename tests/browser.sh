#!/bin/sh
# What the tests of pages in a browser need: Chromium, by apt, and axe-core, by npm. Where one of them cannot be
# installed, these tests are skipped.
# Usage: tests/browser.sh FOLDER
set -u
if ! command -v chromium >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
    run=""
    [ "$(id -u)" = 0 ] || run="sudo -n"
    $run apt-get install --yes --quiet --no-install-recommends chromium >/dev/null 2>&1 \
        || { $run apt-get update --quiet >/dev/null 2>&1 \
            && $run apt-get install --yes --quiet --no-install-recommends chromium >/dev/null 2>&1; } || true
fi
command -v chromium >/dev/null 2>&1 || echo 'Chromium cannot be installed here: tests in a browser are skipped.'
if [ ! -f "$1/axe.min.js" ]; then
    mkdir -p "$1"
    (cd "$1" && npm pack --silent axe-core@4.14.1 >/dev/null 2>&1 \
        && tar -xzf axe-core-4.14.1.tgz --strip-components=1 package/axe.min.js) \
        || echo 'axe-core cannot be installed here: its test is skipped.'
fi
