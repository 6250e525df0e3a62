# The engine puts this file in front of each of the other scripts.
set -eu
fail() { echo "$*" >&2; exit 1; }

# ids <user[:group]>: prints the owner for chown. A user alone stands for that user and its
# group. A number alone is used for both, and needs no account.
ids() {
    case $1 in
    *:*) echo "$1" ;;
    "" | *[!0-9]*)
       id -u "$1" >/dev/null 2>&1 || fail "user '$1' does not exist"
       echo "$1:$(id -g "$1")" ;;
    *) echo "$1:$1" ;;
    esac
}

# make_dir <path> <owner>: creates a directory; new directories belong to the owner.
make_dir() {
    [ -d "$1" ] && return
    new=$1
    while [ ! -e "$(dirname "$new")" ]; do new=$(dirname "$new"); done
    mkdir -p "$1"
    chown -R "$2" "$new"
}

home_of() { { getent passwd "$1" 2>/dev/null || grep "^$1:" /etc/passwd; } | cut -d: -f6; }
