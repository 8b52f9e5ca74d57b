# Owns a throw-away server and its directory for a test process, and ends both with that process.
#
# usage: sh -c SCRIPT watchdog DIRECTORY SIGNAL SERVER ARGUMENTS...      (as the server's user)
#
# Standard input is a pipe from the test process. A line on it says that the directory is
# ready: the server is started. Its end says that the test process is gone, and with it whatever was
# still filling that directory. However it went: the kernel closes a pipe even after SIGKILL, when
# nothing inside that process can run any more.

directory=$1
signal=$2
shift 2

if read -r _; then
    exec 3<&0 # The shell gives background commands an empty standard input.
    "$@" </dev/null >"$directory/log" 2>&1 3<&- &
    server=$!
    {
        cat <&3 >/dev/null
        # More than once, as a server that has only just begun does not listen yet.
        while [ ! -e "$directory/stopped" ] && kill -s "$signal" "$server"; do
            sleep 0.1
        done
    } &
    wait "$server"
    # Had the server stopped by itself, the test process needs to know, and wants to read the log.
    : >"$directory/stopped"
    wait
fi

rm -rf "$directory"
