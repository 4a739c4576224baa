"""The rules themselves: plain values in and out. An auditor reads this folder alone."""
