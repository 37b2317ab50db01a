# VM port: opens a port on 127.0.0.1 for the question whether Windows reaches it. Plain POSIX sh.
#
# usage: sh -c "$(cat vm_port.sh)" kotaro-port WORD
#
# Says "port N", or "none" where nothing here can listen, sends WORD to the first who connects, and ends; after 20 s it
# ends without. Debian and Ubuntu always have perl (perl-base is essential), other distros mostly python3.

if perl -MIO::Socket::INET -e 1 2>/dev/null; then
    exec perl -MIO::Socket::INET -e 'alarm 20; $| = 1;
        $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", Proto => "tcp") or exit print "none\n";
        print "port ", $s->sockport, "\n"; $c = $s->accept; print $c "$ARGV[0]\n"; close $c' "$1"
elif command -v python3 >/dev/null 2>&1; then
    exec python3 -c 'import signal, socket, sys
signal.alarm(20)
with socket.create_server(("127.0.0.1", 0)) as s:
    print("port", s.getsockname()[1], flush=True)
    with s.accept()[0] as c:
        c.sendall(sys.argv[1].encode() + b"\n")' "$1"
fi
echo none
