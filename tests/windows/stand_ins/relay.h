/* The way from a stand-in to the Linux side of the tests (`relay.py`): 127.0.0.1, port in KOTARO_RELAY.

   A frame, both ways: one byte kind, four bytes length (little endian), payload. Kinds are listed in `relay.py`. */
#ifndef KOTARO_RELAY_H
#define KOTARO_RELAY_H
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <windows.h>

static int relay_send(SOCKET to, char kind, const void *data, DWORD size)
{
    char head[5] = {kind};
    const char *parts[] = {head, data};
    int sizes[] = {5, (int)size};
    memcpy(head + 1, &size, 4);
    for (int part = 0; part < 2; part++)
        for (int at = 0, sent; at < sizes[part]; at += sent)
            if ((sent = send(to, parts[part] + at, sizes[part] - at, 0)) <= 0)
                return 0;
    return 1;
}

static int relay_receive(SOCKET from, char *data, DWORD size)
{
    for (int got; size > 0; data += got, size -= got)
        if ((got = recv(from, data, (int)size, 0)) <= 0)
            return 0;
    return 1;
}

/* One frame into `data`, which has room for `room` bytes; its kind, or 0 when the other side is gone. */
static char relay_frame(SOCKET from, char *data, DWORD room, DWORD *size)
{
    char head[5];
    if (!relay_receive(from, head, 5))
        return 0;
    memcpy(size, head + 1, 4);
    return *size <= room && relay_receive(from, data, *size) ? head[0] : 0;
}

/* A connection, or INVALID_SOCKET where no relay listens. */
static SOCKET relay_connect(void)
{
    WSADATA data;
    char port[16];
    struct sockaddr_in address = {0};
    SOCKET made;
    if (WSAStartup(MAKEWORD(2, 2), &data) || !GetEnvironmentVariableA("KOTARO_RELAY", port, sizeof port))
        return INVALID_SOCKET;
    address.sin_family = AF_INET;
    address.sin_port = htons((u_short)atoi(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    made = socket(AF_INET, SOCK_STREAM, 0);
    if (made != INVALID_SOCKET && connect(made, (struct sockaddr *)&address, sizeof address)) {
        closesocket(made);
        made = INVALID_SOCKET;
    }
    return made;
}
#endif
