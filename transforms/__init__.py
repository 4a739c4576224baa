"""What is done to it: one verb per file, thin Beam shells around pure rules."""
