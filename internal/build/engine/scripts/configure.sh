# configure <template> <build>
printf 'ENV_ID=%s\nTEMPLATE_ID=%s\nBUILD_ID=%s\n' "$1" "$1" "$2" >/.e2b
if [ -d /home/user ]; then
    find /home/user ! -user user -exec chown -h user:user {} +
fi
if [ -d /usr/local ]; then
    # Files from an image or a step often have this mode already. A change here would copy
    # them into the template's own layer.
    find /usr/local \( -type d -o -type f \) ! -perm 0777 -exec chmod 0777 {} +
fi
mkdir -p /code
chmod 0777 /code
# What a boot would do: users for which packages ask, and certificate authorities that were
# put in their place without update-ca-certificates.
for file in /usr/lib/sysusers.d/*.conf /etc/sysusers.d/*.conf; do
    if [ -e "$file" ] && command -v systemd-sysusers >/dev/null; then
        systemd-sysusers || true # a file of a package that is wrong is not the template's fault
        break
    fi
done
for file in /usr/local/share/ca-certificates/*.crt; do
    name=$(basename "$file" .crt)
    if [ -e "$file" ] && [ ! -e "/etc/ssl/certs/$name.pem" ] && command -v update-ca-certificates >/dev/null; then
        update-ca-certificates >/dev/null 2>&1 || true
        break
    fi
done
