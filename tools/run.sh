#!/bin/sh
# `make run`: starts the program with its data in ./data, and shows a newcomer the first call.
# The demonstration key is made on the first run and kept in data/demo.key for the next ones. It
# may spend 5 USD at Moonshot's list prices, so that a balance is seen to go down.
set -eu

program=build/moongate
data=${MOONGATE_DATA:-./data}
key_file=$data/demo.key
says=$data/says.$$

mkdir -p "$data"
chmod 700 "$data"
if [ ! -s "$key_file" ]; then
    (umask 077 && "$program" key create --data "$data" --name demo --quota 5 >"$key_file.new" &&
        mv "$key_file.new" "$key_file")
fi
key=$(cat "$key_file")

welcome() {
    echo
    echo "  address   $1"
    if [ -n "$admin" ]; then
        echo "  console   $1/   log in as $admin (told this once)"
    else
        echo "  console   $1/"
    fi
    cat <<END
  key       $key

  A first call, ready to paste into another terminal, and what it leaves of the key's 5 USD:

curl -N $1/kimi/chat/completions -H 'Authorization: Bearer $key' -H 'Content-Type: application/json' -d '{"model":"kimi-k2.5","messages":[{"role":"user","content":"Hello"}],"stream":true}'

curl $1/v1/users/me/balance -H 'Authorization: Bearer $key'

  Ctrl-C stops the server.

END
}

# Shows what the program says. The administrator's one-time password is in no file: it comes by a
# pipe and is shown with the address, or at the end if it does not come to that.
show() {
    admin=""
    while IFS= read -r line; do
        case $line in
        "The administrator's account is "*)
            admin=${line#"The administrator's account is "}
            admin="${admin%%, its *}, password ${admin##* }"
            ;;
        "It is shown this once"*) ;;
        *" listening on http"*)
            echo "$line" >&2
            welcome "${line##* listening on }"
            admin=""
            cat >&2
            ;;
        *) echo "$line" >&2 ;;
        esac
    done
    [ -z "$admin" ] || echo "  console   log in as $admin (told this once)"
}

rm -f "$data/start.log"
mkfifo -m 600 "$says"
trap 'rm -f "$says"' EXIT
(trap '' INT TERM && show <"$says") &
shown=$!
"$program" serve --data "$data" --set quota.list_prices=true "$@" 2>"$says" &
pid=$!
# Ctrl-C in a terminal comes to the program itself; once is a wish to finish, twice to end at once.
trap : INT
trap 'kill -TERM $pid 2>/dev/null' TERM
# A signal interrupts the wait: the program finishes its replies, then ends.
while :; do
    status=0
    wait $pid || status=$?
    kill -0 $pid 2>/dev/null || break
done
wait $shown || true
exit $status
