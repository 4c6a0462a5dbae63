#!/bin/sh
# `make run`: starts the program with its data in ./data, and shows a newcomer the first call.
# The demonstration key is made on the first run and kept in data/demo.key for the next ones.
set -eu

program=build/moongate
data=${MOONGATE_DATA:-./data}
key_file=$data/demo.key

mkdir -p "$data"
chmod 700 "$data"
if [ ! -s "$key_file" ]; then
    (umask 077 && "$program" key create --data "$data" --name demo >"$key_file.new" && mv "$key_file.new" "$key_file")
fi

: >"$data/start.log"
"$program" serve --data "$data" "$@" 2>>"$data/start.log" &
pid=$!
trap 'kill -TERM $pid 2>/dev/null' INT TERM
# Shows what the program says, from its first line on, until it ends.
tail -n +1 -f --pid=$pid "$data/start.log" >&2 &

address=""
while [ -z "$address" ] && kill -0 $pid 2>/dev/null; do
    address=$(sed -n 's/.* listening on \(http:.*\)$/\1/p' "$data/start.log")
    [ -n "$address" ] || sleep 0.1
done
if [ -n "$address" ]; then
    cat <<END

  address   $address
  key       $(cat "$key_file")

  A first call, ready to paste into another terminal:

curl -N $address/kimi/chat/completions -H 'Authorization: Bearer $(cat "$key_file")' -H 'Content-Type: application/json' -d '{"model":"kimi-k2.5","messages":[{"role":"user","content":"Hello"}],"stream":true}'

  Ctrl-C stops the server.

END
fi
# A signal interrupts the wait: the program finishes its replies, then ends.
while :; do
    status=0
    wait $pid || status=$?
    kill -0 $pid 2>/dev/null || break
done
exit $status
