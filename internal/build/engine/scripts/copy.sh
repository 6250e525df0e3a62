# copy <archive> <source in it> <destination> <working directory, or ""> <the build's user> <owner> <mode, or "">
archive=$1 source=$2 dest=$3 dir=$4 user=$5 owner=$(ids "$6") mode=$7
work=$(mktemp -d /tmp/copy-XXXXXX)
trap 'rm -rf "$work" "$archive"' EXIT
tar -xpf "$archive" -C "$work" --no-same-owner || exit 3 # the engine then checks the archive
rm -f "$archive"
from=$work
[ -z "$source" ] || from=$work/$source
[ -e "$from" ] || [ -L "$from" ] || { echo "'$source' is not among the files that were uploaded" >&2; exit 3; }
chown -hR "$owner" "$from"
[ -z "$mode" ] || find "$from" ! -type l -exec chmod "$mode" {} +
case $dest in
/*) ;;
*) [ -n "$dir" ] || dir=$(home_of "$user")
   [ -d "$dir" ] || fail "the working directory '$dir' does not exist"
   dest=$dir/$dest ;;
esac
if [ -d "$from" ] && [ ! -L "$from" ]; then
    make_dir "$dest" "$owner"
    tar -C "$from" -cf - . |
        tar -C "$dest" -xpf - --same-owner --keep-directory-symlink --no-overwrite-dir
    exit
fi
case $dest in
*/) make_dir "$dest" "$owner"; dest=$dest$(basename "$from") ;;
*) if [ -d "$dest" ]; then dest=$dest/$(basename "$from"); else make_dir "$(dirname "$dest")" "$owner"; fi ;;
esac
mv -fT "$from" "$dest"
