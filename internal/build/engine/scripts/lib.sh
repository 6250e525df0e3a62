# Sourced by the other scripts, by being put in front of them.
set -eu
fail() { echo "$*" >&2; exit 1; }

# ids <user[:group]>: the owner as chown takes it; a user alone means his own group. A
# number alone is the group's as well, and needs no account.
ids() {
    case $1 in
    *:*) echo "$1" ;;
    "" | *[!0-9]*)
       id -u "$1" >/dev/null 2>&1 || fail "user '$1' does not exist"
       echo "$1:$(id -g "$1")" ;;
    *) echo "$1:$1" ;;
    esac
}

# make_dir <path> <owner>: directories that are new belong to the owner.
make_dir() {
    [ -d "$1" ] && return
    new=$1
    while [ ! -e "$(dirname "$new")" ]; do new=$(dirname "$new"); done
    mkdir -p "$1"
    chown -R "$2" "$new"
}

home_of() { { getent passwd "$1" 2>/dev/null || grep "^$1:" /etc/passwd; } | cut -d: -f6; }
