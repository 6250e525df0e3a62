# provision: adds what every sandbox has to an image that came from elsewhere.
. /etc/os-release 2>/dev/null || ID=unknown

family=
for id in $ID ${ID_LIKE:-}; do
    case $id in
    rhel | ol | amzn) [ "$id" != "$ID" ] || fail "distribution with ID='$ID' is not supported." ;;
    debian | ubuntu) family=debian ;;
    fedora | centos | rocky | almalinux) family=fedora ;;
    arch | archarm) family=arch ;;
    alpine) family=alpine ;;
    esac
    [ -z "$family" ] || break
done
[ -n "$family" ] || fail "distribution with ID='$ID' is not supported."

# What is there already is not asked for: many images need no package at all.
missing=
want() { command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || missing="$missing $2"; }
want bash bash
want sudo sudo
want curl curl
want tar tar
want jq jq
want git git
want less less
want /etc/ssl/certs/ca-certificates.crt ca-certificates
case $family in
debian)
    want ss iproute2
    want ping iputils-ping
    want find findutils
    want useradd passwd
    want socat socat
    if [ -n "$missing" ]; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        # shellcheck disable=SC2086 # these are words
        apt-get install -y -qq --no-install-recommends $missing
        apt-get clean
        rm -rf /var/lib/apt/lists/*
    fi ;;
fedora)
    want ss iproute
    want find findutils
    want useradd shadow-utils
    # shellcheck disable=SC2086
    [ -z "$missing" ] || dnf install -y -q $missing ;;
arch)
    want ss iproute2
    # shellcheck disable=SC2086
    [ -z "$missing" ] || pacman -Sy --noconfirm --needed $missing ;;
alpine)
    want ss iproute2-ss
    want useradd shadow
    want usermod shadow
    # shellcheck disable=SC2086
    [ -z "$missing" ] || apk add --no-cache $missing findutils coreutils ;;
esac

if command -v update-ca-certificates >/dev/null; then
    update-ca-certificates >/dev/null 2>&1
elif command -v update-ca-trust >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt /etc/pki/ca-trust/source/anchors/ 2>/dev/null || true
    update-ca-trust
fi
[ -e /etc/ssl/certs/ca-certificates.crt ] || [ ! -e /etc/ssl/certs/ca-bundle.crt ] ||
    ln -s ca-bundle.crt /etc/ssl/certs/ca-certificates.crt
passwd -d root >/dev/null 2>&1 || true
