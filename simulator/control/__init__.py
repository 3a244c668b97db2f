"""Control of a running simulator, from this process or another."""
