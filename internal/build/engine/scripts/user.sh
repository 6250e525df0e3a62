# user <name or number> <sudo> <group, or "">: creates the user if it does not exist, and prints
# its name; "true" lets it become root. Commands get the user's own group, so no other is taken.
exec 3>&1 >&2
account() { id -un "$1" 2>/dev/null || grep "^[^:]*:[^:]*:$1:" /etc/passwd | head -n 1 | cut -d: -f1; }
has_group() { getent group "$1" >/dev/null; }
name=$(account "$1") sudo=$2 group=$3
if [ -z "$name" ]; then
    case $1 in
    *[!0-9]*) name=$1; set -- ;;
    *) name=u$1; set -- -u "$1" ;; # a number is no name
    esac
    if command -v useradd >/dev/null; then
        of=${group:-$name}
        if [ "$of" != "$name" ] || has_group "$of"; then set -- "$@" -g "$of"; fi
        useradd -m -s /bin/bash "$@" "$name"
    else
        adduser -D -s /bin/bash "$@" "$name"
        passwd -u "$name" >/dev/null 2>&1 || true
    fi
fi
if [ -n "$group" ] && [ "$group" != "$(id -gn "$name")" ] && [ "$group" != "$(id -g "$name")" ]; then
    fail "the group of user '$name' is '$(id -gn "$name")', not '$group'; leave the group out, or change it by usermod -g in a step before"
fi
home=$(home_of "$name")
if [ ! -d "$home" ]; then
    mkdir -p "$home"
    cp -a /etc/skel/. "$home" 2>/dev/null || true
    chown -R "$(ids "$name")" "$home"
fi
for f in .bashrc .profile; do
    if [ ! -e "$home/$f" ] && [ -e "/etc/skel/$f" ]; then
        cp "/etc/skel/$f" "$home/$f"
        chown "$(ids "$name")" "$home/$f"
    fi
done
if [ "$sudo" = true ]; then
    for admins in sudo wheel; do
        if has_group "$admins"; then
            if command -v usermod >/dev/null; then usermod -aG "$admins" "$name"; else addgroup "$name" "$admins"; fi
            break
        fi
    done
    passwd -d "$name" >/dev/null 2>&1 || true
    mkdir -p /etc/sudoers.d
    echo "$name ALL=(ALL:ALL) NOPASSWD: ALL" >"/etc/sudoers.d/90-$name"
    chmod 0440 "/etc/sudoers.d/90-$name"
fi
echo "$name" >&3
