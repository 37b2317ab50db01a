"""A simulated PC: emulated wsl.exe, engines, GPU and counters, so that every path can be tried without Windows or a card."""
