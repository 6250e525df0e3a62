# configure <template> <build>
printf 'ENV_ID=%s\nTEMPLATE_ID=%s\nBUILD_ID=%s\n' "$1" "$1" "$2" >/.e2b
if [ -d /home/user ]; then
    find /home/user ! -user user -exec chown -h user:user {} +
fi
if [ -d /usr/local ]; then
    find /usr/local -type d ! -perm 0777 -exec chmod 0777 {} +
fi
mkdir -p /code
chmod 0777 /code
