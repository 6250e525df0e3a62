# workdir <path> <user>: creates the directory and prints its name.
make_dir "$1" "$(ids "$2")"
cd "$1"
pwd
