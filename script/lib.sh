# Shared by the scripts beside it: where things are, and how they speak.
# Sourced, never run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
package_list=$top/script/userland.packages
cache=${PROSCENIUM_CACHE:-/var/cache/proscenium}

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

packages() { sed 's/#.*//' "$package_list" | tr -s ' \t\n' ' ' | sed 's/^ //; s/ $//'; }

# The userland is named by its package list: a second clone with the same list reuses it.
userland_hash() { packages | sha256sum | cut -c1-16; }
userland=$cache/userland-$(userland_hash)

host_is_userland() {
    [ "$(. /etc/os-release && printf '%s-%s' "$ID" "${VERSION_ID:-}")" = debian-13 ]
}
