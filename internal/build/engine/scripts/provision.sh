# provision <sudo's settings>: adds what every sandbox has to an image from elsewhere.
. /etc/os-release 2>/dev/null || ID=unknown

family=
for id in $ID ${ID_LIKE:-}; do
    case $id in
    rhel | ol | amzn) [ "$id" != "$ID" ] || break ;;
    debian | ubuntu) family=debian ;;
    fedora | centos | rocky | almalinux) family=fedora ;;
    arch | archarm) family=arch ;;
    alpine) family=alpine ;;
    esac
    [ -z "$family" ] || break
done
[ -n "$family" ] || fail "distribution with ID='$ID' is not supported. Use an image of Debian, Ubuntu, Fedora, CentOS, Rocky, AlmaLinux, Arch or Alpine, or one that is made from those"

# Only what is missing is installed: many images need no package at all.
missing=
want() { command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || missing="$missing $2"; }
unreachable() { fail "the packages$missing could not be installed from the image's package sources. Builds reach those through the network of sandboxes: name mirrors by --package-mirrors, a proxy by --build-env http_proxy=..., or import an image that has the packages by 'shoal image import'"; }
want bash bash
want sudo sudo
want curl curl
want jq jq
want git git
want less less
want /etc/ssl/certs/ca-certificates.crt ca-certificates
# COPY needs more of tar than busybox provides.
tar --version 2>/dev/null | grep -q GNU || missing="$missing tar"

# Packages that E2B's sandboxes of the Debian family have in addition. No command needs
# them, so a build without a network continues.
customary() {
    rest=
    for package in systemd systemd-sysv openssh-server sudo chrony socat curl ca-certificates fuse3 iptables git \
        less nftables iputils-ping jq iproute2; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || rest="$rest $package"
    done
    [ -n "$rest" ] || return 0
    update || { echo "WARNING: these packages are missing, and the package sources are not reachable:$rest"; return 0; }
    # shellcheck disable=SC2086 # these are words
    apt_install $rest || echo "WARNING: these packages could not be installed:$rest"
}

updated=
update() {
    [ -z "$updated" ] || return 0
    apt-get update -qq -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o APT::Update::Error-Mode=any && updated=yes
}

# Services must not start, because nothing would stop them, and the guest's own network
# settings must stay.
apt_install() {
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 0755 /usr/sbin/policy-rc.d
    for file in hosts hostname resolv.conf; do cp "/etc/$file" "/run/shoal-$file"; done
    result=0
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" || result=$?
    for file in hosts hostname resolv.conf; do
        cmp -s "/etc/$file" "/run/shoal-$file" && [ ! -L "/etc/$file" ] && continue
        rm -f "/etc/$file"
        cp "/run/shoal-$file" "/etc/$file"
    done
    rm -f /usr/sbin/policy-rc.d
    return "$result"
}

case $family in
debian)
    export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes
    had_policy=
    [ ! -e /usr/sbin/policy-rc.d ] || { had_policy=yes; mv /usr/sbin/policy-rc.d /run/shoal-policy-rc.d; }
    want ss iproute2
    want ping iputils-ping
    want pgrep procps
    want find findutils
    want useradd passwd
    want socat socat
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086
        update && apt_install $missing || unreachable
    fi
    had_keys=$(ls /etc/ssh/ssh_host_* 2>/dev/null || true)
    had_id=$(ls /etc/machine-id 2>/dev/null || true)
    customary
    [ -z "$had_policy" ] || mv /run/shoal-policy-rc.d /usr/sbin/policy-rc.d
    [ -z "$updated" ] || { apt-get clean; rm -rf /var/lib/apt/lists/*; }
    # A new identity would be shared by every sandbox; ssh-keygen -A creates keys.
    [ -n "$had_keys" ] || rm -f /etc/ssh/ssh_host_*
    [ -n "$had_id" ] || rm -f /etc/machine-id /var/lib/dbus/machine-id
    mkdir -p /etc/tmpfiles.d
    echo 'z /dev/fuse 0666 root root -' >/etc/tmpfiles.d/fuse.conf ;;
fedora)
    want ss iproute
    want pgrep procps-ng
    want find findutils
    want useradd shadow-utils
    # shellcheck disable=SC2086
    [ -z "$missing" ] || dnf install -y -q $missing || unreachable ;;
arch)
    want ss iproute2
    want pgrep procps-ng
    # shellcheck disable=SC2086
    [ -z "$missing" ] || pacman -Sy --noconfirm --needed $missing || unreachable ;;
alpine)
    want ss iproute2-ss
    want pgrep procps
    want useradd shadow
    want usermod shadow
    # shellcheck disable=SC2086
    [ -z "$missing" ] || apk add --no-cache $missing findutils coreutils || unreachable ;;
esac

# trusts reports whether the image has all the authorities that it should. It saves an
# update, which takes long.
trusts() {
    bundle=/etc/ssl/certs/ca-certificates.crt
    [ -s "$bundle" ] || return 1
    for authority in /usr/local/share/ca-certificates/*.crt; do
        [ -e "$authority" ] || continue
        # The last line of a certificate identifies it.
        grep -qxF -e "$(grep -v -e '-----' "$authority" | grep . | tail -n 1)" "$bundle" || return 1
    done
}

if trusts; then
    :
elif command -v update-ca-certificates >/dev/null; then
    update-ca-certificates >/dev/null 2>&1
elif command -v update-ca-trust >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt /etc/pki/ca-trust/source/anchors/ 2>/dev/null || true
    update-ca-trust
fi
[ -e /etc/ssl/certs/ca-certificates.crt ] || [ ! -e /etc/ssl/certs/ca-bundle.crt ] ||
    ln -s ca-bundle.crt /etc/ssl/certs/ca-certificates.crt
passwd -d root >/dev/null 2>&1 || true

# The operator's settings for builds also reach commands under sudo.
mkdir -p /etc/sudoers.d
printf %s "$1" >/etc/sudoers.d/environment
chmod 0440 /etc/sudoers.d/environment
