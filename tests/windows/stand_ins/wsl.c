/* wsl.exe of the tests: hands its raw command line, the environment that matters and its streams to the relay, where the
   project's emulated wsl.exe runs, and ends with that one's exit code. It also tells how it was started, for the tests
   that ask whether a person saw a window. Understands nothing of wsl.exe itself. */
#include "relay.h"
#include <stdio.h>
#include <stdlib.h>

static SOCKET link_;

/* Text as UTF-8. */
static void send_text(char kind, const wchar_t *text)
{
    int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *bytes = malloc(size);
    WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, size, NULL, NULL);
    relay_send(link_, kind, bytes, size - 1);
    free(bytes);
}

/* WSL_... and WSLENV, and every variable that WSLENV names. */
static void send_environment(void)
{
    static wchar_t named[32768];
    wchar_t *block = GetEnvironmentStringsW();
    DWORD length = GetEnvironmentVariableW(L"WSLENV", named + 1, 32766);
    named[0] = L':';
    wcscpy(named + 1 + length, L":");
    for (wchar_t *entry = block; *entry; entry += wcslen(entry) + 1) {
        wchar_t name[300];
        const wchar_t *end = wcschr(entry + 1, L'=');
        if (!end || end - entry > 290)
            continue;
        _snwprintf(name, 300, L":%.*ls", (int)(end - entry), entry);
        const wchar_t *found = wcsstr(named, name);
        size_t size = wcslen(name);
        int listed = found && (found[size] == L':' || found[size] == L'/');
        if (listed || !wcsncmp(entry, L"WSLENV=", 7) || !wcsncmp(entry, L"WSL_", 4))
            send_text('V', entry);
    }
    FreeEnvironmentStringsW(block);
}

static void send_manners(void)
{
    wchar_t told[200];
    STARTUPINFOW startup;
    HWND window = GetConsoleWindow();
    GetStartupInfoW(&startup);
    _snwprintf(told, 200, L"pid=%lu window=%d visible=%d show=%d", GetCurrentProcessId(), window != NULL,
               window && IsWindowVisible(window), startup.dwFlags & STARTF_USESHOWWINDOW ? startup.wShowWindow : -1);
    send_text('M', told);
}

static DWORD WINAPI pump_stdin(void *unused)
{
    static char data[65536];
    DWORD size;
    HANDLE from = GetStdHandle(STD_INPUT_HANDLE);
    (void)unused;
    while (ReadFile(from, data, sizeof data, &size, NULL) && size)
        if (!relay_send(link_, 'I', data, size))
            return 0;
    relay_send(link_, 'C', "", 0);
    return 0;
}

int wmain(void)
{
    static char data[1 << 17];
    DWORD size, written;
    char kind;
    link_ = relay_connect();
    if (link_ == INVALID_SOCKET) {
        fputs("wsl.exe of the tests: no relay at KOTARO_RELAY\n", stderr);
        return -1;
    }
    send_text('R', GetCommandLineW());
    send_environment();
    send_manners();
    relay_send(link_, 'G', "", 0);
    CreateThread(NULL, 0, pump_stdin, NULL, 0, NULL);
    while ((kind = relay_frame(link_, data, sizeof data, &size))) {
        if (kind == 'X') {
            int code;
            memcpy(&code, data, 4);
            ExitProcess((UINT)code);
        }
        HANDLE to = GetStdHandle(kind == 'E' ? STD_ERROR_HANDLE : STD_OUTPUT_HANDLE);
        for (DWORD at = 0; at < size && WriteFile(to, data + at, size - at, &written, NULL); at += written)
            ;
    }
    return 1; /* the service is gone: reference wsl-exe §2.1 */
}
