"""WSL: the `.wslconfig` document, its findings and its proof, and the virtual machine."""
