"""Redis: its keys, the Lua loader, the connection, and what makes a server safe to trust."""
