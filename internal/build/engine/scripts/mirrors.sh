# mirrors use|leave [<URL> <the mirror's URL>]...: makes package managers fetch from the
# mirrors, or restores the original sources. Changes that a step made in the meantime stay.
what=$1
shift
for tool in mkdir rm cat cp sed tr touch; do # an image without these has no package manager
    command -v "$tool" >/dev/null 2>&1 || exit 0
done
same() { [ "$(cat "$1")" = "$(cat "$2")" ]; } # not every image has cmp
saved=/run/shoal-package-sources
[ "$what" = use ] && rm -rf "$saved"
mkdir -p "$saved"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apk/repositories /etc/pacman.d/mirrorlist /etc/yum.repos.d/*; do
    [ -f "$file" ] && [ ! -L "$file" ] || continue
    copy=$saved/$(echo "$file" | tr / _)
    if [ "$what" = leave ] && [ -e "$copy" ] && same "$file" "$copy.used"; then
        cat "$copy" >"$file"
        touch -r "$copy" "$file"
        continue
    fi
    cp -p "$file" "$copy.new"
    for_each=$#
    while [ "$for_each" -gt 0 ]; do
        from=$1 to=$2
        shift 2
        set -- "$@" "$from" "$to"
        for_each=$((for_each - 2))
        [ "$what" = use ] || { swap=$from from=$to to=$swap; }
        # The URLs are literal text, not patterns.
        from=$(printf %s "$from" | sed 's/[][\\.*^$|]/\\&/g') to=$(printf %s "$to" | sed 's/[\\&|]/\\&/g')
        sed "s|$from|$to|g" "$copy.new" >"$copy.next"
        cat "$copy.next" >"$copy.new"
    done
    if same "$file" "$copy.new"; then
        rm -f "$copy.new" "$copy.next"
        continue
    fi
    if [ "$what" = use ]; then
        cp -p "$file" "$copy"
        cp "$copy.new" "$copy.used"
    fi
    cat "$copy.new" >"$file"
done
