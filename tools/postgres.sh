#!/bin/sh
# A private PostgreSQL for tests: tools/postgres.sh start|stop|crash|remove FOLDER
#
# `start` makes a cluster in the folder, which must be there, if it has none, and starts it on a
# unix socket in that folder alone; its user is moongate, without a password. `stop` is an orderly
# end, `crash` one without a farewell, `remove` a crash after which the folder is gone. PostgreSQL
# does not run as root: then it runs as the user postgres, and the folder is given to it.
set -eu

what=$1
folder=$(realpath "$2")
data=$folder/data

# The newest of Debian's; another system has them in its path.
bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
[ -z "$bin" ] || PATH=$bin:$PATH

as_user() {
    if [ "$(id -u)" = 0 ]; then
        (cd "$folder" && exec setpriv --reuid postgres --regid postgres --clear-groups "$@")
    else
        (cd "$folder" && exec "$@")
    fi
}

# What it says goes to a file, for a server that goes on holds no pipe of ours.
control() {
    as_user pg_ctl -D "$data" -s -w -t 60 "$@" >>"$folder/control.log" 2>&1
}

case $what in
start)
    export LC_ALL=C.UTF-8
    [ "$(id -u)" != 0 ] || chown postgres:postgres "$folder"
    if [ ! -d "$data" ]; then
        : >"$folder/control.log"
        as_user initdb -D "$data" -U moongate -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
            >>"$folder/control.log" 2>&1 || { cat "$folder/control.log" >&2; exit 1; }
        # fsync is off: these tests kill processes and never the machine, and what a process wrote
        # outlives it without fsync, too. The machine's disk would only make them slow.
        cat >>"$data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$folder'
fsync = off
full_page_writes = off
shared_buffers = 32MB
max_connections = 100
timezone = 'UTC'
END
    fi
    control -l "$folder/server.log" start ||
        { cat "$folder/control.log" "$folder/server.log" >&2; exit 1; }
    ;;
stop) control -m fast stop ;;
crash) control -m immediate stop ;;
remove)
    [ ! -s "$data/postmaster.pid" ] || control -m immediate stop || true
    rm -rf "$folder"
    ;;
*)
    echo "postgres.sh: start, stop, crash or remove" >&2
    exit 2
    ;;
esac
