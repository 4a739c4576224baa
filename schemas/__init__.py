"""What crosses an edge: event kinds, batches, policy, rejects, released rows. No Beam, no I/O, no logging."""
