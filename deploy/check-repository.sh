#!/bin/sh
# What the repository must not hold: secrets, download addresses in locks, paths of one machine.
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0
complain() {
    echo "$1" >&2
    failed=1
}
if grep -nE '://|--(index|extra-index|find-links|trusted)' requirements/*.txt; then
    complain "a lock holds an address; write it again with: make lock"
fi
for lock in requirements/*.txt; do
    unhashed=$(awk '/==/ { n++ } /--hash=/ { if (!seen[n]++) h++ } END { print n - h }' "$lock")
    [ "$unhashed" = 0 ] || complain "$lock: $unhashed requirements without a hash; write it again with: make lock"
done
tracked=$(git ls-files | grep -E '(^|/)(uv\.lock|\.env|[^/]*\.(pem|key|nk|seed))$')
[ -z "$tracked" ] || complain "should not be tracked: $tracked"
git ls-files '*package-lock.json' | while read -r file; do
    ! grep -q '"resolved"' "$file" || { echo "$file holds download addresses" >&2; exit 1; }
done || failed=1
if git grep -nIE -e '-----BEGIN [A-Z ]*PRIVATE KEY-----' -- . ':!deploy/check-repository.sh'; then
    complain "a private key stands in the repository"
fi
if git grep -nIE '(^|[^A-Za-z0-9_.])/(home|roo[t])/[a-z]' -- . ':!deploy/check-repository.sh'; then
    complain "a path of one machine stands in the repository"
fi
exit "$failed"
