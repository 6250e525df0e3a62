# user <name> <sudo>: creates the user if it does not exist; "true" lets it become root.
if ! id -u "$1" >/dev/null 2>&1; then
    if command -v useradd >/dev/null; then
        useradd -m -s /bin/bash "$1"
    else
        adduser -D -s /bin/bash "$1"
        passwd -u "$1" >/dev/null 2>&1 || true
    fi
fi
home=$(home_of "$1")
if [ ! -d "$home" ]; then
    mkdir -p "$home"
    cp -a /etc/skel/. "$home" 2>/dev/null || true
    chown -R "$(ids "$1")" "$home"
fi
for f in .bashrc .profile; do
    if [ ! -e "$home/$f" ] && [ -e "/etc/skel/$f" ]; then
        cp "/etc/skel/$f" "$home/$f"
        chown "$(ids "$1")" "$home/$f"
    fi
done
if [ "$2" = true ]; then
    for group in sudo wheel; do
        if getent group "$group" >/dev/null; then
            if command -v usermod >/dev/null; then usermod -aG "$group" "$1"; else addgroup "$1" "$group"; fi
            break
        fi
    done
    passwd -d "$1" >/dev/null 2>&1 || true
    mkdir -p /etc/sudoers.d
    echo "$1 ALL=(ALL:ALL) NOPASSWD: ALL" >"/etc/sudoers.d/90-$1"
    chmod 0440 "/etc/sudoers.d/90-$1"
fi
