"""How it runs: options, the graph, inputs, outputs, keyring, loop, command line."""
