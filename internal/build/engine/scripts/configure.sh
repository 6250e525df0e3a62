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
