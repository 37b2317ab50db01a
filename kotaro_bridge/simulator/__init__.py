"""A simulated PC: emulated wsl.exe, engines, GPU and counters: every path can be tried without Windows or a card.

`pc.SimulatedPC` makes one from a scenario (`resources/simulator/*.toml`) in a state folder; everything else are real
programs that meet in that folder: `wsl` (wsl.exe), `vm` (the WSL2 virtual machine), `engine_llama`, `engine_vllm`,
`nvidia_smi`, `wslinfo`. The programs that are started often (wsl, vm, nvidia_smi) import only the standard library.

Limits. Windows and Linux share one loopback here, so localhost forwarding has no delay and cannot be missed by itself;
`windows_ports_taken` tells the Windows-side check that a port is taken. Process ids and the boot id are those of this
machine. The Linux side (programs started by the emulated wsl.exe, the VM) needs Linux: on Windows `linux_stand_in`
answers for the few programs that the product asks for, and `vm_stand_in` for the VM; the engines run there as here.
"""
